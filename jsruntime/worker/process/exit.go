//go:build unix

package process

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Reason is why a worker process ended.
type Reason string

// The reasons.
const (
	Killed        Reason = "killed"                // by Kill or Close, or with its parent
	KilledOutside Reason = "killed from outside"   // by a signal that this package did not send
	OutOfMemory   Reason = "out of memory"         // beyond Options.Memory
	StackOverflow Reason = "stack overflow"        // a goroutine's stack beyond its bound
	Forbidden     Reason = "forbidden system call" // seccomp
	Crashed       Reason = "crashed"               // a fatal error or panic of Go
	Failed        Reason = "failed"                // Main returned an error
)

// ExitError says why a worker process ended otherwise than by its Main
// returning nil. It never holds text that a script could have put there but for
// the error of a Main.
type ExitError struct {
	Reason Reason
	Detail string // Main's error, the runtime's fatal error if it is a known one, or the signal's name; may be empty
}

func (e *ExitError) Error() string {
	if e.Detail == "" {
		return "worker process: " + string(e.Reason)
	}
	return fmt.Sprintf("worker process: %s: %s", e.Reason, e.Detail)
}

// What a worker process says begins with one of these; anything else comes from
// Go's runtime, as it dies.
const (
	reportPrefix = "webtask-worker report "
	errorPrefix  = "webtask-worker error "
)

// maxLastWords is how much is kept of what a process says after its report.
const maxLastWords = 8 << 10

// watch hears what the process says until it ends, then waits for it. Reading
// costs no thread while the process runs, as waiting for it would.
func (p *Process) watch(voice *os.File, s *spawned) {
	defer voice.Close()
	r := bufio.NewReaderSize(voice, maxLastWords)
	line, _ := r.ReadSlice('\n') // at the latest with the end of the process there is something
	first := string(line)
	text, reports := strings.CutPrefix(first, reportPrefix)
	if reports {
		p.failed = json.Unmarshal([]byte(text), &p.report)
		s.complete(&p.report)
		close(p.reported)
		first = ""
	}
	rest, _ := io.ReadAll(io.LimitReader(r, maxLastWords))
	if len(rest) == maxLastWords {
		// It dies of something that takes many words, the first of which count, or
		// it is in somebody's hands who floods the edge.
		_ = p.process.Kill()
	}
	_, _ = io.Copy(io.Discard, r)
	p.state, _ = p.process.Wait()
	s.waitedFor()
	p.err = p.explain(first+string(rest), s)
	s.release()
	if !reports {
		p.failed = fmt.Errorf("worker process: it ended before it was locked up: %w", cmp.Or(p.err, io.ErrUnexpectedEOF))
		close(p.reported)
	}
	close(p.done)
}

// fatal are the texts by which Go's runtime ends a process, of which this
// package knows that they hold nothing of what the program worked on.
var fatal = []struct {
	text   string
	reason Reason
}{
	{"stack overflow", StackOverflow},
	{"out of memory", OutOfMemory},
	{"cannot allocate memory", OutOfMemory},
	{"cannot allocate heap metadata", OutOfMemory},
	{"cannot reserve arena virtual address space", OutOfMemory},
	{"failed to create new OS thread", OutOfMemory},
	{"newosproc", OutOfMemory},
	{"pthread_create failed", OutOfMemory},
	{"concurrent map writes", Crashed},
	{"concurrent map read and map write", Crashed},
	{"concurrent map iteration and map write", Crashed},
	{"all goroutines are asleep - deadlock!", Crashed},
	{"unexpected signal during runtime execution", Crashed},
	{"unlock of unlocked mutex", Crashed},
}

// explain tells from a process's last words and its status why it ended.
func (p *Process) explain(words string, s *spawned) error {
	if p.state == nil {
		return &ExitError{Reason: KilledOutside, Detail: "somebody else waited for it"}
	}
	status, ok := p.state.Sys().(syscall.WaitStatus)
	if !ok || status.Exited() && status.ExitStatus() == 0 {
		return nil
	}
	if status.Signaled() {
		switch signal := status.Signal(); {
		case signal == unix.SIGKILL && p.asked.Load():
			return &ExitError{Reason: Killed}
		case s.outOfMemory():
			return &ExitError{Reason: OutOfMemory, Detail: "of its cgroup"}
		case signal == unix.SIGSYS:
			return &ExitError{Reason: Forbidden}
		case words == "":
			return &ExitError{Reason: KilledOutside, Detail: signal.String()}
		}
	}
	for _, line := range strings.Split(words, "\n") {
		if text, ok := strings.CutPrefix(line, errorPrefix); ok {
			var detail string
			if err := json.Unmarshal([]byte(text), &detail); err == nil {
				return &ExitError{Reason: Failed, Detail: detail}
			}
		}
		if raceDetector && strings.Contains(line, "ThreadSanitizer failed to allocate") {
			return &ExitError{Reason: OutOfMemory, Detail: "of the race detector"}
		}
		text, ok := strings.CutPrefix(line, "fatal error: ")
		if !ok && !strings.HasPrefix(line, "runtime: ") && !strings.HasPrefix(line, "runtime/cgo: ") {
			continue
		}
		for _, f := range fatal {
			if strings.Contains(line, f.text) {
				return &ExitError{Reason: f.reason, Detail: f.text}
			}
		}
		if ok && text != "" {
			break
		}
	}
	return &ExitError{Reason: Crashed}
}

// ReasonOf returns why the process ended, if err is or wraps an *ExitError.
func ReasonOf(err error) (Reason, bool) {
	var end *ExitError
	if errors.As(err, &end) {
		return end.Reason, true
	}
	return "", false
}
