package plane

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// What a user has is cut off at once, and nothing of another user, nor of what the
// same user has elsewhere.
func TestRevoke(t *testing.T) {
	for _, option := range []string{"", "flush_interval -1"} {
		t.Run(option, func(t *testing.T) {
			a := start(t, option)
			ann := a.connect(t, inDocs("a"))
			ben := a.connect(t, strings.Replace(inDocs("a"), `"ann"`, `"ben"`, 1))
			elsewhere := a.connect(t, inDocs("b"))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			socket, _, err := websocket.Dial(ctx, ann.URL+"ws", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer socket.CloseNow()
			echoes := func() error {
				if err := socket.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
					return err
				}
				_, message, err := socket.Read(ctx)
				if err == nil && string(message) != "hello" {
					err = fmt.Errorf("got %q", message)
				}
				return err
			}
			if err := echoes(); err != nil {
				t.Fatal(err)
			}
			annTunnel, _ := a.upgrade(t, ann.URL+"tunnel")
			annTunnel.says(t, "hello")
			benTunnel, _ := a.upgrade(t, ben.URL+"tunnel")
			elseTunnel, _ := a.upgrade(t, elsewhere.URL+"tunnel")
			events, err := http.Get(ann.URL + "events")
			if err != nil {
				t.Fatal(err)
			}
			defer events.Body.Close()

			a.call(t, "POST", "/ctrl/b/revoke", fmt.Sprintf(`{"backend_id":%q,"user":"ann"}`, ann.BackendID)).Want(t, 200, "null")
			if _, _, err := socket.Read(ctx); err == nil || ctx.Err() != nil {
				t.Errorf("the WebSocket goes on: %v", err)
			}
			annTunnel.ends(t)
			drained := make(chan error, 1)
			go func() {
				for buffer := make([]byte, 4096); ; {
					if _, err := events.Body.Read(buffer); err != nil {
						drained <- err
						return
					}
				}
			}()
			select {
			case <-drained:
			case <-ctx.Done():
				t.Error("the stream of events goes on")
			}
			a.client.Get(t, ann.URL).Want(t, http.StatusGone, "")
			benTunnel.says(t, "still here")
			elseTunnel.says(t, "still here")
			a.visit(t, ben.URL)
			a.visit(t, a.connect(t, inDocs("a")).URL) // a new token is one
		})
	}
	a := start(t)
	c := a.connect(t, inDocs("a"))
	a.refused(t, "POST", "/ctrl/b/revoke", `{"backend_id":"unknown","user":"ann"}`, 404, "NotFound", "")
	a.refused(t, "POST", "/ctrl/revoke", fmt.Sprintf(`{"backend_id":%q}`, c.BackendID), 400, "InvalidRequest", "user")
	a.call(t, "POST", "/ctrl/revoke", fmt.Sprintf(`{"backend_id":%q,"user":"ann"}`, c.BackendID)).Want(t, 200, "null")
	a.client.Get(t, c.URL).Want(t, http.StatusGone, "")
}

// A token that expires cuts nothing that it has opened.
func TestTokenExpiresWhileConnected(t *testing.T) {
	a := startWith(t, nil, []string{"token_lifetime 1s"})
	c := a.connect(t, inDocs("a"))
	tunnel, _ := a.upgrade(t, c.URL)
	harness.Until(t, "the token expires", func() bool { return a.client.Get(t, c.URL).Status == http.StatusGone })
	tunnel.says(t, "still here")
}

func TestTerminate(t *testing.T) {
	a := start(t)
	for _, path := range []string{"/ctrl/b/%s/soft-terminate", "/ctrl/b/%s/hard-terminate", "/ctrl/c/localhost:9090/b/%s/soft-terminate", "/ctrl/c/x/b/%s/hard-terminate"} {
		c := a.connect(t, inDocs("a"))
		pid := a.visit(t, c.URL).PID
		a.call(t, "POST", fmt.Sprintf(path, c.BackendID), "").Want(t, 200, "null")
		harness.Until(t, "it ends", func() bool { return !alive(pid) })
		events := a.follow(t, a.URL+"/pub/b/"+c.BackendID+"/status-stream")
		wanted := "soft"
		if strings.Contains(path, "hard") {
			wanted = "hard"
		}
		if last := events[len(events)-1]; last.Kind != wanted || last.Reason != "external" {
			t.Errorf("%s: it ended as %+v", path, last)
		}
	}
	a.refused(t, "POST", "/ctrl/b/unknown/soft-terminate", "", 404, "NotFound", "id")
	a.refused(t, "POST", "/ctrl/nothing", "", 404, "NotFound", "no such call")
	a.refused(t, "GET", "/ctrl/b/x/soft-terminate", "", 405, "MethodNotAllowed", "POST")
}

