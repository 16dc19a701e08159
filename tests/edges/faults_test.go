package edges

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// faultKeys are so few that each is always in use.
const faultKeys = 12

// TestFaults kills and stops servers, their supervisor processes and Redis, and has
// that forget everything, at random, while clients ask for backends at all servers.
// Each backend notes when it is not the only one of its key that is alive.
func TestFaults(t *testing.T) {
	length := harness.Length(t, "FAULTS", 20*time.Second)
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SEED=%d", seed)
	notes := t.TempDir()
	siteWithNotes := strings.Replace(site, "driver process {$BACKEND}", "driver process {$BACKEND} {\n\t\t\tenv EXCLUSIVE {env.NOTES}\n\t\t}", 1)
	f := startSite(t, siteWithNotes, 3, "NOTES="+notes, "IDLE=2s")
	load := f.load(seed)
	faults := &faulter{fleet: f, random: rand.New(rand.NewPCG(seed, 1)), count: map[string]int{}}
	for end := time.Now().Add(length); time.Now().Before(end); {
		faults.one()
		<-time.After(time.Duration(faults.random.Int64N(int64(lease / 2))))
	}
	answered, failed := load.stop()
	// When all is well again, all servers agree.
	for key := range faultKeys {
		path := fmt.Sprintf("/doc/k%d/who", key)
		f.until(0, path)
		harness.Until(t, "all servers reach one backend of "+path, func() bool {
			pids := map[int]bool{}
			for edge := range f.edges {
				pids[f.until(edge, path).PID] = true
			}
			return len(pids) == 1
		})
	}
	for _, edge := range f.edges {
		edge.Stop(t)
	}
	if n := claims(t, f); n != 0 {
		t.Errorf("Redis knows of %d backends after all servers have ended", n)
	}
	harness.Until(t, "no backend is left", func() bool { return len(processesWith("EXCLUSIVE="+notes)) == 0 })
	complaints, _ := os.ReadFile(filepath.Join(notes, "complaints")) // there is none if all is well
	if len(complaints) > 0 {
		t.Errorf("%s", complaints)
	}
	starts, err := os.ReadFile(filepath.Join(notes, "starts"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v of faults %v: %d backends, %d requests answered, %d not", length, faults.count, strings.Count(string(starts), "\n"), answered, failed)
	if answered == 0 {
		t.Error("no request was answered")
	}
	if wrong := load.wrong.Load(); wrong != 0 {
		t.Errorf("%d answers were of the backend of another key", wrong)
	}
}

// load is what clients ask all the time.
type load struct {
	answered, failed, wrong atomic.Int64
	over                    chan struct{}
	clients                 sync.WaitGroup
}

func (f *fleet) load(seed uint64) *load {
	l := &load{over: make(chan struct{})}
	for n := range 8 {
		random := rand.New(rand.NewPCG(seed, uint64(n)+2))
		client := &http.Client{Timeout: 3 * lease, Transport: &http.Transport{}}
		l.clients.Go(func() {
			defer client.CloseIdleConnections()
			for {
				select {
				case <-l.over:
					return
				case <-time.After(5 * time.Millisecond):
				}
				key := fmt.Sprint("k", random.IntN(faultKeys))
				resp, err := client.Get(f.edges[random.IntN(len(f.edges))].URL + "/doc/" + key + "/hello-" + key)
				if err != nil {
					l.failed.Add(1)
					continue
				}
				var w who
				if json.Unmarshal(readAll(resp), &w) != nil || resp.StatusCode != http.StatusOK {
					l.failed.Add(1)
					continue
				}
				l.answered.Add(1)
				if w.Key != key {
					l.wrong.Add(1)
				}
			}
		})
	}
	return l
}

func (l *load) stop() (answered, failed int64) {
	close(l.over)
	l.clients.Wait()
	return l.answered.Load(), l.failed.Load()
}

// faulter does what can go wrong.
type faulter struct {
	*fleet
	random *rand.Rand
	count  map[string]int
}

// some returns a time between a tenth and twice of a lease.
func (f *faulter) some() time.Duration {
	return lease/10 + time.Duration(f.random.Int64N(int64(2*lease)))
}

func (f *faulter) one() {
	edge := f.edges[f.random.IntN(len(f.edges))]
	all := []struct {
		name string
		do   func()
	}{
		{"server killed", func() {
			edge.Kill(f)
			if f.random.IntN(2) == 0 {
				<-time.After(f.some())
			}
			edge.Run(f)
		}},
		{"server stopped", func() { f.freeze(edge.PID()) }},
		{"supervisor killed", func() {
			for _, pid := range supervisors(edge.PID()) {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
			}
		}},
		{"supervisor stopped", func() {
			for _, pid := range supervisors(edge.PID()) {
				f.freeze(pid)
			}
		}},
		{"redis killed", func() {
			f.store.Redis.Kill()
			f.store.Redis.Restart()
		}},
		{"redis stopped", func() {
			f.store.Redis.Pause()
			<-time.After(f.some())
			f.store.Redis.Resume()
		}},
		{"redis flushed", func() {
			if err := f.store.Redis.Client().FlushAll(f.Context()).Err(); err != nil {
				f.Error(err)
			}
		}},
	}
	fault := all[f.random.IntN(len(all))]
	f.count[fault.name]++
	fault.do()
}

// freeze has a process stand still for a while.
func (f *faulter) freeze(pid int) {
	_ = syscall.Kill(pid, syscall.SIGSTOP) // it may have ended
	<-time.After(f.some())
	_ = syscall.Kill(pid, syscall.SIGCONT)
}
