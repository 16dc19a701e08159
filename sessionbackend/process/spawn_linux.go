package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/internal/output"
)

// child is a backend.
type child struct {
	id      string
	order   *start
	pid     int
	dir     string
	port    int
	output  *output.Output
	notice  *os.File      // where it says that it is ready
	trapped chan struct{} // it stands before its first instruction
	exited  chan struct{} // closed when the process has ended

	deadline sessionbackend.BootTime // guarded by the parent's mutex; 0: none

	mu      sync.Mutex
	failure error       // why it was killed before it began
	ended   bool        // signals would reach whoever has its number next
	killer  *time.Timer // of stop
}

// fork is a child that is to be forked.
type fork struct {
	child *child
	attr  *syscall.ProcAttr
	argv  []string
	done  chan error
}

// start starts a backend and reports how that went.
func (p *parent) start(id string, o *start) {
	c := &child{id: id, order: o, deadline: o.Deadline, dir: filepath.Join(p.dir, id), trapped: make(chan struct{}, 1), exited: make(chan struct{})}
	if err := p.launch(c); err == errLimits {
		return // its end says why
	} else if err != nil {
		p.discard(c)
		p.out.put(&report{ID: id, Failed: err.Error()})
	}
}

// discard gives back what a child has besides its process.
func (p *parent) discard(c *child) {
	if c.notice != nil {
		_ = c.notice.Close() // nobody sends any more
	}
	_ = os.RemoveAll(c.dir) // it is in a directory that is removed as well
	p.mu.Lock()
	p.ports.Release(c.port)
	p.mu.Unlock()
}

func (p *parent) launch(c *child) error {
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return err
	}
	if user := c.order.User; user != nil {
		if err := os.Chown(c.dir, int(user.UID), int(user.GID)); err != nil {
			return fmt.Errorf("the directory of the socket cannot be given to the backend's user: %w", err)
		}
	}
	var err error
	if c.notice, err = listenNotices(filepath.Join(c.dir, "notify"), c.order.User); err != nil {
		return err
	}
	p.mu.Lock()
	c.port, err = p.ports.Take()
	p.mu.Unlock()
	if err != nil {
		return err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	voice, mouth, err := os.Pipe()
	if err != nil {
		return err
	}
	defer mouth.Close()
	c.output = output.New(voice)
	socket := filepath.Join(c.dir, "socket")
	fill := strings.NewReplacer(socketPlaceholder, socket, portPlaceholder, strconv.Itoa(c.port))
	f := &fork{
		child: c,
		argv:  append([]string{c.order.Command}, replaced(fill, c.order.Args)...),
		attr: &syscall.ProcAttr{
			Dir: c.order.Dir,
			Env: append(append(replaced(fill, c.order.Env), c.order.About...),
				"SOCKET="+socket, "PORT="+strconv.Itoa(c.port), "NOTIFY_SOCKET="+filepath.Join(c.dir, "notify"), nodeName+"="+p.settings.Node),
			Files: []uintptr{null.Fd(), mouth.Fd(), mouth.Fd()},
			Sys:   c.order.attributes(),
		},
		done: make(chan error, 1),
	}
	p.forks <- f
	switch err := <-f.done; err {
	case nil:
	case errLimits:
		go c.output.Read(func(string, int) {})
		return err
	case errOverdue:
		voice.Close()
		return err
	default:
		voice.Close()
		return fmt.Errorf("%s cannot be executed: %w", c.order.Command, err)
	}
	go c.output.Read(func(line string, dropped int) { p.out.putLine(&report{ID: c.id, Line: line, Dropped: dropped}) })
	go c.listen(func() { p.out.put(&report{ID: c.id, Notified: true}) })
	p.out.put(&report{ID: c.id, Started: &started{PID: c.pid, Socket: socket, Port: c.port}})
	return nil
}

