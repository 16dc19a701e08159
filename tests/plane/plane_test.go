// Package plane tests the HTTP API for session backends, as clients of Plane and
// Jamsocket use it: real servers, real processes, real connections.
package plane

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// secret is what callers of the part control know.
const secret = "correct-horse-battery-staple"

// site has two services, and the API in front of them. Lines are options of the
// service docs, and of session_api.
func site(t *testing.T, lines, options []string) string {
	t.Helper()
	backend := harness.Program(t, "testbackend")
	return fmt.Sprintf(`{
	debug
	log {
		format webtask
	}
	webtask {
		{$STORE}
	}
}
http://localhost:{$PORT} {
	log {
		format webtask
	}
	session_backend docs /doc/* {
		key {path.1}
		driver process %[1]s
		%[2]s
	}
	session_backend rooms /room/* {
		key {path.1}
		driver process %[1]s
		auth token
	}
	handle /s/* {
		session_connect
	}
	@public path /pub/* /v2/backend/*/status /v2/backend/*/status/stream
	handle @public {
		session_api public
	}
	@control path /ctrl/* /v2/*
	handle @control {
		session_api control {
			auth bearer {env.API_SECRET}
			%[3]s
		}
	}
	handle /byuser/ctrl/* {
		basic_auth {
			ann {env.ANN_HASH}
		}
		session_api control {
			auth upstream
		}
	}
	handle_path /stripped/ctrl/* {
		session_api control {
			auth bearer {env.API_SECRET}
			services docs
		}
	}
	handle_path /renamed/* {
		session_api control {
			auth bearer {env.API_SECRET}
			services docs
		}
	}
	handle /noauth/ctrl/* {
		session_api control {
			auth upstream
		}
	}
}
`, backend, strings.Join(lines, "\n\t\t"), strings.Join(options, "\n\t\t\t"))
}

// annPassword is that of the user ann, and annHash what bcrypt makes of it.
const (
	annPassword = "hunter2hunter2"
	annHash     = "$2a$04$7W/ls3Ou07Dkr6zjUobCjeFYFQddjZDTEqZVwuxvVh0.cDd/4Hdsi"
)

// api is a server, and who may call its API.
type api struct {
	*harness.Server
	client *harness.Client
}

func start(t *testing.T, lines ...string) *api {
	t.Helper()
	return startWith(t, lines, nil)
}

func startWith(t *testing.T, lines, options []string) *api {
	t.Helper()
	s := harness.Start(t, harness.Config{Caddyfile: site(t, lines, options), Env: []string{"API_SECRET=" + secret, "ANN_HASH=" + annHash}})
	return &api{s, harness.NewClient(t)}
}

// call calls the API with its secret.
func (a *api) call(t *testing.T, method, path, body string) harness.Answer {
	t.Helper()
	return a.client.Do(t, method, a.URL+path, body, harness.Bearer(secret), "Content-Type: application/json")
}

// connected is what connect answers.
type connected struct {
	BackendID   string  `json:"backend_id"`
	Spawned     bool    `json:"spawned"`
	Status      string  `json:"status"`
	Token       string  `json:"token"`
	URL         string  `json:"url"`
	Subdomain   *string `json:"subdomain"`
	SecretToken string  `json:"secret_token"`
	StatusURL   string  `json:"status_url"`
	Drone       *string `json:"drone"`
	ReadyURL    string  `json:"ready_url"`
	Key         string  `json:"key"`
	Fence       int64   `json:"fence"`
}

func (a *api) connect(t *testing.T, body string) (c connected) {
	t.Helper()
	a.call(t, "POST", "/ctrl/connect", body).Want(t, 200, "").JSON(t, &c)
	return c
}

// inDocs is the body of a connect that starts a backend of the key if need be.
func inDocs(key string) string {
	return fmt.Sprintf(`{"key":{"name":%q},"spawn_config":{"pool":"docs"},"user":"ann","auth":{"role":"editor"}}`, key)
}

// wrong is an error of the API.
type wrong struct{ ID, Kind, Message string }

// refused calls the API and wants an error of that kind.
func (a *api) refused(t *testing.T, method, path, body string, status int, kind, message string) harness.Answer {
	t.Helper()
	answer := a.call(t, method, path, body).Want(t, status, "")
	var w wrong
	answer.JSON(t, &w)
	if w.Kind != kind || w.ID == "" || !strings.Contains(w.Message, message) {
		t.Errorf("%s %s %s: got %d %s, want the kind %s and %q", method, path, body, answer.Status, answer.Body, kind, message)
	}
	return answer
}

// who is what the test backend answers.
type who struct {
	PID    int
	Key    string
	ID     string
	Fence  string
	Env    []string
	URI    string
	Header http.Header
}

func (a *api) visit(t *testing.T, url string, header ...string) (w who) {
	t.Helper()
	a.client.Get(t, url, header...).Want(t, 200, "").JSON(t, &w)
	return w
}

func (w who) env(name string) string {
	for _, entry := range w.Env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// tunnel is an upgraded connection to a backend, which sends back what it is sent.
type tunnel struct {
	net.Conn
	*bufio.Reader
}

// upgrade opens a tunnel at a URL of the server.
func (a *api) upgrade(t *testing.T, url string, header ...string) (*tunnel, *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(a.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	lines := append([]string{"GET " + strings.TrimPrefix(url, a.URL) + " HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: echo"}, header...)
	fmt.Fprint(conn, strings.Join(lines, "\r\n")+"\r\n\r\n")
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &tunnel{conn, reader}, resp
}

// says sends a line and wants it back.
func (u *tunnel) says(t *testing.T, line string) {
	t.Helper()
	if _, err := fmt.Fprintln(u.Conn, line); err != nil {
		t.Fatal(err)
	}
	if got, err := u.ReadString('\n'); err != nil || strings.TrimSpace(got) != line {
		t.Fatalf("sent %q and got %q, %v", line, got, err)
	}
}

// ends wants the tunnel to be cut.
func (u *tunnel) ends(t *testing.T) {
	t.Helper()
	if err := u.Conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, u.Reader); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Error("the tunnel goes on")
	}
}

// state is a status of a backend.
type state struct {
	Status    string
	Time      json.RawMessage
	Reason    string `json:"termination_reason"`
	Kind      string `json:"termination_kind"`
	ExitError *bool  `json:"exit_error"`
}

// event is one of a stream of statuses.
type event struct {
	id string
	state
}

// follow reads a stream of statuses to its end.
func (a *api) follow(t *testing.T, url string, header ...string) (events []event) {
	t.Helper()
	answer := a.client.Get(t, url, header...).Want(t, 200, "")
	if got := answer.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("the stream is %s", got)
	}
	for text := range strings.SplitSeq(strings.TrimSpace(answer.Body), "\n\n") {
		id, data, ok := strings.Cut(text, "\n")
		e := event{id: strings.TrimPrefix(id, "id: ")}
		if err := json.Unmarshal([]byte(strings.TrimPrefix(data, "data: ")), &e.state); !ok || err != nil || e.Status != e.id {
			t.Fatalf("an event is %q (%v)", text, err)
		}
		events = append(events, e)
	}
	return events
}

func statuses(events []event) string {
	names := make([]string, len(events))
	for i, e := range events {
		names[i] = e.Status
	}
	return strings.Join(names, " ")
}
