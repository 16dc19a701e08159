package attacks

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// origin is the attackers' own server: it serves their code, takes what they
// send, and answers as badly as an upstream can.
type origin struct {
	*httptest.Server
	canaries *canaries
	ended    chan struct{}

	mu    sync.Mutex
	code  map[string]string // by path
	leaks []string
}

func startOrigin(t testing.TB, c *canaries) *origin {
	t.Helper()
	o := &origin{canaries: c, ended: make(chan struct{}), code: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/", o.serveCode)
	mux.HandleFunc("/empty", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header, r.URL) })
	mux.HandleFunc("/forged", forged)
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-o.ended: // of a client that goes while its body is unread nobody hears
		}
	})
	mux.HandleFunc("/sink", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	mux.HandleFunc("/endless", endless)
	mux.HandleFunc("/drip", drip)
	mux.HandleFunc("/bomb", bomb)
	mux.HandleFunc("/nothing", nothing)
	mux.HandleFunc("/json-bomb", func(w http.ResponseWriter, _ *http.Request) { copyAll(w, strings.Repeat("[", 1<<20), 256) })
	mux.HandleFunc("/redirect", redirect)
	mux.HandleFunc("/redirect-loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/redirect-loop", http.StatusFound) })
	mux.HandleFunc("/cookies", func(w http.ResponseWriter, _ *http.Request) {
		for i := range 100 {
			w.Header().Add("Set-Cookie", fmt.Sprintf("a%d=b", i))
		}
	})
	mux.HandleFunc("/closes", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/endless/", func(w http.ResponseWriter, r *http.Request) {
		var n int
		_, _ = fmt.Sscanf(r.URL.Path, "/endless/%d.js", &n)
		fmt.Fprintf(w, "import './%d.js';", n+1)
	})
	mux.HandleFunc("/many/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "export default 1") })
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.inspect(r)
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		close(o.ended)
		o.CloseClientConnections() // some are read by nobody
		o.Close()
	})
	return o
}

// inspect looks for canaries in what the edge sent.
func (o *origin) inspect(r *http.Request) {
	sent := fmt.Sprint(r.Method, " ", r.RequestURI, r.Header, r.Trailer)
	if r.URL.Path != "/sink" {
		head, _ := io.ReadAll(io.LimitReader(r.Body, 64<<10))
		sent += string(head)
	}
	if found := o.canaries.find(sent); len(found) != 0 {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.leaks = append(o.leaks, fmt.Sprintf("%v in a request to %s", found, r.URL.Path))
	}
}

func (o *origin) put(path, code string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.code[path] = code
}

func (o *origin) serveCode(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	code, ok := o.code[r.URL.Path]
	o.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/javascript")
	_, _ = io.WriteString(w, code)
}

func (o *origin) host() string { return o.Listener.Addr().String() }

// forged says which of the headers that only the edge may set a script did.
func forged(w http.ResponseWriter, r *http.Request) {
	for _, name := range []string{"Te", "Trailer", "Upgrade", "Proxy-Authorization", "Proxy-Connection", "Expect"} {
		if value := r.Header.Get(name); value != "" {
			fmt.Fprintf(w, "%s: %s\n", name, value)
		}
	}
	if r.Host == "127.0.0.1" || strings.Contains(r.Header.Get("Accept-Encoding"), "evil") || strings.Contains(r.Header.Get("Connection"), "x-kept") {
		fmt.Fprintf(w, "host %s, %v\n", r.Host, r.Header)
	}
	if !strings.Contains(r.Header.Get("Cdn-Loop"), "webtask-edge") {
		fmt.Fprint(w, "no CDN-Loop\n")
	}
	fmt.Fprint(w, "as it should be")
}

