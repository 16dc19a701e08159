//go:build unix

package bundler

import (
	"encoding/binary"
	"io"
	"slices"

	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/internal/wire"
)

// version is that of the protocol. Both ends are the same binary, so it only
// guards against a mistake.
const version = 1

// A frame is the length of its payload as a uint32 in little endian, its kind,
// and the payload, see messages.go.
const headerSize = 4 + 1

// frameKind says what a frame means. E: the edge sends it; W: the process does.
type frameKind uint8

const (
	frameReady   frameKind = iota + 1 // W: it has started
	frameJob                          // E: what to bundle
	frameBegun                        // W: the job has arrived
	frameResolve                      // W: which module does this import mean?
	frameModule                       // E: the answer
	frameOutput                       // W: the script
	frameProblem                      // W: what is wrong with the code
	frameKinds
)

// conn reads and writes frames on a socket. One goroutine may read while another
// writes.
type conn struct {
	socket wire.Socket
	buffer []byte // what was read and not yet returned
	limit  func(frameKind) uint32
}

// newConn bounds what may be read: the bytes of each kind, 0 for those that the
// peer may not send.
func newConn(socket wire.Socket, limit func(frameKind) uint32) *conn {
	return &conn{socket: socket, limit: limit}
}

const readSize = 64 << 10

// read returns the next frame, whose payload is the caller's; io.EOF when the
// peer has closed between two.
func (c *conn) read() (frameKind, []byte, error) {
	if err := c.need(headerSize); err != nil {
		return 0, nil, err
	}
	size, k := binary.LittleEndian.Uint32(c.buffer), frameKind(c.buffer[4])
	if size > c.limit(k) {
		return 0, nil, wire.Violation("frame of kind %d and %d bytes", k, size)
	}
	end := headerSize + int(size)
	if err := c.need(end); err != nil {
		return 0, nil, err
	}
	payload := c.buffer[headerSize:end:end]
	if len(c.buffer) == end && cap(c.buffer) <= end+end/4 {
		c.buffer = nil
		return k, payload, nil
	}
	// What is cached of a small message must not keep a large buffer.
	c.buffer = c.buffer[end:]
	return k, slices.Clone(payload), nil
}

// need reads until n bytes are there. The buffer grows as they come: a header
// alone reserves no memory.
func (c *conn) need(n int) error {
	for len(c.buffer) < n {
		if err := c.fill(); err != nil {
			if err == io.EOF && len(c.buffer) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

func (c *conn) fill() error {
	if cap(c.buffer)-len(c.buffer) < readSize/2 {
		c.buffer = slices.Grow(c.buffer, readSize)
	}
	n, err := c.socket.Read(c.buffer[len(c.buffer):cap(c.buffer)])
	c.buffer = c.buffer[:len(c.buffer)+n]
	return err
}

// frame returns a frame as it is written.
func frame(k frameKind, payload []byte) []byte {
	b := make([]byte, 0, headerSize+len(payload))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	return append(append(b, byte(k)), payload...)
}

func (c *conn) write(b []byte) error { return c.socket.Write(b) }
