//go:build !linux

package redistest

import "syscall"

// dieWithParent is of Linux only; elsewhere a server can outlive a test binary
// that was killed.
func dieWithParent() *syscall.SysProcAttr { return nil }
