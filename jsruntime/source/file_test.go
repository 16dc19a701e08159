package source

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

const fileTick = 250 * time.Millisecond

// later makes the loader look at its files again.
func (r *rig) later() { r.clock.advance(fileTick) }

func (r *rig) logged(level zapcore.Level) []string {
	var lines []string
	for _, e := range r.logs.FilterLevelExact(level).All() {
		lines = append(lines, e.Message)
	}
	return lines
}

func TestChangedFileIsPickedUp(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"main.js": "import { v } from './lib.js'\nexport default () => v", "lib.js": "export const v = 1"})
	r := newRig(t, Options{})
	ref := fileRef(filepath.Join(dir, "main.js"))
	first := r.load(t, ref)
	if got := result(t, first); got != int64(1) {
		t.Fatal(got)
	}
	write(t, dir, map[string]string{"lib.js": "export const v = 20"})
	// However long a bundler takes to ask for it, it is read at the time of
	// its last write.
	soon := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "lib.js"), soon, soon); err != nil {
		t.Fatal(err)
	}
	if r.load(t, ref) != first {
		t.Error("the file was looked at before it was time")
	}
	r.later()
	second := r.load(t, ref)
	if got := result(t, second); got != int64(20) {
		t.Errorf("after the change: %v", got)
	}
	r.later()
	if r.load(t, ref) != second {
		t.Error("bundled again without a change")
	}

	// Same size, same time: the content decides while the write is fresh.
	info, err := os.Stat(filepath.Join(dir, "lib.js"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"lib.js": "export const v = 21"})
	if err := os.Chtimes(filepath.Join(dir, "lib.js"), info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	r.later()
	if got := result(t, r.load(t, ref)); got != int64(21) {
		t.Errorf("after the racy change: %v", got)
	}

	// A file that would have been preferred, had it been there.
	write(t, dir, map[string]string{"main.js": "import { v } from './lib'\nexport default () => v", "lib.ts": "export const v = 'ts'"})
	r.later()
	if got := result(t, r.load(t, ref)); got != int64(21) {
		t.Errorf("lib.js comes before lib.ts: %v", got)
	}
	if err := os.Remove(filepath.Join(dir, "lib.js")); err != nil {
		t.Fatal(err)
	}
	r.later()
	if got := result(t, r.load(t, ref)); got != "ts" {
		t.Errorf("with lib.js gone: %v", got)
	}
}

func TestBrokenFileKeepsLastGood(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "main.js")
	checkErr := errors.New("it exports no function")
	r := newRig(t, Options{Check: func(_ context.Context, b *Bundle) error {
		if strings.Contains(b.Code, "nothing") {
			return checkErr
		}
		return nil
	}})
	ref := fileRef(path)
	write(t, dir, map[string]string{"main.js": "module.exports = () => 1"})
	good := r.load(t, ref)

	write(t, dir, map[string]string{"main.js": "module.exports = ) => 1"})
	for range 3 {
		r.later()
		if r.load(t, ref) != good {
			t.Fatal("the broken version replaced the good one")
		}
	}
	errorsLogged := r.logs.FilterLevelExact(zapcore.ErrorLevel).All()
	if len(errorsLogged) != 1 {
		t.Fatalf("logged %d errors for one change", len(errorsLogged))
	}
	frame, _ := errorsLogged[0].ContextMap()["frame"].(string)
	if !strings.Contains(frame, ">    1 | module.exports = ) => 1\n       |                  ^") {
		t.Errorf("frame:\n%s", frame)
	}

	write(t, dir, map[string]string{"main.js": "module.exports = 'nothing'"})
	r.later()
	if r.load(t, ref) != good || len(r.logged(zapcore.ErrorLevel)) != 2 {
		t.Errorf("a version that fails the check: %q", r.logged(zapcore.ErrorLevel))
	}

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r.later()
		if r.load(t, ref) != good {
			t.Fatal("the deleted file took the good version with it")
		}
	}
	if got := r.logged(zapcore.WarnLevel); len(got) != 1 {
		t.Errorf("warnings for one deletion: %q", got)
	}

	write(t, dir, map[string]string{"main.js": "module.exports = () => 2"})
	r.later()
	if got := result(t, r.load(t, ref)); got != int64(2) {
		t.Errorf("after the repair: %v", got)
	}
}

func TestFirstLoadThatFailsIsRepaired(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, Options{})
	ref := fileRef(filepath.Join(dir, "main.js"))
	var fetch *FetchError
	if err := r.fail(t, ref); !errors.As(err, &fetch) || !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%T: %v", err, err)
	}
	write(t, dir, map[string]string{"main.js": "import v from './lib.js'; export default () => v"})
	r.later()
	var ce *CompileError
	if err := r.fail(t, ref); !errors.As(err, &ce) {
		t.Fatalf("%T: %v", err, err)
	}
	write(t, dir, map[string]string{"lib.js": "export default 7"})
	r.later()
	if got := result(t, r.load(t, ref)); got != int64(7) {
		t.Error(got)
	}
}

func TestLinkedEntry(t *testing.T) {
	// A Kubernetes config map: the name is a link into a folder that a second
	// link stands for, and an update points that one elsewhere.
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"v1/main.js": "import v from './lib.js'; export default () => v", "v1/lib.js": "export default 1",
		"v2/main.js": "import v from './lib.js'; export default () => v", "v2/lib.js": "export default 2",
	})
	link := func(target, name string) {
		t.Helper()
		temp := filepath.Join(dir, "new")
		if err := os.Symlink(target, temp); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(temp, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("v1", "data")
	link("data/main.js", "task.js")
	r := newRig(t, Options{})
	ref := fileRef(filepath.Join(dir, "task.js"))
	b := r.load(t, ref)
	if got := result(t, b); got != int64(1) || b.Name != filepath.Join(dir, "task.js") {
		t.Errorf("%v from %s", got, b.Name)
	}
	link("v2", "data")
	r.later()
	if got := result(t, r.load(t, ref)); got != int64(2) {
		t.Errorf("after the update: %v", got)
	}
}

func TestFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe.js")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"big.js": "module.exports = '" + strings.Repeat("x", 2000) + "'"})
	r := newRig(t, Options{CodeSize: 1000})
	for path, want := range map[string]string{
		pipe:                         "not a regular file",
		dir:                          "it is a folder",
		"tasks/relative.js":          "not absolute",
		filepath.Join(dir, "big.js"): "larger than code_size allows (1000 bytes)",
	} {
		if err := r.fail(t, fileRef(path)); !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestNarrowerCodeSize(t *testing.T) {
	r := newRig(t, Options{})
	_, err := r.Load(context.Background(), "acme", inlineRef("module.exports = () => 1"), "", webtask.Limits{CodeSize: 10})
	var large *TooLargeError
	if !errors.As(err, &large) || large.Limit != 10 {
		t.Error(err)
	}
}
