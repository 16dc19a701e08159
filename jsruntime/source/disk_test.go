package source

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestRestartNeedsNoOrigin(t *testing.T) {
	s := newSite(t, map[string]string{"/a.js": "module.exports = require('./b')", "/b.js": "module.exports = () => 1"})
	options := from(s)
	options.CacheDir = filepath.Join(t.TempDir(), "made", "when", "needed")
	ref := s.ref("/a.js")
	before := newRig(t, options)
	first := before.load(t, ref)
	asked := s.count()

	fresh := newRig(t, options)
	if b := fresh.load(t, ref); b.Digest != first.Digest || b.Integrity != first.Integrity || b.Stale {
		t.Error("other code after a restart")
	}
	// What was not found is not cached; what was found is not asked for again.
	if n := s.count() - asked; n != 1 {
		t.Errorf("%d requests although the cache is fresh", n)
	}

	// Renewed by the first process, so still fresh for a later one.
	before.clock.advance(5 * time.Minute)
	before.load(t, ref)
	asked = s.count()
	later := newRig(t, options)
	later.clock.advance(6 * time.Minute)
	later.load(t, ref)
	if n := s.count() - asked; n != 1 {
		t.Errorf("%d requests although another process confirmed the cache", n)
	}

	s.Close()
	dead := newRig(t, options)
	dead.clock.advance(24 * time.Hour)
	if b := dead.load(t, ref); !b.Stale || result(t, b) != int64(1) {
		t.Error("not served while the origin is dead")
	}
	expired := newRig(t, options)
	expired.clock.advance(24*time.Hour + 11*time.Minute)
	expired.fail(t, ref)

	err := filepath.WalkDir(options.CacheDir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestDamagedCacheIsDropped(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"changed":   func(b []byte) []byte { return bytes.Replace(b, []byte("=> 1"), []byte("=> 2"), 1) },
		"truncated": func(b []byte) []byte { return b[:len(b)-3] },
		"no head":   func(b []byte) []byte { return b[bytes.IndexByte(b, '\n')+1:] },
		"empty":     func([]byte) []byte { return nil },
		"of another URL": func(b []byte) []byte {
			return bytes.Replace(b, []byte("/a.js"), []byte("/b.js"), 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, map[string]string{"/a.js": "module.exports = () => 1"})
			options := from(s)
			options.CacheDir = t.TempDir()
			newRig(t, options).load(t, s.ref("/a.js"))
			path := (&diskCache{dir: options.CacheDir}).path(s.URL + "/a.js")
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(raw), 0o600); err != nil {
				t.Fatal(err)
			}
			r := newRig(t, options)
			if got := result(t, r.load(t, s.ref("/a.js"))); got != int64(1) {
				t.Errorf("ran %v", got)
			}
			if s.count() != 2 {
				t.Errorf("%d requests", s.count())
			}
			if got := r.logged(zapcore.WarnLevel); len(got) != 1 {
				t.Errorf("warnings: %q", got)
			}
			repaired, err := os.ReadFile(path)
			if err != nil || !bytes.HasSuffix(repaired, []byte("\nmodule.exports = () => 1")) {
				t.Errorf("not repaired: %v", err)
			}
		})
	}
}

func TestDiskIsBounded(t *testing.T) {
	d, err := openDiskCache(t.TempDir(), 100<<10, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for i := range 40 {
		d.keep(&record{URL: fmt.Sprintf("https://x/%d.js", i), Body: make([]byte, 10<<10), Validated: start.Add(time.Duration(i) * time.Second)})
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > 100<<10 || len(entries) < 5 {
		t.Errorf("%d files of %d bytes", len(entries), total)
	}
	if _, err := os.Stat(d.path("https://x/39.js")); err != nil {
		t.Error("the newest went first")
	}
}

func TestUnwritableCacheIsNoObstacle(t *testing.T) {
	s := newSite(t, map[string]string{"/a.js": "module.exports = () => 1"})
	options := from(s)
	options.CacheDir = filepath.Join(t.TempDir(), "cache")
	r := newRig(t, options)
	if err := os.RemoveAll(options.CacheDir); err != nil {
		t.Fatal(err)
	}
	r.load(t, s.ref("/a.js"))
	if got := r.logged(zapcore.WarnLevel); len(got) != 1 || !strings.Contains(got[0], "cannot be written") {
		t.Errorf("warnings: %q", got)
	}
	options.CacheDir = "/dev/null/cache"
	if _, err := NewLoader(options); err == nil {
		t.Error("a cache folder that cannot be made was accepted")
	}
}

func TestObserve(t *testing.T) {
	s := newSite(t, map[string]string{"/a.js": "module.exports = () => 1"})
	options := from(s)
	var seen []string
	options.Observe = func(what, outcome string, _ time.Duration) { seen = append(seen, what+" "+outcome) }
	options.Check = func(context.Context, *Bundle) error { return nil }
	r := newRig(t, options)
	r.load(t, s.ref("/a.js"))
	r.clock.advance(5 * time.Minute)
	r.load(t, s.ref("/a.js"))
	s.handle("/a.js", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	r.clock.advance(5 * time.Minute)
	r.load(t, s.ref("/a.js"))
	if got := strings.Join(seen, ", "); got != "fetch ok, bundle ok, fetch not_modified, fetch error" {
		t.Error(got)
	}
}
