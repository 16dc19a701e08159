package process

import "golang.org/x/sys/unix"

// hold keeps a descriptor of the process, by which its end is known when the
// supervisor process can no longer tell of it.
func (i *instance) hold(pid int) {
	if fd, err := unix.PidfdOpen(pid, 0); err == nil { // else it has ended
		i.pidfd = fd
	}
}

// drop closes it.
func (i *instance) drop() {
	if i.pidfd != 0 {
		_ = unix.Close(i.pidfd)
		i.pidfd = 0
	}
}

// awaitDeath waits until the kernel has ended the process, as it does with the
// supervisor process.
func (i *instance) awaitDeath() {
	if i.pidfd != 0 {
		awaitEnd(i.pidfd)
	}
}
