// Package edges tests session backends that several servers share: real servers,
// real processes, a real Redis.
package edges

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// lease is short, so that what takes one does not take long.
const lease = 4 * time.Second

const site = `{
	webtask {
		{$STORE}
		node {$NODE}
		peer_listen 127.0.0.1:0
		lease {$LEASE}
	}
}
http://localhost:{$PORT} {
	session_backend docs /doc/* {
		key {path.1}
		driver process {$BACKEND}
		idle {$IDLE}
		header_up X-Node {http.session_backend.node}
		client_starts unlimited
		max_backends 2000
	}
	respond "no document" 418
}
`

// fleet is some servers of one Redis.
type fleet struct {
	*testing.T
	store harness.Store
	edges []*harness.Server
}

// who is what the test backend answers.
type who struct {
	PID    int
	Key    string
	ID     string
	Fence  string
	Header http.Header
}

func start(t *testing.T, count int, env ...string) *fleet {
	t.Helper()
	return startSite(t, site, count, env...)
}

func startSite(t *testing.T, site string, count int, env ...string) *fleet {
	t.Helper()
	f := &fleet{T: t, store: harness.RedisStore(t, "--appendonly", "yes")}
	dir := t.TempDir()
	for n := range count {
		f.edges = append(f.edges, harness.Start(t, harness.Config{
			Caddyfile: site, Store: f.store, Dir: dir,
			Env: append([]string{
				fmt.Sprint("NODE=node", n), "XDG_DATA_HOME=" + filepath.Join(dir, fmt.Sprint("data", n)),
				"BACKEND=" + harness.Program(t, "testbackend"), "IDLE=10m", "LEASE=" + lease.String(),
			}, env...),
			MayDie: true, // whether a fault may end a server or be logged is the test's to say
		}))
	}
	f.endQuiet()
	return f
}

// endQuiet ends the time in which a new Redis gives away nothing.
func (f *fleet) endQuiet() {
	f.Helper()
	client := f.store.Redis.Client()
	for shard := range webtask.LeaseShards {
		meta := fmt.Sprintf("webtask:{backends:%02d}:meta", shard)
		harness.Until(f, "the shards are known", func() bool { return client.HGet(f.Context(), meta, "run").Val() != "" })
		if err := client.HSet(f.Context(), meta, "quiet", 0).Err(); err != nil {
			f.Fatal(err)
		}
	}
}

func (f *fleet) ask(edge int, path string, header ...string) who {
	f.Helper()
	var w who
	harness.NewClient(f).Get(f, f.edges[edge].URL+path, header...).Want(f, 200, "").JSON(f, &w)
	return w
}

// until asks again for as long as there is none.
func (f *fleet) until(edge int, path string) (w who) {
	f.Helper()
	harness.Until(f, "there is a backend", func() bool {
		answer, err := harness.NewClient(f).Try("GET", f.edges[edge].URL+path, "")
		if err != nil || answer.Status != 200 {
			return false
		}
		answer.JSON(f, &w)
		return true
	})
	return w
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// tunnel is an upgraded connection.
type tunnel struct {
	net.Conn
	lines *bufio.Reader
}

func (f *fleet) upgrade(edge int, path string) *tunnel {
	f.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.edges[edge].URL, "http://"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", path)
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		f.Fatalf("%v, %v", resp, err)
	}
	return &tunnel{conn, reader}
}

func (u *tunnel) echoes(line string) bool {
	if _, err := fmt.Fprintln(u.Conn, line); err != nil {
		return false
	}
	got, err := u.lines.ReadString('\n')
	return err == nil && strings.TrimSpace(got) == line
}

