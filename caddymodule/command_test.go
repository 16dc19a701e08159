package caddymodule

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// command runs a command as the shell would.
func command(t *testing.T, cmd *cobra.Command, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs strings.Builder
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err = cmd.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

// issue makes a token of the keys in Caddy's storage.
func (s *server) issue(t *testing.T, args ...string) string {
	t.Helper()
	s.write("empty.json", "{}")
	out, _, err := command(t, issueCommand(), "", append([]string{"--config", filepath.Join(s.folder, "empty.json")}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func TestTokenCommands(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keys := filepath.Join(folder, "keys.json")
	if _, _, err := command(t, keygenCommand(), "", "--output", keys); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(keys); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the key file is %v, %v", info, err)
	}
	config := write("Caddyfile", "{\n\twebtask {\n\t\tkeys keys.json\n\t}\n}\n")
	secret := write("secret.txt", "from a file\n")

	token, _, err := command(t, issueCommand(), "", "--config", config, "--adapter", "caddyfile",
		"--container", "acme", "--url", "https://example.com/a.js", "--name", "greet", "--secret", "A=@"+secret, "--secret", "B=b=c",
		"--param", "p=1", "--meta", "m=2", "--net", "api.example.com,*.internal:8080", "--lim", "timeout=5s", "--lim", "isolates=2",
		"--expires", "2h", "--dd", "0", "--dr", "0", "--pb", "1", "--mb", "--host", "run.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(token, "\n") != 1 || strings.Count(token, ".") != 2 {
		t.Fatalf("issue printed %q, want the token alone", token)
	}
	inspect := func(decrypt ...string) map[string]any {
		t.Helper()
		out, _, err := command(t, inspectCommand(), token, append([]string{"--config", config, "--adapter", "caddyfile", "-"}, decrypt...)...)
		if err != nil {
			t.Fatal(err)
		}
		var claims map[string]any
		if err := json.Unmarshal([]byte(out), &claims); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		return claims
	}
	claims := inspect()
	if _, sealed := claims["ectx"].(string); !sealed || claims["ten"] != "acme" || claims["jtn"] != "greet" || claims["pb"] != 1.0 {
		t.Errorf("the claims are %v", claims)
	}
	if lifetime := claims["exp"].(float64) - claims["iat"].(float64); lifetime != 7200 {
		t.Errorf("the token lives for %v s", lifetime)
	}
	opened := inspect("--decrypt")
	for _, member := range []string{"ectx", "secrets"} { // as the API answers
		if secrets, _ := opened[member].(map[string]any); secrets["A"] != "from a file" || secrets["B"] != "b=c" {
			t.Errorf("the secrets in %s are %v", member, opened[member])
		}
	}

	rotated, _, err := command(t, keygenCommand(), "", "--rotate", keys)
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []struct{ Kid string } }
	if err := json.Unmarshal([]byte(rotated), &set); err != nil || len(set.Keys) != 2 {
		t.Fatalf("rotating printed %s", rotated)
	}
	write("keys.json", rotated)
	inspect() // a token of the second key is still good
}

func TestCommandErrors(t *testing.T) {
	folder := t.TempDir()
	config := filepath.Join(folder, "c.json")
	if err := os.WriteFile(config, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	notJSON := filepath.Join(folder, "site.conf")
	if err := os.WriteFile(notJSON, []byte("example.com"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	issue := func(args ...string) []string { return append([]string{"--config", config}, args...) }
	for name, c := range map[string]struct {
		cmd  *cobra.Command
		args []string
		want string
	}{
		"no container":      {issueCommand(), issue("--url", "https://example.com/a.js"), "ten"},
		"secret form":       {issueCommand(), issue("--container", "a", "--secret", "hunter2"), "--secret: write it as NAME=VALUE"},
		"secret file":       {issueCommand(), issue("--container", "a", "--secret", "A=@/absent/file"), "--secret A: open /absent/file"},
		"secret twice":      {issueCommand(), issue("--container", "a", "--secret", "A=1", "--secret", "A=2"), "--secret A: is given twice"},
		"limit name":        {issueCommand(), issue("--container", "a", "--lim", "cpu=1"), "--lim: cpu"},
		"limit value":       {issueCommand(), issue("--container", "a", "--lim", "timeout=1"), "is not a positive duration"},
		"expires":           {issueCommand(), issue("--container", "a", "--expires", "soon"), `--expires: "soon" is no duration`},
		"dr":                {issueCommand(), issue("--container", "a", "--dr", "2"), "--dr: write 0 or 1"},
		"integrity no url":  {issueCommand(), issue("--container", "a", "--integrity", "auto"), "--integrity auto: needs --url"},
		"unknown config":    {issueCommand(), []string{"--config", "/absent.json"}, "reading the configuration"},
		"argument":          {issueCommand(), issue("x"), "this command takes no arguments"},
		"unknown command":   {tokenCommand(), []string{"isue"}, `unknown command "isue"`},
		"inspect nothing":   {inspectCommand(), []string{"--config", config}, "this command takes a token"},
		"inspect garbage":   {inspectCommand(), []string{"--config", config, "abc"}, "token is malformed"},
		"keygen rotate":     {keygenCommand(), []string{"--rotate", "/absent.json"}, "keys: the file cannot be read"},
		"run absent":        {runCommand(), []string{"/absent.js"}, "code: the file cannot be read"},
		"run path":          {runCommand(), []string{config, "--path", "x"}, `--path: "x" is no path`},
		"run header":        {runCommand(), []string{config, "--header", "x"}, "--header: write it as 'NAME: VALUE'"},
		"rate form":         {issueCommand(), issue("--container", "a", "--rate", "100"), `--rate: "100" is no rate; write`},
		"rate twice":        {issueCommand(), issue("--container", "a", "--container-rate", "1/day", "--container-rate", "2/day"), "--container-rate: the requests per day are given twice"},
		"container flag":    {issueCommand(), issue("--url", "https://example.com/a.js"), "--container: "},
		"adapter alone":     {issueCommand(), []string{"--adapter", "caddyfile"}, "--adapter needs the file it is for"},
		"adapter unknown":   {issueCommand(), issue("--adapter", "yml"), `--adapter: "yml" is unknown`},
		"no JSON":           {issueCommand(), []string{"--config", notJSON}, "name that with --adapter"},
		"revoke garbage":    {revokeCommand(), []string{"garbage"}, "neither a token nor a token's id"},
		"keygen absent":     {keygenCommand(), []string{"--output", "/absent/keys.json"}, "--output: /absent/keys.json cannot be written: no such file"},
		"serve port":        {serveCommand(), []string{"--listen", "9000", config}, "write HOST:PORT or :PORT"},
		"serve twice":       {serveCommand(), []string{"--listen", taken.Addr().String(), config}, "address in use; stop what listens there, or name another with --listen"},
		"no server, remedy": {poolsCommand(), []string{"--address", "127.0.0.1:1"}, "start it with `caddy run`, or name its admin address with --address"},
		"no server running": {revokeCommand(), []string{"--address", "127.0.0.1:1", strings.Repeat("a1", 16)}, "asking the running server at 127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := command(t, c.cmd, "", c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error is %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestRun(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	echo := write("echo.ts", `export default { async fetch(request: Request, env, ctx) {
		await ctx.session.set('k', 1);
		return new Response([request.method, new URL(request.url).search, request.headers.get('x-a'), await request.text(), env.S, env.P].join(' '), {status: 201});
	} }`)
	out, _, err := command(t, runCommand(), "the body", echo, "--path", "/x?q=1", "-H", "X-A: b", "-d", "@-", "--secret", "S={braces}", "--param", "P=p", "-i")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out, "HTTP 201 Created\n") || !strings.HasSuffix(out, "POST ?q=1 b the body {braces} p") {
		t.Errorf("run printed %q", out)
	}
	out, _, err = command(t, runCommand(), "", write("throws.js", `module.exports = cb => { throw new Error('no') }`))
	if err == nil || !strings.Contains(err.Error(), "status 500") || !strings.Contains(out, `"code"`) {
		t.Errorf("a task that throws gave %v and printed %q", err, out)
	}
}