// Callers see what there is, of all keys or some.
func TestSessions(t *testing.T) {
	a := start(t)
	list := func(query string) (keys []string) {
		t.Helper()
		var answer struct {
			Sessions []struct {
				BackendID   string `json:"backend_id"`
				Pool        string
				Key         string
				Fence       int64
				Connections int
				State       state
			}
		}
		a.call(t, "GET", "/ctrl/sessions"+query, "").Want(t, 200, "").JSON(t, &answer)
		for _, s := range answer.Sessions {
			if s.BackendID == "" || s.State.Status == "" || s.Fence == 0 {
				t.Errorf("one is %+v", s)
			}
			keys = append(keys, fmt.Sprintf("%s:%s:%d", s.Pool, s.Key, s.Connections))
		}
		return keys
	}
	if keys := list(""); keys != nil {
		t.Errorf("there are %v", keys)
	}
	for _, key := range []string{"team/a", "team/b", "other"} {
		a.visit(t, a.connect(t, inDocs(key)).URL)
	}
	namespaced := a.connect(t, `{"key":{"name":"x/y","namespace":"a b"},"spawn_config":{"pool":"rooms"}}`)
	a.visit(t, namespaced.URL)
	tunnel, _ := a.upgrade(t, namespaced.URL)
	tunnel.says(t, "hello")
	for query, want := range map[string]string{
		"": "docs:other:0 docs:team/a:0 docs:team/b:0 rooms:a+b/x/y:1", "?prefix=team/": "docs:team/a:0 docs:team/b:0", "?pool=rooms": "rooms:a+b/x/y:1", "?prefix=none": "",
	} {
		if got := strings.Join(list(query), " "); got != want {
			t.Errorf("%s: there are %s, want %s", query, got, want)
		}
	}
	path := "/ctrl/k/" + url.PathEscape("team/a")
	a.call(t, "GET", path+"?pool=docs", "").Want(t, 200, `"key":"team/a"`)
	a.call(t, "GET", "/ctrl/k/team/b?pool=docs", "").Want(t, 200, `"key":"team/b"`)
	a.refused(t, "GET", path, "", 400, "NoClusterProvided", "pool")
	a.refused(t, "GET", "/ctrl/k/nobody?pool=docs", "", 404, "NotFound", "key")
	a.refused(t, "DELETE", path+"?pool=docs&kind=sudden", "", 400, "InvalidRequest", "kind")
	a.call(t, "DELETE", path+"?pool=docs&kind=hard", "").Want(t, 200, "null")
	harness.Until(t, "it is gone", func() bool { return list("?prefix=team/a") == nil })
}

// Calls are found wherever the API is mounted, and keys are not taken for calls.
func TestMounts(t *testing.T) {
	a := start(t)
	for _, key := range []string{"v2/status", "ctrl/status"} {
		a.connect(t, inDocs(key))
		a.call(t, "GET", "/stripped/ctrl/k/"+key, "").Want(t, 200, fmt.Sprintf(`"key":%q`, key))
	}
	for _, mount := range []string{"/ctrl", "/stripped/ctrl", "/renamed"} {
		a.call(t, "GET", mount+"/status", "").Want(t, 200, `"status":"ok"`)
		var c connected
		a.call(t, "POST", mount+"/connect", inDocs("a")).Want(t, 200, "").JSON(t, &c)
		a.visit(t, c.URL)
	}
}

