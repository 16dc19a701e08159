package docker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/sessionbackend/docker"
	"github.com/webtask-edge/caddy-webtask/tests/dockertest"
	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// An image is pulled when it is not there, or always.
func TestPull(t *testing.T) {
	s := newStage(t)
	registry := dockertest.StartRegistry(t, harness.Program(t, "testbackend"))
	spec := s.spec()
	spec.Image = registry.Image
	for n, c := range []struct {
		pull  string
		pulls int
	}{{"", 1}, {docker.PullIfNotPresent, 1}, {docker.PullNever, 1}, {docker.PullAlways, 2}, {docker.PullAlways, 3}} {
		spec.Pull = c.pull
		i, _ := s.start(spec)
		s.answers(i)
		if got := registry.Pulls(); got != c.pulls {
			t.Errorf("start %d (%s): the image was pulled %d times, want %d", n, c.pull, got, c.pulls)
		}
	}
}

// A pull that takes longer than a start goes on: the next start finds it done. All
// who wait for an image wait for one pull.
func TestLongPull(t *testing.T) {
	s := newStage(t)
	registry := dockertest.StartRegistry(t, harness.Program(t, "testbackend"))
	release := registry.Hold()
	spec := s.spec()
	spec.Image, spec.Pull = registry.Image, docker.PullIfNotPresent
	driver, err := s.fleet.Driver(spec)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		if _, err := driver.Start(ctx, newIdentity()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the start gives %v", err)
		}
		cancel()
	}
	release()
	i, _ := s.start(spec)
	s.answers(i)
	if got := registry.Pulls(); got != 1 {
		t.Errorf("the image was pulled %d times", got)
	}
	if s.log.FilterMessageSnippet("pulling an image takes longer").Len() != 2 {
		t.Error("the log does not say what takes so long")
	}
}
