package edges

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

const secret = "a secret of sixteen characters or more"

// A token that one server gives out leads to the backend at all of them, and is
// revoked where that is.
func TestTokensAtAllEdges(t *testing.T) {
	withAPI := strings.Replace(site, "\trespond", "\thandle /ctrl/* {\n\t\tsession_api control {\n\t\t\tauth bearer {env.SECRET}\n\t\t}\n\t}\n"+
		"\thandle /s/* {\n\t\tsession_connect\n\t}\n\trespond", 1)
	f := startSite(t, withAPI, 2, "SECRET="+secret)
	post := func(edge int, path, body string) map[string]any {
		t.Helper()
		answer := harness.NewClient(t).Do(t, "POST", f.edges[edge].URL+path, body, harness.Bearer(secret), "Content-Type: application/json").Want(t, 200, "")
		var got map[string]any
		if answer.Body != "null" {
			if err := json.Unmarshal([]byte(answer.Body), &got); err != nil {
				t.Fatal(err)
			}
		}
		return got
	}
	const call = `{"key": {"name": "a"}, "spawn_config": {}, "user": "ann"}`
	first := post(0, "/ctrl/connect", call)
	second := post(1, "/ctrl/connect", strings.Replace(call, "ann", "bob", 1))
	if first["spawned"] != true || second["spawned"] != false || first["backend_id"] != second["backend_id"] || second["drone"] != "node0" || second["fence"] != first["fence"] {
		t.Errorf("it is started once, and known at both servers: %v, %v", first, second)
	}
	visit := func(edge int, answer map[string]any) (who, int) {
		t.Helper()
		at, err := url.Parse(answer["url"].(string))
		if err != nil {
			t.Fatal(err)
		}
		got := harness.NewClient(t).Get(t, f.edges[edge].URL+at.Path+"who")
		var w who
		if got.Status == http.StatusOK {
			got.JSON(t, &w)
		}
		return w, got.Status
	}
	for edge := range f.edges {
		for user, answer := range map[string]map[string]any{"ann": first, "bob": second} {
			w, status := visit(edge, answer)
			if status != 200 || w.ID != first["backend_id"] || w.Header.Get("X-Verified-Username") != user || w.Header.Get("X-Verified-Secret") != answer["secret_token"] {
				t.Errorf("server %d, the token of %s: %d, %+v", edge, user, status, w)
			}
		}
	}
	at, err := url.Parse(first["url"].(string))
	if err != nil {
		t.Fatal(err)
	}
	tunnel := f.upgrade(1, at.Path+"ws")
	if !tunnel.echoes("hello") {
		t.Error("the tunnel does not work")
	}
	revoke, err := json.Marshal(map[string]any{"backend_id": first["backend_id"], "user": "ann"})
	if err != nil {
		t.Fatal(err)
	}
	post(0, "/ctrl/b/revoke", string(revoke))
	if tunnel.echoes("after that") {
		t.Error("the tunnel through the other server goes on")
	}
	for edge := range f.edges {
		if _, status := visit(edge, first); status != http.StatusGone {
			t.Errorf("server %d, the token that was revoked: %d", edge, status)
		}
		if _, status := visit(edge, second); status != 200 {
			t.Errorf("server %d, another's: %d", edge, status)
		}
	}
	post(0, "/ctrl/b/"+first["backend_id"].(string)+"/soft-terminate", "")
	harness.Until(t, "it is gone", func() bool { return claims(t, f) == 0 })
	for edge := range f.edges {
		if _, status := visit(edge, second); status != http.StatusGone {
			t.Errorf("server %d, the token of what has ended: %d", edge, status)
		}
	}
}
