package process

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A footing is a way to start a process: in which namespaces and as whom.
type footing struct {
	namespaces    bool
	userNamespace bool
	user          userKind
	refused       error // of the better ones
}

type userKind int

const (
	sameUser userKind = iota // as the edge's
	nobody                   // 65534, which others of the host may be too
	ownUser                  // of a range that nobody uses, another one for each process
)

const nobodyID = 65534

// The range of own users: beyond what systemd hands out to containers and
// below the numbers that are negative for some (systemd, UIDS-GIDS.md).
const (
	firstOwnID = 0x70000000
	ownIDs     = 1 << 27
)

// footings are the ways of a user, the best one first. A container's root may
// lack any of the rights that root has on a host; another user needs namespaces
// of users, which some hosts refuse to all but root.
func footings(root bool) []*footing {
	if !root {
		return []*footing{{namespaces: true, userNamespace: true}, {}}
	}
	return []*footing{
		{namespaces: true, user: ownUser},
		{namespaces: true, user: nobody},
		{namespaces: true, userNamespace: true, user: ownUser},
		{namespaces: true, userNamespace: true, user: nobody},
		{user: ownUser},
		{user: nobody},
		{namespaces: true},
		{},
	}
}

// foothold calls start with one footing after the other until one is not
// refused, and returns its place among all.
func foothold(all []*footing, start func(*footing) error) (place int, err error) {
	var refused []error
	for place, f := range all {
		err := start(f)
		if err == nil {
			f.refused = errors.Join(refused...)
			return place, nil
		}
		refused = append(refused, err)
		if !refusal(err) {
			break
		}
	}
	return 0, errors.Join(refused...)
}

// refusal reports whether an error of starting a process means that the host
// does not allow it in this way, and not that it lacks something just now.
func refusal(err error) bool {
	for _, errno := range []unix.Errno{unix.EPERM, unix.EACCES, unix.EINVAL, unix.ENOSPC, unix.ENOSYS, unix.EUSERS} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// attributes returns what to tell the kernel.
func (f *footing) attributes() (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if f.namespaces {
		attr.Cloneflags = unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC |
			unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	}
	uid, gid := os.Geteuid(), os.Getegid()
	switch f.user {
	case nobody:
		uid, gid = nobodyID, nobodyID
	case ownUser:
		var random [4]byte
		if _, err := rand.Read(random[:]); err != nil {
			return nil, err
		}
		uid = firstOwnID + int(binary.NativeEndian.Uint32(random[:])%ownIDs)
		gid = uid
	}
	switch {
	case f.userNamespace:
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: nobodyID, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: nobodyID, HostID: gid, Size: 1}}
		// Other groups of the edge's user cannot be left where setgroups is
		// denied; they are not mapped, and the layers of files do not ask.
		attr.Credential = &syscall.Credential{Uid: nobodyID, Gid: nobodyID, NoSetGroups: true}
	case f.user != sameUser:
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return attr, nil
}

// layers returns why namespaces and the user do not hold; nil: they do.
func (f *footing) layers() (namespaces, user error) {
	const remedy = "run the edge as root, or allow namespaces of users (sysctl user.max_user_namespaces, " +
		"kernel.apparmor_restrict_unprivileged_userns; in a container its seccomp profile)"
	if !f.namespaces {
		namespaces = fmt.Errorf("%s: %w", remedy, f.refused)
	}
	if f.user == sameUser && !f.userNamespace {
		user = fmt.Errorf("%s: %w", remedy, f.refused)
	}
	return namespaces, user
}
