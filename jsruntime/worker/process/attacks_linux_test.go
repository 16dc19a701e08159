package process_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/process"
)

// enough is for a process that shall not fail for want of memory.
const enough = 256 << 20

func TestAttacks(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	me := strconv.Itoa(os.Getpid())
	const denied = "permission denied"
	for _, test := range []struct {
		what   string
		answer string         // what it ends with; empty: none comes
		reason process.Reason // of the death
	}{
		{"read /etc/passwd", denied, ""},
		{"read /proc/self/environ", denied, ""},
		{"read /proc/" + me + "/environ", denied, ""},
		{"read /proc/" + me + "/mem", denied, ""},
		{"read /dev/zero", denied, ""},
		{"write /tmp/escaped", denied, ""},
		{"list /", denied, ""},
		{"limits", denied, ""},
		{"clone3", "function not implemented", ""},
		{"environment", "", ""},
		{"descriptors", "0 1 2 3", ""},
		{"work", "20971520 1970-01-01 00:00:00 +0000 UTC", ""},

		{"dial " + listener.Addr().String(), "", process.Forbidden},
		{"socket " + strconv.Itoa(unix.AF_UNIX), "", process.Forbidden},
		{"socket " + strconv.Itoa(unix.AF_NETLINK), "", process.Forbidden},
		{"socket " + strconv.Itoa(unix.AF_INET6), "", process.Forbidden},
		{"fork", "", process.Forbidden},
		{"exec", "", process.Forbidden},
		{"process", "", process.Forbidden},
		{"namespace", "", process.Forbidden},
		{"unshare", "", process.Forbidden},
		{"ptrace " + me, "", process.Forbidden},
		{"kill " + me, "", process.Forbidden},
		{"kill -1", "", process.Forbidden},
		{"tgkill " + me, "", process.Forbidden},
		{"setuid", "", process.Forbidden},
		{"chroot", "", process.Forbidden},
		{"memfd", "", process.Forbidden},
		{"uring", "", process.Forbidden},
		{"bpf", "", process.Forbidden},
		{"keyring", "", process.Forbidden},
		{"userfault", "", process.Forbidden},
		{"dumpable", "", process.Forbidden},
		{"sendfds", "", process.Forbidden},
		{"dup", "", process.Forbidden},
		{"machinecode", "", process.Forbidden},

		{"recurse", "", process.StackOverflow},
		{"panic the secret text", "", process.Crashed},
	} {
		t.Run(test.what, func(t *testing.T) {
			answer, err := ask(t, enough, test.what)
			if test.reason == "" {
				if err != nil || !strings.HasSuffix(answer, test.answer) || test.answer == "" && answer != "" {
					t.Fatalf("answers %q, %v, want …%q", answer, err, test.answer)
				}
				return
			}
			if reason, _ := process.ReasonOf(err); reason != test.reason || answer != "" {
				t.Fatalf("answers %q, %v, want none and %q", answer, err, test.reason)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Fatalf("tells what it worked on: %v", err)
			}
		})
	}
}

// A race build's allowance is several times as large.
func TestMemory(t *testing.T) {
	const memory = 64 << 20
	for _, what := range []string{"allocate " + fmt.Sprint(memory+2<<30), "heap"} {
		if _, err := ask(t, memory, what); err == nil {
			t.Errorf("%s: lives", what)
		} else if reason, _ := process.ReasonOf(err); reason != process.OutOfMemory {
			t.Errorf("%s: %v", what, err)
		}
	}
	if answer, err := ask(t, memory, "allocate "+fmt.Sprint(memory/2)); err != nil || answer != "done" {
		t.Errorf("half of what is allowed: %q, %v", answer, err)
	}
	if answer, err := ask(t, memory, "map "+fmt.Sprint(memory+2<<30)); err != nil || answer != "cannot allocate memory" {
		t.Errorf("a mapping: %q, %v", answer, err)
	}
	// The kernel counts neither of them as data.
	for _, what := range []string{"share", "grow"} {
		answer, err := ask(t, memory, what+" "+fmt.Sprint(memory+2<<30))
		if reason, _ := process.ReasonOf(err); reason != process.Forbidden {
			t.Errorf("%s: %q, %v", what, answer, err)
		}
	}
	if answer, err := ask(t, 0, "allocate "+fmt.Sprint(memory*4)); err != nil || answer != "done" {
		t.Errorf("without a limit: %q, %v", answer, err)
	}
}

// What others leave open in this process does not get into a worker.
func TestLeakedDescriptors(t *testing.T) {
	file, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, number := range []int{4, 5, 100, 200} {
		if _, err := unix.FcntlInt(uintptr(number), unix.F_GETFD, 0); err == nil {
			continue // taken
		}
		if err := unix.Dup3(int(file.Fd()), number, 0); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(number)
	}
	if answer, err := ask(t, enough, "descriptors"); err != nil || answer != "0 1 2 3" {
		t.Fatalf("%q, %v", answer, err)
	}
}

// status reads a file of a process from /proc.
func status(t *testing.T, p *process.Process, name string) string {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.PID(), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(content))
}
