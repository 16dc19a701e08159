package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/sessionbackend/internal/environ"
)

// reap waits for all processes that end: children, and what they left behind.
func (p *parent) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.ECHILD) {
			<-p.born
			continue
		}
		if err != nil {
			continue // interrupted
		}
		p.mu.Lock()
		c := p.byPID[pid]
		p.mu.Unlock()
		switch {
		case c == nil:
		case status.Stopped():
			select {
			case c.trapped <- struct{}{}:
			default:
			}
		default:
			p.ended(c, status)
		}
	}
}

// ended is called when the process of a backend has ended.
func (p *parent) ended(c *child, status syscall.WaitStatus) {
	c.mu.Lock()
	c.ended = true
	if c.killer != nil {
		c.killer.Stop()
	}
	c.mu.Unlock()
	close(c.exited)
	end := &exit{Code: status.ExitStatus()}
	if status.Signaled() {
		end.Signal = unix.SignalName(status.Signal())
	}
	go p.finish(c, end)
}

// finish kills what a backend left behind, and reports its end when nothing is
// left.
func (p *parent) finish(c *child, end *exit) {
	p.killTree(c)
	end.Output = c.output.Close()
	p.discard(c)
	c.mu.Lock()
	failure := c.failure
	c.mu.Unlock()
	if failure != nil {
		p.out.put(&report{ID: c.id, Failed: failure.Error()})
	} else {
		p.out.put(&report{ID: c.id, Exit: end})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byPID[c.pid] == c { // and not another that has its number now
		delete(p.byPID, c.pid)
	}
	delete(p.byID, c.id)
	p.emptied()
}

const (
	firstPause = time.Millisecond
	lastPause  = 50 * time.Millisecond
)

// killTree kills all that is left of a backend whose process has ended, and
// returns when nothing is. That may be never, for processes that the kernel
// cannot end: their key then gets no successor.
func (p *parent) killTree(c *child) {
	// The number of a group is nobody else's while the group has members, and may
	// be as soon as it has none.
	group := true
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		group = group && syscall.Kill(-c.pid, syscall.SIGKILL) == nil
		left := group
		for _, pid := range p.strays(c) {
			left = true
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		if !left {
			return
		}
		time.Sleep(pause)
	}
}

// strays returns the processes that became children of this one when their
// parents ended, and that belong to c, or to no backend that is there: one that
// hides to whom it belongs belongs to nobody.
func (p *parent) strays(c *child) []int {
	var strays []int
	for _, pid := range ownChildren() {
		p.mu.Lock()
		known := p.byPID[pid] != nil
		p.mu.Unlock()
		if known {
			continue
		}
		session, err := unix.Getsid(pid)
		if err != nil {
			continue // it has ended
		}
		id := variable(pid, environ.Prefix+"BACKEND_ID")
		p.mu.Lock()
		owner := p.byPID[session]
		if owner == nil {
			owner = p.byID[id]
		}
		p.mu.Unlock()
		if owner == nil || owner == c {
			strays = append(strays, pid)
		}
	}
	return strays
}

// ownChildren returns the children of this process.
func ownChildren() []int {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	var pids []int
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // of a thread that has ended
		}
		for field := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// variable returns a variable of the environment that a process was started
// with.
func variable(pid int, name string) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return ""
	}
	for entry := range bytes.SplitSeq(text, []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, []byte(name+"=")); ok {
			return string(value)
		}
	}
	return ""
}

// sweep kills what supervisor processes before this one have left behind: they
// were killed, and their backends' own children were not.
func sweep(node string) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		left := false
		environments, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, path := range environments {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil || pid == os.Getpid() {
				continue
			}
			if killMarked(pid, node) {
				left = true
			}
		}
		if !left {
			return
		}
		time.Sleep(pause)
	}
}

// killMarked kills a process that has the mark of a node, and waits until it has
// ended. The descriptor makes sure that it is the one whose environment was read.
func killMarked(pid int, node string) bool {
	if variable(pid, nodeName) != node {
		return false
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false // it has ended
	}
	defer unix.Close(fd)
	if variable(pid, nodeName) != node || unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) != nil {
		return false
	}
	awaitEnd(fd)
	return true
}

// awaitEnd waits until all of a process has ended: one that ends has no
// environment any more while it still has its files. It gives up on one that the
// kernel cannot end.
func awaitEnd(pidfd int) {
	for end := time.Now().Add(sweepTimeout / 2); time.Now().Before(end); {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(lastPause/time.Millisecond))
		if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
