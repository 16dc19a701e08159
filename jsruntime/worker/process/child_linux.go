package process

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// lockUp gives up, in the process itself, whatever it does not need. It runs on
// the main thread, before anything of the program. The order matters: what
// reads files comes before the layer that forbids it, and the filter of system
// calls comes last.
func lockUp(s settings) Report {
	var r Report
	r.add(Lifeline, tieToParent(s.Parent))
	offerMemory()
	_, _ = time.Now().Zone() // reads the host's time zone, which is no secret
	// With its default, Go reads its cgroup's files again and again.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	fds := closeAll()
	baseline, measured := dataSize()
	r.Baseline = baseline
	r.Limit = dataLimit(baseline, s.Memory)
	r.add(Memory, errors.Join(measured, limitMemory(r.Limit, s.Memory)))
	r.add(Limits, errors.Join(fds, limitRest(s)))
	r.add(Secrecy, unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
	r.add(Capabilities, capabilities())
	r.add(Files, forbidFiles())
	r.add(Syscalls, filterSyscalls())
	return r
}

// tieToParent makes the process die with the edge, whose child it is although the
// nursery forked it.
func tieToParent(parent int) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("parent-death signal: %w", err)
	}
	// In a PID namespace of its own a process does not see its parent.
	if now := unix.Getppid(); now != 0 && now != parent {
		os.Exit(0)
	}
	// Whoever died before that has closed its end of the socket.
	socket := []unix.PollFd{{Fd: childFD, Events: unix.POLLRDHUP}}
	if _, err := unix.Poll(socket, 0); err != nil {
		return fmt.Errorf("poll of the socket: %w", err)
	}
	if socket[0].Revents&(unix.POLLHUP|unix.POLLRDHUP|unix.POLLERR|unix.POLLNVAL) != 0 {
		os.Exit(0)
	}
	return nil
}

// offerMemory has the kernel end this process before the edge when the whole
// host runs out of memory. Page tables, for one, no limit of a process counts.
func offerMemory() {
	const adjustment = "500" // as if it took half of the host's memory besides
	// Where /proc is missing or hidden, the kernel chooses as ever.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte(adjustment), 0o600)
}

// closeAll closes every descriptor but the standard ones, the socket, and those
// of Go's own poller, which alone are both anonymous and closed on exec: what
// came through exec is not.
func closeAll() error {
	numbers, err := openFDs()
	if err != nil {
		return err
	}
	for _, fd := range numbers {
		if fd <= childFD {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil {
			continue // that of the listing
		}
		var stat unix.Stat_t
		if flags&unix.FD_CLOEXEC != 0 && unix.Fstat(fd, &stat) == nil && stat.Mode&unix.S_IFMT == 0 {
			continue
		}
		_ = unix.Close(fd) // which may fail for a file, but closes it
	}
	return nil
}

// openFDs lists the open descriptors.
func openFDs() ([]int, error) {
	dir, err := unix.Open("/proc/self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return allFDs()
	}
	defer unix.Close(dir)
	var numbers []int
	buffer := make([]byte, 8192)
	for {
		n, err := unix.Getdents(dir, buffer)
		if err != nil {
			return nil, fmt.Errorf("list of descriptors: %w", err)
		}
		if n == 0 {
			return numbers, nil
		}
		_, _, names := unix.ParseDirent(buffer[:n], -1, nil)
		for _, name := range names {
			if fd, err := strconv.Atoi(name); err == nil {
				numbers = append(numbers, fd)
			}
		}
	}
}

// allFDs lists the descriptors that may be open where /proc cannot be read.
func allFDs() ([]int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("limit of descriptors: %w", err)
	}
	numbers := make([]int, min(limit.Cur, 1<<16))
	for fd := range numbers {
		numbers[fd] = fd
	}
	return numbers, nil
}

// limitRest bounds what else a process can take.
func limitRest(s settings) error {
	errs := []error{
		setLimit(unix.RLIMIT_CORE, 0),
		setLimit(unix.RLIMIT_FSIZE, 0),
		setLimit(unix.RLIMIT_NOFILE, maxFDs),
		setLimit(unix.RLIMIT_MSGQUEUE, 0),
		setLimit(unix.RLIMIT_MEMLOCK, 0),
	}
	if s.Threads != 0 {
		errs = append(errs, setLimit(unix.RLIMIT_NPROC, uint64(s.Threads)))
	}
	return errors.Join(errs...)
}

// capabilities returns an error if the process has any, or could gain some by
// executing a file.
func capabilities() error {
	if privs, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err != nil || privs != 1 {
		return fmt.Errorf("no_new_privs was not inherited: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	if data != [2]unix.CapUserData{} {
		return errors.New("some are left: run the edge with CAP_SETPCAP, or as another user than root")
	}
	return nil
}
