package sessionstore

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// The lock on the file (flock, LockFileEx) does not say who holds it. So whoever
// opened the file notes its process beside it, for the error that others get;
// where the kernel can be asked, as on Linux, that is preferred, for the note
// of a process that crashed stays behind.

func holderNote(path string) string { return path + ".holder" }

// writeHolder notes this process as the one that has the file open.
func writeHolder(path string) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return os.WriteFile(holderNote(path), fmt.Appendf(nil, "%d %s\n", os.Getpid(), host), 0o600)
}

func removeHolder(path string) { _ = os.Remove(holderNote(path)) }

// heldError is the error of a file that another process holds.
func heldError(path string) error {
	const remedy = "a file store serves one process: stop that one, give each process a store file of its own, or share state by a redis store"
	if pids := lockHolders(path); len(pids) > 0 {
		holders := make([]string, len(pids))
		for i, pid := range pids {
			holders[i] = describeProcess(pid)
		}
		return fmt.Errorf("%s is held by %s; %s", path, strings.Join(holders, " and "), remedy)
	}
	note, err := os.ReadFile(holderNote(path))
	if err != nil {
		return fmt.Errorf("%s is held by another process; %s", path, remedy)
	}
	pid, host, _ := strings.Cut(strings.TrimSpace(string(note)), " ")
	return fmt.Errorf("%s is held by process %q on host %q, as %s says; %s", path, pid, host, holderNote(path), remedy)
}

func describeProcess(pid int) string {
	if pid == os.Getpid() {
		return "process " + strconv.Itoa(pid) + ", which is this one, and has the store open already"
	}
	name := processName(pid)
	if name == "" {
		return "process " + strconv.Itoa(pid)
	}
	return fmt.Sprintf("process %d (%s)", pid, name)
}
