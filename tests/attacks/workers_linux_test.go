package attacks

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// honest is no attack: what is done to its worker comes from outside.
var honest = Attack{Class: "worker", Name: "honest", Code: `await new Promise((r) => setTimeout(r, 300)); return "done";`, Want: said("done")}

// TestWorkersAreStoppedAndKilled sends signals to every worker of an edge while
// requests are in them: each is answered, and what comes after is served.
func TestWorkersAreStoppedAndKilled(t *testing.T) {
	st := newStage(t, mode{isolation: "process"}, []Attack{honest}, false)
	serves := func() bool { return len(st.run(t, &honest, patience).problems) == 0 }
	harness.Until(t, "the task is served", serves)
	for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		answered := make(chan *verdict)
		go func() { answered <- st.run(t, &honest, patience) }()
		for _, pid := range st.workers() {
			_ = syscall.Kill(pid, signal) // one that ended meanwhile is none
		}
		if v := <-answered; !v.ended {
			t.Errorf("after %v: %v", signal, v.problems)
		}
		harness.Until(t, fmt.Sprintf("after %v the task is served", signal), serves)
	}
	if !st.alive() {
		t.Error("the edge died")
	}
}

// TestNoWorkerSurvivesItsEdge kills an edge the hard way.
func TestNoWorkerSurvivesItsEdge(t *testing.T) {
	busy := Attack{Class: "worker", Name: "busy", Code: `for (;;) {}`, Want: stopped}
	st := newStage(t, mode{isolation: "process"}, []Attack{honest, busy}, true)
	harness.Until(t, "the task is served", func() bool { return len(st.run(t, &honest, patience).problems) == 0 })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = st.send(ctx, &busy, st.token(t, claims(st.ids[busy.Label()]), "/"+st.ids[busy.Label()]+".js"))
	}()
	harness.Until(t, "workers are there", func() bool { return len(st.workers()) > 2 })
	workers := st.workers()
	st.srv.Kill(t)
	<-gone
	harness.Until(t, fmt.Sprintf("no worker of %v is left", workers), func() bool { return !slices.ContainsFunc(workers, runs) })
}

// workers are the processes below the edge's.
func (st *stage) workers() []int {
	children := childrenOf()
	found := children[st.srv.PID()]
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found
}

// runs reports whether a process is more than what its parent has yet to take
// note of.
func runs(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}
