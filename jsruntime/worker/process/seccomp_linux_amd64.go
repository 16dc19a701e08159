package process

import "golang.org/x/sys/unix"

const architecture = unix.AUDIT_ARCH_X86_64

// Calls that newer architectures have in one form only.
var (
	allowedHere = []uint32{unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT2, unix.SYS_POLL}
	deniedHere  = []uint32{unix.SYS_OPEN, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_NEWFSTATAT, unix.SYS_READLINK, unix.SYS_ACCESS}
)
