package edge

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// admitted counts how many requests are let through until one is refused.
func admitted(traffic *Traffic, from []bucket, now time.Time) (n int) {
	for traffic.admit(from, now) == nil {
		n++
	}
	return n
}

func TestTrafficAdmits(t *testing.T) {
	traffic, now := NewTraffic(), time.Unix(1000, 0)
	acme := bucketsOf("acme", fetchedRequests, 8, 8)
	if n := admitted(traffic, acme, now); n != 16 {
		t.Errorf("%d requests at once, want those of two seconds", n)
	}
	if n := admitted(traffic, bucketsOf("other", fetchedRequests, 8, 8), now); n != 16 {
		t.Errorf("another container had %d requests", n)
	}
	now = now.Add(250 * time.Millisecond)
	if n := admitted(traffic, acme, now); n != 2 {
		t.Errorf("a quarter of a second later %d requests, want 2", n)
	}
	now = now.Add(time.Hour)
	if n := admitted(traffic, acme, now); n != 16 {
		t.Errorf("%d requests after an idle hour", n)
	}
}

// TestTrafficOfNarrowerTasks derives one token after the other, each with a
// limit of its own: together they have no more than their container.
func TestTrafficOfNarrowerTasks(t *testing.T) {
	traffic, now := NewTraffic(), time.Unix(1000, 0)
	two := bucketsOf("acme", fetchedRequests, 8, 2)
	if n := admitted(traffic, two, now); n != 4 {
		t.Errorf("%d requests of a task that may make 2", n)
	}
	if empty := traffic.admit(two, now); empty.limit != 2 {
		t.Errorf("the limit %d refused", empty.limit)
	}
	sum := 4
	for limit := range int64(8) {
		sum += admitted(traffic, bucketsOf("acme", fetchedRequests, 8, limit+1), now)
	}
	if sum != 16 {
		t.Errorf("%d requests of one container", sum)
	}
	if empty := traffic.admit(bucketsOf("acme", fetchedRequests, 8, 7), now); empty.limit != 8 {
		t.Errorf("the limit %d refused when the container's was used up", empty.limit)
	}
}

func TestTrafficForgetsTheIdle(t *testing.T) {
	traffic, now := NewTraffic(), time.Unix(1000, 0)
	for i := range 100 {
		traffic.admit(bucketsOf("c"+strconv.Itoa(i), fetchedRequests, 10, 5), now)
	}
	owing := bucketsOf("owing", fetchedBytes, 100, 1)
	for range 60 {
		traffic.spend(owing, 1, now)
	}
	now = now.Add(sweepEvery)
	traffic.admit(bucketsOf("new", fetchedRequests, 10, 10), now)
	if n := len(traffic.buckets); n != 2 {
		t.Errorf("%d buckets are left, want that of the new one and the one that is in debt", n)
	}
	if ready := traffic.spend(owing, 0, now); ready.Sub(now) != 49*time.Second {
		t.Errorf("the debt is forgotten in %v", ready.Sub(now))
	}
}

