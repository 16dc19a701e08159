package docker_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/webtask-edge/caddy-webtask/sessionbackend/docker"
)

// A backend listens at a port of the machine, or at one of its own in a network of
// the engine.
func TestListens(t *testing.T) {
	s := newStage(t)
	if _, err := s.engine.API.NetworkCreate(t.Context(), "backends", client.NetworkCreateOptions{Driver: "bridge"}); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{docker.HostNetwork, "backends"} {
		spec := s.spec()
		spec.Network = network
		if network != docker.HostNetwork {
			spec.Port = 4711
		}
		i, identity := s.start(spec)
		w, err := s.ask(i, "/who")
		if err != nil {
			t.Fatal(err)
		}
		if want := (who{identity.Key, identity.ID, "42"}); w != want {
			t.Errorf("it is %+v, want %+v", w, want)
		}
		host, port, err := net.SplitHostPort(i.Address().Address)
		if err != nil || (host == "127.0.0.1") != (network == docker.HostNetwork) || (port == "4711") == (network == docker.HostNetwork) {
			t.Errorf("in the network %s it is at %v, %v", network, i.Address(), err)
		}
		i.Stop(time.Minute)
		if exit := s.ended(i); !exit.Clean() {
			t.Errorf("it %v: %s", exit, exit.Output)
		}
		if s.container(identity.ID) != nil {
			t.Error("its container is left")
		}
	}
}

