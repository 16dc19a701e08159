package caddymodule

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/webtask-edge/caddy-webtask/edge"
	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// metrics are the collectors of the process. They live as long as it does,
// since Caddy makes a new registry for every configuration and counters must
// go on counting. No label has a value that a request could choose.
var metrics = newCollectors()

type collectors struct {
	backendCollectors

	requests        *prometheus.CounterVec
	duration        *prometheus.HistogramVec
	queueWait       prometheus.Histogram
	isolates        isolateCollector
	created         prometheus.Counter
	load            prometheus.Histogram
	discarded       *prometheus.CounterVec
	compile         *prometheus.HistogramVec
	code            *prometheus.HistogramVec
	tokens          *prometheus.CounterVec
	tokensOK        prometheus.Counter // of tokens, looked up once
	store           *prometheus.HistogramVec
	scriptFetch     *prometheus.HistogramVec
	routeCollectors func() []prometheus.Collector
}

const subsystem = "webtask"

// fastBuckets, in seconds, are for what takes microseconds when all is well.
var fastBuckets = []float64{.00001, .000025, .0001, .00025, .001, .0025, .01, .025, .1, .25, 1, 2.5, 10, 30}

func newCollectors() *collectors {
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "caddy", Subsystem: subsystem, Name: name, Help: help, Buckets: fastBuckets,
		}, labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "caddy", Subsystem: subsystem, Name: name, Help: help,
		}, labels)
	}
	queueWait := histogram("queue_wait_seconds", "How long requests waited for an isolate.")
	load := histogram("isolate_load_seconds", "How long making an isolate and loading its program took.")
	created := counter("isolates_created_total", "Isolates made.")
	c := &collectors{
		backendCollectors: newBackendCollectors(),

		requests:    counter("requests_total", "Requests that a webtask directive answered, by container of the configuration (* where tokens name it) and outcome.", "container", "outcome"),
		duration:    histogram("request_duration_seconds", "How long answering them took, to the last byte.", "container"),
		queueWait:   queueWait.WithLabelValues().(prometheus.Histogram),
		created:     created.WithLabelValues(),
		load:        load.WithLabelValues().(prometheus.Histogram),
		discarded:   counter("isolates_discarded_total", "Isolates thrown away, by reason.", "reason"),
		compile:     histogram("compile_duration_seconds", "How long compiling programs took, by result.", "result"),
		code:        histogram("code_duration_seconds", "How long fetching code by URL and bundling it took, by operation and result.", "operation", "result"),
		tokens:      counter("tokens_total", "Tokens of this edge that requests carried, by result.", "result"),
		store:       histogram("store_duration_seconds", "How long calls of the store took, by operation and result.", "operation", "result"),
		scriptFetch: histogram("fetch_duration_seconds", "How long fetch() calls of scripts took, to the response's headers, by result.", "result"),
	}
	c.tokensOK = c.tokens.WithLabelValues("ok")
	c.routeCollectors = func() []prometheus.Collector {
		return append(c.backendCollectors.all(),
			c.requests, c.duration, queueWait, c.isolates, created, load, c.discarded,
			c.compile, c.code, c.tokens, c.store, c.scriptFetch)
	}
	return c
}

