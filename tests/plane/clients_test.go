package plane

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// clients installs the clients as their users do, and returns their folder.
func clients(t *testing.T) string {
	t.Helper()
	script := exec.Command(filepath.Join(harness.Root(t), "scripts", "plane-clients.sh"))
	var problem strings.Builder
	script.Stderr = &problem
	out, err := script.Output()
	if err != nil {
		t.Fatalf("the clients cannot be installed: %v\n%s", err, problem.String())
	}
	return strings.TrimSpace(string(out))
}

// run runs a program of node in the folder of the clients, and decodes what it
// prints.
func run(t *testing.T, into any, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", append([]string{program}, args...)...)
	cmd.Dir = clients(t)
	var problem strings.Builder
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, problem.String())
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("%s printed %s (%v)", program, out, err)
	}
}

// A client of Plane gets along with the API, and knows nothing of this server. It
// sends no credentials, so that a proxy before the API does.
func TestClientOfPlane(t *testing.T) {
	proxied := strings.Replace(site(t, []string{"allow_env DOC_ID"}, []string{"services docs"}), "\nhttp://", `
http://localhost:{$PORT2} {
	reverse_proxy localhost:{$PORT} {
		header_up Authorization "Bearer {env.API_SECRET}"
	}
}
http://`, 1)
	s := harness.Start(t, harness.Config{Caddyfile: proxied, Env: []string{"API_SECRET=" + secret, "ANN_HASH=" + annHash}})
	program := harness.Program(t, "testbackend")
	var saw struct {
		Connected, Again connected
		Answer           who
		Statuses         []string
		Refused, Unheld  string
	}
	run(t, &saw, "plane.js", s.URL2, program)
	if c := saw.Connected; !c.Spawned || !strings.HasPrefix(c.URL, s.URL2+"/s/") || saw.Again.Spawned || saw.Again.BackendID != c.BackendID {
		t.Errorf("it connected to %+v, then %+v", c, saw.Again)
	}
	w := saw.Answer
	if w.ID != saw.Connected.BackendID || w.Key != "green" || w.env("DOC_ID") != "7" || w.Header.Get("X-Verified-Username") != "ann" || w.Header.Get("X-Verified-User-Data") != `{"role":"editor"}` {
		t.Errorf("the backend saw %+v", w)
	}
	if got := strings.Join(saw.Statuses, " "); got != "scheduled starting waiting ready terminating terminated" {
		t.Errorf("the statuses were %s", got)
	}
	for text, want := range map[string]string{saw.Refused: "InvalidSpawnConfig", saw.Unheld: "KeyUnheldNoSpawnConfig"} {
		if !strings.Contains(text, want) {
			t.Errorf("it was told %q, want %q", text, want)
		}
	}
}

// So does Jamsocket's, and what it gets is of the types that it has.
func TestClientOfJamsocket(t *testing.T) {
	a := start(t)
	var saw struct {
		Connected bool
		OnlyData  bool
		States    []string
		Last      string
		Failures  map[string]string
	}
	run(t, &saw, "jamsocket.js", a.URL, secret)
	if got := strings.Join(saw.States, " "); !saw.Connected || !saw.OnlyData || saw.Last != "terminated" || got != "scheduled starting waiting ready hard-terminating terminated" {
		t.Errorf("it saw %+v", saw)
	}
	want := map[string]string{
		"unheld": "HTTPError 409 KeyUnheldNoSpawnConfig", "unknown": "HTTPError 404 NotFound",
		"ended": "HTTPError 409 BackendNotRunning", "stranger": "AuthenticationError 401 Unauthorized",
	}
	if !maps.Equal(saw.Failures, want) {
		t.Errorf("its calls failed with %v", saw.Failures)
	}
}

// Jamsocket's command line works with the API as it is.
func TestCommandLineOfJamsocket(t *testing.T) {
	a := start(t, "allow_env DOC_ID")
	home := t.TempDir()
	for name, text := range map[string]string{
		".jamsocket/config.json":   `{"api_token":{"account":"acme","token":"` + secret + `"}}`,
		".cache/jamsocket/version": `{"latest":"0.10.7"}`, // else it asks elsewhere for it
	} {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	jamsocket := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "node", append([]string{"node_modules/jamsocket/bin/run"}, args...)...)
		cmd.Dir = clients(t)
		cmd.Env = append(slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "XDG_") }),
			"HOME="+home, "JAMSOCKET_SERVER_API="+a.URL, "NO_COLOR=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("jamsocket %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	field := func(text, name string) string {
		t.Helper()
		for line := range strings.Lines(text) {
			if value, ok := strings.CutPrefix(line, name+":"); ok {
				return strings.TrimSpace(value)
			}
		}
		t.Fatalf("there is no %s in\n%s", name, text)
		return ""
	}
	first := jamsocket("connect", "docs", "--key", "green", "--user", "ann", "--auth", `{"role":"editor"}`, "--env", "DOC_ID=7", "--max-idle-seconds", "30")
	id := field(first, "backend id")
	w := a.visit(t, field(first, "backend url"))
	if w.ID != id || w.env("DOC_ID") != "7" || w.Header.Get("X-Verified-Username") != "ann" || field(first, "spawned") != "true" {
		t.Errorf("it connected to %+v:\n%s", w, first)
	}
	if again := jamsocket("connect", "docs", "-k", "green", "--no-spawn"); field(again, "backend id") != id || field(again, "backend status") != "ready" {
		t.Errorf("then it said\n%s", again)
	}
	if list := jamsocket("backend", "list"); !strings.Contains(list, id) || !strings.Contains(list, "green") {
		t.Errorf("it lists\n%s", list)
	}
	jamsocket("backend", "terminate", id)
	harness.Until(t, "it ends", func() bool { return !alive(w.PID) })
	if info := jamsocket("backend", "info", id); !strings.Contains(info, "terminated") || !strings.Contains(info, "kind: soft") {
		t.Errorf("it describes\n%s", info)
	}
	if twice := jamsocket("backend", "terminate", id); !strings.Contains(twice, "already terminated") {
		t.Errorf("ending it twice says\n%s", twice)
	}
}
