package harness

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Goroutines is how many the server runs now.
func (s *Server) Goroutines(t testing.TB) int {
	t.Helper()
	return s.profiled(t, "/debug/pprof/goroutine?debug=1", `goroutine profile: total (\d+)`)
}

// HeapInUse is how many bytes of heap are in use after a collection.
func (s *Server) HeapInUse(t testing.TB) int {
	t.Helper()
	return s.profiled(t, "/debug/pprof/heap?debug=1&gc=1", `# HeapInuse = (\d+)`)
}

// LiveHeap is how many of those live objects take, without the gaps between them
// that much work leaves behind.
func (s *Server) LiveHeap(t testing.TB) int {
	t.Helper()
	return s.profiled(t, "/debug/pprof/heap?debug=1&gc=1", `# HeapAlloc = (\d+)`)
}

func (s *Server) profiled(t testing.TB, path, pattern string) int {
	t.Helper()
	text := s.AdminGet(t, path)
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no %s in the answer of %s", pattern, path)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// PeakMemory is the largest resident set the process had, as the kernel says.
func (s *Server) PeakMemory(t testing.TB) string {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		return "unknown here"
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// AdminLoad gives the running server a new Caddyfile by POST /load, without
// the cost of a `caddy reload` process.
func (s *Server) AdminLoad(t testing.TB, caddyfile string) {
	t.Helper()
	resp, err := http.Post(s.Admin+"/load", "text/caddyfile", strings.NewReader(s.expand(caddyfile)))
	if err != nil {
		t.Errorf("reload: %v", err)
		return
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("reload: %s: %s (%v)", resp.Status, body, err)
	}
}
