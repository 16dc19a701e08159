//go:build !linux

package harness

import "syscall"

// childOf returns the attributes of a server that runs as uid.
func childOf(uid uint32, _ bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: credential(uid)}
}
