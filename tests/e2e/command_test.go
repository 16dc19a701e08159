package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// caddy runs a command of the binary in a folder of its own, with data of its
// own.
func caddy(t *testing.T, folder string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs strings.Builder
	cmd := exec.CommandContext(t.Context(), harness.Binary(t), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = folder, &out, &errs
	cmd.Env = append(os.Environ(), "HOME="+folder, "XDG_DATA_HOME="+filepath.Join(folder, "data"), "XDG_CONFIG_HOME="+filepath.Join(folder, "config"))
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// TestCommandsSayNothingElse wants the token on the standard output and
// nothing on the standard error, also where a Caddyfile was read.
func TestCommandsSayNothingElse(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "Caddyfile"), []byte("{\n  admin off\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	issue := []string{"webtask", "token", "issue", "--container", "acme", "--url", "https://example.com/a.js"}
	for _, args := range [][]string{issue, append(issue, "--config", "Caddyfile")} {
		out, errs, err := caddy(t, folder, args...)
		if err != nil || strings.Count(out, ".") != 2 || errs != "" {
			t.Errorf("%v gave %v, printed %q and said %q", args, err, out, errs)
		}
	}
}
