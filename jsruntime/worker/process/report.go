package process

import (
	"errors"
	"fmt"
	"strings"
)

// A Layer is one of the walls around a worker process.
type Layer string

// The layers. Each holds without the others.
const (
	Syscalls     Layer = "seccomp"      // no system call but those of a computing Go program: no sockets, files, processes
	Files        Layer = "landlock"     // no path can be opened
	Namespaces   Layer = "namespaces"   // no network interface, no other process, no mount or IPC of the host
	User         Layer = "user"         // no user of the host: neither the edge's nor another worker's
	Capabilities Layer = "capabilities" // none, and none to be gained by executing anything
	Memory       Layer = "memory"       // bounded by the kernel
	Limits       Layer = "limits"       // no core file, no file grows, few descriptors
	Secrecy      Layer = "secrecy"      // nobody but root reads its memory; no core file
	Lifeline     Layer = "lifeline"     // dies with its parent
	Priority     Layer = "priority"     // has a smaller share of the CPU than the edge
	Yielding     Layer = "yielding"     // can be told to take only what CPU is left over, and back (Process.Yield)
	Cgroup       Layer = "cgroup"       // v2: memory, CPU and number of threads bounded as a whole
)

// optional layers are no condition of a strict process: they need somebody who
// hands over a part of the host, or a right to it.
var optional = map[Layer]bool{Cgroup: true, Yielding: true}

// LayerState says whether a layer holds.
type LayerState struct {
	Layer Layer  `json:"layer"`
	Holds bool   `json:"holds"`
	Why   string `json:"why,omitempty"` // it does not hold, and the remedy
}

// Report says how a worker process is locked up.
type Report struct {
	Layers []LayerState `json:"layers"`

	// Baseline is how many bytes the process took by itself, and Limit the one
	// that the kernel enforces, slack for thread stacks included; 0: none. Both
	// count writable private address space (VmData), which is more than what is
	// resident.
	Baseline int64 `json:"baseline,omitempty"`
	Limit    int64 `json:"limit,omitempty"`
}

// add notes whether a layer holds: it does if err is nil.
func (r *Report) add(layer Layer, err error) {
	state := LayerState{Layer: layer, Holds: err == nil}
	if err != nil {
		state.Why = firstBytes(err.Error())
	}
	r.Layers = append(r.Layers, state)
}

// Holds reports whether a layer holds.
func (r Report) Holds(layer Layer) bool {
	for _, state := range r.Layers {
		if state.Layer == layer {
			return state.Holds
		}
	}
	return false
}

// Complete returns an error that names the layers which do not hold, and why,
// but for those that no strict process asks for.
func (r Report) Complete() error {
	var missing []error
	for _, state := range r.Layers {
		if !state.Holds && !optional[state.Layer] {
			missing = append(missing, fmt.Errorf("%s: %s", state.Layer, state.Why))
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("worker process: the sandbox lacks %w", errors.Join(missing...))
}

// String lists the layers that hold, and those that do not with the reasons.
func (r Report) String() string {
	var holding, missing []string
	for _, state := range r.Layers {
		if state.Holds {
			holding = append(holding, string(state.Layer))
		} else {
			missing = append(missing, fmt.Sprintf("%s (%s)", state.Layer, state.Why))
		}
	}
	s := "holding: " + strings.Join(holding, ", ")
	if missing != nil {
		s += "; missing: " + strings.Join(missing, ", ")
	}
	return s
}

// firstBytes returns the beginning of an error's text.
func firstBytes(s string) string {
	const limit = 200
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return s
}
