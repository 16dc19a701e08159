//go:build unix

package process

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// argvPrefix begins argument 0 of every worker process; its kind follows.
// Argument 1 holds its settings.
const argvPrefix = "webtask-worker:"

// childFD is the descriptor of the socket in a worker process.
const childFD = 3

// Main is what a worker process does. fd is its socket; when Main returns, the
// process exits, with status 1 after an error. The beginning of the error's
// text reaches whoever started the process, so nothing secret belongs there.
type Main func(fd int) error

// settings is what a worker process is told by its argument 1. Anyone on the
// host can read it.
type settings struct {
	Parent  int   `json:"parent"`            // process id
	Memory  int64 `json:"memory,omitempty"`  // Options.Memory
	Threads int   `json:"threads,omitempty"` // that its user may have; 0: its user has others too
}

// registered holds the kinds this binary knows. Only init functions write it.
var registered = make(map[string]bool)

// Register names the Main of a kind of worker process. In a process that was
// started as one of that kind it does not return. It is for init functions
// only: then nothing of the program has run yet.
func Register(kind string, main Main) {
	if len(os.Args) == 0 || os.Args[0] != argvPrefix+kind {
		registered[kind] = true
		return
	}
	var s settings
	if len(os.Args) != 2 || json.Unmarshal([]byte(os.Args[1]), &s) != nil {
		os.Exit(2) // started by somebody else
	}
	os.Clearenv() // of firstEnv
	r := lockUp(s)
	say(reportPrefix, r)
	// The goroutine of init functions is bound to the main thread; the work
	// shall be done by one that is not.
	go func() {
		if err := main(childFD); err != nil {
			say(errorPrefix, firstBytes(err.Error()))
			os.Exit(1)
		}
		os.Exit(0)
	}()
	select {}
}

// IsWorker reports whether this process is a worker process of any kind.
func IsWorker() bool {
	return len(os.Args) > 0 && strings.HasPrefix(os.Args[0], argvPrefix)
}

// say tells the parent something, in one line and one write.
func say(prefix string, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("worker process: %v", err)) // of types of this package
	}
	_, _ = os.Stderr.Write(append(append([]byte(prefix), text...), '\n')) // a parent that is gone hears nothing
}