// A thousand first requests at three edges start one process, which all later ones
// reach, and tunnels, at whatever edge they come.
func TestEdgesShareBackends(t *testing.T) {
	f := start(t, 3, "LEASE=15s") // so much at once may take longer than a short one
	var wg sync.WaitGroup
	answers := make(chan who, 1000)
	limit := make(chan struct{}, 200) // descriptors
	for n := range cap(answers) {
		wg.Go(func() {
			limit <- struct{}{}
			answers <- f.ask(n%3, "/doc/a/who")
			<-limit
		})
	}
	wg.Wait()
	close(answers)
	pids, nodes := map[int]int{}, map[string]int{}
	for w := range answers {
		pids[w.PID]++
		nodes[w.Header.Get("X-Node")]++
		if w.Key != "a" || w.Header.Get("X-Verified-Key") != "a" || w.Header.Get("X-Verified-Backend") != w.ID || w.Header.Get("X-Verified-Fence") != w.Fence {
			t.Fatalf("it is %+v", w)
		}
	}
	if len(pids) != 1 || len(nodes) != 1 {
		t.Errorf("the processes are %v, at %v", pids, nodes)
	}
	for edge := range f.edges {
		u := f.upgrade(edge, "/doc/a/ws")
		if !u.echoes("hello") || !u.echoes("again") {
			t.Errorf("edge %d: the tunnel does not work", edge)
		}
		client := harness.NewClient(t)
		client.Do(t, "POST", f.edges[edge].URL+"/doc/a/upload", strings.Repeat("x", 1<<20)).Want(t, 200, fmt.Sprint(1<<20, " <nil>"))
		if w := f.ask(edge, "/doc/a/who?q=%zz", "X-Verified-Key: forged", "Webtask-Peer-Request: forged", "Connection: X-Verified-Key"); w.Header.Get("X-Verified-Key") != "a" {
			t.Errorf("edge %d: it is %+v", edge, w)
		}
	}
	// While requests are warm, Redis is asked for nothing but leases.
	client := f.store.Redis.Client()
	before := client.Info(t.Context(), "commandstats").Val()
	for n := range 300 {
		f.ask(n%3, "/doc/a/who")
	}
	if after := client.Info(t.Context(), "commandstats").Val(); calls(after, "hdel") != calls(before, "hdel") || claims(t, f) != 1 {
		t.Errorf("warm requests change what Redis knows: %d claims", claims(t, f))
	}
}

// calls returns how often a command was run.
func calls(stats, command string) (n int) {
	if _, rest, ok := strings.Cut(stats, "cmdstat_"+command+":calls="); ok {
		fmt.Sscanf(rest, "%d", &n)
	}
	return n
}

// claims returns how many keys have owners.
func claims(t *testing.T, f *fleet) (n int64) {
	client := f.store.Redis.Client()
	for shard := range webtask.LeaseShards {
		n += client.HLen(t.Context(), fmt.Sprintf("webtask:{backends:%02d}:owners", shard)).Val()
	}
	return n
}

// A stream at another edge keeps a backend; without any it ends, and leaves nothing.
func TestEdgesIdle(t *testing.T) {
	f := start(t, 2, "IDLE=500ms")
	first := f.ask(0, "/doc/a/who")
	u := f.upgrade(1, "/doc/a/ws")
	<-time.After(2 * time.Second)
	if !u.echoes("still here") || f.ask(0, "/doc/a/who").PID != first.PID {
		t.Error("a backend ended that another edge was connected to")
	}
	u.Close()
	harness.Until(t, "it ends", func() bool { return !alive(first.PID) })
	harness.Until(t, "Redis knows of nothing", func() bool { return claims(t, f) == 0 })
	if second := f.ask(1, "/doc/a/who"); second.Fence <= first.Fence || second.Header.Get("X-Node") != "node1" {
		t.Errorf("%+v follows %+v", second, first)
	}
}

// A crash is seen at other edges as at its own: the next request has the next
// process.
func TestEdgesCrash(t *testing.T) {
	f := start(t, 2)
	first := f.ask(0, "/doc/a/who")
	if w := f.ask(1, "/doc/a/who"); w.PID != first.PID {
		t.Fatalf("%+v and %+v", w, first)
	}
	harness.NewClient(t).Get(t, f.edges[1].URL+"/doc/a/crash").Want(t, 502, "")
	harness.Until(t, "it is gone", func() bool { return !alive(first.PID) })
	second := f.ask(1, "/doc/a/who")
	if second.Fence <= first.Fence {
		t.Errorf("%+v follows %+v", second, first)
	}
	if w := f.ask(0, "/doc/a/who"); w.PID != second.PID {
		t.Errorf("there are %+v and %+v", w, second)
	}
}

// When a server stops, others have its keys at once; when it is killed, after its
// lease, and itself, started again, as soon as its backends are gone.
func TestEdgesEnd(t *testing.T) {
	f := start(t, 2)
	first := f.ask(0, "/doc/a/who")
	f.ask(1, "/doc/a/who")
	f.edges[0].Stop(t)
	if alive(first.PID) {
		t.Error("the server ended before its backend")
	}
	second := f.ask(1, "/doc/a/who")
	f.edges[0].Run(t)
	if w := f.until(0, "/doc/a/who"); w.PID != second.PID {
		t.Errorf("it has a backend of its own: %+v", w)
	}
	f.edges[1].Kill(t)
	third := f.until(0, "/doc/a/who")
	if alive(second.PID) || third.Fence <= second.Fence {
		t.Errorf("%+v follows %+v", third, second)
	}
	f.edges[0].Kill(t)
	f.edges[0].Run(t)
	fourth := f.until(0, "/doc/a/who")
	if alive(third.PID) || fourth.Fence <= third.Fence || fourth.Header.Get("X-Node") != "node0" {
		t.Errorf("%+v follows %+v", fourth, third)
	}
}

