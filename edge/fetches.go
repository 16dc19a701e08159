package edge

import (
	"fmt"
	"io"
	"sync"
)

// maxFetches is how many fetches of one container may be open, from the request
// to the end of the answer's body. Each takes a descriptor, and buffers that
// are the edge's, so that the limits of its workers do not count them.
const maxFetches = 1024

// fetches counts the open ones. The zero value is ready.
type fetches struct {
	mu   sync.Mutex
	open map[string]int // by container
}

// enter counts one more. The function that it returns takes that back; it may
// be called twice.
func (f *fetches) enter(container string) (leave func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[container] >= maxFetches {
		return nil, fmt.Errorf("%d fetches of this container are open already; read their bodies to the end or cancel them, and try again", maxFetches)
	}
	if f.open == nil {
		f.open = make(map[string]int)
	}
	f.open[container]++
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.open[container]--; f.open[container] == 0 {
			delete(f.open, container)
		}
	}), nil
}

// openBody is the body of an answer.
type openBody struct {
	io.ReadCloser
	closed func()
}

// Close implements io.Closer.
func (b *openBody) Close() error {
	err := b.ReadCloser.Close()
	b.closed()
	return err
}
