package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

func TestCodeByURL(t *testing.T) {
	o := startOrigin(t)
	srv := startTokens(t, harness.FileStore(), o)

	t.Run("TypeScript with imports", func(t *testing.T) {
		token := srv.Token(t, harness.Claims{URL: o.URL + "/lib/main.ts"})
		harness.NewClient(t).Get(t, srv.URL+"/run", harness.Bearer(token)).Want(t, 200, "TYPED!")
	})

	t.Run("fetched once for many", func(t *testing.T) {
		token := srv.Token(t, harness.Claims{URL: o.URL + "/hello.js", Params: map[string]string{"who": "all"}})
		before := o.fetched.Load()
		var wg sync.WaitGroup
		for range 40 {
			c := harness.NewClient(t)
			wg.Go(func() {
				if got, err := c.Try(http.MethodGet, srv.URL+"/run", "", harness.Bearer(token)); err != nil || got.Status != 200 {
					t.Errorf("%v %+v", err, got)
				}
			})
		}
		wg.Wait()
		if n := o.fetched.Load() - before; n != 1 {
			t.Errorf("40 first requests fetched the code %d times", n)
		}
	})

	t.Run("a restart survives a dead origin", func(t *testing.T) {
		token := srv.Token(t, harness.Claims{URL: o.URL + "/hello.js", Params: map[string]string{"who": "kept"}})
		c := harness.NewClient(t)
		c.Get(t, srv.URL+"/run", harness.Bearer(token)).Want(t, 200, "kept")
		srv.Stop(t)
		o.Close()
		srv.Run(t)
		c.Get(t, srv.URL+"/run", harness.Bearer(token)).Want(t, 200, "kept")
	})
}

func TestIntegrity(t *testing.T) {
	var source atomic.Value
	source.Store(`module.exports = cb => cb(null, "the code that was meant")`)
	o := &origin{Server: httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, source.Load())
	}))}
	t.Cleanup(o.Close)
	srv := startTokens(t, harness.FileStore(), o)

	sum := sha256.Sum256([]byte(source.Load().(string)))
	pinned := "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
	c := harness.NewClient(t)
	for _, integrity := range []string{pinned, "auto"} {
		token := srv.Token(t, harness.Claims{URL: o.URL + "/" + integrity[:4] + ".js", More: []string{"--integrity", integrity}})
		c.Get(t, srv.URL+"/run", harness.Bearer(token)).Want(t, 200, "meant")
	}

	token := srv.Token(t, harness.Claims{URL: o.URL + "/changed.js", More: []string{"--integrity", pinned}})
	source.Store(`module.exports = (ctx, cb) => cb(null, ctx.secrets)`)
	c.Get(t, srv.URL+"/run", harness.Bearer(token)).Want(t, 502, "integrity")
}

func TestCodeThatCannotRun(t *testing.T) {
	hang := make(chan struct{})
	mux := http.NewServeMux()
	serve := func(path string, handler http.HandlerFunc) { mux.HandleFunc("GET "+path, handler) }
	serve("/html.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>Not found</title>")
	})
	serve("/huge.js", func(w http.ResponseWriter, _ *http.Request) {
		chunk := []byte(strings.Repeat("// huge\n", 1<<13))
		for range 50 << 20 / len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	serve("/loop.js", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop.js", http.StatusFound) })
	serve("/away.js", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/latest/", http.StatusFound)
	})
	serve("/syntax.js", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "module.exports = cb => {\n  cb(null, 1;\n}\n")
	})
	serve("/never.js", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush() // the client reads on for ever
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	serve("/nothing.js", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "exports.a = 1") })
	serve("/deep.js", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "module.exports = cb => cb(null, "+strings.Repeat("(", 200_000)+"1"+strings.Repeat(")", 200_000)+")")
	})
	serve("/load.js", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `throw new Error("while loading")`) })
	o := &origin{Server: httptest.NewServer(mux)}
	t.Cleanup(o.Close)
	t.Cleanup(func() { close(hang) })
	srv := startTokens(t, harness.FileStore(), o)

	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/html.js":    {400, "HTML"},
		"/huge.js":    {413, "code_size"},
		"/loop.js":    {502, "redirect"},
		"/away.js":    {403, "code_allow"},
		"/syntax.js":  {400, "Compilation failed"},
		"/never.js":   {502, ""},
		"/missing.js": {502, "404"},
		"/nothing.js": {400, "function"},
		"/deep.js":    {400, ""},
		"/load.js":    {400, "while loading"},
	} {
		t.Run(path, func(t *testing.T) {
			token := srv.Token(t, harness.Claims{URL: o.URL + path})
			got := harness.NewClient(t).Get(t, srv.URL+"/run", harness.Bearer(token)).Want(t, want.status, want.text)
			if got.Header.Get("X-Wt-Response-Source") == "" || !strings.Contains(got.Body, `"req_id"`) {
				t.Errorf("the answer does not say whose it is: %v %s", got.Header, got.Body)
			}
		})
	}

	t.Run("code_allow", func(t *testing.T) {
		token := srv.Token(t, harness.Claims{URL: "http://localhost:1/x.js"})
		harness.NewClient(t).Get(t, srv.URL+"/run", harness.Bearer(token)).Want(t, 403, "code_allow")
	})
}

