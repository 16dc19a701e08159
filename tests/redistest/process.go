package redistest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// waitLimit ends a wait for a log line. It is no part of what tests assert: a
// server that says nothing for so long is broken.
const waitLimit = time.Minute

func serverPath() (string, error) {
	name := binary
	if named := os.Getenv("REDIS_SERVER"); named != "" {
		name = named
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("redistest: these tests run against a real %s, which is not in PATH: install it "+
			"(Debian, Ubuntu: apt-get install redis-server; Fedora: dnf install redis; macOS: brew install redis) "+
			"or name it in REDIS_SERVER: %w", binary, err)
	}
	return path, nil
}

// freePort returns a port that was free a moment ago, low enough that the
// Cluster bus port, by default 10000 above it, exists.
func freePort(t testing.TB) int {
	t.Helper()
	const highest = 65535 - 10000
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("redistest: looking for a free port: %v", err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		if port <= highest {
			return port
		}
	}
}

// process is a running server whose log can be waited on.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process and its log have ended

	mu      sync.Mutex
	log     []string
	changed chan struct{} // closed and replaced with every line
}

func startProcess(path string, args []string) (*process, error) {
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = dieWithParent()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{}), changed: make(chan struct{})}
	go p.follow(out)
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// follow collects the log until the process ends, then reaps it.
func (p *process) follow(out io.Reader) {
	defer close(p.done)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		p.mu.Lock()
		p.log = append(p.log, lines.Text())
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
	}
	_ = p.cmd.Wait()
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// waitFor returns nil as soon as a line of the log contains text, whether it
// was written before the call or after.
func (p *process) waitFor(text string) error {
	limit := time.NewTimer(waitLimit)
	defer limit.Stop()
	for seen := 0; ; {
		p.mu.Lock()
		log, changed := p.log, p.changed
		p.mu.Unlock()
		for ; seen < len(log); seen++ {
			if strings.Contains(log[seen], text) {
				return nil
			}
		}
		select {
		case <-changed:
		case <-p.done:
			return fmt.Errorf("server ended before it logged %q; its log:\n%s", text, p.logText())
		case <-limit.C:
			return errors.New("server never logged " + text + "; its log:\n" + p.logText())
		}
	}
}

func (p *process) logText() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.log, "\n")
}
