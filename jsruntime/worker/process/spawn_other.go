//go:build unix && !linux

package process

import (
	"encoding/json"
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// errLinux is why a layer does not hold on other systems.
var errLinux = errors.New("run the edge on Linux")

// spawned is what the parent keeps of a process besides its Process.
type spawned struct{ process *os.Process }

// spawn starts a process.
func spawn(options Options, files []*os.File) (*spawned, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(settings{Parent: os.Getpid(), Memory: options.Memory})
	if err != nil {
		return nil, err
	}
	process, err := os.StartProcess(binary, []string{argvPrefix + options.Kind, string(text)},
		&os.ProcAttr{Env: firstEnv, Files: files})
	if err != nil {
		return nil, err
	}
	return &spawned{process}, nil
}

// complete adds the layers that are the parent's to a child's report.
func (s *spawned) complete(r *Report) {
	for _, layer := range []Layer{Namespaces, User, Cgroup, Yielding} {
		r.add(layer, errLinux)
	}
}

func (s *spawned) tellYielding(error) {}

func (s *spawned) waitedFor() {}

func (s *spawned) outOfMemory() bool { return false }

func (s *spawned) release() {}

// socketpair returns the two ends of a socket that no other child inherits.
func socketpair() ([2]int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(pair[0])
		unix.CloseOnExec(pair[1])
	}
	return pair, err
}

// pipe returns the two ends of a pipe.
func pipe() (*os.File, *os.File, error) { return os.Pipe() }
