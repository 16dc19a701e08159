// Package examples runs the folders of examples/ that are more than a page:
// the commands of their READMEs are run by tests/docs.
package examples

import (
	"html"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
	"github.com/webtask-edge/caddy-webtask/tests/redistest"
)

// startApp starts the sidecar's application and returns its address.
func startApp(t *testing.T) string {
	t.Helper()
	binary, addr := filepath.Join(t.TempDir(), "app"), "127.0.0.1:"+strconv.Itoa(harness.Port(t))
	build := exec.Command("go", "build", "-o", binary, "./examples/sidecar/app")
	build.Dir = harness.Root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	log, ended := &harness.Log{}, make(chan struct{})
	app := exec.Command(binary, "-addr", addr)
	app.Stderr = log
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = app.Wait() // killed by the cleanup; a start that failed shows in the log
		close(ended)
	}()
	t.Cleanup(func() {
		_ = app.Process.Kill()
		<-ended
	})
	log.Wait(t, 0, "listening on", ended)
	return addr
}

// TestCaddyfilesAreFormatted holds the shipped Caddyfiles to `caddy fmt`.
func TestCaddyfilesAreFormatted(t *testing.T) {
	for _, pattern := range []string{"Caddyfile.example", "examples/*/*Caddyfile"} {
		files, err := filepath.Glob(filepath.Join(harness.Root(t), pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no file is named %s (%v)", pattern, err)
		}
		for _, file := range files {
			if out, err := exec.Command(harness.Binary(t), "fmt", "--diff", file).CombinedOutput(); err != nil {
				t.Errorf("%s is not formatted: %v\n%s", file, err, out)
			}
		}
	}
}

// TestSiteShowsItsCaddyfile wants the lines that the page of the site shows to
// be those of Caddyfile.example.
func TestSiteShowsItsCaddyfile(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(harness.Root(t), name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	caddyfile := strings.ReplaceAll(read("Caddyfile.example"), "\n\t", "\n")
	shown := regexp.MustCompile(`(?s)<code class="caddyfile">(.*?)</code>`).FindAllStringSubmatch(read("examples/site/index.html"), -1)
	if len(shown) != 3 {
		t.Fatalf("the page shows %d parts of the Caddyfile, want 3", len(shown))
	}
	for _, part := range shown {
		if !strings.Contains(caddyfile, html.UnescapeString(part[1])) {
			t.Errorf("Caddyfile.example has not\n%s", part[1])
		}
	}
}

func TestSidecar(t *testing.T) {
	srv := harness.Start(t, harness.Config{From: "examples/sidecar", Env: []string{"APP=" + startApp(t)}})
	ann, ben := harness.NewClient(t), harness.NewClient(t)

	ann.Get(t, srv.URL+"/").Want(t, 200, "A small tea shop").Want(t, 200, "€6.90")
	ann.Get(t, srv.URL+"/catalogue.json").Want(t, 200, `"assam"`)
	ann.Get(t, srv.URL+"/basket").Want(t, 200, `{"lines":[],"cents":0}`)
	ann.Do(t, http.MethodPost, srv.URL+"/basket", `{"id":"coffee"}`).Want(t, 404, "coffee")

	ann.Do(t, http.MethodPost, srv.URL+"/basket", `{"id":"assam"}`).Want(t, 200, `"cents":690}`)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if answer, err := ann.Try(http.MethodPost, srv.URL+"/basket", `{"id":"sencha"}`); err != nil || answer.Status != 200 {
				t.Errorf("%v %+v", err, answer)
			}
		})
	}
	wg.Wait()
	ann.Get(t, srv.URL+"/basket").Want(t, 200, `"cents":9090}`)
	ben.Get(t, srv.URL+"/basket").Want(t, 200, `"cents":0}`)

	srv.Restart(t)
	ann.Get(t, srv.URL+"/basket").Want(t, 200, `"cents":9090}`)
	ann.Do(t, http.MethodDelete, srv.URL+"/basket", "").Want(t, 200, `"cents":0}`)
}

func TestTwoEdges(t *testing.T) {
	dir := t.TempDir()
	env := []string{"REDIS=" + redistest.Start(t).Addr(), "KEYS=" + filepath.Join(dir, "keys.json"), "ROOT=" + dir}
	one := harness.Prepare(t, harness.Config{From: "examples/two-edges", Dir: dir, Env: env})
	if err := os.WriteFile(filepath.Join(dir, "keys.json"), []byte(one.Command(t, "webtask", "keygen")), 0o600); err != nil {
		t.Fatal(err)
	}
	port := one.URL[strings.LastIndex(one.URL, ":")+1:]
	env = append(env, "EDGE1="+port)
	one.Setenv("EDGE1=" + port)
	one.Run(t)

	caddyfile, err := os.ReadFile(filepath.Join(dir, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	two := harness.Start(t, harness.Config{Caddyfile: string(caddyfile), Dir: dir, Env: env})
	frontfile, err := os.ReadFile(filepath.Join(dir, "front.Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	front := harness.Start(t, harness.Config{Caddyfile: string(frontfile), Env: []string{
		"EDGE1=" + port, "EDGE2=" + two.URL[strings.LastIndex(two.URL, ":")+1:],
	}})

	c := harness.NewClient(t)
	for i, edge := range []*harness.Server{one, two, front, front, one} {
		c.Get(t, edge.URL+"/count").Want(t, 200, `{"count":`+strconv.Itoa(i+1)+`}`)
	}
	token := two.Token(t, harness.Claims{URL: one.URL + "/tasks/hello.js", Params: map[string]string{"WHO": "world"}})
	for _, edge := range []*harness.Server{one, two, front} {
		c.Get(t, edge.URL+"/run", harness.Bearer(token)).Want(t, 200, "Hello, world.")
	}
	one.Command(t, "webtask", "token", "revoke", "--address", strings.TrimPrefix(one.Admin, "http://"), token)
	harness.Until(t, "the other edge refuses the token", func() bool {
		return c.Get(t, two.URL+"/run", harness.Bearer(token)).Status == 401
	})
}
