package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A nursery is a small process that forks the workers, so that the edge does not.
// As long as a fork goes on, up to the exec, Go keeps one of the GOMAXPROCS places
// for it, and no collection can begin; with namespaces to be made, on a busy
// machine, that takes tens of milliseconds. The workers are the edge's own children
// all the same (CLONE_PARENT): it waits for them, and they die with it.

// order asks the nursery for a process.
type order struct {
	Kind   string
	Memory int64
}

// birth is its answer.
type birth struct {
	PID   int
	Error words // why there is none

	// What of the layers that are the parent's does not hold, and why.
	Namespaces, User, Priority words
}

// words are an error's, or none.
type words string

func wordsOf(err error) words {
	if err == nil {
		return ""
	}
	return words(err.Error())
}

func (w words) err() error {
	if w == "" {
		return nil
	}
	return errors.New(string(w))
}

// maxMessage is longer than any order or birth.
const maxMessage = 16 << 10

// answerTimeout is how long the nursery may take, which needs milliseconds. One
// that somebody has stopped is replaced.
var answerTimeout = 10 * time.Second

// nurse is the edge's side.
var nurse nurseryClient

type nurseryClient struct {
	mu      sync.Mutex // one order at a time
	process *os.Process
	conn    *net.UnixConn // nil: there is no nursery
}

// ask has a process started with files as its first descriptors.
func (n *nurseryClient) ask(o *order, files []*os.File) (*birth, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for range 2 { // it may have died since
		if n.conn == nil {
			if err := n.start(); err != nil {
				return nil, fmt.Errorf("the process that forks workers: %w", err)
			}
		}
		b, err := n.exchange(o, files)
		if err == nil {
			return b, b.Error.err()
		}
		errs = append(errs, err)
		n.end()
	}
	return nil, fmt.Errorf("the process that forks workers: %w", errors.Join(errs...))
}

func (n *nurseryClient) exchange(o *order, files []*os.File) (*birth, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	numbers := make([]int, len(files))
	for i, f := range files {
		numbers[i] = int(f.Fd())
	}
	if err := n.conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, err
	}
	if _, _, err := n.conn.WriteMsgUnix(text, unix.UnixRights(numbers...), nil); err != nil {
		return nil, err
	}
	buffer := make([]byte, maxMessage)
	length, err := n.conn.Read(buffer)
	if err != nil {
		return nil, err
	}
	if length == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	b := new(birth)
	if err := json.Unmarshal(buffer[:length], b); err != nil {
		return nil, err
	}
	return b, nil
}

// start starts a nursery.
func (n *nurseryClient) start() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	own, other := os.NewFile(uintptr(pair[0]), "nursery"), os.NewFile(uintptr(pair[1]), "nursery's socket")
	defer own.Close()
	defer other.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	conn, err := net.FileConn(own)
	if err != nil {
		return err
	}
	// Where there are cgroups to be made, this process leaves the one that is to
	// have children, for one that the nursery is then born in.
	_, _ = cgroupHome()
	forks(func() {
		n.process, err = os.StartProcess("/proc/self/exe", []string{nurseryName}, &os.ProcAttr{
			Env: firstEnv, Files: []*os.File{null, null, os.Stderr, other}, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
		})
	})
	if err != nil {
		conn.Close()
		return err
	}
	n.conn = conn.(*net.UnixConn) // as the socket is one
	return nil
}

// end ends the nursery, of whose children those that live go on.
func (n *nurseryClient) end() {
	n.conn.Close()
	_ = n.process.Kill()    // it may have ended by itself
	_, _ = n.process.Wait() // how, is of no interest
	n.conn, n.process = nil, nil
}

// forks runs f on the one thread that processes are forked from. It never ends: the
// kernel sends a child's parent-death signal when that thread dies, and for the
// children of the nursery, too, it is this one.
func forks(f func()) {
	done := make(chan struct{})
	forking() <- func() {
		defer close(done)
		f()
	}
	<-done
}

var forking = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go onThread(make(chan struct{}), func() { forkOnDemand(work) })
	return work
})

func forkOnDemand(work <-chan func()) {
	for f := range work {
		f()
	}
}
