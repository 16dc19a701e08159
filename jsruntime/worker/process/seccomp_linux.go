//go:build amd64 || arm64

package process

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The filter of system calls: what a computing Go program needs, and nothing
// that reaches beyond the process. Whatever is not named here kills it.

// allowed are the calls that may be made with any arguments, the most frequent
// ones first. Descriptors name nothing but the socket, the standard ones and
// those of Go's poller.
var allowed = append([]uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_EPOLL_PWAIT, unix.SYS_SCHED_YIELD,
	unix.SYS_MADVISE, unix.SYS_RT_SIGRETURN, unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_CLOCK_GETTIME,
	unix.SYS_RT_SIGPROCMASK, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PPOLL,
	// Memory.
	unix.SYS_MUNMAP, unix.SYS_MINCORE, unix.SYS_BRK,
	// Threads and signals of the process's own.
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_RT_SIGACTION, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_MEMBARRIER, unix.SYS_SCHED_GETAFFINITY,
	// Waiting and the clock.
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EVENTFD2, unix.SYS_PIPE2, unix.SYS_CLOCK_NANOSLEEP,
	unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY,
	// The socket.
	unix.SYS_CLOSE, unix.SYS_SHUTDOWN, unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_FSTAT,
	// Itself.
	unix.SYS_GETRANDOM, unix.SYS_GETRUSAGE, unix.SYS_GETPPID,
	unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID,
}, allowedHere...)

// denied are the calls by which libraries look for what they can do without:
// time zones, MIME types, terminals, the kernel's version. They fail.
var denied = append([]uint32{
	unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_STATX, unix.SYS_READLINKAT, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2,
	unix.SYS_GETCWD, unix.SYS_IOCTL, unix.SYS_UNAME, unix.SYS_PRLIMIT64, unix.SYS_SYSINFO,
}, deniedHere...)

// check allows a call with certain arguments, and kills otherwise.
type check struct {
	call uint32
	args []argument // all of them
}

// argument is what a mask has to leave of one.
type argument struct {
	number uint32
	mask   uint32
	value  uint32
}

// checks returns the checks, for a process of this id.
func checks(pid int) []check {
	// A flag beside the first two would be a way to something new.
	const thread = unix.CLONE_THREAD | unix.CLONE_VM
	const elsewhere = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_PTRACE | unix.CLONE_VFORK | unix.CLONE_PIDFD
	return []check{
		{unix.SYS_CLONE, []argument{{0, thread | elsewhere, thread}}},
		// The limit of memory counts neither what is shared nor what grows down.
		{unix.SYS_MMAP, []argument{{2, unix.PROT_EXEC, 0}, {3, unix.MAP_SHARED | unix.MAP_GROWSDOWN, 0}}},
		{unix.SYS_MPROTECT, []argument{{2, unix.PROT_EXEC, 0}}},
		{unix.SYS_TGKILL, []argument{{0, ^uint32(0), uint32(pid)}}},
		{unix.SYS_PRCTL, []argument{{0, ^uint32(0), unix.PR_SET_VMA}}}, // names for /proc/PID/maps
		{unix.SYS_FCNTL, []argument{{1, ^uint32(0x7), 0}}},             // up to F_SETLKW: numbers, flags and locks of what is open
		{unix.SYS_MREMAP, []argument{{3, ^uint32(unix.MREMAP_MAYMOVE), 0}}},
	}
}

// filterSyscalls installs the filter on all threads at once.
func filterSyscalls() error {
	const remedy = "use a kernel with CONFIG_SECCOMP_FILTER"
	// The filter asks for it, and it is inherited already where the host allows.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	program := filter(unix.Getpid())
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	odd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return fmt.Errorf("%s: %w", remedy, errno)
	}
	if odd != 0 {
		return fmt.Errorf("thread %d has another filter", odd)
	}
	return nil
}

// The offsets in struct seccomp_data of linux/seccomp.h.
const (
	dataCall = 0
	dataArch = 4
	dataArgs = 16 // 8 bytes each, the lower half first on these architectures
)

// filter returns the program (BPF, as of seccomp(2)).
func filter(pid int) []unix.SockFilter {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		mask   = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		result = unix.BPF_RET | unix.BPF_K
	)
	program := []unix.SockFilter{
		{Code: load, K: dataArch},
		{Code: equal, K: architecture, Jt: 1},
		{Code: result, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: load, K: dataCall},
	}
	answer := func(call, action uint32) {
		program = append(program,
			unix.SockFilter{Code: equal, K: call, Jf: 1},
			unix.SockFilter{Code: result, K: action})
	}
	for _, call := range allowed {
		answer(call, unix.SECCOMP_RET_ALLOW)
	}
	for _, c := range checks(pid) {
		const each = 4 // instructions of an argument
		program = append(program, unix.SockFilter{Code: equal, K: c.call, Jf: uint8(each*len(c.args) + 1)})
		for _, a := range c.args {
			program = append(program,
				unix.SockFilter{Code: load, K: dataArgs + 8*a.number},
				unix.SockFilter{Code: mask, K: a.mask},
				unix.SockFilter{Code: equal, K: a.value, Jt: 1},
				unix.SockFilter{Code: result, K: unix.SECCOMP_RET_KILL_PROCESS})
		}
		program = append(program, unix.SockFilter{Code: result, K: unix.SECCOMP_RET_ALLOW})
	}
	// Its flags are in memory, where no filter can look: whoever gets this
	// answer calls clone instead.
	answer(unix.SYS_CLONE3, unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS))
	for _, call := range denied {
		answer(call, unix.SECCOMP_RET_ERRNO|uint32(unix.EACCES))
	}
	return append(program, unix.SockFilter{Code: result, K: unix.SECCOMP_RET_KILL_PROCESS})
}
