//go:build unix

package bundler

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime/source"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// TestLastGoodVersionStays replaces a file by one that kills whoever bundles
// it.
func TestLastGoodVersionStays(t *testing.T) {
	name := filepath.Join(t.TempDir(), "main.js")
	put := func(code string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var now atomic.Int64
	now.Store(time.Now().UnixNano())
	loader, err := source.NewLoader(source.Options{
		Bundler: poolOf(t, kind, Options{Memory: 128 << 20, Timeout: 2 * time.Second}),
		Clock:   func() time.Time { return time.Unix(0, now.Load()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer loader.Close()
	load := func() (*source.Bundle, error) {
		now.Add(int64(time.Second)) // files are not looked at more often
		return loader.Load(context.Background(), "acme", webtask.CodeRef{Kind: webtask.CodeFile, Value: name}, "", webtask.Limits{})
	}

	put("x = 3n**(2n**40n)")
	_, err = load()
	if ce := compileError(t, err); ce.File != name || !strings.Contains(ce.Message, "out of") {
		t.Errorf("a first version: %v", err)
	}
	put("module.exports = () => 'good'")
	good, err := load()
	if err != nil {
		t.Fatal(err)
	}
	put("y = 3n**(2n**40n)")
	if b, err := load(); err != nil || b != good {
		t.Errorf("after the killer: %v, %v", b, err)
	}
	put("module.exports = () => 'better'")
	if b, err := load(); err != nil || !strings.Contains(b.Code, "better") {
		t.Errorf("after its remedy: %v, %v", b, err)
	}
}

// TestLoaderOutlivesItsPool has the pool closed first, as a reload may do.
func TestLoaderOutlivesItsPool(t *testing.T) {
	p := poolOf(t, kind, Options{})
	loader, err := source.NewLoader(source.Options{Bundler: p})
	if err != nil {
		t.Fatal(err)
	}
	defer loader.Close()
	p.Close()
	var busy *source.BusyError
	if _, err := loader.Load(context.Background(), "acme", webtask.CodeRef{Kind: webtask.CodeInline, Value: "() => 1"}, "", webtask.Limits{}); !errors.As(err, &busy) {
		t.Errorf("%v", err)
	}
}
