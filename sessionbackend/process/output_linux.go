package process

import (
	"bufio"
	"context"
	"os"
	"strings"
	"sync"
	"time"

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

// output is what a backend writes.
type output struct {
	file *os.File
	over chan struct{} // closed when no more is read

	mu   sync.Mutex
	tail []byte
}

func newOutput(file *os.File) *output { return &output{file: file, over: make(chan struct{})} }

// read reads until all writers are gone, and passes on lines, with the number of
// those before that were too many.
func (o *output) read(line func(text string, dropped int)) {
	defer close(o.over)
	speed := rate.NewLimiter(bytesPerSecond, maxLine)
	lines := rate.NewLimiter(linesPerSecond, 2*linesPerSecond)
	dropped := 0
	for reader := bufio.NewReaderSize(o.file, maxLine); ; {
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

func (o *output) keep(text []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail = append(o.tail, text...)
	if len(o.tail) > 2*tailSize {
		o.tail = append([]byte(nil), o.tail[len(o.tail)-tailSize:]...)
	}
}

// rest is how long the output of a backend that is gone may still be read.
const rest = time.Second

// close ends reading when all is read, and returns the end of what was.
func (o *output) close() string {
	_ = o.file.SetReadDeadline(time.Now().Add(rest)) // of a pipe, which has deadlines
	<-o.over
	_ = o.file.Close() // nothing was written
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.ToValidUTF8(string(o.tail[max(0, len(o.tail)-tailSize):]), "\uFFFD")
}
