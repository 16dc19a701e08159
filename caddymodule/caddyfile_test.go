package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

var update = flag.Bool("update", false, "write what the adapter makes into the golden files that expect JSON")

// adapt adapts a Caddyfile as if it stood in the folder /site, so that paths
// come out the same everywhere.
func adapt(caddyfile string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "/site/Caddyfile"})
	return config, err
}

// TestAdapt compares Caddyfiles with the JSON they stand for, or with part of
// the error they are refused with.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/caddyfile/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			caddyfile, want, _ := strings.Cut(string(text), "----------\n")
			want = strings.TrimSpace(want)
			config, err := adapt(caddyfile)
			if strings.HasPrefix(filepath.Base(file), "error_") {
				if err == nil || want == "" || !strings.Contains(err.Error(), want) {
					t.Errorf("adapting gave the error\n%v\nwant one with\n%s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, config, "", "\t"); err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(file, []byte(caddyfile+"----------\n"+got.String()+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got.String() != want {
				t.Errorf("adapting gave\n%s\nwant\n%s", got.String(), want)
			}
		})
	}
}

// TestDirectiveOrder wants webtask between encode and whatever could process
// or answer in its place, without an `order` option.
func TestDirectiveOrder(t *testing.T) {
	config, err := adapt("example.com {\n\tfile_server\n\trespond /r ok\n\ttemplates\n\tintercept {\n\t\treplace_status 200\n\t}\n\twebtask /run/*\n\tencode gzip\n\tredir /old /new\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	last := -1
	for _, handler := range []string{"static_response", "encode", "webtask", "intercept", "templates", "file_server"} {
		at := bytes.Index(config, []byte(`"handler":"`+handler+`"`))
		if at <= last {
			t.Errorf("handler %s is out of order in\n%s", handler, config)
		}
		last = at
	}
}

// FuzzCaddyfile puts text into both blocks. What is accepted must be JSON that
// the modules decode strictly and accept again.
func FuzzCaddyfile(f *testing.F) {
	f.Add("timeout 5s", "code a.js")
	f.Add("store redis {\n address a\n tls {\n ca x\n }\n}\nqueue 1 1s", "code \"cb => cb()\"\nsecret A {env.A}\nerrors pass")
	f.Add("egress allow 10.0.0.0/8\ncode_allow https://a/*", "trusted\ncontainer acme\ntimeout 1s")
	f.Add("webtask {", "code <<JS\n{path}\nJS")
	f.Add("keys {$X}", "param a \"{\"")
	f.Fuzz(func(t *testing.T, global, directive string) {
		if strings.Contains(global+directive, "import") {
			return // would read files of the machine
		}
		config, err := adapt("{\n\twebtask {\n" + global + "\n\t}\n}\n:80 {\n\twebtask /x {\n" + directive + "\n\t}\n}\n")
		if err != nil {
			if err.Error() == "" {
				t.Error("refused without a reason")
			}
			return
		}
		var parsed struct {
			Apps map[string]json.RawMessage `json:"apps"`
		}
		if err := json.Unmarshal(config, &parsed); err != nil {
			t.Fatalf("%v in %s", err, config)
		}
		if raw := parsed.Apps["webtask"]; raw != nil {
			app := new(App)
			if err := caddy.StrictUnmarshalJSON(raw, app); err != nil {
				t.Errorf("the app's own JSON is refused: %v in %s", err, raw)
			}
		}
		for _, raw := range handlersIn(parsed.Apps["http"]) {
			handler := new(Handler)
			if err := caddy.StrictUnmarshalJSON(raw, handler); err != nil {
				t.Errorf("the handler's own JSON is refused: %v in %s", err, raw)
			} else if err := handler.check(); err != nil {
				t.Errorf("the adapter accepted what the handler refuses: %v in %s", err, raw)
			}
		}
	})
}

// handlersIn returns the configurations of webtask handlers, however deep.
func handlersIn(config json.RawMessage) []json.RawMessage {
	var found []json.RawMessage
	var visit func(any)
	visit = func(value any) {
		switch value := value.(type) {
		case map[string]any:
			if value["handler"] == "webtask" {
				delete(value, "handler")
				raw, _ := json.Marshal(value)
				found = append(found, raw)
			}
			for _, member := range value {
				visit(member)
			}
		case []any:
			for _, element := range value {
				visit(element)
			}
		}
	}
	var decoded any
	if json.Unmarshal(config, &decoded) == nil {
		visit(decoded)
	}
	return found
}
