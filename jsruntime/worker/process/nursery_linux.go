package process

import (
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// nurseryName is argument 0 of a nursery. It is no worker: it has the edge's
// rights, and nothing but orders to fork.
const nurseryName = "webtask-nursery"

func init() {
	switch {
	case len(os.Args) != 1:
	case os.Args[0] == nurseryName:
		os.Clearenv() // of firstEnv
		n := &nursery{edge: os.Getppid()}
		n.prepare()
		n.live()
	case os.Args[0] == argvPrefix: // of tryOut, and nobody has ended it yet
		os.Exit(0)
	}
}

// nursery is the nursery's side. It forks on its main thread, to which init
// functions are bound: what a child shall be born with, but nobody else, this
// thread gives up first.
type nursery struct {
	edge     int // process id
	priority error
}

// prepare gives up what the children shall not have.
func (n *nursery) prepare() {
	_ = closeAll() // which are none but those that came through exec
	unix.CloseOnExec(childFD)
	// It may be refused, as may what follows: the child looks at what it got.
	_ = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	// A service with AmbientCapabilities would hand them to its children, and
	// one of user 0 all it has, unless executing as user 0 means nothing.
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	const noRoot, noRootLocked = 1 << 0, 1 << 1 // SECBIT_NOROOT, SECBIT_NOROOT_LOCKED of linux/securebits.h
	_ = unix.Prctl(unix.PR_SET_SECUREBITS, noRoot|noRootLocked, 0, 0, 0)
	nice, err := niceOfChildren()
	if err == nil {
		err = unix.Setpriority(unix.PRIO_PROCESS, 0, nice)
	}
	n.priority = err
}

// live obeys orders until the edge has gone.
func (n *nursery) live() {
	text, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(16*4))
	for {
		length, rightsLength, _, _, err := unix.Recvmsg(childFD, text, rights, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil || length == 0 {
			os.Exit(0)
		}
		answer, err := json.Marshal(n.obey(text[:length], rights[:rightsLength]))
		if err == nil {
			err = unix.Send(childFD, answer, unix.MSG_NOSIGNAL)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "the process that forks workers:", err)
			os.Exit(1)
		}
	}
}

// obey starts a process.
func (n *nursery) obey(text, rights []byte) *birth {
	files, err := received(rights)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	var o order
	if err == nil {
		err = json.Unmarshal(text, &o)
	}
	if err == nil && len(files) != childFD+1 {
		err = fmt.Errorf("an order with %d descriptors", len(files))
	}
	b := &birth{Priority: wordsOf(n.priority)}
	if err == nil {
		all := footings(os.Geteuid() == 0)
		if b.Footing = o.Footing; o.Footing < 0 {
			b.Footing, err = foothold(all, tryOut)
		} else if o.Footing >= len(all) {
			err = fmt.Errorf("an order with the footing %d", o.Footing)
		}
		if err == nil {
			f := all[b.Footing]
			b.PID, err = f.bear(&o, n.edge, files)
			namespaces, user := f.layers()
			b.Namespaces, b.User = wordsOf(namespaces), wordsOf(user)
		}
		if err == nil && o.Cgroup != "" {
			// Tens of milliseconds before it reads what may be hostile. Go cannot
			// have it born there: clone3 knows no CLONE_PARENT with a signal.
			b.Cgroup = wordsOf(moveTo(o.Cgroup, b.PID))
		}
	}
	b.Error = wordsOf(err)
	return b
}

// received are the files that came with an order.
func received(rights []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range messages {
		numbers, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return files, err
		}
		for _, fd := range numbers {
			files = append(files, os.NewFile(uintptr(fd), "of the edge"))
		}
	}
	return files, nil
}

// tryOut starts a process in one way, and ends it before it does anything. It is
// a child of the nursery's, which can wait for it however it fails.
func tryOut(f *footing) error {
	attr, err := f.attributes()
	if err != nil {
		return err
	}
	process, err := os.StartProcess("/proc/self/exe", []string{argvPrefix}, &os.ProcAttr{Env: firstEnv, Sys: attr})
	if err != nil {
		return err
	}
	_ = process.Kill() // it may have ended by itself
	_, err = process.Wait()
	return err
}

// bear starts a process that is the edge's child.
func (f *footing) bear(o *order, edge int, files []*os.File) (pid int, err error) {
	told := settings{Parent: edge, Memory: o.Memory}
	if f.user == ownUser || f.userNamespace {
		told.Threads = ownThreads
	}
	text, err := json.Marshal(told)
	if err != nil {
		return 0, err
	}
	attr, err := f.attributes()
	if err != nil {
		return 0, err
	}
	// The process asks for the signal of its parent's death itself: Go would have it
	// die at once, as the nursery is not its parent.
	attr.Pdeathsig = 0
	attr.Cloneflags |= unix.CLONE_PARENT
	process, err := os.StartProcess("/proc/self/exe", []string{argvPrefix + o.Kind, string(text)},
		&os.ProcAttr{Env: firstEnv, Files: files, Sys: attr})
	if err != nil {
		return 0, err
	}
	pid = process.Pid
	return pid, process.Release()
}
