package process_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/process"
)

// idle starts a process that waits, and waits until it is locked up.
func idle(t *testing.T) (*process.Process, process.Report) {
	t.Helper()
	p, err := process.Start(process.Options{Kind: "echo", Memory: enough})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	report, err := p.Report()
	if err != nil {
		t.Fatal(err)
	}
	return p, report
}

// What a process reports is so, as seen from outside.
func TestReport(t *testing.T) {
	p, report := idle(t)
	t.Log(report)
	for _, layer := range []process.Layer{
		process.Syscalls, process.Capabilities, process.Memory, process.Limits,
		process.Secrecy, process.Lifeline, process.Priority,
	} {
		if !report.Holds(layer) {
			t.Errorf("%s needs nothing of the host, yet does not hold", layer)
		}
	}
	for _, pattern := range []string{
		`(?m)^Seccomp:\s2$`, `(?m)^NoNewPrivs:\s1$`, `(?m)^CapEff:\s0+$`, `(?m)^CapPrm:\s0+$`, `(?m)^CapAmb:\s0+$`, `(?m)^Uid:\s[1-9]`,
	} {
		if text := status(t, p, "status"); !regexp.MustCompile(pattern).MatchString(text) {
			t.Errorf("no %s in its status:\n%s", pattern, text)
		}
	}
	for _, pattern := range []string{
		`Max core file size +0 +0 `, `Max file size +0 +0 `, `Max open files +16 +16 `,
		fmt.Sprintf(`Max data size +%d +%[1]d `, report.Limit),
	} {
		if text := status(t, p, "limits"); !regexp.MustCompile(pattern).MatchString(text) {
			t.Errorf("no %s in its limits:\n%s", pattern, text)
		}
	}
	if got := status(t, p, "oom_score_adj"); got != "500" {
		t.Errorf("the kernel ends it for want of memory with an adjustment of %s", got)
	}
	own, err := unix.Getpriority(unix.PRIO_PROCESS, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	its, err := unix.Getpriority(unix.PRIO_PROCESS, p.PID())
	if err != nil || its >= own && own > 1 {
		t.Errorf("its priority is %d, this one's %d (%v)", its, own, err)
	}
	if os.Geteuid() != 0 {
		for _, name := range []string{"environ", "mem", "fd"} {
			if _, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.PID(), name)); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("its user reads %s of it (%v)", name, err)
			}
		}
		return
	}
	if !report.Holds(process.Namespaces) {
		return
	}
	for _, name := range []string{"net", "pid", "mnt", "ipc", "uts", "cgroup"} {
		own, err := os.Readlink("/proc/self/ns/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", p.PID(), name)); err != nil || its == own {
			t.Errorf("namespace %s: %s, %v", name, its, err)
		}
	}
}

// Two workers of a root have nothing in common, their user included.
func TestUsersDiffer(t *testing.T) {
	first, report := idle(t)
	second, _ := idle(t)
	uid := regexp.MustCompile(`(?m)^Uid:\s(\d+)`)
	a, b := uid.FindString(status(t, first, "status")), uid.FindString(status(t, second, "status"))
	if os.Geteuid() == 0 && report.Holds(process.Namespaces) && a == b {
		t.Errorf("both have %s", a)
	}
}

func TestStrict(t *testing.T) {
	report, err := process.Layers()
	if err != nil {
		t.Fatal(err)
	}
	missing := report.Complete()
	p, err := process.Start(process.Options{Kind: "echo", Memory: enough, Strict: true})
	if err == nil {
		defer p.Close()
	}
	if (err == nil) != (missing == nil) {
		t.Fatalf("starts with %v, the host with %v", err, missing)
	}
	if err != nil && err.Error() != missing.Error() {
		t.Fatalf("starts with %v, the host with %v", err, missing)
	}
}

func TestComplete(t *testing.T) {
	report := process.Report{Layers: []process.LayerState{
		{Layer: process.Syscalls, Holds: true},
		{Layer: process.Cgroup, Why: "not delegated"},
	}}
	if err := report.Complete(); err != nil {
		t.Errorf("a cgroup is no condition: %v", err)
	}
	report.Layers = append(report.Layers, process.LayerState{Layer: process.Files, Why: "use a newer kernel"})
	err := report.Complete()
	if err == nil || !strings.Contains(err.Error(), "landlock: use a newer kernel") || strings.Contains(err.Error(), "cgroup") {
		t.Errorf("got %v", err)
	}
	if got, want := report.String(), "holding: seccomp; missing: cgroup (not delegated), landlock (use a newer kernel)"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestUsage(t *testing.T) {
	p, _ := idle(t)
	usage, err := p.Usage()
	if err != nil || usage.Private <= 0 || usage.Resident < usage.Private || usage.CPU <= 0 {
		t.Errorf("%+v, %v", usage, err)
	}
	p.Kill()
	<-p.Done()
	if usage, err := p.Usage(); err != nil || usage.Resident != 0 {
		t.Errorf("after its end: %+v, %v", usage, err)
	}
}