func copyAll(w io.Writer, chunk string, times int) {
	for range times {
		if _, err := io.WriteString(w, chunk); err != nil {
			return
		}
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	chunk := strings.Repeat("x", 64<<10)
	for r.Context().Err() == nil {
		if _, err := io.WriteString(w, chunk); err != nil {
			return
		}
	}
}

func drip(w http.ResponseWriter, r *http.Request) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := io.WriteString(w, "x"); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

func redirect(w http.ResponseWriter, r *http.Request) {
	// Not the parsed query: what stands after to= is whole.
	_, to, _ := strings.Cut(r.RequestURI, "to=")
	status := http.StatusFound
	if strings.Contains(r.RequestURI, "status=307") {
		status = http.StatusTemporaryRedirect
	}
	w.Header()["Location"] = []string{to}
	w.WriteHeader(status)
}

// bombs are answers of many gigabytes in some megabytes or less, by coding.
var bombs = sync.OnceValue(func() map[string][]byte {
	plain := make([]byte, 32<<20)
	pack := func(writer func(io.Writer) io.WriteCloser) []byte {
		var b bytes.Buffer
		w := writer(&b)
		for range 8 {
			_, _ = w.Write(plain)
		}
		_ = w.Close()
		return b.Bytes()
	}
	zipped := pack(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
	var twice bytes.Buffer
	outer := gzip.NewWriter(&twice)
	_, _ = outer.Write(bytes.Repeat(zipped, 64))
	_ = outer.Close()
	return map[string][]byte{
		"gzip":    bytes.Repeat(zipped, 32), // members follow each other
		"twice":   twice.Bytes(),
		"deflate": pack(func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }),
		"zstd": bytes.Repeat(pack(func(w io.Writer) io.WriteCloser {
			encoder, err := zstd.NewWriter(w)
			if err != nil {
				panic(err) // the options are constants
			}
			return encoder
		}), 32),
	}
})

// nothing answers with content that takes bytes without end and is empty, by
// coding: members of gzip, blocks of deflate, frames of zstd.
func nothing(w http.ResponseWriter, r *http.Request) {
	var member bytes.Buffer
	_ = gzip.NewWriter(&member).Close()
	coding := r.URL.RawQuery
	w.Header().Set("Content-Encoding", coding)
	piece := member.Bytes()
	switch coding {
	case "deflate":
		_, _ = io.WriteString(w, "\x78\x01")
		piece = []byte("\x00\x00\x00\xff\xff")
	case "zstd":
		piece = []byte("\x50\x2a\x4d\x18\x00\x00\x00\x00")
	}
	chunk := string(bytes.Repeat(piece, 1000))
	for r.Context().Err() == nil {
		if _, err := io.WriteString(w, chunk); err != nil {
			return
		}
	}
}

func bomb(w http.ResponseWriter, r *http.Request) {
	coding := r.URL.RawQuery
	if coding == "twice" {
		w.Header().Set("Content-Encoding", "gzip, gzip")
	} else {
		w.Header().Set("Content-Encoding", coding)
	}
	_, _ = w.Write(bombs()[coding])
}

// startRaw serves what is no proper HTTP, by path.
func startRaw(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serveRaw(conn)
		}
	}()
	return ln.Addr().String()
}

func serveRaw(conn net.Conn) {
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return
	}
	const ok = "HTTP/1.1 200 OK\r\n"
	switch path, _, _ := strings.Cut(strings.TrimPrefix(line, "GET /"), " "); path {
	case "garbage":
		copyAll(conn, "\x00\x01\x02garbage\r\n", 1000)
	case "headers":
		_, _ = io.WriteString(conn, ok)
		copyAll(conn, strings.Repeat("X-H: v\r\n", 10_000), 1000)
	case "interim":
		copyAll(conn, strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 1000), 1000)
	case "status":
		_, _ = io.WriteString(conn, "HTTP/1.1 200 "+strings.Repeat("O", 2<<20)+"\r\n\r\n")
	case "lengths":
		_, _ = io.WriteString(conn, ok+"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")
	}
}

// internal is a server that no script may reach. It listens on every address
// of the machine and counts who comes.
type internal struct {
	port string

	mu   sync.Mutex
	hits []string
}

func startInternal(t testing.TB, canary string) *internal {
	t.Helper()
	ln, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	in := &internal{}
	_, in.port, _ = net.SplitHostPort(ln.Addr().String())
	server := &httptest.Server{Listener: ln, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in.mu.Lock()
		in.hits = append(in.hits, fmt.Sprintf("%s %s%s", r.Method, r.Host, r.URL))
		in.mu.Unlock()
		fmt.Fprint(w, canary)
	})}}
	server.Start()
	t.Cleanup(server.Close)
	return in
}

// take returns who came since the last call.
func (in *internal) take() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	hits := in.hits
	in.hits = nil
	return hits
}

// takeLeaks returns what the origin was sent since the last call.
func (o *origin) takeLeaks() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	leaks := o.leaks
	o.leaks = nil
	return leaks
}
