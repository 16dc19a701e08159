package sessionstore

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/tests/redistest"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// writerEnv names the store file to the child process that TestMain makes of
// this test binary.
const writerEnv = "SESSIONSTORE_TEST_WRITER"

const crashWriters = 8

func crashRef(writer int) webtask.SessionRef {
	return webtask.SessionRef{Container: "acme", ID: "writer-" + strconv.Itoa(writer)}
}

// countUp writes 1, 2, 3 … into the session of each writer, all at once, each
// from what it finds, and reports every number once it is acknowledged. It ends
// when a write fails.
func countUp(s store, acknowledged func(writer, n int)) {
	ctx := context.Background()
	var group sync.WaitGroup
	for writer := range crashWriters {
		group.Go(func() {
			n := 0
			if session, err := s.Load(ctx, crashRef(writer), hour); err == nil {
				n, _ = strconv.Atoi(string(session.Entries["n"].Value))
			}
			for {
				n++
				if _, err := s.Save(ctx, crashRef(writer), set("n", strconv.Itoa(n))); err != nil {
					return
				}
				acknowledged(writer, n)
			}
		})
	}
	group.Wait()
}

// writeUntilKilled is the child: it prints a line for each acknowledged write.
func writeUntilKilled(path string) {
	var mu sync.Mutex
	countUp(NewFile(path, FileOptions{}), func(writer, n int) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(writer, n)
	})
}

// wantNothingLost compares what a store has with what was acknowledged.
func wantNothingLost(t *testing.T, s store, acknowledged *[crashWriters]int) {
	t.Helper()
	for writer, want := range acknowledged {
		if want == 0 {
			continue
		}
		got, _ := strconv.Atoi(string(load(t, s, crashRef(writer)).Entries["n"].Value))
		if got < want {
			t.Fatalf("writer %d: the store has %d, %d was acknowledged", writer, got, want)
		}
	}
}

func TestFileSurvivesKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	var acknowledged [crashWriters]int
	for range 15 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), writerEnv+"="+path)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for left := 1 + rand.IntN(400); lines.Scan(); left-- {
			var writer, n int
			if _, err := fmt.Sscan(lines.Text(), &writer, &n); err != nil {
				t.Fatalf("child said %q", lines.Text())
			}
			acknowledged[writer] = max(acknowledged[writer], n)
			if left == 0 {
				// SIGKILL; what it wrote before is in the pipe, and read too.
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := child.Wait(); err == nil {
			t.Fatal("the child ended of itself")
		}
		f := openFile(t, path, FileOptions{})
		wantNothingLost(t, f, &acknowledged)
		closeStore(t, f)
	}
	for writer, n := range acknowledged {
		if n == 0 {
			t.Errorf("writer %d was never acknowledged", writer)
		}
	}
}

// TestFileErrorNamesHolder has another process hold the file.
func TestFileErrorNamesHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), writerEnv+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if _, err := lines.ReadString('\n'); err != nil { // it has the file
		t.Fatal(err)
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, lines)
	}()

	f := openFile(t, path, FileOptions{OpenTimeout: time.Millisecond})
	err = f.Ping(t.Context())
	wantError(t, err, webtask.ErrStoreUnavailable)
	if pid := strconv.Itoa(child.Process.Pid); !strings.Contains(err.Error(), pid) || !strings.Contains(err.Error(), path) {
		t.Errorf("the error names neither process %s nor the file: %v", pid, err)
	}
	note, readErr := os.ReadFile(holderNote(path))
	if readErr != nil || !strings.HasPrefix(string(note), strconv.Itoa(child.Process.Pid)+" ") {
		t.Errorf("holder's note: %q, %v", note, readErr)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-drained
	_ = child.Wait() // killed
}

func TestRedisSurvivesKill(t *testing.T) {
	srv := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	var acknowledged [crashWriters]int
	for range 5 {
		s := openRedis(t, RedisOptions{Addresses: []string{srv.Addr()}})
		var mu sync.Mutex
		enough := make(chan struct{})
		left := 50 + rand.IntN(300)
		go func() {
			<-enough
			srv.Kill()
		}()
		countUp(s, func(writer, n int) {
			mu.Lock()
			defer mu.Unlock()
			acknowledged[writer] = max(acknowledged[writer], n)
			if left--; left == 0 {
				close(enough)
			}
		})
		srv.Restart()
		wantNothingLost(t, openRedis(t, RedisOptions{Addresses: []string{srv.Addr()}}), &acknowledged)
	}
}
