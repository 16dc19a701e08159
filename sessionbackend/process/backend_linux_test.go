package process_test

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asBackend has the test binary be a backend.
const asBackend = "WEBTASK_TEST_BACKEND"

func TestMain(m *testing.M) {
	if os.Getenv(asBackend) == "" {
		os.Exit(m.Run())
	}
	backend(os.Args[1:])
}

// facts are what a backend finds.
type facts struct {
	PID, Session, UID int
	Env               []string
	Descriptors       []string
	OpenAtStart       int
	NoNewPrivs        bool
	Ignored           string // mask of signals
	Core, Files, Data uint64
}

func backend(args []string) {
	open := 0
	for fd := range 256 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && !isRuntimes(fd) {
			open++
		}
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	switch args[0] {
	case "exit":
		code, _ := strconv.Atoi(args[1])
		fmt.Println("goodbye")
		os.Exit(code)
	case "signal":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "frozen":
		notify()
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		select {}
	case "floods":
		for {
			fmt.Println("the same line again and again")
		}
	case "socket", "saves":
		serve("unix", os.Getenv("SOCKET"), open)
	case "port":
		serve("tcp", "127.0.0.1:"+os.Getenv("PORT"), open)
	case "at":
		serve(args[1], args[2], open)
	case "notify":
		notify()
	case "stubborn":
		serve("unix", os.Getenv("SOCKET"), open)
		for {
			<-asked
		}
	case "sleeps":
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
		if err := os.WriteFile(args[1]+".new", []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
			log.Fatal(err)
		}
		if err := os.Rename(args[1]+".new", args[1]); err != nil {
			log.Fatal(err)
		}
		<-time.After(24 * time.Hour)
	case "family":
		begin(args[1], args[2])
		serve("unix", os.Getenv("SOCKET"), open)
	}
	<-asked
	if args[0] == "saves" {
		<-time.After(100 * time.Millisecond) // as long as saving takes
		if err := os.WriteFile(args[1], []byte("saved"), 0o644); err != nil {
			log.Fatal(err)
		}
	}
	os.Exit(0)
}

// notify says that the backend is ready.
func notify() {
	conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(conn, "STATUS=well\nREADY=1")
}

// begin starts a process that goes on, of which a file tells the number.
func begin(kind, file string) {
	command := exec.Command("/proc/self/exe", "sleeps", file)
	command.Stdout = os.Stdout // which keeps the pipe open, too
	switch kind {
	case "daemon":
		command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	case "hidden":
		command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		command.Env = []string{asBackend + "=1"}
		command.Stdout = nil
	}
	if err := command.Start(); err != nil {
		log.Fatal(err)
	}
	for range time.Tick(time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			return
		}
	}
}

// isRuntimes reports whether Go's runtime opened a descriptor, for its poller or to
// know of limits.
func isRuntimes(fd int) bool {
	link, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	return strings.HasPrefix(link, "anon_inode:") || strings.HasPrefix(link, "/sys/fs/cgroup/")
}

func serve(network, address string, open int) {
	listener, err := net.Listen(network, address)
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/pid", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
	http.HandleFunc("/parent", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getppid()) })
	http.HandleFunc("/facts", func(w http.ResponseWriter, _ *http.Request) {
		f := facts{PID: os.Getpid(), UID: os.Getuid(), Env: os.Environ(), OpenAtStart: open}
		f.Session, _ = unix.Getsid(0)
		privs, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
		f.NoNewPrivs = privs == 1
		f.Core, f.Files, f.Data = limitOf(unix.RLIMIT_CORE), limitOf(unix.RLIMIT_NOFILE), limitOf(unix.RLIMIT_DATA)
		status, _ := os.ReadFile("/proc/self/status")
		_, rest, _ := strings.Cut(string(status), "SigIgn:")
		f.Ignored = strings.Fields(rest)[0]
		all, _ := filepath.Glob("/proc/self/fd/*")
		for _, fd := range all {
			link, _ := os.Readlink(fd)
			f.Descriptors = append(f.Descriptors, link)
		}
		_ = json.NewEncoder(w).Encode(f)
	})
	go func() { log.Fatal(http.Serve(listener, nil)) }()
}

func limitOf(resource int) uint64 {
	var limit unix.Rlimit
	_ = unix.Getrlimit(resource, &limit)
	return limit.Max
}
