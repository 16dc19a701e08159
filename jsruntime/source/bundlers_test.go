package source

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// occupy takes the only place of a loader's bundlers.
func occupy(t *testing.T, r *rig) (leave func()) {
	t.Helper()
	if err := r.bundlers.acquire(context.Background(), "another", "another.js"); err != nil {
		t.Fatal(err)
	}
	return func() { r.bundlers.release("another") }
}

// TestBusyBundlers has code wait for a bundler that does not come free. It may
// be had as soon as one does.
func TestBusyBundlers(t *testing.T) {
	s := newSite(t, map[string]string{"/a.js": "module.exports = () => 1"})
	dir := t.TempDir()
	write(t, dir, map[string]string{"a.js": "module.exports = () => 1"})
	options := from(s)
	options.Bundlers, options.BundleWait = 1, time.Millisecond
	r := newRig(t, options)
	leave := occupy(t, r)
	refs := map[string]webtask.CodeRef{"inline": inlineRef("() => 1"), "a file": fileRef(filepath.Join(dir, "a.js")), "a URL": s.ref("/a.js")}
	for kind, ref := range refs {
		var busy *BusyError
		if err := r.fail(t, ref); !errors.As(err, &busy) {
			t.Errorf("%s fails with %v", kind, err)
		}
	}
	leave()
	r.clock.advance(time.Second) // files are not looked at more often
	for kind, ref := range refs {
		if got := result(t, r.load(t, ref)); got != int64(1) {
			t.Errorf("%s gives %v", kind, got)
		}
	}

	defer occupy(t, r)()
	write(t, dir, map[string]string{"a.js": "module.exports = () => 2 // changed"})
	r.clock.advance(time.Second)
	if got := result(t, r.load(t, refs["a file"])); got != int64(1) {
		t.Errorf("changed code that cannot be bundled gives %v, not its last good version", got)
	}
}

// recording is a Bundler that remembers whose code it is given.
type recording struct{ containers []string }

func (r *recording) Bundle(ctx context.Context, job *Job) (*Output, error) {
	r.containers = append(r.containers, job.Container)
	return InProcess{}.Bundle(ctx, job)
}

// TestBundlersOfOneContainer has a container occupy all that it may: others
// find a bundler all the same, and code that it shares with them is there.
func TestBundlersOfOneContainer(t *testing.T) {
	bundler := &recording{}
	r := newRig(t, Options{Bundlers: 2, BundleWait: time.Millisecond, Bundler: bundler})
	if err := r.bundlers.acquire(context.Background(), "acme", "slow.js"); err != nil {
		t.Fatal(err)
	}
	defer r.bundlers.release("acme")
	ref := inlineRef("() => 1")
	var busy *BusyError
	if _, err := r.Load(context.Background(), "acme", ref, "", webtask.Limits{}); !errors.As(err, &busy) {
		t.Errorf("another piece of its code: %v", err)
	}
	for _, container := range []string{"other", "acme"} {
		if _, err := r.Load(context.Background(), container, ref, "", webtask.Limits{}); err != nil {
			t.Errorf("%s: %v", container, err)
		}
	}
	if got := strings.Join(bundler.containers, " "); got != "acme other" {
		t.Errorf("bundled for %q, want for whoever asked first, each time", got)
	}
}

// TestWaitForABundlerEnds gives up the wait with the request, and with the
// loader.
func TestWaitForABundlerEnds(t *testing.T) {
	r := newRig(t, Options{Bundlers: 1, BundleWait: time.Hour})
	defer occupy(t, r)()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Load(ctx, "acme", inlineRef("() => 1"), "", webtask.Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a request that has ended gets %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestSlowOriginsKeepNobody has the import of one task answered only after
// another task was loaded, with a single bundler.
func TestSlowOriginsKeepNobody(t *testing.T) {
	s := newSite(t, map[string]string{"/a.js": `import "./slow.js"; import "./other.js"; export default 1`, "/other.js": "", "/b.js": "module.exports = () => 2"})
	asked, answer := make(chan struct{}), make(chan struct{})
	s.handle("/slow.js", func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-answer
		w.Header().Set("Content-Type", "text/javascript")
	})
	options := from(s)
	options.Bundlers, options.BundleWait = 1, time.Second
	r := newRig(t, options)
	slow := make(chan error)
	go func() {
		_, err := r.Load(context.Background(), "acme", s.ref("/a.js"), "", webtask.Limits{})
		slow <- err
	}()
	<-asked
	if got := result(t, r.load(t, s.ref("/b.js"))); got != int64(2) {
		t.Errorf("the other task gives %v", got)
	}
	close(answer)
	if err := <-slow; err != nil {
		t.Error(err)
	}
	occupy(t, r)() // it is free
}
