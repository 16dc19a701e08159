package attacks

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// site is what every run of the suite attacks. The limits are short, so that
// each attack comes to its end soon.
const site = `
{
	log {
		format webtask
	}
	webtask {
		isolation %s
		%s
		keys keys.json
		timeout 3s
		cpu_time 500ms
		stream_timeout 3s
		wait_until 1s
		isolates 16
		queue %d 5s
		request_body 8MiB
		response_body 8MiB
		code_size 2MiB
		code_max_age %ds
		sessions 100
		subrequests 20
		fetch_rate 200
		fetch_bytes 16MiB
		timers 1000
		log_bytes 64KiB
		code_allow {$ORIGIN}/*
		egress allow public:* {$ORIGIN_HOST} {$RAW_HOST}
	}
}

http://localhost:{$PORT} {
	log {
		format webtask
	}
	log_skip /victim*
	log_skip /still.txt
	root * static
	webtask /victim* {
		code victim.js
		container victim
		secret SECRET {env.CANARY_SECRET}
		param CONFIG {env.CANARY_CONFIG}
	}
	webtask /run*
%s
	file_server
}
`

// victim is the other tenant. It keeps its secret where scripts of one process
// might look, and answers whether all it has is still there.
const victim = `
export default {
	async fetch(request, env, ctx) {
		globalThis.kept = env.SECRET;
		globalThis[Symbol.for("secret")] = env.SECRET;
		Object.prototype.planted = env.SECRET;
		const note = request.headers.get("x-note");
		if (note) await ctx.session.set("note", note);
		return Response.json({
			secret: env.SECRET.length,
			note: (await ctx.session.get("note") ?? "").length,
			config: env.CONFIG.length,
			id: note ? ctx.session.id : undefined,
		});
	},
};
`

// mode is a way to run the suite.
type mode struct {
	isolation string
	uid       uint32
}

func (m mode) String() string {
	switch {
	case m.uid != 0:
		return fmt.Sprintf("isolation %s, uid %d", m.isolation, m.uid)
	case os.Getuid() == 0:
		return "isolation " + m.isolation + ", root"
	}
	return fmt.Sprintf("isolation %s, uid %d", m.isolation, os.Getuid())
}

// stage is an edge, what stands around it, and what is to be found nowhere.
type stage struct {
	t        testing.TB
	mode     mode
	srv      *harness.Server
	origin   *origin
	internal *internal
	canaries *canaries
	keys     *webtask.Keyring
	words    []string // as for strings.NewReplacer
	ids      map[string]string
	victim   string // its session's cookie, as name=value

	routes  string // of the Caddyfile, for attacks that need one
	renewed int    // times
	crowded bool   // several attack at once, so that each may run out of time

	reloading   bool         // all the time, so that connections may be lost
	unconnected atomic.Int64 // which were
}

// caddyfile is the stage's; n makes it differ from others.
func (st *stage) caddyfile(n int) string {
	memory := "memory 128MiB"
	if st.mode.isolation == "none" {
		memory = "" // bounds a worker, which this mode has not
	}
	return fmt.Sprintf(site, st.mode.isolation, memory, 256+n, 300+n, st.routes)
}

