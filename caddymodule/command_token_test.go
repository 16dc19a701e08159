package caddymodule

import (
	"crypto/sha256"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// keysFolder is a folder with a keys file, and a configuration that names it.
type keysFolder struct{ path, keys, config string }

func newKeysFolder(t *testing.T, options string) keysFolder {
	t.Helper()
	path := t.TempDir()
	f := keysFolder{path, filepath.Join(path, "keys.json"), filepath.Join(path, "Caddyfile")}
	if err := os.WriteFile(f.config, []byte("{\n\twebtask {\n\t\tkeys keys.json\n\t\t"+options+"\n\t}\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.keygen(t)
	return f
}

func (f keysFolder) keygen(t *testing.T) {
	t.Helper()
	if _, _, err := command(t, keygenCommand(), "", "--output", f.keys); err != nil {
		t.Fatal(err)
	}
}

// sign makes a token with claims that `token issue` makes none with.
func (f keysFolder) sign(t *testing.T, claims webtask.Claims, now time.Time) string {
	t.Helper()
	ring, err := readKeyringFile(f.keys)
	if err != nil {
		t.Fatal(err)
	}
	token, err := ring.Issue(claims, webtask.IssueOptions{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestInspectShowsWhatIsNotValidNow wants the claims of tokens that no server
// would accept, and why.
func TestInspectShowsWhatIsNotValidNow(t *testing.T) {
	f := newKeysFolder(t, "")
	now := time.Now()
	claims := webtask.Claims{Container: "acme", URL: "https://example.com/a.js", Secrets: map[string]string{"A": "hidden"}}
	for name, c := range map[string]struct {
		from, until time.Time
		want        string
	}{
		"expired":       {time.Time{}, now.Add(-time.Hour), "Note: the token expired at "},
		"not yet valid": {now.Add(time.Hour), time.Time{}, "Note: the token is not valid before "},
		"valid":         {time.Time{}, now.Add(time.Hour), ""},
	} {
		t.Run(name, func(t *testing.T) {
			claims := claims
			claims.NotBefore, claims.Expires = c.from, c.until
			token := f.sign(t, claims, now.Add(-2*time.Hour))
			out, errs, err := command(t, inspectCommand(), "", "--config", f.config, "--decrypt", token)
			if err != nil || !strings.Contains(out, `"A": "hidden"`) || !strings.Contains(out, `"ten": "acme"`) {
				t.Errorf("inspecting gave %v and %s", err, out)
			}
			if !strings.HasPrefix(errs, c.want) || (c.want == "") != (errs == "") {
				t.Errorf("the standard error says %q, want %q", errs, c.want)
			}
		})
	}
	t.Run("key is gone", func(t *testing.T) {
		token := f.sign(t, claims, now)
		if err := os.Remove(f.keys); err != nil {
			t.Fatal(err)
		}
		f.keygen(t)
		out, _, err := command(t, inspectCommand(), "", "--config", f.config, "--decrypt", token)
		if err == nil || !strings.Contains(err.Error(), "nothing of these claims is verified") || !strings.Contains(out, `"ten": "acme"`) || strings.Contains(out, "hidden") {
			t.Errorf("inspecting gave %v and %s", err, out)
		}
	})
	t.Run("tampered with", func(t *testing.T) {
		token := f.sign(t, claims, now)
		signed := strings.LastIndexByte(token, '.')
		forged := token[:signed+1] + strings.Repeat("A", len(token)-signed-1)
		out, _, err := command(t, inspectCommand(), "", "--config", f.config, forged)
		if err == nil || out != "" {
			t.Errorf("inspecting gave %v and %s", err, out)
		}
	})
}

// TestIssueWarnings wants the token on the standard output, and what it will
// not do on the standard error, and nothing else on either.
func TestIssueWarnings(t *testing.T) {
	f := newKeysFolder(t, "code_allow https://example.com/tasks/*")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"good":     {[]string{"--container", "a", "--url", "https://example.com/tasks/a.js"}, ""},
		"no code":  {[]string{"--container", "a"}, "Warning: the token names no code"},
		"not here": {[]string{"--container", "a", "--url", "https://example.com/other.js"}, "Warning: servers of this configuration will answer the token with 403"},
		"master":   {[]string{"--master"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, err := command(t, issueCommand(), "", append([]string{"--config", f.config}, c.args...)...)
			if err != nil || strings.Count(out, "\n") != 1 || !webtask.IsToken(out) {
				t.Errorf("issuing gave %v and printed %q", err, out)
			}
			if !strings.HasPrefix(errs, c.want) || (c.want == "") != (errs == "") {
				t.Errorf("the standard error says %q, want %q", errs, c.want)
			}
		})
	}
}

func TestIssueRates(t *testing.T) {
	f := newKeysFolder(t, "")
	token, _, err := command(t, issueCommand(), "", "--config", f.config, "--container", "a", "--url", "https://example.com/a.js",
		"--rate", "2/second", "--rate", "100/month", "--container-rate", "5/day")
	if err != nil {
		t.Fatal(err)
	}
	claims, _, err := webtask.ReadUnverified(strings.TrimSpace(token))
	want := webtask.RateLimits{Container: webtask.RateWindows{Day: 5}, Token: webtask.RateWindows{Second: 2, Month: 100}}
	if err != nil || claims.RateLimit != want {
		t.Errorf("the token's rates are %+v (%v), want %+v", claims, err, want)
	}
}

// TestKeygenKeepsKeys wants a file of keys written over by nothing but what was
// made of it.
func TestKeygenKeepsKeys(t *testing.T) {
	f := newKeysFolder(t, "")
	before, err := os.ReadFile(f.keys)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(f.path, "other.json")
	if _, _, err := command(t, keygenCommand(), "", "--output", other); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--output", f.keys}, {"--rotate", other, "--output", f.keys}} {
		_, _, err := command(t, keygenCommand(), "", args...)
		if err == nil || !strings.Contains(err.Error(), "is there already") || !strings.Contains(err.Error(), "--rotate "+f.keys) {
			t.Errorf("keygen %v gave %v", args, err)
		}
	}
	after, err := os.ReadFile(f.keys)
	if err != nil || string(after) != string(before) {
		t.Errorf("the keys have changed (%v)", err)
	}
	if _, _, err := command(t, keygenCommand(), "", "--rotate", f.keys, "--output", f.keys); err != nil {
		t.Fatal(err)
	}
	if ring, err := readKeyringFile(f.keys); err != nil || len(ring.KeyIDs()) != 2 {
		t.Errorf("after rotating the keys are %v (%v), want two", ring, err)
	}
}

// TestRunIntegrity wants the digest that the documents have a shell make.
func TestRunIntegrity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.js")
	if err := os.WriteFile(path, []byte(helloJS), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, err := command(t, runCommand(), "", "--integrity", path)
	sum := sha256.Sum256([]byte(helloJS))
	if want := "sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "\n"; err != nil || out != want {
		t.Errorf("printed %q (%v), want %q", out, err, want)
	}
}

// TestServedStoresAreApart wants what is served on two addresses at once to
// keep sessions in two files, for one is for one process.
func TestServedStoresAreApart(t *testing.T) {
	seen := map[string]string{}
	for _, listen := range []string{"localhost:8080", "localhost:9000", ":8080", "[::1]:8080", "unix//run/task.sock"} {
		path := servedStore(listen)
		if other, ok := seen[path]; ok || strings.ContainsAny(filepath.Base(path), `:/\[]`) {
			t.Errorf("%s is kept in %s, as %q", listen, path, other)
		}
		seen[path] = listen
	}
}

// TestCommandsFindTheServer runs a command beside a Caddyfile that says where
// the admin API is.
func TestCommandsFindTheServer(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "Caddyfile"), []byte("{\n  admin 127.0.0.1:1\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(folder)
	_, errs, err := command(t, poolsCommand(), "")
	if err == nil || !strings.Contains(err.Error(), "asking the running server at 127.0.0.1:1") || errs != "" {
		t.Errorf("the command gave %v and printed %q", err, errs)
	}
}
