package process_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/process"
)

// asParent makes the test binary start a worker, print its id and wait.
const asParent = "WEBTASK_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(asParent) == "" {
		os.Exit(m.Run())
	}
	p, err := process.Start(process.Options{Kind: "stubborn", Memory: enough})
	if err == nil {
		_, err = p.Report()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(p.PID())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func init() { process.Register("stubborn", func(int) error { select {} }) }

// A worker dies with a parent that gets no chance to end it, even one that does
// not look at its socket.
func TestDiesWithParent(t *testing.T) {
	parent := exec.Command("/proc/self/exe")
	parent.Env = append(os.Environ(), asParent+"=1")
	input, err := parent.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	output, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(output).ReadString('\n')
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the parent says %q", line)
	}
	worker, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(worker)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // it was killed
	ended := []unix.PollFd{{Fd: int32(worker), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(ended, -1); err != unix.EINTR {
			break
		}
	}
	if ended[0].Revents&unix.POLLIN == 0 {
		t.Fatalf("the worker lives: %+v", ended)
	}
}

// A worker does not die with the thread that happened to start it.
func TestOutlivesThread(t *testing.T) {
	started := make(chan *process.Process)
	thread := make(chan int, 1)
	var starter func()
	starter = func() {
		runtime.LockOSThread() // so that the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			go starter() // the main one never ends
			select {}
		}
		thread <- unix.Gettid()
		p, err := process.Start(process.Options{Kind: "echo", Memory: enough})
		if err != nil {
			t.Error(err)
		}
		started <- p
	}
	go starter()
	p := <-started
	if p == nil {
		return
	}
	defer p.Close()
	tid := <-thread
	for unix.Tgkill(os.Getpid(), tid, 0) == nil {
		runtime.Gosched()
	}
	if _, err := p.Socket().WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	var buffer [16]byte
	if n, err := p.Socket().Read(buffer[:]); err != nil || string(buffer[:n]) != "hello" {
		t.Fatalf("read %q, %v", buffer[:n], err)
	}
}

// Everything holds for an edge that is not root, too.
func TestAsNobody(t *testing.T) {
	if os.Geteuid() != 0 {
		return // every other test of this run is the test
	}
	command := exec.Command("/proc/self/exe", "-test.run="+strings.Join([]string{
		"TestEcho", "TestAttacks", "TestMemory", "TestLeakedDescriptors", "TestReport", "TestStrict", "TestUsage", "TestYield",
		"TestDiesWithParent", "TestOutlivesThread", "TestReasons",
	}, "|"), "-test.v")
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	output, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "--- PASS: TestAttacks") {
		t.Fatalf("%v\n%s", err, output)
	}
	for line := range strings.Lines(string(output)) {
		if strings.Contains(line, "holding:") {
			t.Log(strings.TrimSpace(line))
		}
	}
}