// TestContainer looks at what a backend is for the engine.
func TestContainer(t *testing.T) {
	s := newStage(t)
	dir := t.TempDir()
	spec := s.spec()
	spec.Env = map[string]string{"SETTING": "{backend.port}"}
	spec.User = "1000:1000"
	spec.Limits = docker.Limits{Memory: 64 << 20, CPUs: 0.5, Processes: 20}
	spec.Mounts = []docker.Mount{{Source: dir, Target: "/data", ReadOnly: true}}
	spec.Grace = 1500 * time.Millisecond
	i, identity := s.start(spec)
	s.answers(i)
	c := s.container(identity.ID)
	if c == nil {
		t.Fatal("there is no container")
	}
	if c.Name != "/webtask-"+identity.ID {
		t.Errorf("its name is %s", c.Name)
	}
	for label, want := range map[string]string{
		docker.LabelService: "docs", docker.LabelKey: identity.Key, docker.LabelID: identity.ID, docker.LabelFence: "42",
	} {
		if c.Config.Labels[label] != want {
			t.Errorf("the label %s is %q", label, c.Config.Labels[label])
		}
	}
	_, port, _ := strings.Cut(i.Address().Address, ":")
	for _, want := range []string{"SETTING={backend.port}", "PORT=" + port, "SESSION_BACKEND_ID=" + identity.ID, "SESSION_BACKEND_KEY=" + identity.Key, "SESSION_BACKEND_FENCING_TOKEN=42"} {
		if !slices.Contains(c.Config.Env, want) {
			t.Errorf("%s is not in its environment %q", want, c.Config.Env)
		}
	}
	h := c.HostConfig
	if h.Privileged || !slices.Equal(h.CapDrop, []string{"ALL"}) || len(h.CapAdd) != 0 || !slices.Contains(h.SecurityOpt, "no-new-privileges") || h.Init == nil || !*h.Init {
		t.Errorf("its privileges are %+v", h)
	}
	if h.Memory != 64<<20 || h.MemorySwap != 64<<20 || h.NanoCPUs != 5e8 || h.PidsLimit == nil || *h.PidsLimit != 20 || *c.Config.StopTimeout != 2 || c.Config.User != "1000:1000" {
		t.Errorf("its limits are %+v", h.Resources)
	}
	if len(c.Mounts) != 1 || c.Mounts[0].Source != dir || c.Mounts[0].Destination != "/data" || c.Mounts[0].RW {
		t.Errorf("it sees %+v", c.Mounts)
	}
	status, err := os.ReadFile(filepath.Join("/proc", childOf(t, c.State.Pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n", "NoNewPrivs:\t1\n", "Uid:\t1000\t"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("its process lacks %q:\n%s", want, status)
		}
	}
}

// childOf returns the child of a container's process 1, which is the backend.
func childOf(t *testing.T, pid int) string {
	t.Helper()
	lists, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task/*/children"))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		if text, err := os.ReadFile(list); err == nil && len(text) > 0 {
			return strings.Fields(string(text))[0]
		}
	}
	t.Fatal("it has no child")
	return ""
}

// TestEnds has backends that end in all ways.
func TestEnds(t *testing.T) {
	s := newStage(t)
	for name, c := range map[string]struct {
		args []string
		path string // is asked for, and ends it
		stop time.Duration
		want string
	}{
		"by itself": {args: []string{"exits"}, want: "exited with status 3"},
		"crash":     {path: "/crash", want: "exited with status 1"},
		"memory":    {path: "/eat", want: "was killed for want of memory; the option memory of driver docker allows 67108864 bytes"},
		"asked":     {stop: time.Minute, want: "exited with status 0"},
		"stubborn":  {args: []string{"stubborn"}, stop: 50 * time.Millisecond, want: "killed by SIGKILL"},
		"deaf":      {args: []string{"never"}, stop: time.Minute, want: "killed by SIGTERM"},
		"at once":   {stop: -1, want: "killed by SIGKILL"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := s.spec(c.args...)
			spec.Limits.Memory = 64 << 20
			i, identity := s.start(spec)
			if c.path != "" || c.args == nil || c.args[0] == "stubborn" {
				s.answers(i)
			}
			if c.path != "" {
				if _, err := s.ask(i, c.path); err == nil {
					t.Error("it has answered")
				}
			}
			if c.stop != 0 {
				i.Stop(c.stop)
			}
			if exit := s.ended(i); exit.String() != c.want {
				t.Errorf("it %v: %s", exit, exit.Output)
			}
			if s.container(identity.ID) != nil {
				t.Error("its container is left")
			}
		})
	}
}

// What a backend writes is in the log, and its end in how it ended.
func TestOutput(t *testing.T) {
	s := newStage(t)
	i, identity := s.start(s.spec("exits"))
	if exit := s.ended(i); exit.Output != "I do not want to\n" {
		t.Errorf("its output is %q", exit.Output)
	}
	found := s.log.FilterMessage("output of a session backend").All()
	if len(found) != 1 || found[0].ContextMap()["line"] != "I do not want to" || found[0].ContextMap()["id"] != identity.ID {
		t.Errorf("the log has %v", found)
	}
}

// TestRefused has what an engine cannot do: each error says what to look at, and
// nothing is left.
func TestRefused(t *testing.T) {
	s := newStage(t)
	for name, c := range map[string]struct {
		change func(*docker.Spec)
		want   []string
	}{
		"no image":   {func(s *docker.Spec) { s.Image = "dockertest.example/absent:1" }, []string{"does not have the image dockertest.example/absent:1", "pull is never", "docker pull"}},
		"no pull":    {func(s *docker.Spec) { s.Image, s.Pull = "localhost:1/absent:1", "" }, []string{"the image localhost:1/absent:1 cannot be pulled", "docker pull"}},
		"pull":       {func(s *docker.Spec) { s.Pull = docker.PullAlways }, []string{"cannot be pulled"}},
		"no engine":  {func(s *docker.Spec) { s.Host = "unix:///nonexistent/docker.sock" }, []string{"unix:///nonexistent/docker.sock", "start the Docker Engine", "option host"}},
		"no network": {func(s *docker.Spec) { s.Network = "absent" }, []string{"cannot be", "network"}},
		"no runtime": {func(s *docker.Spec) { s.Runtime = "absent" }, []string{"cannot be", "runtime"}},
		"no mount":   {func(s *docker.Spec) { s.Mounts = []docker.Mount{{Source: "/nonexistent", Target: "/data"}} }, []string{"cannot be created", "mount", "/nonexistent"}},
		"no user":    {func(s *docker.Spec) { s.User = "absent" }, []string{"cannot be started", "user"}},
	} {
		t.Run(name, func(t *testing.T) {
			spec := s.spec()
			c.change(&spec)
			identity := newIdentity()
			_, err := s.tryStart(spec, identity)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("it gives %v, want %q", err, want)
				}
			}
			if s.container(identity.ID) != nil {
				t.Error("a container is left")
			}
		})
	}
}

// A start that is given up leaves nothing.
func TestGivenUp(t *testing.T) {
	s := newStage(t)
	s.start(s.spec()) // so that the engine is known
	driver, err := s.fleet.Driver(s.spec())
	if err != nil {
		t.Fatal(err)
	}
	for patience := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(patience)*10*time.Millisecond)
		identity := newIdentity()
		i, err := driver.Start(ctx, identity)
		cancel()
		if err == nil {
			i.Stop(0)
			s.ended(i)
		}
		if s.container(identity.ID) != nil {
			t.Fatalf("after %dms a container is left", patience*10)
		}
	}
}

// A container that somebody removes is a backend that has ended.
func TestRemovedBySomebodyElse(t *testing.T) {
	s := newStage(t)
	i, identity := s.start(s.spec())
	s.answers(i)
	if _, err := s.engine.API.ContainerRemove(t.Context(), s.container(identity.ID).ID, client.ContainerRemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if exit := s.ended(i); exit.Clean() {
		t.Errorf("it %v", exit)
	}
}

// An engine that ends ends its containers, and one that died does so when it is
// back. Not before it shows it are backends believed to be gone.
func TestEngineRestarts(t *testing.T) {
	s := newStage(t)
	i, _ := s.start(s.spec())
	s.answers(i)
	s.engine.Stop(t)
	s.engine.Restart(t)
	s.ended(i)
	i, identity := s.start(s.spec())
	s.answers(i)
	s.engine.Kill(t)
	select {
	case <-i.Done():
		t.Error("it is believed to be gone while nobody knows")
	case <-time.After(200 * time.Millisecond):
	}
	s.answers(i)
	s.engine.Restart(t)
	s.ended(i)
	if s.container(identity.ID) != nil {
		t.Error("its container is left")
	}
	i, _ = s.start(s.spec())
	s.answers(i)
}
