package sessionstore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// DefaultOpenTimeout is FileOptions.OpenTimeout where that is zero.
const DefaultOpenTimeout = 5 * time.Second

// FileOptions are options of a File.
type FileOptions struct {
	// OpenTimeout is for how long the first call waits for another process to
	// release the file. Default: 5 s.
	OpenTimeout time.Duration

	// Now is the clock that times to live are measured with. Default: time.Now.
	Now func() time.Time

	// Logger is told of work that fails with nobody waiting for it, such as
	// sweeping. Default: none.
	Logger *zap.Logger
}

// File is a store in one file (bbolt), for the edges of one process. It is safe
// for concurrent use. A write is on the disk before it is acknowledged: it
// survives a crash of the process or of the machine. Writes that wait at the
// same time share one commit, so that many cost little more than one.
//
// A process must have only one File of a path: a second one waits for the
// first as for another process's, and fails.
type File struct {
	settings

	engine atomic.Pointer[engine] // nil until opened

	mu      sync.Mutex
	closed  bool
	opening chan struct{} // not nil while somebody opens the file; closed after
	failed  error         // why it could last not be opened
	retry   time.Time     // when it may be tried again
}

// openPause is for how long a file that could not be opened is left alone.
const openPause = time.Second

// NewFile returns a store in the file at path. Nothing is opened or made: the
// first call does that, directories included.
func NewFile(path string, options FileOptions) *File {
	f := &File{settings: settings{path: path, openTimeout: options.OpenTimeout, now: options.Now, logger: options.Logger}}
	if f.openTimeout <= 0 {
		f.openTimeout = DefaultOpenTimeout
	}
	if f.now == nil {
		f.now = time.Now
	}
	if f.logger == nil {
		f.logger = zap.NewNop()
	}
	return f
}

// Engine is the name of the engine, as metrics have it.
func (f *File) Engine() string { return "file" }

// Ping opens the store if it is not open yet.
func (f *File) Ping(ctx context.Context) error {
	_, err := f.open(ctx)
	return err
}

// Close waits for the writes that have begun, then releases the file. Calls
// made later fail with webtask.ErrStoreUnavailable.
func (f *File) Close() error {
	f.mu.Lock()
	f.closed = true
	opening := f.opening
	f.mu.Unlock()
	if opening != nil {
		<-opening
	}
	if e := f.engine.Swap(nil); e != nil {
		if err := e.close(); err != nil {
			return fmt.Errorf("closing the session store %s: %w", f.path, err)
		}
	}
	return nil
}

// open returns the engine, opening the file first if need be. However many
// callers wait, it is opened once; after a failure, all fail at once for a
// while.
func (f *File) open(ctx context.Context) (*engine, error) {
	if e := f.engine.Load(); e != nil {
		return e, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	opening, err := f.startOpening()
	if err != nil {
		return nil, unavailable(err)
	}
	select {
	case <-opening:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if e := f.engine.Load(); e != nil {
		return e, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return nil, unavailable(f.failed)
}

func (f *File) startOpening() (<-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil, errClosed
	case f.opening != nil:
		return f.opening, nil
	case f.failed != nil && time.Now().Before(f.retry):
		return nil, f.failed
	}
	done := make(chan struct{})
	f.opening = done
	go func() {
		defer close(done)
		e, err := openEngine(f.settings)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.opening = nil
		if err != nil {
			f.failed, f.retry = err, time.Now().Add(openPause)
			return
		}
		f.failed = nil
		f.engine.Store(e)
	}()
	return done, nil
}

// view reads from the store.
func (f *File) view(ctx context.Context, read func(tx *bolt.Tx) error) error {
	e, err := f.open(ctx)
	if err != nil {
		return err
	}
	return e.view(read)
}

// write applies a change in a transaction that may hold others' changes too,
// and returns when it is on the disk. If ctx ends first, the change may still
// happen. An error of apply undoes the whole transaction, so that it is for
// what cannot be helped; what a caller is to be told it must keep elsewhere.
func (f *File) write(ctx context.Context, apply func(tx *bolt.Tx) error) error {
	e, err := f.open(ctx)
	if err != nil {
		return err
	}
	return e.submit(ctx, apply)
}