const filesSite = `
{
	webtask {
		isolation none
	}
}

http://localhost:{$PORT} {
	webtask /task {
		code task.ts
	}
	webtask /inline {
		code "cb => cb(null, 'inline')"
	}
	webtask /heredoc {
		code <<JS
			module.exports = (ctx, cb) => {
				cb(null, { braces: {} });
			};
			JS
	}
	webtask /slow {
		code "cb => setTimeout(() => cb(null, 'late'), 60000)"
		timeout 100ms
	}
	webtask /spin {
		code "cb => { for (;;) ; }"
		cpu_time 100ms
	}
	webtask /handlers/* {
		code handlers.js
	}
	root static
	file_server
}
`

func TestFilesAndHandlers(t *testing.T) {
	srv := harness.Start(t, harness.Config{Caddyfile: filesSite, Files: map[string]string{
		"task.ts":         `import { n } from "./n"; export default () => new Response("version " + n);`,
		"n.ts":            `export const n: number = 1;`,
		"static/page.txt": "a static file",
		"handlers.js":     testdata(t, "handlers.js"),
	}})
	c := harness.NewClient(t)

	t.Run("everything has its place", func(t *testing.T) {
		c.Get(t, srv.URL+"/inline").Want(t, 200, "inline")
		c.Get(t, srv.URL+"/heredoc").Want(t, 200, "braces")
		c.Get(t, srv.URL+"/page.txt").Want(t, 200, "a static file")
		c.Get(t, srv.URL+"/nothing").Want(t, 404, "")
	})

	t.Run("a changed file is picked up", func(t *testing.T) {
		c.Get(t, srv.URL+"/task").Want(t, 200, "version 1")
		srv.WriteFile(t, "n.ts", `export const n: number = 2;`)
		harness.Until(t, "the changed import is served", func() bool {
			return c.Get(t, srv.URL+"/task").Body == "version 2"
		})
		logged := len(srv.Log.String())
		srv.WriteFile(t, "task.ts", "export default () => {\n  return new Response(;\n}\n")
		harness.Until(t, "the broken file is noticed", func() bool {
			c.Get(t, srv.URL+"/task").Want(t, 200, "version 2")
			return strings.Contains(srv.Log.String()[logged:], "task.ts")
		})
		srv.Log.Wait(t, logged, "new Response(;", nil)
		srv.WriteFile(t, "task.ts", `export default () => new Response("version 3")`)
		harness.Until(t, "the mended file is served", func() bool {
			return c.Get(t, srv.URL+"/task").Body == "version 3"
		})
	})

	t.Run("limits are said", func(t *testing.T) {
		c.Get(t, srv.URL+"/slow").Want(t, 504, "timeout")
		c.Get(t, srv.URL+"/spin").Want(t, 504, "cpu_time")
		c.Get(t, srv.URL+"/inline").Want(t, 200, "inline")
	})

	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"throws":  {500, "thrown on purpose"},
		"rejects": {500, "rejected on purpose"},
		"async":   {500, "from a timer"},
		"status":  {418, "a teapot"},
		"error":   {400, "Script returned an error."},
		"string":  {400, "just text"},
		"twice":   {200, "first"},
		"cycle":   {400, "JSON"},
		"bigint":  {400, "JSON"},
		"falsy":   {200, "{}"},
	} {
		t.Run("handler "+path, func(t *testing.T) {
			got := c.Get(t, srv.URL+"/handlers/"+path+"?do="+path).Want(t, want.status, want.text)
			if strings.Contains(got.Body, "handlers.js:") {
				t.Errorf("the answer shows a stack: %s", got.Body)
			}
			c.Get(t, srv.URL+"/handlers/ok?do=ok").Want(t, 200, `"fine"`)
		})
	}
}

func TestOverloadIsSaidFast(t *testing.T) {
	srv := harness.Start(t, harness.Config{
		Caddyfile: `
{
	webtask {
		isolation none
		isolates 2
		queue 2 100ms
	}
}

http://localhost:{$PORT} {
	webtask /wait {
		code "cb => setTimeout(() => cb(null, 'done'), 1000)"
	}
	webtask /else {
		code "cb => cb(null, 'else')"
		container another
	}
}
`})
	var wg sync.WaitGroup
	var refused atomic.Int64
	for range 12 {
		c := harness.NewClient(t)
		wg.Go(func() {
			got, err := c.Try(http.MethodGet, srv.URL+"/wait", "")
			switch {
			case err != nil:
				t.Error(err)
			case got.Status == 503:
				refused.Add(1)
				if got.Header.Get("Retry-After") == "" {
					t.Errorf("503 without Retry-After: %s", got.Body)
				}
			case got.Status != 200:
				t.Errorf("%d %s", got.Status, got.Body)
			}
		})
	}
	harness.NewClient(t).Get(t, srv.URL+"/else").Want(t, 200, "else")
	wg.Wait()
	if refused.Load() == 0 {
		t.Error("two isolates and a queue of two took twelve requests")
	}
}
