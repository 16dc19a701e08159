package edge

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// encoded returns text as each encoder writes it.
func encoded(t *testing.T, text string) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	for name, make := range map[string]func(io.Writer) (io.WriteCloser, error){
		"gzip":    func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		"deflate": func(w io.Writer) (io.WriteCloser, error) { return zlib.NewWriter(w), nil },
		"bare":    func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.DefaultCompression) },
		"zstd":    func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
		"window": func(w io.Writer) (io.WriteCloser, error) {
			return zstd.NewWriter(w, zstd.WithWindowSize(2*maxZstdWindow), zstd.WithSingleSegment(false))
		},
	} {
		var b bytes.Buffer
		w, err := make(&b)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		all[name] = b.Bytes()
	}
	return all
}

// encodedServer answers its path's encoder's work under the Content-Encoding
// that the query names.
func encodedServer(t *testing.T, text string) *httptest.Server {
	t.Helper()
	all := encoded(t, text)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := all[strings.TrimPrefix(r.URL.Path, "/")]
		w.Header().Set("X-Asked", r.Header.Get("Accept-Encoding"))
		w.Header()["Content-Encoding"] = r.URL.Query()["as"]
		switch r.URL.Query().Get("how") {
		case "cut":
			body = body[:len(body)-4]
		case "empty":
			body = nil
		case "garbage":
			body = []byte("no such format")
		}
		w.Write(body)
	}))
	t.Cleanup(server.Close)
	return server
}

func TestFetchDecodes(t *testing.T) {
	text := strings.Repeat("unpacked ", 50_000)
	server := encodedServer(t, text)
	c := caller(t, nil, webtask.Limits{}, address(server))
	for query, same := range map[string]bool{
		"/gzip?as=gzip": true, "/gzip?as=x-gzip": true, "/gzip?as=GZIP": true, "/deflate?as=deflate": true, "/bare?as=deflate": true, "/zstd?as=zstd": true,
		"/gzip?as=br": false, "/gzip?as=gzip&as=gzip": false, "/gzip": false,
	} {
		resp, body := fetch(t, c, &jsruntime.FetchRequest{Method: "GET", URL: server.URL + query})
		if (body == text) != same || (resp.Header.Get("Content-Length") == "") != same || (same && resp.Header.Get("Content-Encoding") != "") {
			t.Errorf("%s gives %.20q… (%d bytes), %v", query, body, len(body), resp.Header)
		}
		if got := resp.Header.Get("X-Asked"); got != "gzip, deflate, zstd" {
			t.Errorf("%s was asked for as %q", query, got)
		}
	}
	if n := c.edge.zstd.Load(); n != 0 {
		t.Errorf("afterwards %d bodies are decoded", n)
	}
}

// TestFetchNotDecoded asks for what has no body, or only part of one.
func TestFetchNotDecoded(t *testing.T) {
	server := encodedServer(t, "text")
	c := caller(t, nil, webtask.Limits{}, address(server))
	for name, req := range map[string]*jsruntime.FetchRequest{
		"HEAD":  {Method: "HEAD", URL: server.URL + "/zstd?as=zstd"},
		"Range": {Method: "GET", URL: server.URL + "/zstd?as=zstd", Header: http.Header{"Range": {"bytes=0-1"}}},
		"empty": {Method: "GET", URL: server.URL + "/zstd?as=zstd&how=empty"},
	} {
		resp, _ := fetch(t, c, req)
		if got := resp.Header.Get("Content-Encoding"); got != "zstd" {
			t.Errorf("%s has the header %v", name, resp.Header)
		}
		if asked := resp.Header.Get("X-Asked"); (asked != "") != (name == "empty") {
			t.Errorf("%s was asked for as %q", name, asked)
		}
	}
}

// TestFetchCannotDecode reads what is broken, or takes too much to decode.
func TestFetchCannotDecode(t *testing.T) {
	server := encodedServer(t, strings.Repeat("unpacked ", 3_000_000))
	c := caller(t, nil, webtask.Limits{}, address(server))
	for _, query := range []string{
		"/gzip?as=gzip&how=cut", "/deflate?as=deflate&how=cut", "/bare?as=deflate&how=cut", "/zstd?as=zstd&how=cut",
		"/gzip?as=gzip&how=garbage", "/gzip?as=deflate&how=garbage", "/gzip?as=zstd&how=garbage", "/window?as=zstd",
	} {
		resp, err := c.Fetch(t.Context(), &jsruntime.FetchRequest{Method: "GET", URL: server.URL + query})
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if err == nil {
			t.Errorf("%s was read, %d bytes", query, n)
		}
		resp.Body.Close()
		if _, err := resp.Body.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s is read after it was closed", query)
		}
	}
}

// TestManyZstd has more answers of zstd read at once than may be.
func TestManyZstd(t *testing.T) {
	server := encodedServer(t, "text")
	c := caller(t, nil, webtask.Limits{}, address(server))
	c.edge.zstd.Store(maxZstd - 1)
	get := func() *jsruntime.FetchResponse {
		t.Helper()
		resp, err := c.Fetch(t.Context(), &jsruntime.FetchRequest{Method: "GET", URL: server.URL + "/zstd?as=zstd"})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	last := get()
	over := get()
	if got := over.Header.Get("X-Asked"); got != "gzip, deflate" {
		t.Errorf("beyond, an answer is asked for as %q", got)
	}
	if body, err := io.ReadAll(over.Body); err != errTooManyZstd {
		t.Errorf("beyond, a body of zstd gives %q, %v", body, err)
	}
	over.Body.Close()
	over.Body.Close() // counts once
	if body, err := io.ReadAll(last.Body); string(body) != "text" || err != nil {
		t.Errorf("the last one gives %q, %v", body, err)
	}
	last.Body.Close()
	if n := c.edge.zstd.Load(); n != maxZstd-1 {
		t.Errorf("afterwards %d are counted", n)
	}
}

// TestCloseWhileDecoding closes a body that is being read: the request may end
// at any time.
func TestCloseWhileDecoding(t *testing.T) {
	for encoding, open := range decoders {
		source, feed := io.Pipe()
		body := &decoded{body: source, open: open}
		done := make(chan error)
		go func() {
			_, err := io.ReadAll(body)
			done <- err
		}()
		feed.Write(encoded(t, "text")[strings.TrimPrefix(encoding, "x-")][:4]) // is being waited for the rest
		body.Close()
		if err := <-done; err == nil {
			t.Errorf("%s was read to its end", encoding)
		}
	}
}
