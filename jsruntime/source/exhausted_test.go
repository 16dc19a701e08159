package source

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// failing is a Bundler that fails as it is told, and else works.
type failing struct {
	err   error
	calls int
}

func (f *failing) Bundle(ctx context.Context, job *Job) (*Output, error) {
	f.calls++
	if f.err != nil {
		return nil, f.err
	}
	return InProcess{}.Bundle(ctx, job)
}

// TestExhaustedBundlerIsNotTriedAtOnce has code end its bundler. It is tried
// again when it changes, or after a while; until then its last good version
// serves.
func TestExhaustedBundlerIsNotTriedAtOnce(t *testing.T) {
	s := newSite(t, map[string]string{"/a.js": "module.exports = () => 1"})
	dir := t.TempDir()
	write(t, dir, map[string]string{"a.js": "module.exports = () => 1"})
	exhausted := &CompileError{File: "a.js", Message: "it took too long", Exhausted: true}
	for kind, ref := range map[string]webtask.CodeRef{"inline": inlineRef("() => 1"), "file": fileRef(filepath.Join(dir, "a.js")), "URL": s.ref("/a.js")} {
		t.Run(kind, func(t *testing.T) {
			bundler := &failing{err: exhausted}
			options := from(s)
			options.Bundler = bundler
			r := newRig(t, options)
			if err := r.fail(t, ref); !errors.Is(err, exhausted) {
				t.Fatal(err)
			}
			r.clock.advance(exhaustedFor - 1)
			if err := r.fail(t, ref); !errors.Is(err, exhausted) || bundler.calls != 1 {
				t.Errorf("%d bundles, %v", bundler.calls, err)
			}
			bundler.err = nil
			r.clock.advance(fileTick) // files are not looked at more often
			if got := result(t, r.load(t, ref)); got != int64(1) {
				t.Errorf("after a while: %v", got)
			}
		})
	}

	bundler := &failing{}
	r := newRig(t, Options{Bundler: bundler})
	ref := fileRef(filepath.Join(dir, "a.js"))
	first := r.load(t, ref)
	bundler.err = exhausted
	write(t, dir, map[string]string{"a.js": "module.exports = () => 2 // worse"})
	r.later()
	if r.load(t, ref) != first || bundler.calls != 2 {
		t.Errorf("not the last good version after %d bundles", bundler.calls)
	}
	r.later()
	if r.load(t, ref) != first || bundler.calls != 2 {
		t.Errorf("%d bundles of what did not change", bundler.calls)
	}
	bundler.err = nil
	write(t, dir, map[string]string{"a.js": "module.exports = () => 3 // better"})
	r.later()
	if got := result(t, r.load(t, ref)); got != int64(3) {
		t.Errorf("after it was mended: %v", got)
	}
}

// TestBundlerThatCannotStart is the machine's fault, and is forgotten.
func TestBundlerThatCannotStart(t *testing.T) {
	s := newSite(t, map[string]string{"/a.js": "module.exports = () => 1"})
	dir := t.TempDir()
	write(t, dir, map[string]string{"a.js": "module.exports = () => 1"})
	for kind, ref := range map[string]webtask.CodeRef{"inline": inlineRef("() => 1"), "file": fileRef(filepath.Join(dir, "a.js")), "URL": s.ref("/a.js")} {
		t.Run(kind, func(t *testing.T) {
			noMemory := errors.New("fork: cannot allocate memory")
			bundler := &failing{err: &BusyError{Name: "a.js", Err: noMemory}}
			options := from(s)
			options.Bundler = bundler
			r := newRig(t, options)
			var busy *BusyError
			if err := r.fail(t, ref); !errors.As(err, &busy) || !errors.Is(err, noMemory) || !strings.Contains(err.Error(), "try again") {
				t.Fatal(err)
			}
			bundler.err = nil
			r.clock.advance(failedFor)
			if got := result(t, r.load(t, ref)); got != int64(1) {
				t.Errorf("once it can: %v", got)
			}
		})
	}
}
