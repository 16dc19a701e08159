package edge

import (
	"context"
	"io"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Traffic counts what the scripts of each container fetch per second, over all
// their requests. It is safe for concurrent use, and may be shared by edges, so
// that a new configuration begins with what is used up.
type Traffic struct {
	mu      sync.Mutex
	buckets map[bucket]*rate.Limiter
	swept   time.Time
}

// bucket names a token bucket of a container: what it holds refills at limit
// per second. Its limit is part of the name, so that a limit that changes has a
// bucket of its own.
type bucket struct {
	container string
	unit      unit
	limit     int64
}

// unit is what a bucket counts.
type unit byte

const (
	fetchedRequests unit = iota
	fetchedBytes
)

// sweepEvery is how often buckets are looked through for those that are full.
const sweepEvery = 10 * time.Second

// NewTraffic returns a Traffic in which nobody has fetched yet.
func NewTraffic() *Traffic { return &Traffic{buckets: make(map[bucket]*rate.Limiter)} }

// bucketsOf returns the buckets that a task takes from. All tasks of a container
// share that of the edge's own limit; those with a narrower one share another
// besides. Were it the only one, a token that is derived into many, each with
// another limit, would multiply what its container may do.
func bucketsOf(container string, unit unit, own, effective int64) []bucket {
	all := []bucket{{container, unit, own}}
	if effective < own {
		all = append(all, bucket{container, unit, effective})
	}
	return all
}

// burst is how much a bucket holds: the requests of two seconds, since scripts
// make them at once, and the bytes of one.
func (b *bucket) burst() int {
	n := b.limit
	if b.unit == fetchedRequests {
		n *= 2
	}
	return int(min(n, math.MaxInt32))
}

// limiter returns the state of a bucket. One that is full is as good as a new
// one, so those are forgotten. mu is held.
func (t *Traffic) limiter(b bucket, now time.Time) *rate.Limiter {
	if now.Sub(t.swept) >= sweepEvery {
		t.swept = now
		for known, limiter := range t.buckets {
			if limiter.TokensAt(now) >= float64(limiter.Burst()) {
				delete(t.buckets, known)
			}
		}
	}
	limiter, ok := t.buckets[b]
	if !ok {
		limiter = rate.NewLimiter(rate.Limit(b.limit), b.burst())
		t.buckets[b] = limiter
	}
	return limiter
}

// admit takes one request from each bucket, or nothing if one of them is empty:
// then it returns that.
func (t *Traffic) admit(from []bucket, now time.Time) (empty *bucket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, b := range from {
		if t.limiter(b, now).TokensAt(now) < 1 {
			return &from[i]
		}
	}
	for _, b := range from {
		t.limiter(b, now).AllowN(now, 1)
	}
	return nil
}

// spend takes n bytes that have flowed from each bucket, at most what each can
// hold, and returns when more may flow. A bucket may owe some.
func (t *Traffic) spend(from []bucket, n int, now time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	var wait time.Duration
	for _, b := range from {
		wait = max(wait, t.limiter(b, now).ReserveN(now, n).DelayFrom(now))
	}
	return now.Add(wait)
}

// countFetch counts a request of a script against fetch_rate. One that is
// refused is an error at once: what waited here would be more with each second.
func (c *call) countFetch() error {
	empty := c.edge.opts.Traffic.admit(c.plan.requests, c.edge.opts.Now())
	if empty == nil {
		return nil
	}
	return &retryError{
		err:   &jsruntime.LimitError{Limit: "fetch_rate", Value: strconv.FormatInt(empty.limit, 10), Option: "fetch_rate", Status: http.StatusTooManyRequests},
		after: time.Second,
	}
}

// metered returns a body whose bytes count against fetch_bytes. Whoever reads it
// waits while more has flowed than may, until ctx ends or it is closed.
func (c *call) metered(ctx context.Context, body io.ReadCloser) io.ReadCloser {
	m := &meteredBody{ReadCloser: body, traffic: c.edge.opts.Traffic, from: c.plan.bytes, now: c.edge.opts.Now}
	m.ctx, m.cancel = context.WithCancel(ctx)
	m.ready = m.traffic.spend(m.from, 0, m.now()) // others may have left a debt
	return m
}

type meteredBody struct {
	io.ReadCloser
	traffic *Traffic
	from    []bucket
	now     func() time.Time
	ready   time.Time // when more may be read

	ctx    context.Context
	cancel context.CancelFunc
}

// Read implements io.Reader.
func (m *meteredBody) Read(p []byte) (int, error) {
	if err := m.wait(); err != nil {
		return 0, err
	}
	n, err := m.ReadCloser.Read(p[:min(len(p), m.largest())])
	m.ready = m.traffic.spend(m.from, n, m.now())
	return n, err
}

// largest is how much is read at once: a fraction of what the narrowest bucket
// holds, so that what is slow flows evenly.
func (m *meteredBody) largest() int {
	narrowest := m.from[len(m.from)-1]
	return max(1, narrowest.burst()/8)
}

func (m *meteredBody) wait() error {
	late := m.ready.Sub(m.now())
	if late <= 0 {
		return nil
	}
	timer := time.NewTimer(late)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-m.ctx.Done():
		return jsruntime.ErrRequestEnded
	}
}

// Close implements io.Closer. A Read that waits returns.
func (m *meteredBody) Close() error {
	m.cancel()
	return m.ReadCloser.Close()
}

// takesFrom sets what the fetches of a plan take from.
func (p *plan) takesFrom(own *webtask.Limits) {
	task := p.task
	p.requests = bucketsOf(task.Container, fetchedRequests, int64(own.FetchRate), int64(task.Limits.FetchRate))
	p.bytes = bucketsOf(task.Container, fetchedBytes, own.FetchBytes, task.Limits.FetchBytes)
}
