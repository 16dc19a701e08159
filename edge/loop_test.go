package edge

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// A task that calls itself is stopped, also when it tries to hide that it does.
func TestLoop(t *testing.T) {
	st := newStage(t, fileStore(t), nil)
	target, err := url.Parse(st.url)
	if err != nil {
		t.Fatal(err)
	}
	var round atomic.Int64
	way := httputil.NewSingleHostReverseProxy(target)
	st.origin.handle("/round", func(w http.ResponseWriter, r *http.Request) {
		round.Add(1)
		way.ServeHTTP(w, r)
	})
	st.inline(`export default { async fetch() {
		const answer = await fetch("` + st.origin.url + `/round", { headers: { "CDN-Loop": "other", "x-a": "1" } });
		return new Response(await answer.text(), { status: answer.status });
	} }`)
	resp, body := st.get("/", nil)
	if resp.StatusCode != http.StatusLoopDetected || !strings.Contains(body, "circle") {
		t.Errorf("answered %d %s", resp.StatusCode, body)
	}
	if n := round.Load(); n != maxLoop+1 {
		t.Errorf("it went round %d times", n)
	}
}

func TestCheckLoop(t *testing.T) {
	own := userAgent + "; v=1 , "
	for name, test := range map[string]struct {
		lines []string
		loop  bool
	}{
		"none":         {nil, false},
		"other edges":  {[]string{strings.Repeat("other, ", 20)}, false},
		"as many":      {[]string{strings.Repeat(own, maxLoop) + "other"}, false},
		"too many":     {[]string{strings.Repeat(own, maxLoop+1)}, true},
		"over lines":   {[]string{strings.Repeat(own, maxLoop), userAgent}, true},
		"not its name": {[]string{strings.Repeat("not-"+own, maxLoop+1)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := checkLoop(test.lines); (err != nil) != test.loop {
				t.Errorf("got %v", err)
			}
		})
	}
}
