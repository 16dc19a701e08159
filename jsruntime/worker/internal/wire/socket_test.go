//go:build unix

package wire

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sockets returns both ends of a socket: an edge's and a worker's.
func sockets(t *testing.T, patience time.Duration) (*Polled, Blocking, func()) {
	t.Helper()
	edge, _, worker := files(t, patience)
	return edge, worker, func() { unix.Close(int(worker)) }
}

// files is sockets with the edge's file.
func files(t *testing.T, patience time.Duration) (*Polled, *os.File, Blocking) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(pair[0]), "edge's end")
	edge, err := NewPolled(file, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		edge.Close()
		file.Close()
	})
	return edge, file, Blocking(pair[1])
}

// TestSockets sends more than fits at once, both ways, and hangs up.
func TestSockets(t *testing.T) {
	edge, worker, hangUp := sockets(t, time.Minute)
	text := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for _, way := range []struct {
		from, to Socket
	}{{edge, worker}, {worker, edge}, {edge, worker}} {
		written := make(chan error, 1)
		go func() { written <- way.from.Write(text) }()
		got := make([]byte, len(text))
		for n := 0; n < len(got); {
			more, err := way.to.Read(got[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += more
		}
		if err := <-written; err != nil || !bytes.Equal(got, text) {
			t.Errorf("%T: what was written is not what was read (%v)", way.from, err)
		}
	}
	hangUp()
	if n, err := edge.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after the end: %d bytes, %v", n, err)
	}
	if err := edge.Write(text); !errors.Is(err, unix.EPIPE) {
		t.Errorf("writing after the end: %v", err)
	}
}

// TestUnread writes more than fits to a peer that does not read, and, once it
// does, goes on without a deadline.
func TestUnread(t *testing.T) {
	edge, worker, hangUp := sockets(t, time.Millisecond)
	defer hangUp()
	if err := edge.Write(make([]byte, 1<<20)); err != ErrUnread {
		t.Errorf("the error is %v", err)
	}
	patient, _, hangUp := sockets(t, 0)
	written := make(chan error, 1)
	go func() { written <- patient.Write(make([]byte, 1<<20)) }()
	hangUp()
	if err := <-written; err == nil || err == ErrUnread {
		t.Errorf("without patience the error is %v", err)
	}
	if n, err := worker.Read(make([]byte, 10)); n != 10 || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// TestClose ends calls that wait, one after the other and both at once.
func TestClose(t *testing.T) {
	for _, calls := range []string{"read", "write", "both"} {
		edge, file, worker := files(t, 0)
		ended := make(chan error, 2)
		count := 0
		if calls != "write" {
			count++
			go func() {
				_, err := edge.Read(make([]byte, 1))
				ended <- err
			}()
			await(t, "TestClose", "Polled).Read")
		}
		if calls != "read" {
			count++
			go func() { ended <- edge.Write(make([]byte, 1<<20)) }()
			await(t, "TestClose", "Polled).Write")
		}
		edge.Close()
		file.Close() // at once, so that nothing watches the socket any more
		for range count {
			if err := <-ended; err == nil {
				t.Errorf("%s: no error", calls)
			}
		}
		if _, err := edge.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: it can be read afterwards", calls)
		}
		unix.Close(int(worker))
	}
}

// await waits until a goroutine that a test has started waits in a method.
func await(t *testing.T, test, method string) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	for waits := false; !waits; {
		runtime.Gosched()
		for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			state, _, _ := strings.Cut(stack, "\n")
			// In the poller, not in a system call.
			if strings.Contains(stack, test) && strings.Contains(stack, method) && strings.Contains(state, "IO wait") {
				waits = true
			}
		}
	}
}

// TestWaitingTakesNoPlace: a goroutine that waits for a worker waits in the
// poller, where it keeps nobody from running.
func TestWaitingTakesNoPlace(t *testing.T) {
	edge, worker, hangUp := sockets(t, 0)
	defer hangUp()
	read := make(chan error)
	go func() {
		_, err := edge.Read(make([]byte, 1))
		read <- err
	}()
	await(t, "TestWaitingTakesNoPlace", "Polled).Read")
	if err := worker.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
}
