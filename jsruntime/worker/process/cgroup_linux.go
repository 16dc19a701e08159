package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	cgroupMount = "/sys/fs/cgroup"

	// cgroupSlack is what a process may take of its cgroup besides its
	// allowance: its own start and the kernel's memory for it.
	cgroupSlack = 64 << 20

	// cgroupWeight is the share of the CPU, where 100 is usual: as niceness.
	cgroupWeight = 33
)

// cgroupHome is the directory whose children are this process's to make.
var cgroupHome = sync.OnceValues(func() (string, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(cgroupMount, &stat); err != nil || stat.Type != unix.CGROUP2_SUPER_MAGIC {
		return "", errors.New("mount cgroup v2 alone at " + cgroupMount)
	}
	content, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(content)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return settle(filepath.Join(cgroupMount, path), delegated)
		}
	}
	return "", errors.New("this process has no cgroup")
})

// delegated reports whether systemd handed over a cgroup, which it marks. To
// whom a directory belongs does not tell: root may write anywhere, and a user
// manager's directories are its own to arrange.
func delegated(dir string) bool {
	mark := make([]byte, 8)
	n, err := unix.Getxattr(dir, "user.delegate", mark)
	return err == nil && string(mark[:n]) == "1"
}

// settle makes a cgroup ready for children, given this process's own one. One
// with children that are bounded must not hold processes itself, so where the
// service manager did not do it (DelegateSubgroup=), the process moves into one.
func settle(own string, delegated func(dir string) bool) (string, error) {
	home := filepath.Dir(own)
	if !delegated(home) {
		home = own
		if !delegated(home) {
			return "", errors.New("have one delegated (systemd: Delegate=yes)")
		}
		content, err := os.ReadFile(filepath.Join(own, "cgroup.procs"))
		if err != nil {
			return "", err
		}
		me := strconv.Itoa(os.Getpid())
		if strings.TrimSpace(string(content)) != me {
			return "", errors.New("other processes are in the edge's: use DelegateSubgroup= of systemd")
		}
		edge := filepath.Join(own, "edge")
		if err := os.Mkdir(edge, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(edge, "cgroup.procs"), []byte(me), 0o644); err != nil {
			return "", err
		}
	}
	if err := os.WriteFile(filepath.Join(home, "cgroup.subtree_control"), []byte("+memory +pids +cpu"), 0o644); err != nil {
		return "", fmt.Errorf("have memory, pids and cpu delegated: %w", err)
	}
	return home, nil
}

// group is the cgroup of one worker process. Its methods do nothing to nil.
type group struct{ dir string }

var groups atomic.Int64 // made so far

// newGroup makes a cgroup for a process.
func newGroup(memory int64) (*group, error) {
	home, err := cgroupHome()
	if err != nil {
		return nil, err
	}
	return newGroupIn(home, memory)
}

func newGroupIn(home string, memory int64) (*group, error) {
	g := &group{dir: filepath.Join(home, fmt.Sprintf("webtask-%d-%d", os.Getpid(), groups.Add(1)))}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, err
	}
	bounds := map[string]string{
		"pids.max":         strconv.Itoa(ownThreads),
		"cpu.weight":       strconv.Itoa(cgroupWeight),
		"memory.oom.group": "1",
	}
	if memory != 0 {
		bounds["memory.max"] = strconv.FormatInt(allowance(memory)+cgroupSlack, 10)
	}
	for name, value := range bounds {
		if err := os.WriteFile(filepath.Join(g.dir, name), []byte(value), 0o644); err != nil {
			g.remove()
			return nil, err
		}
	}
	return g, nil
}

// path is the group's directory; empty: there is no group.
func (g *group) path() string {
	if g == nil {
		return ""
	}
	return g.dir
}

// moveTo moves a process to the cgroup of a directory.
func moveTo(dir string, pid int) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
}

// yield has the group's processes run only where no other group wants to, or not
// (Linux 5.15). What their own policy is does not reach beyond the group.
func (g *group) yield(yields bool) error {
	idle := "0"
	if yields {
		idle = "1"
	}
	if err := os.WriteFile(filepath.Join(g.dir, "cpu.idle"), []byte(idle), 0o644); err != nil || yields {
		return err
	}
	// Which is the usual one after that.
	return os.WriteFile(filepath.Join(g.dir, "cpu.weight"), []byte(strconv.Itoa(cgroupWeight)), 0o644)
}

// outOfMemory reports whether the kernel killed the process for its memory.
func (g *group) outOfMemory() bool {
	if g == nil {
		return false
	}
	content, _ := os.ReadFile(filepath.Join(g.dir, "memory.events")) // nothing in it: nothing happened
	for line := range bytes.Lines(content) {
		if count, ok := bytes.CutPrefix(line, []byte("oom_kill ")); ok {
			return string(bytes.TrimSpace(count)) != "0"
		}
	}
	return false
}

// remove removes the cgroup, in which nothing runs any more.
func (g *group) remove() {
	if g == nil {
		return
	}
	_ = unix.Rmdir(g.dir) // an empty one costs next to nothing
}