// register adds the collectors to the registry of a configuration.
func (c *collectors) register(registry *prometheus.Registry) error {
	for _, collector := range c.routeCollectors() {
		// Two apps never share a registry, but a test or a second provisioning
		// may come with one that has them.
		var already prometheus.AlreadyRegisteredError
		if err := registry.Register(collector); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}

// routeMetrics are the series of one directive, looked up once.
type routeMetrics struct {
	outcomes map[edge.Outcome]prometheus.Counter
	duration prometheus.Observer
}

func (c *collectors) route(container string) *routeMetrics {
	m := &routeMetrics{outcomes: map[edge.Outcome]prometheus.Counter{}, duration: c.duration.WithLabelValues(container)}
	for _, outcome := range []edge.Outcome{
		edge.OutcomeOK, edge.OutcomeTokenRefused, edge.OutcomeRateLimited, edge.OutcomeCodeFailed, edge.OutcomeScriptFailed,
		edge.OutcomeLimit, edge.OutcomeOverload, edge.OutcomeStoreDown, edge.OutcomeCanceled, edge.OutcomePreflight, edge.OutcomeInternal,
	} {
		m.outcomes[outcome] = c.requests.WithLabelValues(container, string(outcome))
	}
	return m
}

// observe counts a request, unless it was passed on.
func (m *routeMetrics) observe(info *requestInfo) {
	if counter, ok := m.outcomes[info.Outcome]; ok {
		counter.Inc()
		m.duration.Observe(info.Duration.Seconds())
	}
}

func resultOf(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

// TokenOpened implements edge.Observer.
func (c *collectors) TokenOpened(result string) {
	if result == "ok" {
		c.tokensOK.Inc()
		return
	}
	c.tokens.WithLabelValues(result).Inc()
}

// StoreCalled implements edge.Observer.
func (c *collectors) StoreCalled(op string, took time.Duration, err error) {
	c.store.WithLabelValues(op, resultOf(err)).Observe(took.Seconds())
}

// FetchDone implements edge.Observer.
func (c *collectors) FetchDone(took time.Duration, err error) {
	c.scriptFetch.WithLabelValues(resultOf(err)).Observe(took.Seconds())
}

// QueueWaited implements jsruntime.Observer.
func (c *collectors) QueueWaited(_ string, wait time.Duration) { c.queueWait.Observe(wait.Seconds()) }

// Compiled implements jsruntime.Observer.
func (c *collectors) Compiled(took time.Duration, err error) {
	c.compile.WithLabelValues(resultOf(err)).Observe(took.Seconds())
}

// IsolateCreated implements jsruntime.Observer.
func (c *collectors) IsolateCreated(_ string, took time.Duration) {
	c.created.Inc()
	c.load.Observe(took.Seconds())
}

// IsolateDiscarded implements jsruntime.Observer.
func (c *collectors) IsolateDiscarded(_, reason string) { c.discarded.WithLabelValues(reason).Inc() }

// codeLoaded is source.Options.Observe.
func (c *collectors) codeLoaded(what, outcome string, took time.Duration) {
	c.code.WithLabelValues(what, outcome).Observe(took.Seconds())
}

// isolateCollector counts isolates, and requests that wait for one, when a
// scrape asks.
type isolateCollector struct{}

var (
	isolatesDesc = prometheus.NewDesc("caddy_webtask_isolates", "Isolates there are, by state.", []string{"state"}, nil)
	queuedDesc   = prometheus.NewDesc("caddy_webtask_queued_requests", "Requests that wait for an isolate.", nil, nil)
)

// Describe implements prometheus.Collector.
func (isolateCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- isolatesDesc
	descs <- queuedDesc
}

// Collect implements prometheus.Collector.
func (isolateCollector) Collect(out chan<- prometheus.Metric) {
	var idle, busy, queued int
	eachEngine(func(engine *sharedEngine) {
		for _, pool := range engine.Stats() {
			idle, busy, queued = idle+pool.Idle, busy+pool.Busy, queued+pool.Queued
		}
	})
	out <- prometheus.MustNewConstMetric(isolatesDesc, prometheus.GaugeValue, float64(idle), "idle")
	out <- prometheus.MustNewConstMetric(isolatesDesc, prometheus.GaugeValue, float64(busy), "busy")
	out <- prometheus.MustNewConstMetric(queuedDesc, prometheus.GaugeValue, float64(queued))
}

// eachEngine calls f with every engine in use. The pool is locked meanwhile
// for as short as it can be.
func eachEngine(f func(*sharedEngine)) {
	var all []*sharedEngine
	engines.Range(func(_, value any) bool {
		all = append(all, value.(*sharedEngine))
		return true
	})
	for _, engine := range all {
		f(engine)
	}
}

// Interface guards
var (
	_ edge.Observer        = (*collectors)(nil)
	_ jsruntime.Observer   = (*collectors)(nil)
	_ prometheus.Collector = isolateCollector{}
)
