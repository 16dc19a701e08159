package caddymodule

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/webtask-edge/caddy-webtask/sessionbackend"
)

// backendCollectors are the collectors of session backends. The label service
// has the names that configurations give.
type backendCollectors struct {
	starts *prometheus.CounterVec
	start  *prometheus.HistogramVec
	ends   *prometheus.CounterVec
	held   *prometheus.HistogramVec
}

const backendSubsystem = "session_backend"

func newBackendCollectors() backendCollectors {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "caddy", Subsystem: backendSubsystem, Name: name, Help: help,
		}, labels)
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "caddy", Subsystem: backendSubsystem, Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(.002, 2, 15),
		}, labels)
	}
	return backendCollectors{
		starts: counter("starts_total", "Session backends started, by result.", "service", "result"),
		start:  histogram("start_seconds", "How long it took until session backends were ready, or had failed.", "service"),
		ends:   counter("ends_total", "Session backends that ended, by reason; none for those that ended by themselves.", "service", "reason"),
		held:   histogram("held_seconds", "How long requests waited for a session backend to be ready.", "service"),
	}
}

func (c *backendCollectors) all() []prometheus.Collector {
	return []prometheus.Collector{c.starts, c.start, c.ends, c.held, serviceCollector{}}
}

// BackendStarted implements sessionbackend.Observer.
func (c *backendCollectors) BackendStarted(service string, took time.Duration, err error) {
	c.starts.WithLabelValues(service, resultOf(err)).Inc()
	c.start.WithLabelValues(service).Observe(took.Seconds())
}

// BackendEnded implements sessionbackend.Observer.
func (c *backendCollectors) BackendEnded(service string, reason sessionbackend.Reason) {
	if reason == "" {
		reason = "none"
	}
	c.ends.WithLabelValues(service, string(reason)).Inc()
}

// RequestHeld implements sessionbackend.Observer.
func (c *backendCollectors) RequestHeld(service string, took time.Duration) {
	c.held.WithLabelValues(service).Observe(took.Seconds())
}

// serviceCollector counts backends and connections when a scrape asks.
type serviceCollector struct{}

var (
	backendsDesc    = prometheus.NewDesc("caddy_session_backend_backends", "Session backends there are, by status.", []string{"service", "status"}, nil)
	connectionsDesc = prometheus.NewDesc("caddy_session_backend_connections", "Requests, streams and WebSockets to session backends.", []string{"service"}, nil)
)

// Describe implements prometheus.Collector.
func (serviceCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- backendsDesc
	descs <- connectionsDesc
}

// Collect implements prometheus.Collector.
func (serviceCollector) Collect(out chan<- prometheus.Metric) {
	eachService(func(service *sessionbackend.Service) {
		connections := 0
		byStatus := map[sessionbackend.Status]int{}
		for _, info := range service.List() {
			connections += info.Connections
			byStatus[info.Status]++
		}
		for status, n := range byStatus {
			out <- prometheus.MustNewConstMetric(backendsDesc, prometheus.GaugeValue, float64(n), service.Name(), string(status))
		}
		out <- prometheus.MustNewConstMetric(connectionsDesc, prometheus.GaugeValue, float64(connections), service.Name())
	})
}

// Interface guards
var (
	_ sessionbackend.Observer = (*collectors)(nil)
	_ prometheus.Collector    = serviceCollector{}
)
