package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
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
	Cgroup string // its directory; empty: the edge's own

	// Footing is the one to use, by its place. Nobody but the first process is to
	// find out what the host allows: what lacks something later must not get less
	// of a sandbox for it. Negative: find out.
	Footing int
}

// birth is its answer.
type birth struct {
	PID     int
	Footing int
	Error   words // why there is none

	// What of the layers that are the parent's does not hold, and why.
	Namespaces, User, Priority, Cgroup words
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
var answerTimeout = 5 * time.Second

// nurse is the edge's side.
var nurse nurseryClient

type nurseryClient struct {
	mu      sync.Mutex // one order at a time
	process *os.Process
	conn    *net.UnixConn // nil: there is no nursery
	first   *birth        // whose footing is everybody's; nil: nobody is born yet

	children sync.Map // by process id: who was born, or is a dead nursery, and was not waited for yet
}

// ask has a process started with files as its first descriptors.
func (n *nurseryClient) ask(o *order, files []*os.File) (*birth, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	o.Footing = -1
	if n.first != nil {
		o.Footing = n.first.Footing
	}
	var errs []error
	for range 2 { // it may have died since
		if n.conn == nil {
			if err := n.start(); err != nil {
				return nil, fmt.Errorf("the process that forks workers: %w", err)
			}
		}
		b, err := n.exchange(o, files)
		if err == nil {
			return n.born(b)
		}
		errs = append(errs, err)
		n.end()
		// It may have died after it forked, and what it forked has these files.
		if err := n.disown(); err != nil {
			errs = append(errs, err)
			break
		}
	}
	return nil, fmt.Errorf("the process that forks workers: %w", errors.Join(errs...))
}

// born takes note of an answer.
func (n *nurseryClient) born(b *birth) (*birth, error) {
	if err := b.Error.err(); err != nil {
		// What fails between fork and exec is a child nevertheless.
		return nil, errors.Join(err, n.disown())
	}
	n.children.Store(b.PID, b)
	if n.first == nil {
		n.first = b
	}
	b.Namespaces, b.User = n.first.Namespaces, n.first.User
	return b, nil
}

// disown ends those children of the nurseries that the edge does not know.
func (n *nurseryClient) disown() error {
	list, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", forking().thread))
	if err != nil {
		return err
	}
	for _, field := range strings.Fields(string(list)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return err
		}
		if _, known := n.children.Load(pid); known || n.process != nil && pid == n.process.Pid {
			continue
		}
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended by itself
		for {
			if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
				break
			}
		}
	}
	return nil
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
	forking().run(func() {
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
	_ = n.process.Kill() // it may have ended by itself
	dead := n.process
	n.conn, n.process = nil, nil
	n.children.Store(dead.Pid, dead)
	go func() { // ends with the process, for which nobody is to wait
		_, _ = dead.Wait()
		n.children.CompareAndDelete(dead.Pid, dead)
	}()
}

// forker is the one thread that processes are forked from. It never ends: the
// kernel sends a child's parent-death signal when that thread dies, and for the
// children of the nursery, too, it is this one.
type forker struct {
	thread int
	work   chan func()
}

var forking = sync.OnceValue(func() *forker {
	f := &forker{work: make(chan func())}
	begun := make(chan struct{})
	go onThread(make(chan struct{}), func() {
		f.thread = unix.Gettid()
		close(begun)
		f.live()
	})
	<-begun
	return f
})

func (f *forker) live() {
	for work := range f.work {
		work()
	}
}

// run runs work on the thread.
func (f *forker) run(work func()) {
	done := make(chan struct{})
	f.work <- func() {
		defer close(done)
		work()
	}
	<-done
}
