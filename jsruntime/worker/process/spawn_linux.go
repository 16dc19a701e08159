package process

import (
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
	process  *os.Process
	birth    *birth
	group    *group // nil: none
	cgroup   error  // why there is none
	yielding error  // why it cannot be told to yield
}

// spawn has a process started, as far from the edge as can be.
func spawn(options Options, files []*os.File) (*spawned, error) {
	s := new(spawned)
	s.group, s.cgroup = newGroup(options.Memory)
	var err error
	if s.birth, err = nurse.ask(&order{Kind: options.Kind, Memory: options.Memory, Cgroup: s.group.path()}, files); err != nil {
		s.release()
		return nil, err
	}
	if s.group != nil && s.birth.Cgroup != "" {
		s.release()
		s.group, s.cgroup = nil, s.birth.Cgroup.err()
	}
	if s.process, err = os.FindProcess(s.birth.PID); err != nil {
		s.release()
		return nil, err
	}
	s.yielding = s.yieldsWholly()
	return s, nil
}

// complete adds the layers that are the parent's to a child's report.
func (s *spawned) complete(r *Report) {
	r.add(Namespaces, s.birth.Namespaces.err())
	r.add(User, s.birth.User.err())
	r.add(Priority, s.birth.Priority.err())
	r.add(Yielding, s.yielding)
	r.add(Cgroup, s.cgroup)
}

// tellYielding notes whether the process could be told to yield.
func (s *spawned) tellYielding(err error) {
	if err != nil {
		s.yielding = err
	}
}

// waitedFor is called once the process was, from when on its number may be another's.
func (s *spawned) waitedFor() { nurse.children.CompareAndDelete(s.birth.PID, s.birth) }

// outOfMemory reports whether the kernel killed the process for what its cgroup
// took.
func (s *spawned) outOfMemory() bool { return s.group.outOfMemory() }

// release gives back what the process had besides itself.
func (s *spawned) release() { s.group.remove() }

// niceOfChildren is how nice worker processes are.
var niceOfChildren = sync.OnceValues(func() (int, error) {
	// With which 0 this thread is meant; the edge's are all alike.
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // 20 − nice
	return min(20-own+niceness, 19), err
})

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
