package harness

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// childOf returns the attributes of a server that runs as uid and that the
// kernel ends with the test's process.
func childOf(uid uint32, mayNice bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: credential(uid)}
	if uid != 0 && mayNice {
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_NICE}
	}
	return attr
}
