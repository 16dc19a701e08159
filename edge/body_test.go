package edge

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A client that never sends the whole body gets the answer that says so, and
// holds no isolate beyond the timeout, although the server's own read timeout
// is none.
func TestBodyThatNeverArrives(t *testing.T) {
	for name, code := range map[string]string{
		"read beforehand":     `module.exports = (ctx, cb) => cb(null, 1)`,
		"read by the handler": `export default { async fetch(request) { return new Response(await request.text()) } }`,
		"read as a stream":    `export default { async fetch(request) { for await (const part of request.body); return new Response() } }`,
		"read by events":      `module.exports = (ctx, req, res) => { req.on("data", () => {}); req.on("end", () => res.end()) }`,
		"not read, no answer": `export default { fetch() { return new Promise(done => setTimeout(done, 60000)) } }`,
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t, fileStore(t), func(o *Options) { o.Limits.Timeout = 300 * time.Millisecond })
			st.inline(code)
			for range 2 { // the first is of an isolate that is not known yet
				conn, err := net.Dial("tcp", strings.TrimPrefix(st.url, "http://"))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x.test\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{")
				defer closeWhenDone(testContext(st).Done(), conn)()
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal("no answer:", err)
				}
				if resp.StatusCode != http.StatusGatewayTimeout || !resp.Close {
					t.Errorf("answered %d, close %v", resp.StatusCode, resp.Close)
				}
				if _, err := io.ReadAll(resp.Body); err != nil {
					t.Error("the connection is not closed:", err)
				}
				if info := st.lastInfo(); info.Outcome != OutcomeLimit {
					t.Errorf("outcome %q", info.Outcome)
				}
			}
		})
	}
}

func closeWhenDone(done <-chan struct{}, conn net.Conn) (stop func()) {
	over := make(chan struct{})
	go func() {
		select {
		case <-done:
			conn.Close()
		case <-over:
		}
	}()
	return func() { close(over) }
}

// What is left of a body that was not waited for is no request of its own.
func TestBodyLeftIsNoRequest(t *testing.T) {
	st := newStage(t, fileStore(t), func(o *Options) { o.Limits.Timeout = 300 * time.Millisecond })
	st.inline(`module.exports = (ctx, cb) => cb(null, 1)`)
	conn, err := net.Dial("tcp", strings.TrimPrefix(st.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	defer closeWhenDone(testContext(st).Done(), conn)()
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: x.test\r\n\r\n"
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x.test\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	io.WriteString(conn, smuggled) // into a connection that may be closed
	if next, err := http.ReadResponse(reader, nil); err == nil {
		t.Errorf("the rest of the body was answered with %d", next.StatusCode)
	}
}

// A body that arrives in time costs nothing of the connection.
func TestBodyInTimeKeepsTheConnection(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	st.inline(`module.exports = (ctx, cb) => cb(null, ctx.body)`)
	for range 3 {
		resp, text := st.do("POST", "/", http.Header{"Content-Type": {"application/json"}}, `{"a":1}`)
		if text != `{"a":1}` || resp.Close {
			t.Errorf("answered %q, close %v", text, resp.Close)
		}
	}
}
