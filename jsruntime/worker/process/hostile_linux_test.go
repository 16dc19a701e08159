package process_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/process"
)

func init() { process.Register("hostile", hostile) }

// hostile does what one line on its socket says, and answers with one line, if
// it still can.
func hostile(fd int) error {
	socket := os.NewFile(uintptr(fd), "socket")
	line, err := bufio.NewReader(socket).ReadString('\n')
	if err != nil {
		return nil
	}
	name, argument, _ := strings.Cut(strings.TrimSpace(line), " ")
	_, err = fmt.Fprintln(socket, misdeeds[name](argument))
	return err
}

func refusedBy(err error) string {
	if err == nil {
		return "done"
	}
	return err.Error()
}

// raw calls the kernel past Go's own wrappers.
func raw(call uintptr, args ...uintptr) func(string) string {
	return func(string) string {
		var all [6]uintptr
		copy(all[:], args)
		_, _, errno := unix.RawSyscall6(call, all[0], all[1], all[2], all[3], all[4], all[5])
		if errno != 0 {
			return errno.Error()
		}
		return "done"
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

var misdeeds = map[string]func(argument string) string{
	"read": func(path string) string {
		_, err := os.ReadFile(path)
		return refusedBy(err)
	},
	"write": func(path string) string { return refusedBy(os.WriteFile(path, []byte("x"), 0o600)) },
	"list": func(path string) string {
		_, err := os.ReadDir(path)
		return refusedBy(err)
	},
	"dial": func(address string) string {
		_, err := net.Dial("tcp", address)
		return refusedBy(err)
	},
	"socket": func(family string) string {
		_, err := unix.Socket(number(family), unix.SOCK_DGRAM, 0)
		return refusedBy(err)
	},
	"fork": func(string) string {
		_, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{})
		return refusedBy(err)
	},
	"exec":      func(string) string { return refusedBy(syscall.Exec("/bin/true", []string{"true"}, nil)) },
	"ptrace":    func(pid string) string { return refusedBy(unix.PtraceAttach(number(pid))) },
	"kill":      func(pid string) string { return refusedBy(unix.Kill(number(pid), unix.SIGKILL)) },
	"tgkill":    func(pid string) string { return refusedBy(unix.Tgkill(number(pid), number(pid), unix.SIGKILL)) },
	"setuid":    raw(unix.SYS_SETUID),
	"chroot":    func(string) string { return refusedBy(unix.Chroot("/")) },
	"unshare":   func(string) string { return refusedBy(unix.Unshare(unix.CLONE_NEWUSER)) },
	"memfd":     func(string) string { _, err := unix.MemfdCreate("x", 0); return refusedBy(err) },
	"uring":     raw(unix.SYS_IO_URING_SETUP, 1),
	"bpf":       raw(unix.SYS_BPF),
	"keyring":   raw(unix.SYS_KEYCTL),
	"userfault": raw(unix.SYS_USERFAULTFD),
	"dumpable":  func(string) string { return refusedBy(unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)) },
	"clone3":    raw(unix.SYS_CLONE3),
	"namespace": raw(unix.SYS_CLONE, unix.CLONE_THREAD|unix.CLONE_VM|unix.CLONE_NEWUSER),
	"process":   raw(unix.SYS_CLONE, uintptr(unix.SIGCHLD)),
	"sendfds":   raw(unix.SYS_SENDMSG, 3),
	"dup":       raw(unix.SYS_DUP3, 3, 9),
	"machinecode": func(string) string {
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
		return refusedBy(err)
	},
	"limits": func(string) string {
		return refusedBy(unix.Prlimit(0, unix.RLIMIT_DATA, &unix.Rlimit{Cur: 1 << 40, Max: 1 << 40}, nil))
	},
	"allocate": func(size string) string {
		block := make([]byte, number(size))
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		return "done"
	},
	"heap": func(string) string { // small ones, without end
		var all [][]byte
		for {
			all = append(all, make([]byte, 64<<10))
			all[len(all)-1][0] = 1
			all[len(all)-1][60<<10] = 1
		}
	},
	"map": func(size string) string {
		_, err := unix.Mmap(-1, 0, number(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		return refusedBy(err)
	},
	"share": func(size string) string {
		_, err := unix.Mmap(-1, 0, number(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_SHARED)
		return refusedBy(err)
	},
	"grow": func(size string) string {
		_, err := unix.Mmap(-1, 0, number(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_GROWSDOWN)
		return refusedBy(err)
	},
	"recurse":     func(string) string { return strconv.Itoa(deeper([64]int{})) },
	"panic":       func(secret string) string { panic(secret) },
	"environment": func(string) string { return strings.Join(os.Environ(), " ") },
	"descriptors": func(string) string {
		var open []string
		for fd := range 256 {
			var stat unix.Stat_t
			if unix.Fstat(fd, &stat) == nil && stat.Mode&unix.S_IFMT != 0 {
				open = append(open, strconv.Itoa(fd))
			}
		}
		return strings.Join(open, " ")
	},
	"work": work,
}

func deeper(frame [64]int) int {
	frame[0]++
	return deeper(frame) + frame[0]
}

// work is what a worker may do: threads, timers, collections, random bytes.
func work(string) string {
	var group sync.WaitGroup
	var lock sync.Mutex
	total := 0
	for range 20 {
		group.Go(func() {
			runtime.LockOSThread() // and a new one after it
			timer := time.NewTimer(time.Millisecond)
			defer timer.Stop()
			block := make([]byte, 1<<20)
			<-timer.C
			runtime.GC()
			_, _ = unix.Getrandom(block[:16], 0)
			lock.Lock()
			total += int(unsafe.Sizeof(block[0])) * len(block)
			lock.Unlock()
		})
	}
	group.Wait()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return err.Error()
	}
	return strconv.Itoa(total) + " " + time.Unix(0, 0).UTC().String()
}

// ask starts a process that shall do something, and returns what it answers, or
// why it died.
func ask(t *testing.T, memory int64, what string) (string, error) {
	t.Helper()
	p, err := process.Start(process.Options{Kind: "hostile", Memory: memory})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Socket().WriteString(what + "\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := bufio.NewReader(p.Socket()).ReadString('\n')
	<-p.Done()
	if err != nil && p.Err() == nil {
		t.Fatalf("%s: neither an answer nor a reason: %v", what, err)
	}
	return strings.TrimSpace(answer), p.Err()
}
