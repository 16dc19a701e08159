package process

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// alarm wakes the supervisor process at a time of the clock that goes on while the
// machine sleeps, which Go's timers do not.
type alarm struct {
	file *os.File
	at   sessionbackend.BootTime // 0: never
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("the timer of deadlines: %w", err)
	}
	return &alarm{file: os.NewFile(uintptr(fd), "timer of deadlines")}, nil
}

// set has the alarm ring at a time, unless it does so before.
func (a *alarm) set(at sessionbackend.BootTime) {
	if at == 0 || a.at != 0 && a.at <= at {
		return
	}
	a.at = at
	if raw, err := a.file.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			// It fails for a time that is none.
			_ = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(at))}, nil)
		})
	}
}

var errOverdue = errors.New("the edge does not own the key any more")

// overdue reports whether the deadline of a backend has passed. The parent's mutex
// is held.
func (c *child) overdue() bool {
	return c.deadline != 0 && c.deadline <= sessionbackend.Now()
}

// extend puts off the deadline of a backend, unless it has passed.
func (p *parent) extend(id string, deadline sessionbackend.BootTime) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.byID[id]
	if c == nil {
		return
	}
	if c.overdue() {
		c.stop(0)
		return
	}
	c.deadline = deadline
	p.alarm.set(deadline)
}

// keepDeadlines kills backends whose deadline has come.
func (p *parent) keepDeadlines() {
	for count := make([]byte, 8); ; {
		if _, err := p.alarm.file.Read(count); err != nil {
			return // never, while this process is there
		}
		p.mu.Lock()
		p.alarm.at = 0
		for _, c := range p.byID {
			if c.overdue() {
				c.stop(0)
			} else {
				p.alarm.set(c.deadline)
			}
		}
		p.mu.Unlock()
	}
}