// roundTrip is a way out that answers itself.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// sends answers every request with n bytes, once it has read the request's.
func sends(n int64) roundTrip {
	return func(r *http.Request) (*http.Response, error) {
		if r.Body != nil {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return nil, err
			}
			r.Body.Close()
		}
		body := io.NopCloser(io.LimitReader(endless{}, n))
		return &http.Response{StatusCode: 200, Status: "200 OK", Header: http.Header{}, Body: body, ContentLength: n, Request: r}, nil
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// meteredCaller is a call whose way out is given.
func meteredCaller(t *testing.T, limits webtask.Limits, out roundTrip) *call {
	t.Helper()
	c := caller(t, nil, limits)
	c.plan.transport = out
	return c
}

var toOrigin = jsruntime.FetchRequest{Method: "GET", URL: "http://origin.test/"}

func TestFetchRate(t *testing.T) {
	now := newClock()
	c := meteredCaller(t, webtask.Limits{FetchRate: 2}, func(r *http.Request) (*http.Response, error) {
		resp := &http.Response{StatusCode: 302, Header: http.Header{"Location": {"/again"}}, Body: http.NoBody, Request: r}
		if r.URL.Path == "/again" {
			resp.StatusCode = 200
		}
		return resp, nil
	})
	c.edge.opts.Now = now.Now
	for range 2 { // requests, each redirected
		if _, err := c.Fetch(t.Context(), &toOrigin); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.Fetch(t.Context(), &toOrigin)
	var limit *jsruntime.LimitError
	if !errors.As(err, &limit) || limit.Limit != "fetch_rate" || limit.Option != "fetch_rate" || limit.Value != "2" {
		t.Fatalf("got %v", err)
	}
	if answer := AnswerFor(err); answer.Status != 429 || answer.RetryAfter != time.Second || answer.Outcome != OutcomeLimit {
		t.Errorf("a script that lets it pass answers %d, Retry-After %v, %s", answer.Status, answer.RetryAfter, answer.Outcome)
	}
	now.advance(time.Second)
	if _, err := c.Fetch(t.Context(), &toOrigin); err != nil {
		t.Errorf("a second later: %v", err)
	}
}

// TestLimitOfTheContainer has a task run into the limit of all tasks of its
// container, which is not the one that its own token sets.
func TestLimitOfTheContainer(t *testing.T) {
	c := meteredCaller(t, webtask.Limits{FetchRate: 400}, sends(0))
	for value, want := range map[string]string{
		"1000": "the option fetch_rate of the global option webtask raises it.",
		"400":  "a token with a larger fetch_rate in its claim lim raises it.",
	} {
		answer := AnswerFor(&jsruntime.LimitError{Limit: "fetch_rate", Value: value, Option: "fetch_rate", Status: 429})
		c.explainLimit(answer, &Route{})
		if !strings.HasSuffix(answer.Message, want) {
			t.Errorf("%s: %s", value, answer.Message)
		}
	}
}

// TestFetchBytes reads and sends more than flows in a second. Its time is not
// the machine's.
func TestFetchBytes(t *testing.T) {
	const second = 800 << 10 // what may flow in one
	for name, test := range map[string]struct {
		fetches, sent, received int
		want                    time.Duration
	}{
		"no more than a second's":   {1, 0, second, 0},
		"nine seconds' answer":      {1, 0, 10 * second, 9 * time.Second},
		"nine seconds' body":        {1, 10 * second, 0, 9 * time.Second},
		"both":                      {1, 5 * second, 5 * second, 9 * time.Second},
		"two at once, of one share": {2, 0, 5 * second, 9 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := meteredCaller(t, webtask.Limits{FetchBytes: second}, sends(int64(test.received)))
				start := time.Now()
				done := make(chan error)
				for range test.fetches {
					go func() {
						req := toOrigin
						req.Method, req.Body, req.Length = "POST", bytes.NewReader(make([]byte, test.sent)), int64(test.sent)
						resp, err := c.Fetch(t.Context(), &req)
						if err == nil {
							_, err = io.Copy(io.Discard, resp.Body)
							resp.Body.Close()
						}
						done <- err
					}()
				}
				for range test.fetches {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
				// What was read last is waited for by whoever reads next.
				if took := time.Since(start).Round(time.Millisecond); took < test.want-time.Second/4 || took > test.want {
					t.Errorf("took %v, want %v", took, test.want)
				}
			})
		})
	}
}

func TestFetchBytesCountDecoded(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write(make([]byte, 1<<20))
	w.Close()
	synctest.Test(t, func(t *testing.T) {
		c := meteredCaller(t, webtask.Limits{FetchBytes: 128 << 10}, func(r *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: 200, Header: http.Header{"Content-Encoding": {"gzip"}}, Request: r,
				Body: io.NopCloser(bytes.NewReader(packed.Bytes())), ContentLength: int64(packed.Len()),
			}, nil
		})
		start := time.Now()
		if _, body := fetch(t, c, &toOrigin); len(body) != 1<<20 {
			t.Errorf("%d bytes", len(body))
		}
		if took := time.Since(start).Round(time.Second); took != 7*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestWaitForBytesEnds ends what waits, and would for a quarter of an hour.
func TestWaitForBytesEnds(t *testing.T) {
	for name, end := range map[string]func(cancel context.CancelFunc, body io.Closer){
		"with the request": func(cancel context.CancelFunc, _ io.Closer) { cancel() },
		"with the body":    func(_ context.CancelFunc, body io.Closer) { body.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := meteredCaller(t, webtask.Limits{FetchBytes: 1 << 10}, sends(1<<20))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				resp, err := c.Fetch(ctx, &toOrigin)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				start := time.Now()
				read := make(chan error)
				go func() {
					_, err := io.Copy(io.Discard, resp.Body)
					read <- err
				}()
				synctest.Wait()
				end(cancel, resp.Body)
				if err := <-read; !errors.Is(err, jsruntime.ErrRequestEnded) {
					t.Errorf("reading ended with %v", err)
				}
				if took := time.Since(start); took != 0 {
					t.Errorf("it ended after %v more", took)
				}
			})
		})
	}
}

// TestMeteredBodyIsSentAgain has net/http ask for the body a second time, as it
// does when a connection that was kept turns out to be dead.
func TestMeteredBodyIsSentAgain(t *testing.T) {
	c := meteredCaller(t, webtask.Limits{}, func(r *http.Request) (*http.Response, error) {
		first, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		again, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		second, err := io.ReadAll(again)
		if string(first) != "data" || string(second) != "data" || r.ContentLength != 4 {
			t.Errorf("sent %q, then %q, of %d bytes", first, second, r.ContentLength)
		}
		return &http.Response{StatusCode: 204, Header: http.Header{}, Body: http.NoBody, Request: r}, errors.Join(err, r.Body.Close(), again.Close())
	})
	fetch(t, c, &jsruntime.FetchRequest{Method: "POST", URL: toOrigin.URL, Body: strings.NewReader("data"), Length: 4})
}
