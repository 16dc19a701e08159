// Package offspring starts processes that outlive the edge for as long as they have
// to clean up behind it: this binary again, taken over before anything of the
// program has run.
//
//	func init() { offspring.TakeOver(name, run) }
//
//	command, socket, err := offspring.Start(name, settings, lock)
package offspring

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// firstFD is the first descriptor beyond the standard ones: the socket to the
// edge. The one after it is the lock, which is held until the process ends.
const firstFD = 3

// Start starts a process with the argument 0 that TakeOver looks for. It gets
// settings, which are sent as JSON, a socket whose other end is returned, and the
// lock.
func Start(argv0 string, settings any, lock *os.File) (*exec.Cmd, *os.File, error) {
	text, err := json.Marshal(settings)
	if err != nil {
		return nil, nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "link of session backends")
	defer theirs.Close()
	err = unix.SetNonblock(pair[0], true) // so that what is made of it has deadlines
	own := os.NewFile(uintptr(pair[0]), "link to session backends")
	// It is in a session of its own: who interrupts the edge at a terminal does
	// not mean the backends, which get their time to end.
	command := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{argv0, string(text)}, Env: []string{"TMPDIR=" + os.TempDir()}, Stderr: os.Stderr,
		ExtraFiles:  []*os.File{theirs, lock},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		own.Close()
		return nil, nil, err
	}
	return command, own, nil
}

// TakeOver runs the process, if it is one that Start started with argv0. It is
// called by an init function.
func TakeOver[T any](argv0 string, run func(settings T, edge *os.File) error) {
	if len(os.Args) != 2 || os.Args[0] != argv0 {
		return
	}
	var settings T
	if json.Unmarshal([]byte(os.Args[1]), &settings) != nil {
		os.Exit(2) // started by somebody else
	}
	// The goroutine of init functions is bound to the main thread, which has
	// nothing to do.
	go func() {
		err := settle()
		if err == nil {
			err = run(settings, os.NewFile(firstFD, "link to the edge"))
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", argv0, err)
			os.Exit(1)
		}
		os.Exit(0)
	}()
	select {}
}

// settle makes the process fit to outlive the edge.
func settle() error {
	// systemd, for one, tells all processes of a service to end. Backends are
	// ended when the edge is gone, with the time that they need. The signals are
	// caught, not ignored: what a process ignores, its children do as well.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)
	go func() {
		for range caught { // and nothing is done about it
		}
	}()
	// Memory of neither this process nor its children goes to a core file.
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("limit of core files: %w", err)
	}
	// Nothing that the edge was started with goes on to children.
	if err := unix.CloseRange(firstFD, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		for fd := firstFD; fd < 1024; fd++ { // a kernel without the call
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
