package wire

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Polled is a Socket whose caller waits in Go's poller: the edge's end. A
// goroutine that waits in a blocking system call keeps one of the GOMAXPROCS
// places in which Go code can run, until the runtime notices, which takes it up to
// ten milliseconds; with as many workers all of the edge would stand still
// meanwhile.
//
// The poller does not watch the socket itself, since it would ask when there is
// room to write as well: there is whenever the peer has read, so that each request
// would wake a thread for nothing. It watches an epoll instance (epoll(7)) which
// watches the socket, for what there is to read only.
type Polled struct {
	socket   syscall.RawConn
	patience time.Duration
	watch    *os.File // the epoll instance
	readable syscall.RawConn

	// Functions of the Read under way, made once, and what they work on.
	await func(uintptr) (done bool)
	read  func(fd uintptr)
	into  []byte
	n     int
	err   error

	// The same of the Write.
	write    func(fd uintptr)
	rest     []byte
	writeErr error

	mu     sync.Mutex
	room   *os.File // the epoll instance of a Write that waits
	closed bool
}

// NewPolled returns a Socket over a file of a socket, which remains the caller's,
// who reads and writes it no longer. Write fails with ErrUnread when the peer takes
// longer than patience; 0: never.
func NewPolled(file *os.File, patience time.Duration) (*Polled, error) {
	socket, err := file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	var failed error
	err = socket.Control(func(fd uintptr) { failed = unix.SetNonblock(int(fd), true) })
	if err = errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("socket: set non-blocking: %w", err)
	}
	p := &Polled{socket: socket, patience: patience}
	if p.watch, p.readable, err = watch(socket, unix.EPOLLIN|unix.EPOLLRDHUP); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	p.await, p.read, p.write = p.readOrWait, p.readSome, p.writeSome
	return p, nil
}

// watch returns a file that is readable when one of the events has come for a
// socket, and the connection with which to wait for that.
func watch(socket syscall.RawConn, events uint32) (*os.File, syscall.RawConn, error) {
	instance, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, nil, fmt.Errorf("epoll_create1: %w", err)
	}
	failed := unix.SetNonblock(instance, true) // what is not blocking when os.NewFile sees it has the poller wait
	file := os.NewFile(uintptr(instance), "epoll")
	if failed == nil {
		err = socket.Control(func(fd uintptr) {
			failed = unix.EpollCtl(instance, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: events | unix.EPOLLET})
		})
	}
	var conn syscall.RawConn
	if err = errors.Join(err, failed); err == nil {
		conn, err = file.SyscallConn()
	}
	if err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("epoll: %w", err)
	}
	return file, conn, nil
}

// Close ends calls that wait, and lets no later one wait. It comes before the file is
// closed: then nothing watches the socket any more, so that nobody who waits would
// hear of it.
func (p *Polled) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	_ = p.watch.Close() // it may be closed already
	if p.room != nil {
		_ = p.room.Close()
	}
}

// setRoom has Close end the Write that waits; nil: it does so no longer.
func (p *Polled) setRoom(room *os.File) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.room = room; p.closed {
		return os.ErrClosed
	}
	return nil
}

// Read implements Socket.
func (p *Polled) Read(b []byte) (int, error) {
	p.into, p.err = b, nil
	err := p.readable.Read(p.await)
	p.into = nil
	switch {
	case err != nil:
		return 0, fmt.Errorf("waiting for the socket: %w", err)
	case p.err != nil:
		return 0, fmt.Errorf("reading from the socket: %w", p.err)
	case p.n == 0:
		return 0, io.EOF
	}
	return p.n, nil
}

func (p *Polled) readOrWait(uintptr) (done bool) {
	if err := p.socket.Control(p.read); err != nil {
		p.err = err
	}
	return p.err != unix.EAGAIN
}

func (p *Polled) readSome(fd uintptr) {
	for {
		if p.n, p.err = unix.Read(int(fd), p.into); p.err != unix.EINTR {
			return
		}
	}
}

// Write implements Socket.
func (p *Polled) Write(b []byte) error {
	p.rest = b
	err := p.socket.Control(p.write)
	if err == nil && p.writeErr == unix.EAGAIN {
		err = p.writeRest()
	} else if err == nil {
		err = p.writeErr
	}
	p.rest = nil
	if err != nil && err != ErrUnread {
		err = fmt.Errorf("writing to the socket: %w", err)
	}
	return err
}

// writeSome writes what fits.
func (p *Polled) writeSome(fd uintptr) {
	for p.writeErr = nil; len(p.rest) > 0; {
		n, err := unix.Write(int(fd), p.rest)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			p.writeErr = err
			return
		}
		p.rest = p.rest[n:]
	}
}

// writeRest writes as there is room. Only while it waits is that watched.
func (p *Polled) writeRest() error {
	room, conn, err := watch(p.socket, unix.EPOLLOUT)
	if err != nil {
		return err
	}
	defer room.Close()
	defer func() { _ = p.setRoom(nil) }()
	if err := p.setRoom(room); err != nil {
		return err
	}
	if p.patience > 0 {
		if err := room.SetReadDeadline(time.Now().Add(p.patience)); err != nil {
			return err
		}
	}
	var closed error
	err = conn.Read(func(uintptr) (done bool) {
		closed = p.socket.Control(p.write)
		return closed != nil || p.writeErr != unix.EAGAIN
	})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrUnread
	case err != nil:
		return err
	case closed != nil:
		return closed
	}
	return p.writeErr
}
