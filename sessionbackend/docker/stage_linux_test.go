package docker_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
	"github.com/webtask-edge/caddy-webtask/sessionbackend/docker"
	"github.com/webtask-edge/caddy-webtask/tests/dockertest"
	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// stage is a fleet with an engine, and what it logs.
type stage struct {
	*testing.T
	dir    string // of the node
	engine *dockertest.Engine
	image  string
	fleet  *docker.Fleet
	log    *observer.ObservedLogs
}

func newStage(t *testing.T) *stage {
	engine := dockertest.Start(t)
	s := &stage{T: t, dir: t.TempDir(), engine: engine, image: engine.Import(t, harness.Program(t, "testbackend"))}
	core, log := observer.New(zapcore.InfoLevel)
	node := sessionbackend.NewNode(s.dir, nil)
	s.log, s.fleet = log, docker.NewFleet(docker.Options{Lock: node.Lock, Logger: zap.New(core)})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := errors.Join(s.fleet.Close(ctx), node.Close()); err != nil {
			t.Error(err)
		}
		if left := engine.Containers(t, docker.LabelNode); len(left) != 0 {
			t.Errorf("containers are left: %v", left)
		}
	})
	return s
}

// spec has the test backend run with arguments, see its package comment.
func (s *stage) spec(args ...string) docker.Spec {
	return docker.Spec{Image: s.image, Args: args, Host: s.engine.Host, Network: docker.HostNetwork, Pull: docker.PullNever}
}

func newIdentity() sessionbackend.Identity {
	return sessionbackend.Identity{Service: "docs", Key: "../a key {env.HOME} --privileged", ID: strings.ToLower(rand.Text()[:16]), Fence: 42}
}

func (s *stage) tryStart(spec docker.Spec, identity sessionbackend.Identity) (sessionbackend.Instance, error) {
	s.Helper()
	driver, err := s.fleet.Driver(spec)
	if err != nil {
		s.Fatal(err)
	}
	return driver.Start(s.Context(), identity)
}

func (s *stage) start(spec docker.Spec) (sessionbackend.Instance, sessionbackend.Identity) {
	s.Helper()
	identity := newIdentity()
	i, err := s.tryStart(spec, identity)
	if err != nil {
		s.Fatal(err)
	}
	return i, identity
}

// who is what the test backend says of itself.
type who struct{ Key, ID, Fence string }

// ask asks a backend, as soon as it listens.
func (s *stage) ask(i sessionbackend.Instance, path string) (w who, err error) {
	s.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		for {
			address := i.Address()
			if conn, err := new(net.Dialer).DialContext(ctx, address.Network, address.Address); err == nil {
				return conn, nil
			}
			select {
			case <-i.Done():
				return nil, errors.New("it has ended: " + i.Exit().String() + ": " + i.Exit().Output)
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(time.Millisecond):
			}
		}
	}}}
	resp, err := client.Get("http://backend" + path)
	if err != nil {
		return w, err
	}
	defer resp.Body.Close()
	return w, json.NewDecoder(resp.Body).Decode(&w)
}

func (s *stage) answers(i sessionbackend.Instance) {
	s.Helper()
	if _, err := s.ask(i, "/who"); err != nil {
		s.Fatal(err)
	}
}

func (s *stage) ended(i sessionbackend.Instance) sessionbackend.Exit {
	s.Helper()
	select {
	case <-i.Done():
		return i.Exit()
	case <-time.After(30 * time.Second):
		s.Fatal("it does not end")
		return sessionbackend.Exit{}
	}
}

// container returns the container of a backend, nil if there is none.
func (s *stage) container(id string) *container.InspectResponse {
	s.Helper()
	found := s.engine.Containers(s, docker.LabelID+"="+id)
	if len(found) == 0 {
		return nil
	}
	c, err := s.engine.API.ContainerInspect(context.Background(), found[0].ID, client.ContainerInspectOptions{})
	if err != nil {
		return nil // it is being removed
	}
	return &c.Container
}

// reapers returns the reaper processes that a process has started.
func reapers(t *testing.T, parent int) (pids []int) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		text, _ := os.ReadFile(path) // it may have ended
		stat, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "stat"))
		_, fields, _ := strings.Cut(string(stat), ") ")
		var state string
		var pid, its int
		if _, err := fmt.Sscan(fields, &state, &its); err != nil || its != parent || state == "Z" || !strings.HasPrefix(string(text), "webtask-session-containers\x00") {
			continue
		}
		if _, err := fmt.Sscan(string(stat), &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
