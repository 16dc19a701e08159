package redistest

import "syscall"

// dieWithParent has the kernel kill the server when a test binary dies without
// running its cleanups, as on a panic or a timeout.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
