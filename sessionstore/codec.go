package sessionstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// A session's entry is stored, by both engines, as
//
//	version  8 bytes  of webtask.SessionEntry, big-endian
//	flag     1 byte   valuePlain or valueZstd
//	size     4 bytes  of the value before compression, big-endian
//	payload           the value, compressed as flag says (zstd: RFC 8878)
//
// What follows the version is made by appendValue; the version is put before it
// by whoever decides it, the writer of the file or the script inside Redis.
const (
	versionSize = 8
	headerSize  = versionSize + 1 + 4

	valuePlain = 0
	valueZstd  = 1

	// compressAbove is the size from which compression is tried.
	compressAbove = 1 << 10

	// maxValue bounds one value, and so what decoding one can allocate.
	maxValue = 64 << 20
)

var errDamaged = errors.New("a stored session is damaged")

// The coders are shared: EncodeAll and DecodeAll may be called concurrently and
// start no goroutines. Sessions are small, so is the window.
var (
	encoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil,
			zstd.WithEncoderLevel(zstd.SpeedFastest),
			zstd.WithWindowSize(256<<10),
			zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(err) // the options are constants
		}
		return e
	})
	decoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(0),
			zstd.WithDecodeAllCapLimit(true),
			zstd.WithDecoderMaxMemory(maxValue))
		if err != nil {
			panic(err) // the options are constants
		}
		return d
	})
)

// appendValue appends flag, size and payload of value to dst.
func appendValue(dst, value []byte) []byte {
	start := len(dst)
	dst = append(dst, valuePlain)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(value)))
	payload := len(dst)
	if len(value) > compressAbove {
		dst = encoder().EncodeAll(value, dst)
		if len(dst)-payload < len(value) {
			dst[start] = valueZstd
			return dst
		}
		dst = dst[:payload]
	}
	return append(dst, value...)
}

// decodeEntry reads a stored entry. The value of an uncompressed one is part of
// entry.
func decodeEntry(entry []byte) (webtask.SessionEntry, error) {
	size, err := valueSize(entry)
	if err != nil {
		return webtask.SessionEntry{}, err
	}
	version := binary.BigEndian.Uint64(entry)
	payload := entry[headerSize:]
	switch flag := entry[versionSize]; flag {
	case valuePlain:
		if len(payload) != size {
			return webtask.SessionEntry{}, fmt.Errorf("%w: a value has %d bytes instead of %d", errDamaged, len(payload), size)
		}
		return webtask.SessionEntry{Value: payload, Version: version}, nil
	case valueZstd:
		value, err := decoder().DecodeAll(payload, make([]byte, 0, size))
		if err != nil {
			return webtask.SessionEntry{}, fmt.Errorf("%w: %w", errDamaged, err)
		}
		if len(value) != size {
			return webtask.SessionEntry{}, fmt.Errorf("%w: a value has %d bytes instead of %d", errDamaged, len(value), size)
		}
		return webtask.SessionEntry{Value: value, Version: version}, nil
	default:
		return webtask.SessionEntry{}, fmt.Errorf("%w: unknown encoding %d (written by a newer version?)", errDamaged, flag)
	}
}

// valueSize is the size of a stored entry's value before compression.
func valueSize(entry []byte) (int, error) {
	if len(entry) < headerSize {
		return 0, fmt.Errorf("%w: an entry has %d bytes", errDamaged, len(entry))
	}
	size := binary.BigEndian.Uint32(entry[versionSize+1:])
	if size > maxValue {
		return 0, fmt.Errorf("%w: a value claims %d bytes", errDamaged, size)
	}
	return int(size), nil
}
