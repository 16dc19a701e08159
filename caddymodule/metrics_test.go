package caddymodule

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/webtask-edge/caddy-webtask/edge"
)

// TestMetricsAreNamedWell holds names, units and help to Prometheus's rules.
func TestMetricsAreNamedWell(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	if err := metrics.register(registry); err != nil {
		t.Fatal(err)
	}
	if err := metrics.register(registry); err != nil {
		t.Errorf("registering twice: %v", err)
	}
	metrics.route("lint").observe(&requestInfo{edge.RequestInfo{Outcome: edge.OutcomeOK}})
	metrics.TokenOpened("ok")
	metrics.StoreCalled("load", 1, nil)
	metrics.FetchDone(1, nil)
	metrics.QueueWaited("c", 1)
	metrics.Compiled(1, nil)
	metrics.IsolateCreated("c", 1)
	metrics.IsolateDiscarded("c", "idle")
	metrics.codeLoaded("fetch", "ok", 1)
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
}

// TestMetricsSurviveReloads counts requests across two configurations.
func TestMetricsSurviveReloads(t *testing.T) {
	s := newServer(t, map[string]string{"hello.js": helloJS})
	site := "webtask /hello {\n code hello.js\n container metered\n}\n"
	s.mustLoad("", site)
	s.want("/hello", 200, "world")
	s.mustLoad("", site+"respond x")
	s.want("/hello", 200, "world")
	_, text := s.adminDo(http.MethodGet, "/metrics", "")
	for _, line := range []string{
		`caddy_webtask_requests_total{container="metered",outcome="ok"} 2`,
		`caddy_webtask_request_duration_seconds_count{container="metered"} 2`,
		`caddy_webtask_isolates{state="idle"} `,
		`caddy_webtask_queued_requests 0`,
		`caddy_webtask_compile_duration_seconds_count{result="ok"} `,
		`caddy_webtask_isolates_created_total `,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
}
