package docker

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// deadlines knows when the time of backends is over. Edge and reaper process each
// have one: neither relies on the other to run at that moment.
type deadlines struct {
	expire func(id string) // is called once for each whose time has come
	fd     int             // of a timer that goes on while the machine sleeps
	timer  *os.File        // the same

	mu     sync.Mutex
	closed bool
	at     map[string]sessionbackend.BootTime // 0: it has passed
}

func newDeadlines(expire func(id string)) (*deadlines, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("the timer of session backends' deadlines: %w", err)
	}
	d := &deadlines{expire: expire, fd: fd, timer: os.NewFile(uintptr(fd), "deadlines"), at: make(map[string]sessionbackend.BootTime)}
	go d.wait()
	return d, nil
}

// set gives a backend a deadline. One that is there can only be moved, to a later
// time, and only before it has passed.
func (d *deadlines) set(id string, deadline sessionbackend.BootTime) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.at[id]; !ok {
		d.at[id] = deadline
	}
	d.move(id, deadline)
}

// extend moves the deadline of a backend, and reports whether it did. One that has
// none gets none.
func (d *deadlines) extend(id string, deadline sessionbackend.BootTime) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.move(id, deadline)
}

// move is extend, with the mutex held.
func (d *deadlines) move(id string, deadline sessionbackend.BootTime) bool {
	d.look()
	old := d.at[id]
	if old == 0 || deadline <= old {
		return false
	}
	d.at[id] = deadline
	d.look()
	return true
}

// passed reports whether the deadline of a backend has.
func (d *deadlines) passed(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look()
	deadline, ok := d.at[id]
	return ok && deadline == 0
}

// get returns the deadline of a backend: one that has passed is now, and 0 is
// none.
func (d *deadlines) get(id string) sessionbackend.BootTime {
	d.mu.Lock()
	defer d.mu.Unlock()
	deadline, ok := d.at[id]
	if ok && deadline == 0 {
		return sessionbackend.Now()
	}
	return deadline
}

// forget is called when nothing is left of a backend.
func (d *deadlines) forget(id string) {
	d.mu.Lock()
	delete(d.at, id)
	d.mu.Unlock()
}

// look finds those whose time has come, and sets the timer to the next. The mutex
// is held.
func (d *deadlines) look() {
	now := sessionbackend.Now()
	var next sessionbackend.BootTime
	for id, deadline := range d.at {
		switch {
		case deadline == 0:
		case deadline.Until(now) <= 0:
			d.at[id] = 0
			go d.expire(id)
		case next == 0 || deadline < next:
			next = deadline
		}
	}
	if d.closed {
		return
	}
	// A time of zero stops the timer. It fails for a descriptor that is none.
	_ = unix.TimerfdSettime(d.fd, unix.TFD_TIMER_ABSTIME, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(next))}, nil)
}

// wait looks whenever the timer fires, until it is closed.
func (d *deadlines) wait() {
	count := make([]byte, 8)
	for {
		if _, err := d.timer.Read(count); err != nil {
			return
		}
		d.mu.Lock()
		d.look()
		d.mu.Unlock()
	}
}

// close ends it.
func (d *deadlines) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	_ = d.timer.Close() // nothing was written
}
