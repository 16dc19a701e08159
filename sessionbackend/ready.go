package sessionbackend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Readiness is how a backend shows that it is ready.
type Readiness struct {
	Kind ReadyKind
	Path string // of ReadyHTTP: absolute, with a query if need be
}

// ReadyKind is a kind of Readiness.
type ReadyKind string

// The kinds of readiness.
const (
	ReadyTCP    ReadyKind = "tcp"    // it accepts connections
	ReadyHTTP   ReadyKind = "http"   // it answers a GET request with a status below 400
	ReadyNotify ReadyKind = "notify" // it says so, as sd_notify(3) does, and accepts connections
)

// Check reports what is wrong with a Readiness.
func (r Readiness) Check() error {
	switch r.Kind {
	case "", ReadyTCP, ReadyNotify:
		if r.Path != "" {
			return fmt.Errorf("ready: %s takes no path; only http does", r.Kind)
		}
	case ReadyHTTP:
		if !strings.HasPrefix(r.Path, "/") {
			return fmt.Errorf("ready: http takes a path that begins with /, and %q does not", r.Path)
		}
	default:
		return fmt.Errorf("ready: %q is unknown; it is tcp, http <path> or notify", r.Kind)
	}
	return nil
}

var (
	errNotReady = errors.New("not ready in time")
	errEnded    = errors.New("ended")
	errAsked    = errors.New("asked to end")
)

// Backends are asked whether they are ready again and again, at first often: a
// small program listens within milliseconds.
const (
	firstProbe = time.Millisecond
	lastProbe  = 100 * time.Millisecond
)

// await waits until the backend is ready, and returns where it listens.
func (b *Backend) await(ctx context.Context, instance Instance, ready Readiness) (Address, error) {
	ctx, cancel := context.WithCancel(ctx)
	found := make(chan Address, 1)
	var probing sync.WaitGroup
	probing.Go(func() { ready.probe(ctx, instance, found) })
	defer probing.Wait()
	defer cancel()
	for {
		select {
		case address := <-found:
			return address, nil
		case <-instance.Done():
			return Address{}, errEnded
		case <-ctx.Done():
			return Address{}, context.Cause(ctx)
		case <-b.tenure.lost:
			b.ask(KeyExpired, Hard)
			return Address{}, errAsked
		case <-b.tenure.extended:
			instance.Extend(b.tenure.Deadline())
		case <-b.poke:
			if b.order().reason != "" {
				return Address{}, errAsked
			}
		}
	}
}

// probe sends the address at which the backend is ready.
func (r Readiness) probe(ctx context.Context, instance Instance, found chan<- Address) {
	if r.Kind == ReadyNotify {
		select {
		case <-instance.Notified():
		case <-ctx.Done():
			return
		}
	}
	for pause := firstProbe; ctx.Err() == nil; pause = min(pause*3/2, lastProbe) {
		if address := instance.Address(); r.answers(ctx, address) {
			found <- address
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// probeTimeout is how long a backend may take to answer whether it is ready.
const probeTimeout = 5 * time.Second

func (r Readiness) answers(ctx context.Context, address Address) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, address.Network, address.Address)
	}
	if r.Kind != ReadyHTTP {
		conn, err := dial(ctx, "", "")
		if err != nil {
			return errors.Is(err, syscall.EAGAIN) // it listens, and has much to do
		}
		_ = conn.Close() // nothing was sent
		return true
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+r.Path, http.NoBody)
	if err != nil {
		return false
	}
	req.Header.Set("User-Agent", "caddy-webtask readiness")
	client := http.Client{
		Transport:     &http.Transport{DialContext: dial, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // only its status was asked for
	return resp.StatusCode < http.StatusBadRequest
}
