package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// root is the folder of xcaddy.json and go.mod.
const root = "../.."

func TestLoadIsStrict(t *testing.T) {
	for name, text := range map[string]string{
		`unknown field "output"`:       `{"caddy_version": "v2.11.9", "output": "bin/caddy"}`,
		`unknown field "$schema"`:      `{"$schema": "x"}`,
		"text follows":                 `{"caddy_version": "v2.11.9"} {}`,
		"unexpected EOF":               `{"caddy_version": `,
		"cannot unmarshal string into": `{"timeout_build": "5m"}`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "xcaddy.json")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := load(path); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("load = %v, want an error with %q", err, name)
			}
		})
	}
}

func TestRelativeReplacementsAreOfTheFilesFolder(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "xcaddy.json")
	text := `{"replacements": [{"old": "a@v0.0.0", "new": "."}, {"old": "b", "new": "../b"}, {"old": "c", "new": "example.com/c v1.0.0"}, {"old": "d", "new": "/d"}]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	builder, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{folder, filepath.Join(filepath.Dir(folder), "b"), "example.com/c v1.0.0", "/d"}
	for i, replacement := range builder.Replacements {
		if got := replacement.New.String(); got != want[i] {
			t.Errorf("replacement %d is %q, want %q", i, got, want[i])
		}
	}
}

// TestVersionIsThatOfGoMod keeps the two builds on one Caddy.
func TestVersionIsThatOfGoMod(t *testing.T) {
	builder, err := load(filepath.Join(root, "xcaddy.json"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "github.com/caddyserver/caddy/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.TrimSpace(string(out)); builder.CaddyVersion != want {
		t.Errorf("xcaddy.json builds Caddy %s, go.mod requires %s", builder.CaddyVersion, want)
	}
}

// TestBuild builds from xcaddy.json, and by go build, and wants the same
// modules in both. Only the flags differ from a release, so that the compiler's
// cache serves both and the test takes seconds when the rest is built.
func TestBuild(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	builder, err := load(filepath.Join(root, "xcaddy.json"))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	byXcaddy, byGo := filepath.Join(folder, "xcaddy"), filepath.Join(folder, "go")

	const tags = "nobadger,nomysql,nopgx"
	builder.BuildFlags = "-tags " + tags
	if err := builder.Build(ctx, byXcaddy); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-tags", tags, "-o", byGo, "./cmd/caddy")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, binary := range []string{byXcaddy, byGo} {
		if err := checkModules(ctx, binary); err != nil {
			t.Error(err)
		}
	}
	if a, b := modulesOf(t, byXcaddy), modulesOf(t, byGo); a != b {
		t.Errorf("xcaddy's binary lists\n%s\ngo build's lists\n%s", a, b)
	}
}

func modulesOf(t *testing.T, binary string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary, "list-modules").Output()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for line := range strings.Lines(string(out)) {
		// Lines with spaces count the modules above them.
		if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, " ") {
			ids = append(ids, line)
		}
	}
	return strings.Join(ids, "\n")
}

// TestCheckModulesSeesWhatIsAbsent gives it a Caddy without the plugin.
func TestCheckModulesSeesWhatIsAbsent(t *testing.T) {
	fake := filepath.Join(t.TempDir(), "caddy")
	script := "#!/bin/sh\necho '[{\"module_name\": \"http\"}]'\n"
	if err := os.WriteFile(fake, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	err := checkModules(t.Context(), fake)
	if err == nil || !strings.Contains(err.Error(), "http.handlers.webtask") {
		t.Errorf("checkModules = %v, want an error that names http.handlers.webtask", err)
	}
}