// newStage starts an edge for some attacks. mayDie is for an edge that the
// attack may end.
func newStage(t testing.TB, m mode, attacks []Attack, mayDie bool) *stage {
	t.Helper()
	c := newCanaries()
	st := &stage{t: t, mode: m, canaries: c, origin: startOrigin(t, c), internal: startInternal(t, c.made["internal"]), ids: map[string]string{}}
	raw := startRaw(t)
	dir := harness.OpenDir(t)
	st.makeKeys(t, dir)

	file := filepath.Join(dir, "canary.json")
	files := map[string]string{
		"canary.json":      fmt.Sprintf("{%q: %q}", "canary", c.made["file"]),
		"victim.js":        victim,
		"static/still.txt": "a static file\n",
	}
	if err := os.MkdirAll(filepath.Join(dir, "tasks", "attacks"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, filepath.Join(dir, "tasks", "attacks", "link.json")); err != nil {
		t.Fatal(err)
	}
	var routes strings.Builder
	for i := range attacks {
		a := &attacks[i]
		id := fmt.Sprintf("a%03d", i)
		st.ids[a.Label()] = id
		switch a.By {
		case Route:
			fmt.Fprintf(&routes, "\twebtask /%s* {\n\t\tcode tasks/attacks/%s.js\n\t\tcontainer %s\n\t}\n", id, id, id)
			files["tasks/attacks/"+id+".js"] = "" // written once the words are known
		case RouteURL:
			fmt.Fprintf(&routes, "\twebtask /%s* {\n\t\tcode %s/%s.js\n\t\tcontainer %s\n\t}\n", id, st.origin.URL, id, id)
		}
	}
	st.routes = routes.String()
	st.srv = harness.Prepare(t, harness.Config{
		Caddyfile: st.caddyfile(0),
		Dir:       dir, UID: m.uid, Release: true, MayDie: mayDie, Files: files,
		MayNice: true, // as docs/security.md has it
		Env: []string{
			"ORIGIN=" + st.origin.URL, "ORIGIN_HOST=" + st.origin.host(), "RAW_HOST=" + raw,
			"CANARY_SECRET=" + c.made["secret"], "CANARY_CONFIG=" + c.made["config"], "CANARY_ENV=" + c.made["environment"],
		},
	})
	st.words = []string{
		"%ORIGIN%", st.origin.URL, "%ORIGINHOST%", st.origin.host(), "%RAWHOST%", raw,
		"%ADMIN%", strings.TrimPrefix(st.srv.Admin, "http://"), "%ADMINPORT%", port(st.srv.Admin),
		"%EDGE%", strings.TrimPrefix(st.srv.URL, "http://"), "%EDGEPORT%", port(st.srv.URL),
		"%INTERNAL%", "127.0.0.1:" + st.internal.port, "%PORT%", st.internal.port, "%HOSTADDR%", hostAddress(),
		"%FILE%", file, "%CANARYBASIC%", c.basic(), "%CANARY%", c.made["cookie"], "%EVIL%", "taken",
	}
	for i := range attacks {
		st.deliver(t, &attacks[i])
	}
	st.srv.Run(t)
	st.beginVictim(t)
	return st
}

func (st *stage) makeKeys(t testing.TB, dir string) {
	t.Helper()
	keys, err := webtask.GenerateKeyring(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := keys.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keys.json"), jwks, 0o600); err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []struct{ K string } }
	if err := json.Unmarshal(jwks, &set); err != nil || len(set.Keys) == 0 {
		t.Fatalf("the keyring is %s: %v", jwks, err)
	}
	st.keys, st.canaries.others["a key of the edge"] = keys, set.Keys[0].K
}

// deliver puts an attack's code where its way to the edge begins.
func (st *stage) deliver(t testing.TB, a *Attack) {
	t.Helper()
	id := st.ids[a.Label()]
	words := st.replacer(id)
	if a.By == Route {
		st.srv.WriteFile(t, "tasks/attacks/"+id+".js", a.Source(words))
	} else {
		st.origin.put("/"+id+".js", a.Source(words))
	}
	if a.Before != "" {
		st.origin.put("/"+id+"-before.js", module(words.Replace(a.Before)))
	}
}

// replacer puts the stage's words into the texts of the attack with this id.
func (st *stage) replacer(id string) *strings.Replacer {
	own := []string{"%SELF%", id + ".js", "%OWNCOOKIE%", webtask.SessionCookieName(id, false, false)}
	return strings.NewReplacer(append(own, st.words...)...)
}

// token issues what runs the code at a path of the origin.
func (st *stage) token(t testing.TB, c webtask.Claims, path string) string {
	t.Helper()
	c.URL, c.Expires = st.origin.URL+path, time.Now().Add(time.Hour)
	token, err := st.keys.Issue(c, webtask.IssueOptions{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// claims are the least that a token needs.
func claims(container string) webtask.Claims { return webtask.Claims{Container: container} }

// beginVictim gives the victim its session, whose cookie is a canary from then
// on.
func (st *stage) beginVictim(t testing.TB) {
	t.Helper()
	c := harness.NewClient(t)
	got := c.Get(t, st.srv.URL+"/victim", "X-Note: "+st.canaries.made["session"]).Want(t, http.StatusOK, "id")
	var answer struct{ ID string }
	got.JSON(t, &answer)
	cookies := c.Cookies(t, st.srv.URL)
	if len(cookies) != 1 || answer.ID == "" {
		t.Fatalf("the victim has no session: %v %s", cookies, got.Body)
	}
	st.victim = cookies[0].Name + "=" + cookies[0].Value
	st.canaries.others["the victim's session cookie"] = cookies[0].Value
	st.words = append(st.words, "%COOKIE%", st.victim, "%COOKIEVALUE%", cookies[0].Value, "%SESSIONID%", answer.ID)
}

func port(url string) string { return url[strings.LastIndexByte(url, ':')+1:] }

// hostAddress is an address of this machine that is not loopback, or else one
// of loopback.
func hostAddress() string {
	addrs, err := net.InterfaceAddrs()
	if err == nil {
		for _, addr := range addrs {
			if ip, ok := addr.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
				return ip.IP.String()
			}
		}
	}
	return "127.0.0.9"
}
