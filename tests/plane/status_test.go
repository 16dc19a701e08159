package plane

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/webtask-edge/caddy-webtask/tests/harness"
)

// Who knows the id of a backend is told how far it has come, also after its end.
func TestStatus(t *testing.T) {
	a := start(t)
	c := a.connect(t, inDocs("a"))
	public := harness.NewClient(t)
	status := func() (s state) {
		t.Helper()
		answer := public.Get(t, c.StatusURL, "Origin: https://elsewhere.example.com").Want(t, 200, "")
		if answer.Header.Get("Access-Control-Allow-Origin") != "*" || answer.Header.Get("Content-Type") != "application/json" {
			t.Errorf("the headers are %v", answer.Header)
		}
		answer.JSON(t, &s)
		return s
	}
	if s := status(); !strings.Contains("scheduled starting waiting ready", s.Status) || len(s.Time) != len("1700000000000") {
		t.Errorf("the first status is %+v", s)
	}
	a.visit(t, c.URL)
	if s := status(); s.Status != "ready" || s.Reason != "" || s.ExitError != nil {
		t.Errorf("it is %+v", s)
	}
	a.call(t, "POST", "/ctrl/b/"+c.BackendID+"/soft-terminate", "").Want(t, 200, "null")
	harness.Until(t, "it ends", func() bool { return status().Status == "terminated" })
	if s := status(); s.Reason != "external" || s.Kind != "soft" || s.ExitError == nil {
		t.Errorf("it ended as %+v", s)
	}
	// Ending it again changes nothing.
	a.call(t, "POST", "/ctrl/b/"+c.BackendID+"/hard-terminate", "").Want(t, 200, "null")
	if s := status(); s.Status != "terminated" || s.Kind != "soft" {
		t.Errorf("afterwards it is %+v", s)
	}
	var w wrong
	public.Get(t, a.URL+"/pub/b/unknown/status").Want(t, 404, "").JSON(t, &w)
	if w.Kind != "NotFound" {
		t.Errorf("of an unknown id: %+v", w)
	}
	public.Get(t, a.URL+"/pub/health").Want(t, 200, `{"status":"ok"}`)
	if got := public.Do(t, "OPTIONS", c.StatusURL, "").Want(t, 204, "").Header.Get("Access-Control-Allow-Headers"); !strings.Contains(got, "Last-Event-ID") {
		t.Errorf("a preflight allows the headers %q", got)
	}
	if answer := a.call(t, "GET", "/ctrl/status", ""); answer.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("pages of other sites may read the part control")
	}
	public.Do(t, "POST", c.StatusURL, "").Want(t, 405, "MethodNotAllowed")
}

// A stream has all statuses in their order, or those after the one that its client
// has seen, and ends with the last.
func TestStatusStream(t *testing.T) {
	a := start(t)
	c := a.connect(t, inDocs("a"))
	stream := a.URL + "/pub/b/" + c.BackendID + "/status-stream"
	live, err := http.Get(stream)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Body.Close()
	lines := bufio.NewScanner(live.Body)
	var seen []string
	for lines.Scan() {
		id, ok := strings.CutPrefix(lines.Text(), "id: ")
		if !ok {
			continue
		}
		if seen = append(seen, id); id == "ready" {
			a.call(t, "POST", "/ctrl/b/"+c.BackendID+"/soft-terminate", "").Want(t, 200, "")
		}
	}
	const all = "scheduled starting waiting ready terminating terminated"
	if got := strings.Join(seen, " "); lines.Err() != nil || got != all {
		t.Errorf("the statuses were %s (%v)", got, lines.Err())
	}
	// After its end.
	events := a.follow(t, stream)
	if got := statuses(events); got != all {
		t.Errorf("afterwards they are %s", got)
	}
	if last := events[len(events)-2]; last.Reason != "external" || last.Kind != "soft" {
		t.Errorf("it was asked to end as %+v", last)
	}
	if got := statuses(a.follow(t, stream, "Last-Event-ID: waiting")); got != "ready terminating terminated" {
		t.Errorf("after waiting there come %s", got)
	}
	if got := statuses(a.follow(t, stream, "Last-Event-ID: something")); got != all {
		t.Errorf("after what is no status there come %s", got)
	}
	a.client.Get(t, stream, "Last-Event-ID: terminated").Want(t, 204, "")
}

// A client that leaves a stream, and a reload, leave nothing behind and cut nothing.
func TestStatusStreamAndReload(t *testing.T) {
	a := start(t)
	c := a.connect(t, inDocs("a"))
	a.visit(t, c.URL)
	stream := func() (*http.Response, *bufio.Reader) {
		t.Helper()
		resp, err := http.Get(a.URL + "/pub/b/" + c.BackendID + "/status-stream")
		if err != nil {
			t.Fatal(err)
		}
		return resp, bufio.NewReader(resp.Body)
	}
	leaves, _ := stream()
	leaves.Body.Close()
	stays, reader := stream()
	defer stays.Body.Close()
	a.AdminLoad(t, site(t, nil, nil))
	a.call(t, "POST", "/ctrl/b/"+c.BackendID+"/hard-terminate", "").Want(t, 200, "")
	var ids []string
	for {
		line, err := reader.ReadString('\n')
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			ids = append(ids, strings.TrimSpace(id))
		}
		if err != nil {
			break
		}
	}
	if got := strings.Join(ids, " "); !strings.HasSuffix(got, "ready hard-terminating terminated") {
		t.Errorf("the stream was %s", got)
	}
}
