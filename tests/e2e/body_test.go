package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

const bodySite = `
{
	webtask {
		isolation none
		request_body 16MiB
	}
}

http://localhost:{$PORT} {
	webtask /echo {
		code "export default { fetch(request) { return new Response(request.body); } }"
	}
	webtask /stream {
		code "export default { fetch() { return new Response(new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode('part')); setTimeout(() => c.close(), 20); } })); } }"
	}
	webtask /short {
		code "export default { fetch() { return new Response('short'); } }"
	}
	respond /inner "smuggled"
}
`

// TestUnreadBodies sends what a task never reads, with a request in it.
func TestUnreadBodies(t *testing.T) {
	srv := harness.Start(t, harness.Config{Caddyfile: bodySite})
	const inner = "GET /inner HTTP/1.1\r\nHost: localhost\r\n\r\n"
	filler := strings.Repeat("x", 600_000)
	for name, request := range map[string]string{
		"length":  fmt.Sprintf("Content-Length: %d\r\n\r\n%s", 1<<20, inner),
		"short":   fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(inner), inner),
		"chunked": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s%s\r\n0\r\n\r\n", len(inner)+len(filler), inner, filler),
		"expect":  fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n\r\n%s", 1<<20, inner),
	} {
		for _, path := range []string{"/stream", "/short"} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: localhost\r\n"+request) }()
			answer, _ := io.ReadAll(conn) // to the end of the connection, or the deadline
			conn.Close()
			if n := strings.Count(string(answer), "HTTP/1.1"); n > 1 || strings.Contains(string(answer), "smuggled") {
				t.Errorf("%s, %s: %d answers: %.400q", path, name, n, answer)
			}
		}
	}
}

// TestEchoes has many send megabytes at once to a task that answers what it is
// sent: both directions are full, and nobody waits for the other.
func TestEchoes(t *testing.T) {
	srv := harness.Start(t, harness.Config{Caddyfile: bodySite})
	body := strings.Repeat("0123456789abcdef", 6<<20/16)
	client := &http.Client{Timeout: time.Minute}
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			resp, err := client.Post(srv.URL+"/echo", "application/octet-stream", io.LimitReader(strings.NewReader(body), int64(len(body))))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); err != nil || string(got) != body {
				t.Errorf("%d of %d bytes came back, %v", len(got), len(body), err)
			}
		})
	}
	wg.Wait()
	harness.NewClient(t).Get(t, srv.URL+"/short").Want(t, http.StatusOK, "short")
}
