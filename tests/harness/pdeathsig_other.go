//go:build !linux

package harness

import "syscall"

func childOf(uid uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: credential(uid)}
}
