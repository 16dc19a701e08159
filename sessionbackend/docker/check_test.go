package docker_test

import (
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/sessionbackend/docker"
)

// TestCheck has a Spec for everything that can be wrong with one: the error names
// the option.
func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*docker.Spec)
		want   string
	}{
		"nothing":          {func(*docker.Spec) {}, ""},
		"a digest":         {func(s *docker.Spec) { s.Image += "@sha256:" + strings.Repeat("0", 64) }, ""},
		"a remote engine":  {func(s *docker.Spec) { s.Host = "tcp://engine.example.com:2375" }, ""},
		"a user and group": {func(s *docker.Spec) { s.User = "1000:games" }, ""},
		"no image":         {func(s *docker.Spec) { s.Image = "" }, "is no image"},
		"a path":           {func(s *docker.Spec) { s.Image = "../../containers" }, "is no image"},
		"an option":        {func(s *docker.Spec) { s.Image = "--privileged" }, "is no image"},
		"pull":             {func(s *docker.Spec) { s.Pull = "sometimes" }, "pull: \"sometimes\" is unknown"},
		"own variable":     {func(s *docker.Spec) { s.Env = map[string]string{"PORT": "1"} }, "env PORT: is set for each"},
		"own prefix":       {func(s *docker.Spec) { s.Env = map[string]string{"SESSION_BACKEND_KEY": "x"} }, "leave it out"},
		"no variable":      {func(s *docker.Spec) { s.Env = map[string]string{"A=B": "1"} }, "is no name of a variable"},
		"argument":         {func(s *docker.Spec) { s.Args = []string{"a\x00"} }, "NUL"},
		"user":             {func(s *docker.Spec) { s.User = "a b" }, "user: "},
		"host":             {func(s *docker.Spec) { s.Host = "http://engine" }, "host: "},
		"relative socket":  {func(s *docker.Spec) { s.Host = "unix://docker.sock" }, "host: "},
		"no engine port":   {func(s *docker.Spec) { s.Host = "tcp://engine" }, "host: "},
		"port":             {func(s *docker.Spec) { s.Port = 65536 }, "port: 65536"},
		"port of host":     {func(s *docker.Spec) { s.Port, s.Network = 80, docker.HostNetwork }, "leave port out"},
		"remote host":      {func(s *docker.Spec) { s.Host, s.Network = "tcp://192.0.2.1:2375", docker.HostNetwork }, "an engine of this machine"},
		"no network":       {func(s *docker.Spec) { s.Network = "none" }, "network: "},
		"other's network":  {func(s *docker.Spec) { s.Network = "container:other" }, "network: "},
		"runtime":          {func(s *docker.Spec) { s.Runtime = "a/b" }, "runtime: "},
		"memory":           {func(s *docker.Spec) { s.Limits.Memory = 1 << 20 }, "memory: "},
		"cpus":             {func(s *docker.Spec) { s.Limits.CPUs = -1 }, "cpus: "},
		"processes":        {func(s *docker.Spec) { s.Limits.Processes = -1 }, "processes: "},
		"relative mount":   {func(s *docker.Spec) { s.Mounts = []docker.Mount{{Source: "data", Target: "/data"}} }, "mount: "},
		"mount over all":   {func(s *docker.Spec) { s.Mounts = []docker.Mount{{Source: "/data", Target: "/x/.."}} }, "mount: "},
	} {
		t.Run(name, func(t *testing.T) {
			spec := docker.Spec{Image: "registry.example.com/team/editor:3"}
			c.change(&spec)
			err := spec.Check()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestParseMount(t *testing.T) {
	for text, want := range map[string]docker.Mount{
		"/a:/b": {Source: "/a", Target: "/b"}, "/a:/b:ro": {Source: "/a", Target: "/b", ReadOnly: true}, "./a:/b": {Source: "./a", Target: "/b"},
		"/a": {}, "/a:": {}, ":/b": {}, "/a:/b:rw": {}, "/a:/b:ro:z": {},
	} {
		got, err := docker.ParseMount(text)
		if got != want || (err == nil) != (want != docker.Mount{}) {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
	}
}
