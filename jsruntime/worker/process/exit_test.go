//go:build unix

package process_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/webtask-edge/caddy-webtask/jsruntime/worker/process"
)

func init() {
	process.Register("failing", func(int) error { return errors.New("told you\nso" + strings.Repeat("!", 1000)) })
	process.Register("writing", func(int) error {
		for { // more than any pipe holds
			_, _ = os.Stderr.WriteString(strings.Repeat("fatal error: nonsense\n", 1000))
		}
	})
}

func TestReasons(t *testing.T) {
	start := func(kind string) *process.Process {
		p, err := process.Start(process.Options{Kind: kind, Memory: 64 << 20})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		return p
	}
	p := start("failing")
	<-p.Done()
	var end *process.ExitError
	if !errors.As(p.Err(), &end) || end.Reason != process.Failed || !strings.HasPrefix(end.Detail, "told you\nso!") || len(end.Detail) > 300 {
		t.Errorf("failing: %v", p.Err())
	}
	p = start("writing")
	<-p.Done()
	if reason, _ := process.ReasonOf(p.Err()); reason != process.Crashed {
		t.Errorf("writing: %v", p.Err())
	}
	p = start("echo")
	if p.Err() != nil {
		t.Errorf("while it runs: %v", p.Err())
	}
	raw, err := p.Socket().SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = unix.Shutdown(int(fd), unix.SHUT_WR) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if <-p.Done(); p.Err() != nil {
		t.Errorf("a socket that is closed ends it well: %v", p.Err())
	}
	p = start("echo")
	p.Kill()
	<-p.Done()
	if reason, _ := process.ReasonOf(p.Err()); reason != process.Killed {
		t.Errorf("killed: %v", p.Err())
	}
	if _, err := p.Report(); err != nil && !errors.Is(err, p.Err()) {
		t.Errorf("the report of a killed process: %v", err)
	}
	p = start("echo")
	if err := unix.Kill(p.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if reason, _ := process.ReasonOf(p.Err()); reason != process.KilledOutside {
		t.Errorf("killed from outside: %v", p.Err())
	}
}

func TestUnknownKind(t *testing.T) {
	if _, err := process.Start(process.Options{Kind: "unheard of"}); err == nil {
		t.Error("starts")
	}
}