func replaced(fill *strings.Replacer, texts []string) []string {
	all := make([]string, len(texts))
	for i, text := range texts {
		all[i] = fill.Replace(text)
	}
	return all
}

// attributes are how the process differs from its parent.
func (o *start) attributes() *syscall.SysProcAttr {
	sys := &syscall.SysProcAttr{
		Setsid:    true,            // and so a process group, by which it can be killed
		Pdeathsig: syscall.SIGKILL, // of the thread that forks, which lives as long as this process
		Ptrace:    o.Limits != Limits{},
	}
	if o.User != nil {
		sys.Credential = &syscall.Credential{Uid: o.User.UID, Gid: o.User.GID, Groups: o.User.Groups}
	}
	return sys
}

// fork forks children, all from one thread: the kernel takes its end for that of
// the parent.
func (p *parent) fork() {
	runtime.LockOSThread()
	// Whoever runs a set-user-ID program stays who it is.
	unprivileged := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	for f := range p.forks {
		if unprivileged != nil {
			f.done <- fmt.Errorf("no_new_privs: %w", unprivileged)
			continue
		}
		f.done <- p.forkOne(f)
	}
}

func (p *parent) forkOne(f *fork) error {
	c := f.child
	p.mu.Lock()
	if c.overdue() {
		p.mu.Unlock()
		return errOverdue
	}
	// The reaper has to know the child before it learns of its end.
	pid, err := syscall.ForkExec(f.argv[0], f.argv, f.attr)
	if err == nil {
		c.pid = pid
		p.byPID[pid], p.byID[c.id] = c, c
		p.alarm.set(c.deadline)
	}
	closing := p.closing
	p.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case p.born <- struct{}{}:
	default:
	}
	if f.attr.Sys.Ptrace && !c.limit() {
		return errLimits
	}
	if closing {
		c.stop(c.order.Grace)
	}
	return nil
}

// errLimits says that a process was killed because its limits could not be set.
var errLimits = errors.New("limits")

// limit bounds the process before its first instruction. It runs on the thread
// that forked it. When it cannot, it kills the process, and leaves the reason.
func (c *child) limit() bool {
	select {
	case <-c.trapped:
	case <-c.exited:
		return true
	}
	errs := []error{
		setLimit(c.pid, unix.RLIMIT_DATA, c.order.Limits.Memory),
		setLimit(c.pid, unix.RLIMIT_NOFILE, c.order.Limits.Files),
		setLimit(c.pid, unix.RLIMIT_NPROC, c.order.Limits.Processes),
		setLimit(c.pid, unix.RLIMIT_CPU, c.order.Limits.CPU),
	}
	err := errors.Join(errs...)
	if err != nil {
		c.mu.Lock()
		c.failure = fmt.Errorf("the limits of the backend cannot be set: %w; a limit cannot be above the server's own, and that of another user's process takes CAP_SYS_RESOURCE", err)
		c.mu.Unlock()
		_ = unix.Kill(c.pid, unix.SIGKILL)
	}
	_ = syscall.PtraceDetach(c.pid) // unless it is gone
	return err == nil
}

func setLimit(pid, resource int, limit int64) error {
	if limit == 0 {
		return nil
	}
	return unix.Prlimit(pid, resource, &unix.Rlimit{Cur: uint64(limit), Max: uint64(limit)}, nil)
}

// stop asks the backend to end, and kills it after grace.
func (c *child) stop(grace time.Duration) {
	if grace <= 0 {
		c.signal(syscall.SIGKILL)
		return
	}
	c.signal(syscall.SIGTERM)
	c.signal(syscall.SIGCONT) // one that is stopped could not hear it
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.killer == nil && !c.ended {
		c.killer = time.AfterFunc(grace, func() { c.signal(syscall.SIGKILL) })
	}
}

// signal sends a signal to all processes of the backend's group.
func (c *child) signal(signal syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		_ = syscall.Kill(-c.pid, signal) // they may have ended by themselves
	}
}