// A server that is drained starts no backend, and keeps those it has.
func TestDrain(t *testing.T) {
	for _, path := range []string{"/ctrl/node/drain", "/ctrl/c/here/d/this/drain"} {
		a := start(t)
		c := a.connect(t, inDocs("a"))
		a.call(t, "POST", path, "").Want(t, 200, `{"updated":true}`)
		a.call(t, "POST", path, "").Want(t, 200, `{"updated":false}`)
		a.visit(t, c.URL)
		a.connect(t, inDocs("a"))
		if answer := a.refused(t, "POST", "/ctrl/connect", inDocs("b"), 503, "NoDroneAvailable", "drained"); answer.Header.Get("Retry-After") == "" {
			t.Error("no word of when to try again")
		}
		a.client.Get(t, a.URL+"/doc/b/who").Want(t, 503, "")
		a.AdminLoad(t, site(t, nil, nil))
		a.client.Get(t, a.URL+"/doc/b/who").Want(t, 503, "")
		a.call(t, "DELETE", "/ctrl/node/drain", "").Want(t, 200, `{"updated":true}`)
		a.connect(t, inDocs("b"))
	}
}

// A program that does not work is told as such, and not tried again and again.
func TestConnectToWhatFails(t *testing.T) {
	a := start(t)
	a.AdminLoad(t, strings.Replace(site(t, nil, nil), "/testbackend\n", "/testbackend exits\n", 1))
	for range 2 {
		c := a.connect(t, inDocs("a"))
		harness.Until(t, "it has failed", func() bool {
			return strings.Contains(a.client.Get(t, c.StatusURL).Body, `"exit_error":true`)
		})
		a.client.Get(t, c.URL).Want(t, http.StatusGone, "")
	}
	if answer := a.refused(t, "POST", "/ctrl/connect", inDocs("a"), 503, "KeyHeldUnhealthy", "failed 2 times"); answer.Header.Get("Retry-After") == "" {
		t.Error("no word of when to try again")
	}
}

// A reload changes no token, no connection and no revocation.
func TestReload(t *testing.T) {
	a := start(t)
	ann, ben := a.connect(t, inDocs("a")), a.connect(t, strings.Replace(inDocs("a"), `"ann"`, `"ben"`, 1))
	a.call(t, "POST", "/ctrl/b/revoke", fmt.Sprintf(`{"backend_id":%q,"user":"ann"}`, ann.BackendID)).Want(t, 200, "")
	tunnel, _ := a.upgrade(t, ben.URL)
	for n := range 3 {
		a.AdminLoad(t, site(t, []string{fmt.Sprintf("idle %dm", n+1)}, nil))
		tunnel.says(t, "still here")
		a.client.Get(t, ann.URL).Want(t, http.StatusGone, "")
		a.visit(t, ben.URL)
	}
	a.call(t, "POST", "/ctrl/b/revoke", fmt.Sprintf(`{"backend_id":%q,"user":"ben"}`, ben.BackendID)).Want(t, 200, "")
	tunnel.ends(t) // which the first configuration serves
}

// Neither tokens nor secrets reach a log.
func TestNothingIsLogged(t *testing.T) {
	a := start(t)
	c := a.connect(t, inDocs("a"))
	room := a.connect(t, `{"key":{"name":"blue"},"spawn_config":{"pool":"rooms"},"user":"ann"}`)
	a.visit(t, c.URL+"who?x=1", "Referer: "+c.URL)
	a.visit(t, a.URL+"/room/blue/who?token="+room.Token)
	a.client.Get(t, a.URL+"/s/"+c.Token+"A/")
	a.client.Get(t, a.URL+"/elsewhere/"+c.Token+"/x?token="+c.Token)
	a.call(t, "POST", "/ctrl/b/"+c.BackendID+"/hard-terminate", "").Want(t, 200, "")
	harness.Until(t, "it has ended", func() bool { return a.client.Get(t, c.URL).Status == http.StatusGone })
	dump := a.AdminGet(t, "/config/")
	log := a.Log.String()
	for _, sign := range []string{"handled request", "upstream roundtrip", "REDACTED"} {
		if !strings.Contains(log, sign) {
			t.Errorf("the log lacks %q: the test looks in the wrong place", sign)
		}
	}
	for what, hidden := range map[string]string{
		"a token": strings.Split(c.Token, ".")[1], "its signature": strings.Split(c.Token, ".")[2], "a token in a query": strings.Split(room.Token, ".")[2],
		"the secret of a token": c.SecretToken, "the secret of another": room.SecretToken, "the secret of the API": secret,
	} {
		for where, text := range map[string]string{"the log": log, "the configuration": dump} {
			if at := strings.Index(text, hidden); at >= 0 {
				t.Errorf("%s shows %s: %s", where, what, text[max(0, at-300):min(len(text), at+300)])
			}
		}
	}
}