// A server that stands still loses its backends in time, and serves none of them
// afterwards.
func TestEdgeStandsStill(t *testing.T) {
	f := start(t, 2)
	first := f.ask(0, "/doc/a/who")
	u := f.upgrade(0, "/doc/a/ws")
	through := f.upgrade(1, "/doc/a/ws")
	if err := syscall.Kill(f.edges[0].PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	harness.Until(t, "its backend is gone", func() bool { return !alive(first.PID) })
	second := f.until(1, "/doc/a/who")
	if second.Header.Get("X-Node") != "node1" || second.Fence <= first.Fence {
		t.Errorf("%+v follows %+v", second, first)
	}
	if through.echoes("a tunnel to what is gone") {
		t.Error("a tunnel through another edge goes on")
	}
	if err := syscall.Kill(f.edges[0].PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if u.echoes("a tunnel to what is gone") {
		t.Error("a tunnel goes on")
	}
	if w := f.until(0, "/doc/a/who"); w.PID != second.PID {
		t.Errorf("there are %+v and %+v", w, second)
	}
}

// While Redis is away, what is there is served until the lease is over, and no
// longer; what is not gets 503.
func TestRedisAway(t *testing.T) {
	f := start(t, 2)
	first := f.ask(0, "/doc/a/who")
	f.ask(1, "/doc/a/who")
	f.store.Redis.Pause()
	for edge := range f.edges {
		if w := f.ask(edge, "/doc/a/who"); w.PID != first.PID {
			t.Errorf("edge %d: %+v", edge, w)
		}
	}
	if answer := harness.NewClient(t).Get(t, f.edges[0].URL+"/doc/new/who").Want(t, 503, ""); answer.Header.Get("Retry-After") == "" {
		t.Error("no word of when to try again")
	}
	harness.Until(t, "the backend ends", func() bool { return !alive(first.PID) })
	harness.NewClient(t).Get(t, f.edges[0].URL+"/doc/a/who").Want(t, 503, "")
	f.store.Redis.Resume()
	second := f.until(0, "/doc/a/who")
	if w := f.until(1, "/doc/a/who"); w.PID != second.PID || second.Fence <= first.Fence {
		t.Errorf("%+v follows %+v; the other edge has %+v", second, first, w)
	}
}

// A Redis that loses everything, or is started again, ends no backend.
func TestRedisForgets(t *testing.T) {
	f := start(t, 2)
	first := f.ask(0, "/doc/a/who")
	if err := f.store.Redis.Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	second := f.until(1, "/doc/b/who") // when the time of quiet is over
	f.store.Redis.Kill()
	f.store.Redis.Restart()
	f.until(0, "/doc/c/who")
	for edge := range f.edges {
		if w := f.ask(edge, "/doc/a/who"); w.PID != first.PID {
			t.Errorf("edge %d: %+v", edge, w)
		}
		if w := f.ask(edge, "/doc/b/who"); w.PID != second.PID {
			t.Errorf("edge %d: %+v", edge, w)
		}
	}
}

// A reload changes nothing, and what cannot be changed is refused.
func TestEdgesReload(t *testing.T) {
	f := start(t, 2)
	first := f.ask(0, "/doc/a/who")
	u := f.upgrade(1, "/doc/a/ws")
	for edge := range f.edges {
		f.edges[edge].Reload(t, strings.Replace(site, "max_backends 2000", "max_backends 1999", 1))
	}
	if !u.echoes("after reloads") || f.ask(1, "/doc/a/who").PID != first.PID {
		t.Error("a reload changed something")
	}
	f.edges[0].WriteFile(t, "other", strings.NewReplacer("lease {$LEASE}", "lease 5s", "{$STORE}", f.store.Option+"\n\t\tkeys "+filepath.Join(f.edges[0].Dir, "keys.json")).Replace(site))
	_, stderr, err := f.edges[0].TryCommand("reload", "--config", f.edges[0].Dir+"/other", "--adapter", "caddyfile", "--address", strings.TrimPrefix(f.edges[0].Admin, "http://"))
	if err == nil || !strings.Contains(stderr, "cannot change while there are session backends") {
		t.Errorf("another lease: %v\n%s", err, stderr)
	}
	f.ask(0, "/doc/a/who")
}
