package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/certmagic"
)

func TestMain(m *testing.M) {
	// Nothing of a test may reach the data of whoever runs it.
	folder, err := os.MkdirTemp("", "webtask-caddymodule-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, name := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME", "HOME"} {
		if err := os.Setenv(name, folder); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	caddy.DefaultStorage = &certmagic.FileStorage{Path: filepath.Join(folder, "storage")}
	code := m.Run()
	if code == 0 {
		code = checkLeaks()
	}
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// checkLeaks fails the run when a goroutine of ours is left after every server
// has stopped. Caddy itself leaves some.
func checkLeaks() int {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	var left []string
	for range 1000 {
		left = left[:0]
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		for _, stack := range strings.Split(string(stacks), "\n\n") {
			if strings.Contains(stack, "webtask-edge/caddy-webtask/") && !strings.Contains(stack, "TestMain") &&
				!strings.Contains(stack, "worker/process.(*forker).live") { // ends with the process
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return 0
		}
		<-again.C
	}
	fmt.Fprintln(os.Stderr, "goroutines are left:\n"+strings.Join(left, "\n\n"))
	return 1
}

// server is Caddy in this process, with a site of its own.
type server struct {
	t      *testing.T
	folder string
	port   string
	admin  string
	loads  int // configurations made so far; each site says which it is of
	client *http.Client
}

// loadHeader tells the answers of configurations apart: while a reload is
// under way, the old one still answers.
const loadHeader = "X-Test-Load"

// newServer makes a folder with the files given, by name.
func newServer(t *testing.T, files map[string]string) *server {
	t.Helper()
	s := &server{t: t, folder: t.TempDir(), port: freePort(t), admin: freePort(t), client: &http.Client{
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for name, text := range files {
		s.write(name, text)
	}
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func (s *server) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.folder, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// config returns the JSON of a site: options go into the global option
// webtask, site into the site's block.
func (s *server) config(options, site string) ([]byte, error) {
	s.loads++
	text := fmt.Sprintf(`{
	admin 127.0.0.1:%s {
		origins 127.0.0.1:%[1]s
	}
	persist_config off
	auto_https off
	grace_period 10s
	metrics
	log {
		output file %s/log
		format webtask {
			wrap json
		}
		level DEBUG
	}
	webtask {
		store file %[2]s/store.db
		%s
	}
}
http://127.0.0.1:%s {
	header `+loadHeader+` %d
	%s
}
`, s.admin, s.folder, options, s.port, s.loads, site)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": filepath.Join(s.folder, "Caddyfile")})
	return config, err
}

// load loads a configuration as a reload does.
func (s *server) load(options, site string) error {
	s.t.Helper()
	config, err := s.config(options, site)
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

func (s *server) mustLoad(options, site string) {
	s.t.Helper()
	if err := s.load(options, site); err != nil {
		s.t.Fatal(err)
	}
}

// get sends a request; headers are "Name: value". While a reload is under way
// the old configuration may answer once more, or drop the connection, as with
// any of Caddy's handlers: then it is sent again.
func (s *server) get(path string, headers ...string) (status int, body string, header http.Header) {
	s.t.Helper()
	var err error
	for range 100 {
		status, body, header, err = s.try("http://127.0.0.1:"+s.port+path, http.MethodGet, "", headers...)
		if err == nil && header.Get(loadHeader) == strconv.Itoa(s.loads) {
			return status, body, header
		}
		s.client.CloseIdleConnections()
	}
	s.t.Fatalf("GET %s: the configuration that was loaded last does not answer: %v", path, err)
	return 0, "", nil
}

func (s *server) try(url, method, body string, headers ...string) (int, string, http.Header, error) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		request.Header.Add(name, value)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, "", nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), response.Header, err
}

func (s *server) adminDo(method, path, body string) (int, string) {
	s.t.Helper()
	status, text, _, err := s.try("http://127.0.0.1:"+s.admin+path, method, body, "Content-Type: application/json")
	if err != nil {
		s.t.Fatal(err)
	}
	return status, text
}

func (s *server) log() string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.folder, "log"))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// logged returns the entries of the log whose message contains text.
func (s *server) logged(text string) []map[string]any {
	s.t.Helper()
	var entries []map[string]any
	for line := range strings.Lines(s.log()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			s.t.Fatalf("%v in %s", err, line)
		}
		if strings.Contains(entry["msg"].(string), text) {
			entries = append(entries, entry)
		}
	}
	return entries
}

func (s *server) want(path string, status int, body string, headers ...string) http.Header {
	s.t.Helper()
	gotStatus, gotBody, header := s.get(path, headers...)
	if gotStatus != status || !strings.Contains(gotBody, body) {
		s.t.Errorf("GET %s answered %d %q, want %d with %q", path, gotStatus, gotBody, status, body)
	}
	return header
}
