package edges

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// supervisors returns the processes of a server that run its backends.
func supervisors(server int) (pids []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", server))
	for _, list := range lists {
		text, _ := os.ReadFile(list) // a thread may have ended
		for field := range strings.FieldsSeq(string(text)) {
			pid, err := strconv.Atoi(field)
			command, _ := os.ReadFile("/proc/" + field + "/cmdline")
			if err == nil && bytes.HasPrefix(command, []byte("webtask-session-backends")) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// processesWith returns the processes that have something in their environment.
func processesWith(entry string) (pids []int) {
	environments, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range environments {
		text, _ := os.ReadFile(path) // it may have ended
		for one := range bytes.SplitSeq(text, []byte{0}) {
			if string(one) == entry {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func readAll(resp *http.Response) []byte {
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body) // what is missing is no JSON
	return text
}
