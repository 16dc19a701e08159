package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

const backendSite = `
http://localhost:{$PORT} {
	session_backend docs /doc/* {
		key {path.1}
		driver process {$BACKEND} {
			env ALSO {$ALSO}
		}
		client_starts unlimited
		max_backends 10000
	}
	reverse_proxy unix/{$ALSO}
}
`

// BenchmarkBackend compares a session backend with reverse_proxy to the same
// process.
func BenchmarkBackend(b *testing.B) {
	backend, also := harness.Program(b, "testbackend"), filepath.Join(b.TempDir(), "also")
	srv := harness.Start(b, harness.Config{Caddyfile: backendSite, Env: []string{"BACKEND=" + backend, "ALSO=" + also}})
	c := harness.NewClient(b)
	c.Get(b, srv.URL+"/doc/a/hello").Want(b, 200, "hello")
	c.Get(b, srv.URL+"/hello").Want(b, 200, "hello")
	b.Run("warm", func(b *testing.B) {
		ratio(b, target{name: "session backend, warm", url: srv.URL + "/doc/a/hello"}, target{name: "reverse_proxy to it", url: srv.URL + "/hello"})
	})
	b.Run("start", func(b *testing.B) { backendStart(b, srv, backend) })
	b.Run("sockets", func(b *testing.B) { backendSockets(b, srv) })
}

// backendStart compares the first request for a key with starting the process
// oneself and asking it.
func backendStart(b *testing.B, srv *harness.Server, backend string) {
	const starts = 60
	c := harness.NewClient(b)
	var through, alone []float64
	for n := range starts {
		began := time.Now()
		c.Get(b, srv.URL+"/doc/start"+strconv.Itoa(n)+"/hello").Want(b, 200, "hello")
		through = append(through, float64(time.Since(began).Microseconds())/1000)
		alone = append(alone, startAlone(b, backend))
	}
	fmt.Printf("%-44s p50 %.1f ms, the process by itself %.1f ms, more by %.1f ms\n", "first request for a key", median(through), median(alone), median(through)-median(alone))
	b.ReportMetric(median(through)-median(alone), "ms/start")
	b.ReportMetric(0, "ns/op")
}

// startAlone is how many milliseconds a process takes from its start to its
// first answer.
func startAlone(b *testing.B, backend string) float64 {
	b.Helper()
	socket := filepath.Join(b.TempDir(), "socket")
	command := exec.Command(backend)
	command.Env = []string{"SOCKET=" + socket}
	began := time.Now()
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait() // it was killed
	}()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		for range time.Tick(100 * time.Microsecond) {
			if conn, err := net.Dial("unix", socket); err == nil {
				return conn, nil
			}
		}
		return nil, ctx.Err()
	}}}
	resp, err := client.Get("http://backend/hello")
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		b.Fatal(err)
	}
	return float64(time.Since(began).Microseconds()) / 1000
}

// backendSockets measures what idle connections and sessions take.
func backendSockets(b *testing.B, srv *harness.Server) {
	const sockets, sessions = 2000, 100
	c := harness.NewClient(b)
	c.Get(b, srv.URL+"/doc/sockets/hello").Want(b, 200, "hello")
	before := resident(b, srv.PID())
	for range sockets {
		conn, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET /doc/sockets/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			b.Fatal(resp, err)
		}
	}
	perSocket := float64(resident(b, srv.PID())-before) / sockets
	before = resident(b, srv.PID())
	for n := range sessions {
		c.Get(b, srv.URL+"/doc/session"+strconv.Itoa(n)+"/hello").Want(b, 200, "hello")
	}
	perSession := float64(resident(b, srv.PID())-before) / sessions
	fmt.Printf("%-44s %.0f KiB of the edge for an idle tunnel (of %d), %.0f KiB for a session (of %d)\n", "memory", perSocket, sockets, perSession, sessions)
	b.ReportMetric(perSocket, "KiB/socket")
	b.ReportMetric(0, "ns/op")
}

// resident returns the KiB of memory that a process has.
func resident(b *testing.B, pid int) int {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		b.Fatal(err)
	}
	return kib
}
