package docker_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/webtask-edge/caddy-webtask/caddymodule/drivers/docker"
)

// adapt adapts a site with that driver.
func adapt(t *testing.T, driver string) ([]byte, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	text, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(
		[]byte("http://localhost:2080 {\nsession_backend /doc/* {\n key {path.1}\n driver docker "+driver+"\n}\n}\n"), map[string]any{"filename": file})
	return text, err
}

// validate goes as far as `caddy validate` does.
func validate(t *testing.T, driver string) error {
	t.Helper()
	text, err := adapt(t, driver)
	if err != nil {
		return err
	}
	config := new(caddy.Config)
	if err := json.Unmarshal(text, config); err != nil {
		t.Fatal(err)
	}
	return caddy.Validate(config)
}

func option(line string) string { return "editor:3 {\n " + line + "\n}" }

// TestRefused has configurations that are wrong: each error says where and what
// to do.
func TestRefused(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	for name, c := range map[string]struct {
		driver string
		want   []string
	}{
		"notify":        {"editor:3\n ready notify", []string{"ready: ", "write tcp or http"}},
		"no image":      {"", []string{"takes an image"}},
		"bad image":     {"--privileged", []string{"the directive session_backend default at ", "is no image"}},
		"unknown":       {option("privileged true"), []string{"Caddyfile:", `unknown option "privileged"`, "runtime"}},
		"twice":         {option("port 1\n port 2"), []string{"already specified"}},
		"two values":    {option("port 1 2"), []string{"takes one value"}},
		"host":          {option("host docker.sock"), []string{"host: ", "unix:///absolute/path"}},
		"pull":          {option("pull sometimes"), []string{`pull: "sometimes" is unknown`, "if_not_present"}},
		"port":          {option("port 65536"), []string{`"65536" is no TCP port`}},
		"port of host":  {option("network host\n port 80"), []string{"leave port out"}},
		"network":       {option("network none"), []string{"network: "}},
		"memory":        {option("memory much"), []string{`"much" is no size`}},
		"little memory": {option("memory 1MiB"), []string{"memory: "}},
		"cpus":          {option("cpus half"), []string{`"half" is no number of processors`}},
		"no cpus":       {option("cpus NaN"), []string{`"NaN" is no number of processors`}},
		"processes":     {option("processes 0"), []string{`"0" is no number above zero`}},
		"user":          {option("user -"), []string{"user: "}},
		"mount":         {option("mount /data"), []string{"mount: ", "is no mount"}},
		"mount to":      {option("mount /data:data"), []string{"mount: ", "is not an absolute path"}},
		"own variable":  {option("env PORT 80"), []string{"env PORT", "leave it out"}},
		"env":           {option("env A {env.WEBTASK_TEST_UNSET}"), []string{"env A", "WEBTASK_TEST_UNSET"}},
		"env twice":     {option("env A 1\n env A 2"), []string{"env A is already"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := validate(t, c.driver)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("validating gave %v, want an error with %q", err, want)
				}
			}
		})
	}
}

// What is right is accepted without an engine, and a secret is not in the
// configuration.
func TestAccepted(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("WEBTASK_TEST_SECRET", "hunter2")
	for name, driver := range map[string]string{
		"least":      "editor",
		"everything": "registry.example.com/team/editor:3 --listen all {\n host tcp://engine.example.com:2375\n env A {env.WEBTASK_TEST_SECRET}\n env B 2\n pull always\n port 80\n network backends\n memory 64MiB\n cpus 0.5\n processes 50\n user 1000:1000\n runtime runsc\n mount /srv/data:/data\n mount ./static:/static:ro\n}",
		"host":       option("network host"),
	} {
		t.Run(name, func(t *testing.T) {
			if err := validate(t, driver); err != nil {
				t.Error(err)
			}
			if text, err := adapt(t, driver); err != nil || strings.Contains(string(text), "hunter2") {
				t.Errorf("the configuration is %s, %v", text, err)
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
	_, section, _ := strings.Cut(string(text), "\n### `driver docker`")
	_, table, _ := strings.Cut(section, "|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var documented []string
	for row := range strings.Lines(table) {
		name, _, _ := strings.Cut(strings.TrimPrefix(row, "| `"), " ")
		documented = append(documented, name)
	}
	err = validate(t, option("speed 3"))
	if err == nil || !strings.HasSuffix(strings.SplitN(err.Error(), ", at ", 2)[0], "it has: "+strings.Join(documented, ", ")) {
		t.Errorf("documented are %v, but: %v", documented, err)
	}
}
