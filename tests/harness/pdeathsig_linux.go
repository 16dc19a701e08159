package harness

import "syscall"

// childOf returns the attributes of a server that runs as uid and that the
// kernel ends with the test's process.
func childOf(uid uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: credential(uid)}
}
