package process

import "golang.org/x/sys/unix"

const architecture = unix.AUDIT_ARCH_AARCH64

// Calls that differ between architectures.
var (
	allowedHere = []uint32{unix.SYS_EPOLL_PWAIT2}
	deniedHere  = []uint32{unix.SYS_FSTATAT}
)
