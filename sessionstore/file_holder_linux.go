package sessionstore

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// lockHolders returns the processes that hold a flock on the file, from
// /proc/locks (proc_locks(5)); none if that cannot be told, as when the holder
// is in another pid namespace.
func lockHolders(path string) []int {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return nil
	}
	// The device is left out of the comparison: on some file systems /proc/locks
	// names another than stat(2) does.
	inode := fmt.Sprintf(":%d", stat.Ino)
	var pids []int
	for line := range strings.Lines(string(locks)) {
		// 1: FLOCK  ADVISORY  WRITE 1234 08:01:131090 0 EOF
		field := strings.Fields(line)
		if len(field) < 6 || field[1] != "FLOCK" || !strings.HasSuffix(field[5], inode) {
			continue
		}
		if pid, err := strconv.Atoi(field[4]); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// processName is the name of a process's executable, cut to 15 bytes. Its
// arguments are not asked for; they may have secrets.
func processName(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}
