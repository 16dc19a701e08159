package harness

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// credential is that of a user of no groups but its own; nil for uid 0, which
// stands for the test's own user.
func credential(uid uint32) *syscall.Credential {
	if uid == 0 {
		return nil
	}
	return &syscall.Credential{Uid: uid, Gid: uid}
}

// OpenDir makes a folder that other users can reach, which those of
// testing.TB.TempDir are not, and removes it at the end of the test.
func OpenDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "edge")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// handOver gives the server's folder to its user, and a copy of the binary,
// since the repository may be where that user cannot read.
func (s *Server) handOver(t testing.TB) {
	t.Helper()
	binary := filepath.Join(s.Dir, "bin", "caddy")
	if err := copyFile(binary, s.binary); err != nil {
		t.Fatal(err)
	}
	s.binary = binary
	err := filepath.WalkDir(s.Dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(s.uid), int(s.uid))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func copyFile(to, from string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
