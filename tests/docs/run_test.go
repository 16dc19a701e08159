package docs

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
	"github.com/webtask-edge/caddy-webtask/tests/redistest"
)

func TestPages(t *testing.T) {
	root := harness.Root(t)
	var pages []string
	for _, pattern := range []string{"README.md", "docs/*.md", "examples/*/README.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("no page is named %s (%v)", pattern, err)
		}
		pages = append(pages, found...)
	}
	for _, path := range pages {
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			blocks, err := parse(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if len(blocks) > 0 {
				newPage(t, root, string(text), blocks).run(t, blocks)
			}
		})
	}
}

// page is the folder and environment that the blocks of one page share.
type page struct {
	ctx     context.Context
	root    string
	dir     string
	env     []string
	ports   map[string]string // as written → as free
	printed string            // by the last sh block
}

// portsInText are how a page names a port.
var portsInText = regexp.MustCompile(`(localhost:|127\.0\.0\.1:|PORT=)(\d{4,5})\b`)

func newPage(t *testing.T, root, text string, blocks []block) *page {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	p := &page{ctx: ctx, root: root, dir: t.TempDir(), ports: map[string]string{}}
	p.copy(t, "go.mod", "go.sum", "Caddyfile.example", "examples")
	if err := os.Mkdir(filepath.Join(p.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(harness.Binary(t), filepath.Join(p.dir, "bin", "caddy")); err != nil {
		t.Fatal(err)
	}

	// Files of the page exist before anything runs.
	for _, b := range blocks {
		if (b.lang == "js" || b.lang == "ts") && b.arg != "" {
			p.write(t, b.arg, p.moved(t, b.text))
		}
	}
	if strings.Contains(text, "127.0.0.1:6379") {
		_, p.ports["6379"], _ = strings.Cut(redistest.Start(t).Addr(), ":")
	}
	for _, b := range blocks {
		for _, named := range regexp.MustCompile(`\{env\.(\w+)\}`).FindAllStringSubmatch(b.text, -1) {
			p.env = append(p.env, named[1]+"=value-of-"+named[1])
		}
	}
	p.env = append(append(p.env, os.Environ()...),
		"XDG_DATA_HOME="+filepath.Join(p.dir, "data"), "XDG_CONFIG_HOME="+filepath.Join(p.dir, "config"),
		"PATH="+filepath.Join(p.dir, "bin")+":"+os.Getenv("PATH"),
		"PORT="+p.port(t, "8080"), "API_PORT="+p.port(t, "8081"), "CADDY_ADMIN=localhost:"+p.port(t, "2019"),
		"EDGE1="+p.port(t, "8081"), "EDGE2="+p.port(t, "8082"), "APP=127.0.0.1:"+p.port(t, "9000"),
		"REDIS=127.0.0.1:"+p.port(t, "6379"),
	)
	return p
}

// copy takes files of the repository into the page's folder.
func (p *page) copy(t *testing.T, names ...string) {
	t.Helper()
	args := []string{"-R"}
	for _, name := range names {
		args = append(args, filepath.Join(p.root, name))
	}
	if out, err := exec.Command("cp", append(args, p.dir)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func (p *page) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// port returns the free port that stands for one of the page.
func (p *page) port(t *testing.T, written string) string {
	if p.ports[written] == "" {
		p.ports[written] = strconv.Itoa(harness.Port(t))
	}
	return p.ports[written]
}

// moved returns text with its ports moved to free ones.
func (p *page) moved(t *testing.T, text string) string {
	return portsInText.ReplaceAllStringFunc(text, func(found string) string {
		parts := portsInText.FindStringSubmatch(found)
		return parts[1] + p.port(t, parts[2])
	})
}

func (p *page) run(t *testing.T, blocks []block) {
	for _, b := range blocks {
		text := p.moved(t, b.text)
		fail := func(err error, output string) {
			t.Helper()
			if err != nil {
				t.Fatalf("line %d: %v\n%s\n%s", b.line, err, text, output)
			}
		}
		switch b.lang {
		case "caddyfile":
			whole, err := b.whole()
			fail(err, "")
			path := p.write(t, "Caddyfile", p.moved(t, whole))
			if b.arg == "" || b.arg == "serve" {
				out, err := p.command("bin/caddy", "fmt", "--diff", path).CombinedOutput()
				fail(err, string(out))
			}
			out, err := p.command("bin/caddy", "validate", "--config", path, "--adapter", "caddyfile").CombinedOutput()
			fail(err, string(out))
			if b.arg == "serve" {
				p.serve(t, "bin/caddy run")
			}
		case "js", "ts":
			if b.arg == "" {
				out, err := p.command("bin/caddy", "webtask", "run", p.write(t, "snippet."+b.lang, text)).CombinedOutput()
				fail(err, string(out))
			}
		case "sh":
			switch b.arg {
			case "":
				cmd := p.command("bash", "-euo", "pipefail", "-c", text)
				var errOut strings.Builder
				cmd.Stderr = &errOut
				out, err := cmd.Output()
				p.printed = string(out)
				fail(err, p.printed+errOut.String())
			case "server":
				p.serve(t, text)
			case "make":
				p.makes(t, b)
			default:
				t.Fatalf("line %d: an sh block is none of `server` and `make`, but %q", b.line, b.arg)
			}
		case "output":
			fail(matches(text, p.printed), "")
		case "json":
			if !json.Valid([]byte(text)) {
				t.Fatalf("line %d: not JSON:\n%s", b.line, text)
			}
		case "text":
		default:
			t.Fatalf("line %d: no test knows what to do with a block of %q", b.line, b.lang)
		}
	}
}

func (p *page) command(name string, args ...string) *exec.Cmd {
	if strings.Contains(name, "/") {
		name = filepath.Join(p.dir, name)
	}
	// A command that hangs ends with the page, and is named.
	cmd := exec.CommandContext(p.ctx, name, args...)
	cmd.WaitDelay = time.Second
	cmd.Dir, cmd.Env = p.dir, p.env
	return cmd
}

// serve starts a command that runs until the page ends, and waits until it
// serves.
func (p *page) serve(t *testing.T, command string) {
	t.Helper()
	log := &harness.Log{}
	cmd := p.command("bash", "-euo", "pipefail", "-c", command)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own, so that what the shell started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // killed by the cleanup; a start that failed shows in the log
		close(ended)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	})
	ready := "serving initial configuration"
	if !strings.Contains(command, "caddy run") {
		ready = "listening on"
	}
	log.Wait(t, 0, ready, ended)
}

// makes checks that a block names targets of the Makefile.
func (p *page) makes(t *testing.T, b block) {
	t.Helper()
	makefile, err := os.ReadFile(filepath.Join(p.root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.text) {
		command, _, _ := strings.Cut(line, "#")
		fields := strings.Fields(command)
		if len(fields) == 0 || fields[len(fields)-2] != "make" {
			t.Fatalf("line %d: %q is no call of make", b.line, line)
		}
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(fields[len(fields)-1]) + `:`).Match(makefile) {
			t.Errorf("line %d: the Makefile has no target %q", b.line, fields[len(fields)-1])
		}
	}
}
