//go:build linux

package process_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/webtask-edge/caddy-webtask/caddymodule/drivers/process"
)

// validate adapts a Caddyfile and goes as far as `caddy validate` does.
func validate(t *testing.T, directive string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	text, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("http://localhost:2080 {\n"+directive+"\n}\n"), map[string]any{"filename": file})
	if err != nil {
		return err
	}
	config := new(caddy.Config)
	if err := json.Unmarshal(text, config); err != nil {
		t.Fatal(err)
	}
	return caddy.Validate(config)
}

// block is a directive with those lines, and a driver.
func block(lines ...string) string {
	return "session_backend docs /doc/* {\n key {path.1}\n driver process /bin/sh -c true\n" + strings.Join(lines, "\n") + "\n}"
}

func driver(text string) string {
	return "session_backend /doc/* {\n key {path.1}\n driver " + text + "\n}"
}

// TestRefused has configurations that are wrong: each error says where and what
// to do.
func TestRefused(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	for name, c := range map[string]struct {
		directive string
		want      []string
	}{
		"no key":             {"session_backend {\n driver process /bin/sh\n}", []string{"Caddyfile:", "key: is missing", "{http.request.uri.path.1}"}},
		"no driver":          {"session_backend {\n key a\n}", []string{"Caddyfile:", "driver: is missing", "driver process ./server"}},
		"two names":          {"session_backend a b {\n key a\n}", []string{`"b" is neither`}},
		"unknown option":     {block("idel 1m"), []string{"Caddyfile:", `unknown option "idel"`, "idle"}},
		"twice":              {block("idle 1m", "idle 2m"), []string{"already specified"}},
		"no duration":        {block("idle soon"), []string{`"soon" is no duration`, "30s"}},
		"negative duration":  {block("lifetime -1m"), []string{"not above zero"}},
		"unknown auth":       {block("auth basic"), []string{`auth: "basic" is unknown`, "none or token"}},
		"forward_auth":       {block("auth forward_auth"), []string{"write it before session_backend", "leave auth out"}},
		"variable PATH":      {block("allow_env DOC PATH"), []string{"allow_env: PATH", "leave it out"}},
		"variable LD_":       {block("allow_env LD_AUDIT"), []string{"allow_env: LD_AUDIT"}},
		"variable SESSION_":  {block("allow_env SESSION_BACKEND_KEY"), []string{"allow_env: SESSION_BACKEND_KEY"}},
		"no variable":        {block("allow_env A=B"), []string{`"A=B" is no name`}},
		"no number":          {block("max_backends many"), []string{`"many" is no number`}},
		"unknown readiness":  {block("ready soon"), []string{`ready: "soon" is unknown`, "notify"}},
		"readiness path":     {block("ready http health"), []string{"begins with /"}},
		"readiness too much": {block("ready tcp /health"), []string{"takes no path"}},
		"on_full":            {block("on_full explode"), []string{`on_full: "explode" is unknown`}},
		"origin":             {block("origins example.com"), []string{`origins: "example.com" is no origin`, "https://"}},
		"to":                 {block("to localhost:9000"), []string{"Caddyfile:", "to has no place", "driver"}},
		"dynamic":            {block("dynamic a"), []string{"dynamic has no place"}},
		"lb_policy":          {block("lb_policy random"), []string{"lb_policy has no place"}},
		"health_uri":         {block("health_uri /"), []string{"health_uri has no place", "ready"}},
		"fail_duration":      {block("fail_duration 1s"), []string{"fail_duration has no place"}},
		"stream_close_delay": {block("stream_close_delay 1s"), []string{"a reload closes no stream"}},
		"same name":          {block() + "\n" + strings.Replace(block(), "/doc/*", "/other/*", 1), []string{"the directive session_backend docs at ", `another service called "docs"`}},
		"under templates":    {"route {\n templates\n " + block() + "\n}", []string{"stands under templates", "trust_responses"}},
		"unknown driver":     {driver("rocket"), []string{"rocket"}},
		"no command":         {driver("process"), []string{"takes a command"}},
		"absent command":     {driver("process ./absent"), []string{"the directive session_backend default at ", "cannot be run"}},
		"not in PATH":        {driver("process absent-command"), []string{"not in PATH"}},
		"unknown in driver":  {driver("process /bin/sh {\n speed 3\n}"), []string{`unknown option "speed"`, "memory"}},
		"listen":             {driver("process /bin/sh {\n listen nowhere\n}"), []string{"it is socket or port"}},
		"size":               {driver("process /bin/sh {\n memory much\n}"), []string{`"much" is no size`}},
		"user":               {driver("process /bin/sh {\n user nobody-at-all\n}"), []string{"user"}},
		"env":                {driver("process /bin/sh {\n env A {env.WEBTASK_TEST_UNSET}\n}"), []string{"env A", "WEBTASK_TEST_UNSET"}},
		"own variable":       {driver("process /bin/sh {\n env SOCKET /tmp/x\n}"), []string{"env SOCKET", "leave it out"}},
		"env twice":          {driver("process /bin/sh {\n env A 1\n env A 2\n}"), []string{"env A is already"}},
		"handle_response":    {block("handle_response {\n nonsense\n}"), []string{"nonsense"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := validate(t, c.directive)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("validating gave %v, want an error with %q", err, want)
				}
			}
		})
	}
}

func TestAccepted(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("WEBTASK_TEST_SECRET", "hunter2")
	for name, directive := range map[string]string{
		"least":           "session_backend {\n key a\n driver process sh\n}",
		"everything":      block("idle never", "lifetime 1h", "start_timeout 1s", "stop_grace 1s", "ready http /health?deep", "max_backends 3", "on_full evict", "client_starts unlimited", "origins https://a.example http://b.example:8080", "trust_responses"),
		"of the proxy":    block("header_up X-A b", "header_down -Server", "flush_interval -1", "transport http {\n read_timeout 10s\n}", "@bad status 5xx", "handle_response @bad {\n respond sorry 500\n}"),
		"of the driver":   driver("process /bin/sh -c 'exec server {backend.socket} {backend.port}' {\n env A {env.WEBTASK_TEST_SECRET}\n dir /tmp\n memory 64MiB\n files 100\n processes 50\n cpu_time 1h\n}"),
		"at a port":       driver("process /bin/sh {\n listen port\n}"),
		"two names":       block() + "\n" + strings.Replace(block(), "docs /doc/*", "others /other/*", 1),
		"trust_responses": "route {\n templates\n " + block("trust_responses") + "\n}",
	} {
		t.Run(name, func(t *testing.T) {
			if err := validate(t, directive); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestReference compares the table of docs/caddyfile.md with the options of the
// driver, which its errors name.
func TestReference(t *testing.T) {
	text, err := os.ReadFile("../../../docs/caddyfile.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n### `driver process`")
	_, table, _ := strings.Cut(section, "|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var documented []string
	for row := range strings.Lines(table) {
		name, _, _ := strings.Cut(strings.TrimPrefix(row, "| `"), " ")
		documented = append(documented, name)
	}
	err = validate(t, driver("process /bin/sh {\n speed 3\n}"))
	if err == nil || !strings.HasSuffix(strings.SplitN(err.Error(), ", at ", 2)[0], "it has: "+strings.Join(documented, ", ")) {
		t.Errorf("documented are %v, but: %v", documented, err)
	}
}
