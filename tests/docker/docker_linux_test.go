// Package docker tests session backends in containers end to end: real servers,
// a real Docker Engine.
package docker

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/webtask-edge/caddy-webtask/sessionbackend/docker"
	"github.com/webtask-edge/caddy-webtask/tests/dockertest"
	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// site is a site with one service. Lines are options of the directive.
func site(engine *dockertest.Engine, image string, lines ...string) string {
	return fmt.Sprintf(`{
	webtask {
		{$STORE}
	}
}
http://localhost:{$PORT} {
	session_backend docs /doc/* {
		key {path.1}
		driver docker %s {
			host %s
			network host
			pull never
		}
		%s
	}
}
`, image, engine.Host, strings.Join(lines, "\n\t\t"))
}

// start starts a server with that site and an engine.
func start(t *testing.T, lines ...string) (*harness.Server, *dockertest.Engine) {
	t.Helper()
	engine := dockertest.Start(t)
	image := engine.Import(t, harness.Program(t, "testbackend"))
	return harness.Start(t, harness.Config{Caddyfile: site(engine, image, lines...)}), engine
}

// who is what the test backend answers.
type who struct {
	Key, ID, Fence string
	Header         http.Header
}

func ask(t *testing.T, s *harness.Server, path string) (w who) {
	t.Helper()
	harness.NewClient(t).Get(t, s.URL+path).Want(t, 200, "").JSON(t, &w)
	return w
}

// containers returns how many containers a key has.
func containers(t *testing.T, engine *dockertest.Engine, key string) int {
	t.Helper()
	return len(engine.Containers(t, docker.LabelKey+"="+key))
}

// Each key has one container, which all requests reach, and which is gone when
// nobody was connected for a while.
func TestContainerOfKey(t *testing.T) {
	s, engine := start(t, "idle 500ms")
	var wg sync.WaitGroup
	answers := make(chan who, 40)
	for n := range cap(answers) {
		wg.Go(func() { answers <- ask(t, s, fmt.Sprintf("/doc/%d/who", n%2)) })
	}
	wg.Wait()
	close(answers)
	ids := map[string]string{}
	for w := range answers {
		if id, ok := ids[w.Key]; ok && id != w.ID {
			t.Errorf("the key %s has the backends %s and %s", w.Key, id, w.ID)
		}
		if w.Header.Get("X-Verified-Backend") != w.ID || w.Header.Get("X-Verified-Fence") != w.Fence {
			t.Errorf("the backend %s sees %v", w.ID, w.Header)
		}
		ids[w.Key] = w.ID
	}
	if len(ids) != 2 || ids["0"] == ids["1"] {
		t.Errorf("the backends are %v", ids)
	}
	harness.Until(t, "the containers end", func() bool { return len(engine.Containers(t, docker.LabelNode)) == 0 })
	if next := ask(t, s, "/doc/0/who"); next.ID == ids["0"] {
		t.Error("an id was used again")
	}
}

// What is connected keeps a container.
func TestContainerInUse(t *testing.T) {
	s, engine := start(t, "idle 200ms")
	events, err := http.Get(s.URL + "/doc/events/events")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	ask(t, s, "/doc/nobody/who")
	harness.Until(t, "the container that nobody uses ends", func() bool { return containers(t, engine, "nobody") == 0 })
	if containers(t, engine, "events") != 1 {
		t.Error("one that is used has ended")
	}
	events.Body.Close()
	harness.Until(t, "it ends as well", func() bool { return containers(t, engine, "events") == 0 })
}

func TestContainerCrash(t *testing.T) {
	s, engine := start(t)
	first := ask(t, s, "/doc/a/who")
	harness.NewClient(t).Get(t, s.URL+"/doc/a/crash").Want(t, 502, "")
	harness.Until(t, "it is gone", func() bool { return containers(t, engine, "a") == 0 })
	if second := ask(t, s, "/doc/a/who"); second.ID == first.ID || second.Fence <= first.Fence {
		t.Errorf("%+v follows %+v", second, first)
	}
}

// What cannot start gets 502, and the log says why and what to do.
func TestContainerDoesNotStart(t *testing.T) {
	s, engine := start(t)
	image := "dockertest.example/testbackend:1"
	ready := site(engine, image)
	client := harness.NewClient(t)
	for n, c := range []struct{ caddyfile, log string }{
		{strings.Replace(ready, image, "dockertest.example/absent:1", 1), "docker pull"},
		{strings.Replace(ready, "network host", "network absent", 1), "see the options network"},
		{strings.Replace(ready, image, image+" exits", 1), "I do not want to"},
		{strings.Replace(ready, engine.Host, "unix:///nonexistent/docker.sock", 1), "start the Docker Engine"},
	} {
		s.Reload(t, c.caddyfile)
		client.Get(t, fmt.Sprintf("%s/doc/%d/who", s.URL, n)).Want(t, 502, "")
		s.Log.Wait(t, 0, c.log, s.Ended())
	}
	if left := engine.Containers(t, docker.LabelNode); len(left) != 0 {
		t.Errorf("containers are left: %v", left)
	}
}

// When the server stops, its containers get their time and are gone before it is.
func TestContainersOfStoppedServer(t *testing.T) {
	s, engine := start(t)
	ask(t, s, "/doc/a/who")
	ask(t, s, "/doc/b/who")
	s.Stop(t)
	if left := engine.Containers(t, docker.LabelNode); len(left) != 0 {
		t.Errorf("containers are left: %v", left)
	}
}

// When the server is killed, nothing is left of its containers, whether or not
// there is a next one.
func TestContainersOfKilledServer(t *testing.T) {
	s, engine := start(t, "stop_grace 1s")
	first := ask(t, s, "/doc/a/who")
	s.Kill(t)
	harness.Until(t, "its containers are removed", func() bool { return len(engine.Containers(t, docker.LabelNode)) == 0 })
	s.Run(t)
	second := ask(t, s, "/doc/a/who")
	s.Kill(t)
	s.Run(t)
	third := ask(t, s, "/doc/a/who")
	if containers(t, engine, "a") != 1 {
		t.Error("there are two of a key")
	}
	if first.Fence >= second.Fence || second.Fence >= third.Fence {
		t.Errorf("the tokens are %s, %s and %s", first.Fence, second.Fence, third.Fence)
	}
}

// A reload changes no container.
func TestContainerReload(t *testing.T) {
	s, engine := start(t)
	first := ask(t, s, "/doc/a/who")
	s.Reload(t, site(engine, "dockertest.example/testbackend:1", "idle 1m"))
	if again := ask(t, s, "/doc/a/who"); again.ID != first.ID {
		t.Errorf("the backend was %s and is %s", first.ID, again.ID)
	}
	if n := containers(t, engine, "a"); n != 1 {
		t.Errorf("there are %d containers", n)
	}
}
