// Package output reads what session backends write, and makes lines for the log
// of it.
package output

import (
	"bufio"
	"context"
	"io"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// What is read of a backend's output. One that writes more waits, as at a slow
// terminal; lines beyond so many a second are not logged.
const (
	maxLine        = 1024    // bytes; longer ones are cut to pieces
	tailSize       = 4096    // bytes that are kept for its end
	bytesPerSecond = 4 << 20 // that are read
	linesPerSecond = 50      // that are logged, after a burst of twice as many
)

// Output is what a backend writes.
type Output struct {
	from io.ReadCloser
	over chan struct{} // closed when no more is read

	mu   sync.Mutex
	tail []byte
}

// New returns the output that is read from a reader, whose Close has to end
// reads.
func New(from io.ReadCloser) *Output { return &Output{from: from, over: make(chan struct{})} }

// Read reads until all writers are gone, and passes on lines, with the number of
// those before that were too many.
func (o *Output) Read(line func(text string, dropped int)) {
	defer close(o.over)
	speed := rate.NewLimiter(bytesPerSecond, maxLine)
	lines := rate.NewLimiter(linesPerSecond, 2*linesPerSecond)
	dropped := 0
	for reader := bufio.NewReaderSize(o.from, maxLine); ; {
		text, err := reader.ReadSlice('\n') // also what fills the buffer
		if len(text) > 0 {
			o.keep(text)
			if lines.Allow() {
				line(strings.ToValidUTF8(strings.TrimRight(string(text), "\r\n"), "\uFFFD"), dropped)
				dropped = 0
			} else {
				dropped++
			}
			_ = speed.WaitN(context.Background(), len(text)) // fails for more than a burst only
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

func (o *Output) keep(text []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail = append(o.tail, text...)
	if len(o.tail) > 2*tailSize {
		o.tail = append([]byte(nil), o.tail[len(o.tail)-tailSize:]...)
	}
}

// Log puts a line into the log of a backend.
func Log(logger *zap.Logger, text string, dropped int) {
	if dropped > 0 {
		logger.Warn("a session backend writes more than is logged", zap.Int("lines_dropped", dropped))
	}
	logger.Info("output of a session backend", zap.String("line", text))
}

// rest is how long the output of a backend that is gone may still be read.
const rest = time.Second

// Close ends reading when all is read, and returns the end of what was.
func (o *Output) Close() string {
	select {
	case <-o.over:
	case <-time.After(rest):
	}
	_ = o.from.Close() // nothing was written
	<-o.over
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.ToValidUTF8(string(o.tail[max(0, len(o.tail)-tailSize):]), "\uFFFD")
}
