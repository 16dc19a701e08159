package attacks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

const (
	// patience is how long an answer may take before it counts as none. It
	// detects what hangs and measures nothing: the limits of the stage end
	// every request within seconds.
	patience = 45 * time.Second

	// enough of an answer's body has been read when it is this long.
	enough = 96 << 20
)

// verdict is how an attack went.
type verdict struct {
	attack   *Attack
	answers  []string // as status and the first of the body
	problems []string // empty: contained
	ended    bool     // an answer came
}

func (v *verdict) problem(format string, args ...any) {
	v.problems = append(v.problems, fmt.Sprintf(format, args...))
}

// visitor is one client of the attacker's: connections of its own, no cookies
// but what the attack sends, no redirect followed, nothing decoded.
func visitor() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableCompression: true, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// got is an answer that was read.
type got struct {
	status int
	header http.Header
	body   string
	broken bool // it broke off
}

// send makes the request of an attack, with further header lines.
func (st *stage) send(ctx context.Context, a *Attack, token string, more ...string) (*got, error) {
	id := st.ids[a.Label()]
	words := st.replacer(id)
	r := a.Request
	path := "/run"
	if a.By != Token {
		path = "/" + id
	}
	body := r.Body
	if body == "%BOMB%" {
		body = string(bombs()["gzip"][:6<<20])
	}
	method := r.Method
	switch {
	case method != "":
	case body != "":
		method = http.MethodPost
	default:
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, st.srv.URL+path+r.Path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if token != "" {
		more = append(more, "Authorization: Bearer "+token)
	}
	for _, line := range append(more, r.Header...) {
		name, value, _ := strings.Cut(words.Replace(line), ": ")
		if name == "Authorization" && req.Header.Get(name) != "" {
			name = "X-Also-" + name // one is the token's
		}
		req.Header.Add(name, value)
	}
	resp, err := visitor().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, enough))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return &got{resp.StatusCode, resp.Header, string(data), err != nil}, nil
}

// run starts an attack and judges what comes of it.
func (st *stage) run(t testing.TB, a *Attack, within time.Duration) *verdict {
	v := &verdict{attack: a}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	id := st.ids[a.Label()]
	token := ""
	if a.By == Token {
		token = st.token(t, webtask.Claims{Container: id, Secrets: map[string]string{"OWN": "own-" + id}, Net: a.Net}, "/"+id+".js")
	}
	if a.Before != "" {
		before := st.token(t, webtask.Claims{
			Container: id,
			Secrets:   map[string]string{"SIBLING": st.canaries.made["sibling"]},
			Params:    map[string]string{"SIBLINGPARAM": st.canaries.made["sibling"]},
		}, "/"+id+"-before.js")
		plain := Attack{Class: a.Class, Name: a.Name}
		if answer, err := st.send(ctx, &plain, before); err != nil || answer.status != http.StatusOK {
			v.problem("the task before was answered %+v (%v)", answer, err)
		}
	}
	if a.Visited {
		if answer, err := st.send(ctx, a, token, "X-Visit: first", "X-Private: "+st.canaries.made["private"]); err != nil || answer.status != http.StatusOK {
			v.problem("the first visitor was answered %+v (%v)", answer, err)
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range max(1, a.Often) {
		wg.Go(func() {
			answer, err := st.send(ctx, a, token)
			mu.Lock()
			defer mu.Unlock()
			st.judge(v, answer, err)
		})
	}
	wg.Wait()
	return v
}

// judge compares an answer with what is documented, and with what must not be
// in any.
func (st *stage) judge(v *verdict, answer *got, err error) {
	a := v.attack
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		v.problem("no answer within %v", patience)
		return
	case st.reloading && unconnected(err):
		v.ended = true
		st.unconnected.Add(1)
		return
	case err != nil:
		// A server may refuse a request by closing its connection, but only
		// one that is too large for it.
		if len(a.Request.Body) > 1<<20 || len(fmt.Sprint(a.Request.Header)) > 1<<20 {
			v.ended = true
			v.answers = append(v.answers, "closed")
			return
		}
		v.problem("no answer: %v", err)
		return
	}
	v.ended = true
	v.answers = append(v.answers, fmt.Sprintf("%d %.200q", answer.status, answer.body))
	if !(st.crowded && late(answer)) && !a.Allows(answer.status, answer.body, answer.broken) {
		v.problem("answered %d %.300q (broken off: %v), want one of %v", answer.status, answer.body, answer.broken, a.Want)
	}
	shown := fmt.Sprint(answer.header) + answer.body
	if found := st.canaries.find(shown); len(found) != 0 {
		v.problem("the answer shows %v: %d %.500q", found, answer.status, shown)
	}
	if !strings.Contains(a.Code+a.Module+a.Before, "%FILE%") && strings.Contains(shown, st.srv.Dir) {
		v.problem("the answer shows a path of the host: %.500q", shown)
	}
	st.judgeHeader(v, answer.header)
}

// unconnected reports an error as a reload of Caddy may cause, in which a
// connection that nobody has accepted yet is lost.
func unconnected(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, io.EOF)
}

// late reports an answer that says that the machine was busy: whatever was
// asked for, it may come where several attack at once.
func late(answer *got) bool {
	return answer.status == overTime.Status && strings.Contains(answer.body, overTime.Text) ||
		answer.status == http.StatusServiceUnavailable && answer.header.Get("Retry-After") != ""
}

// judgeHeader looks for what no task may set.
func (st *stage) judgeHeader(v *verdict, header http.Header) {
	for name, values := range header {
		switch name {
		case "X-Injected", "Trailer", "Upgrade", "Proxy-Authenticate", "Keep-Alive":
			v.problem("the answer has the header %s: %v", name, values)
		case "Clear-Site-Data", "Service-Worker-Allowed", "Strict-Transport-Security", "Alt-Svc", "Nel", "Report-To",
			"Reporting-Endpoints", "Refresh", "X-Sendfile", "X-Accel-Redirect", "Public-Key-Pins", "Accept-Ch", "Critical-Ch", "Set-Login",
			"Secure-Session-Registration", "Sec-Session-Registration", "Attribution-Reporting-Register-Source", "Observe-Browsing-Topics",
			"Shared-Storage-Write", "Use-As-Dictionary", "X-Reproxy-Url", "X-Reproxy-File", "X-Litespeed-Location", "X-Lighttpd-Send-File",
			"Cdn-Cache-Control", "Cloudflare-Cdn-Cache-Control", "Surrogate-Control":
			if v.attack.By == Token {
				v.problem("a foreign task set %s: %v", name, values)
			}
		case "Cache-Control":
			// The token stood in a header, which the URL does not show.
			if text := strings.Join(values, ", "); v.attack.By == Token && text != "private, no-store" {
				v.problem("a cache may keep a foreign answer: %s", text)
			}
		case "Set-Cookie":
			own := webtask.SessionCookieName(st.ids[v.attack.Label()], false, false) + "="
			for _, value := range values {
				if v.attack.By == Token && !strings.HasPrefix(value, own) {
					v.problem("a foreign task set a cookie: %s", value)
				}
			}
		}
	}
}

// alive reports whether the edge's process is.
func (st *stage) alive() bool {
	select {
	case <-st.srv.Ended():
		return false
	default:
		return true
	}
}
