package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// ownThreads is how many threads a worker process may have whose user has no
// others. Go needs a few for each CPU, and one for each goroutine in a blocking
// system call.
const ownThreads = 256

// spawned is what the parent keeps of a process besides its Process.
type spawned struct {
	process *os.Process
	foot    *footing
	thread  *forkThread
	group   *group // nil: none
	cgroup  error  // why there is none
}

// forkThread is the one thread that all worker processes are forked from.
//
// It must never end, as the kernel sends a child's parent-death signal when the
// thread that forked it dies. And what a child shall be born with, but no other
// child of the edge, this thread gives up first: Go never starts other threads
// from one that is locked to its goroutine.
type forkThread struct {
	work     chan func()
	privs    error // of no_new_privs
	priority error
	nice     int32
}

var forker = sync.OnceValue(func() *forkThread {
	t := &forkThread{work: make(chan func())}
	ready := make(chan struct{})
	go onThread(make(chan struct{}), func() { t.live(ready) })
	<-ready
	return t
})

// live is the thread's life. It closes ready once that has begun.
func (t *forkThread) live(ready chan<- struct{}) {
	t.prepare()
	close(ready)
	for f := range t.work {
		f()
	}
}

// onThread runs f on a thread that has nothing else to do and ends with f. It is
// not the main one: what that is, ps and /proc show as the edge's. It closes
// begun once there is such a thread.
func onThread(begun chan<- struct{}, f func()) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// As long as this goroutine keeps it, another one runs on another thread.
		other := make(chan struct{})
		go onThread(other, f)
		<-other
		close(begun)
		runtime.UnlockOSThread()
		return
	}
	close(begun)
	f()
}

// prepare gives up what the children shall not have.
func (t *forkThread) prepare() {
	t.privs = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	// A service with AmbientCapabilities would hand them to its children, and
	// one of user 0 all it has, unless executing as user 0 means nothing. Both
	// may be refused: the child looks at what it got.
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	const noRoot, noRootLocked = 1 << 0, 1 << 1 // SECBIT_NOROOT, SECBIT_NOROOT_LOCKED of linux/securebits.h
	_ = unix.Prctl(unix.PR_SET_SECUREBITS, noRoot|noRootLocked, 0, 0, 0)
	// With which 0 this thread is meant, not the process.
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // 20 − nice
	if err == nil {
		t.nice = int32(min(20-own+niceness, 19))
		err = unix.Setpriority(unix.PRIO_PROCESS, 0, int(t.nice))
	}
	t.priority = err
}

// run runs f on the thread.
func (t *forkThread) run(f func()) {
	done := make(chan struct{})
	t.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

// spawn starts a process, as far from the edge as can be.
func spawn(options Options, files []*os.File) (*spawned, error) {
	s := &spawned{thread: forker()}
	s.group, s.cgroup = newGroup(options.Memory)
	var err error
	s.thread.run(func() {
		s.foot, err = foothold(func(f *footing) error {
			s.process, err = f.start(options, files, s.group)
			if err == nil || s.group == nil {
				return err
			}
			// Perhaps it is only the cgroup that the kernel does not like.
			process, again := f.start(options, files, nil)
			if again != nil {
				return again
			}
			s.release()
			s.process, s.group, s.cgroup = process, nil, err
			return nil
		})
	})
	if err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

// start starts a process in one way.
func (f *footing) start(options Options, files []*os.File, g *group) (*os.Process, error) {
	told := settings{Parent: os.Getpid(), Memory: options.Memory}
	if f.user == ownUser || f.userNamespace {
		told.Threads = ownThreads
	}
	text, err := json.Marshal(told)
	if err != nil {
		return nil, err
	}
	attr, err := f.attributes()
	if err != nil {
		return nil, err
	}
	g.use(attr)
	return os.StartProcess("/proc/self/exe", []string{argvPrefix + options.Kind, string(text)},
		&os.ProcAttr{Env: firstEnv, Files: files, Sys: attr})
}

// complete adds the layers that are the parent's to a child's report.
func (s *spawned) complete(r *Report) {
	namespaces, user := s.foot.layers()
	r.add(Namespaces, namespaces)
	r.add(User, user)
	r.add(Priority, s.thread.priority)
	r.add(Yielding, yieldsWholly())
	r.add(Cgroup, s.cgroup)
}

// outOfMemory reports whether the kernel killed the process for what its cgroup
// took.
func (s *spawned) outOfMemory() bool { return s.group.outOfMemory() }

// release gives back what the process had besides itself.
func (s *spawned) release() { s.group.remove() }

// refusal reports whether an error of starting a process means that the host
// does not allow it in this way, and not that it lacks something just now.
func refusal(err error) bool {
	for _, errno := range []unix.Errno{unix.EPERM, unix.EACCES, unix.EINVAL, unix.ENOSPC, unix.ENOSYS, unix.EUSERS} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// socketpair returns the two ends of a socket that no other child inherits.
func socketpair() ([2]int, error) {
	return unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

// pipe returns the two ends of a pipe. Only the reading one waits without a
// thread: the writing one is the child's standard error, which blocks as usual.
func pipe() (*os.File, *os.File, error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(ends[0], true); err != nil {
		return nil, nil, fmt.Errorf("set non-blocking: %w", err)
	}
	return os.NewFile(uintptr(ends[0]), "worker's voice"), os.NewFile(uintptr(ends[1]), "worker's mouth"), nil
}
