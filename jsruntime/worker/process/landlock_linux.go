package process

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// threadsTogether is the version of Landlock from which one call restricts all
// threads of a process.
const threadsTogether = 8

// forbidFiles takes the right to open any path, to bind or connect any TCP port
// or abstract socket, and to send signals, by an empty set of rules of Landlock
// (landlock(7)).
func forbidFiles() error {
	const remedy = "use Linux 5.13 or later with landlock among its LSMs (lsm=landlock,…)"
	version, err := createRuleset(nil, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if err != nil {
		return fmt.Errorf("%s: %w", remedy, err)
	}
	rules, err := createRuleset(handled(version), 0)
	if err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	defer unix.Close(int(rules))
	if version >= threadsTogether {
		_, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, unix.LANDLOCK_RESTRICT_SELF_TSYNC, 0)
		if errno != 0 {
			return fmt.Errorf("landlock: %w", errno)
		}
		return nil
	}
	// Until then it restricts the thread that calls. Go can make all of its
	// threads call, but not those of a C library.
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0, 0)
	if errno == syscall.ENOTSUP {
		return errors.New("build with CGO_ENABLED=0, or use Linux 7.0 or later")
	}
	if errno != 0 {
		return fmt.Errorf("landlock: %w", errno)
	}
	return nil
}

// handled returns all that a version of Landlock can forbid.
func handled(version uintptr) *unix.LandlockRulesetAttr {
	files := []uint64{
		unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
			unix.LANDLOCK_ACCESS_FS_READ_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
			unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
			unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
			unix.LANDLOCK_ACCESS_FS_MAKE_SYM,
		2: unix.LANDLOCK_ACCESS_FS_REFER,
		3: unix.LANDLOCK_ACCESS_FS_TRUNCATE,
		5: unix.LANDLOCK_ACCESS_FS_IOCTL_DEV,
	}
	attr := &unix.LandlockRulesetAttr{}
	for since, access := range files {
		if uintptr(since) <= version {
			attr.Access_fs |= access
		}
	}
	if version >= 4 {
		attr.Access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if version >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
		// Early kernels keep threads that restricted themselves one by one from
		// signalling each other, as Go does all the time.
		const threadsMaySignal = 1 << 1 // erratum 2
		if fixed, err := createRuleset(nil, unix.LANDLOCK_CREATE_RULESET_ERRATA); err == nil && fixed&threadsMaySignal != 0 {
			attr.Scoped |= unix.LANDLOCK_SCOPE_SIGNAL
		}
	}
	return attr
}

// createRuleset is landlock_create_ruleset(2).
func createRuleset(attr *unix.LandlockRulesetAttr, flags uintptr) (uintptr, error) {
	var size uintptr
	if attr != nil {
		size = unsafe.Sizeof(*attr)
	}
	result, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(attr)), size, flags)
	if errno != 0 {
		return 0, errno
	}
	return result, nil
}
