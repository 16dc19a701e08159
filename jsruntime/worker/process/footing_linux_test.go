package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFootholdGoesDown(t *testing.T) {
	tried := 0
	all := footings(false)
	place, err := foothold(all, func(f *footing) error {
		if tried++; f.namespaces {
			return fmt.Errorf("fork: %w", syscall.EPERM)
		}
		return nil
	})
	if err != nil || all[place].namespaces || tried < 2 {
		t.Fatalf("%d after %d, %v", place, tried, err)
	}
	if namespaces, _ := all[place].layers(); !errors.Is(namespaces, syscall.EPERM) || !strings.Contains(namespaces.Error(), "max_user_namespaces") {
		t.Errorf("neither reason nor remedy: %v", namespaces)
	}
}

func TestFootholdStaysWhenSomethingLacks(t *testing.T) {
	tried := 0
	_, err := foothold(footings(true), func(*footing) error {
		tried++
		return syscall.EAGAIN
	})
	if !errors.Is(err, syscall.EAGAIN) || tried != 1 {
		t.Errorf("%d tries, %v", tried, err)
	}
}

func TestFootings(t *testing.T) {
	for _, root := range []bool{true, false} {
		for i, f := range footings(root) {
			attr, err := f.attributes()
			if err != nil {
				t.Fatal(err)
			}
			if attr.Pdeathsig != syscall.SIGKILL {
				t.Errorf("%+v outlives its parent", f)
			}
			if i == 0 && (attr.Cloneflags&unix.CLONE_NEWNET == 0 || attr.Credential == nil || attr.Credential.Uid == 0) {
				t.Errorf("the best one is %+v", attr)
			}
			if !root && f.namespaces != (attr.Cloneflags&unix.CLONE_NEWUSER != 0) {
				t.Errorf("%+v: only root has namespaces without one of users", f)
			}
		}
	}
}

// cgroupTree makes directories as the kernel would.
func cgroupTree(t *testing.T, procs string) (parent, own string) {
	t.Helper()
	parent = filepath.Join(t.TempDir(), "service")
	own = filepath.Join(parent, "main")
	if err := os.MkdirAll(own, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte(procs), 0o644); err != nil {
		t.Fatal(err)
	}
	return parent, own
}

func TestSettle(t *testing.T) {
	me := strconv.Itoa(os.Getpid())
	for _, test := range []struct {
		name  string
		procs string
		mine  string // base name of the delegated directory
		home  string // the same of the result; empty: fails
		moved bool
	}{
		{"a subgroup of what is delegated", me + "\n1\n", "service", "service", false},
		{"what is delegated itself", me + "\n", "main", "main", true},
		{"with others in it", me + "\n1\n", "main", "", false},
		{"nothing delegated", me + "\n", "", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, own := cgroupTree(t, test.procs)
			home, err := settle(own, func(dir string) bool { return filepath.Base(dir) == test.mine })
			if test.home == "" {
				if err == nil {
					t.Fatalf("settles in %s", home)
				}
				return
			}
			if err != nil || filepath.Base(home) != test.home {
				t.Fatalf("settles in %s, %v", home, err)
			}
			control, err := os.ReadFile(filepath.Join(home, "cgroup.subtree_control"))
			if err != nil || string(control) != "+memory +pids +cpu" {
				t.Errorf("controllers %q, %v", control, err)
			}
			moved, _ := os.ReadFile(filepath.Join(own, "edge", "cgroup.procs"))
			if (string(moved) == me) != test.moved {
				t.Errorf("moved: %q", moved)
			}
		})
	}
}

func TestGroup(t *testing.T) {
	home := t.TempDir()
	g, err := newGroupIn(home, 100<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer g.remove()
	limit, err := os.ReadFile(filepath.Join(g.dir, "memory.max"))
	if want := strconv.FormatInt(allowance(100<<20)+cgroupSlack, 10); err != nil || string(limit) != want {
		t.Errorf("memory.max is %q, %v, want %s", limit, err, want)
	}
	if err := moveTo(g.dir, 1234); err != nil {
		t.Error(err)
	}
	if moved, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs")); err != nil || string(moved) != "1234" {
		t.Errorf("moved %q, %v", moved, err)
	}
	for yields, want := range map[bool]string{true: "1", false: "0"} {
		if err := g.yield(yields); err != nil {
			t.Error(err)
		}
		if idle, err := os.ReadFile(filepath.Join(g.dir, "cpu.idle")); err != nil || string(idle) != want {
			t.Errorf("cpu.idle is %q, %v", idle, err)
		}
	}
	for content, want := range map[string]bool{"low 0\noom 3\noom_kill 0\n": false, "oom 1\noom_kill 1\noom_group_kill 1\n": true, "": false} {
		if err := os.WriteFile(filepath.Join(g.dir, "memory.events"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := g.outOfMemory(); got != want {
			t.Errorf("%q: %v", content, got)
		}
	}
}
