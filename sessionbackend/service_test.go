package sessionbackend

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// inBubble runs a test with a service, in time that passes at once.
func inBubble(t *testing.T, config Config, test func(t *testing.T, s *Service, d *localDriver)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := newLocalDriver(t)
		config.Driver = d
		s := NewService("docs", ServiceOptions{Ownership: new(counter)})
		if err := s.Configure(config); err != nil {
			t.Fatal(err)
		}
		test(t, s, d)
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if d.twice {
			t.Error("there were two backends of a key at once")
		}
		if len(s.List()) != 0 || len(d.alive) != 0 {
			t.Errorf("backends are left: %v, %v", s.List(), d.alive)
		}
	})
}

func acquire(t *testing.T, s *Service, key string) *Backend {
	t.Helper()
	b, err := s.Acquire(t.Context(), key, Caller{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// after waits, and for whatever is due then.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestFirstRequestsStartOne(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Service, d *localDriver) {
		var wg sync.WaitGroup
		ids := make(chan string, 1000)
		for range cap(ids) {
			wg.Go(func() {
				b := acquire(t, s, "a")
				ids <- b.ID
				b.Release()
			})
		}
		wg.Wait()
		close(ids)
		first := <-ids
		for id := range ids {
			if id != first {
				t.Fatalf("requests for one key reached %s and %s", first, id)
			}
		}
		if n := d.starts(); n != 1 {
			t.Errorf("%d backends were started", n)
		}
	})
}

func TestIdle(t *testing.T) {
	inBubble(t, Config{Idle: time.Minute}, func(t *testing.T, s *Service, d *localDriver) {
		first := acquire(t, s, "a")
		after(10 * time.Minute)
		if first.Status() != Ready {
			t.Fatalf("a backend with a request is %s", first.Status())
		}
		second := acquire(t, s, "a")
		first.Release()
		after(10 * time.Minute)
		second.Release()
		after(time.Minute - time.Second)
		if first.Status() != Ready {
			t.Fatalf("it is %s before its time", first.Status())
		}
		after(2 * time.Second)
		if first.Status() != Terminated || !d.last().soft.Load() {
			t.Fatalf("it is %s after its time", first.Status())
		}
		history, _ := first.History()
		if end := history[len(history)-1]; end.Reason != Swept || end.Kind != Soft || end.ExitError {
			t.Errorf("it ended as %+v", end)
		}
		next := acquire(t, s, "a")
		defer next.Release()
		if next.Fence <= first.Fence || next.ID == first.ID {
			t.Errorf("its successor is %s with the token %d, after %s with %d", next.ID, next.Fence, first.ID, first.Fence)
		}
	})
}

// A request that comes while a backend ends waits for the next one.
func TestRequestWhileEnding(t *testing.T) {
	inBubble(t, Config{Idle: time.Minute, StopGrace: time.Hour}, func(t *testing.T, s *Service, d *localDriver) {
		d.ending = 5 * time.Second
		acquire(t, s, "a").Release()
		after(time.Minute + time.Second)
		if got := s.List()[0].Status; got != Terminating {
			t.Fatalf("it is %s", got)
		}
		began := time.Now()
		b := acquire(t, s, "a")
		defer b.Release()
		if waited := time.Since(began); waited < 3*time.Second || waited > 5*time.Second {
			t.Errorf("the request waited %v", waited)
		}
	})
}

func TestNeverIdle(t *testing.T) {
	inBubble(t, Config{Idle: -1}, func(t *testing.T, s *Service, _ *localDriver) {
		b := acquire(t, s, "a")
		b.Release()
		after(1000 * time.Hour)
		if b.Status() != Ready {
			t.Errorf("it is %s", b.Status())
		}
	})
}

func TestLifetime(t *testing.T) {
	inBubble(t, Config{Lifetime: time.Hour}, func(t *testing.T, s *Service, _ *localDriver) {
		b := acquire(t, s, "a")
		defer b.Release()
		after(time.Hour - time.Second)
		if b.Status() != Ready {
			t.Errorf("it is %s before its time", b.Status())
		}
		after(2 * time.Second)
		if b.Status() != Terminated {
			t.Errorf("it is %s after its time", b.Status())
		}
	})
}

// A configuration that changes holds for backends that are there.
func TestConfigure(t *testing.T) {
	inBubble(t, Config{Idle: time.Hour}, func(t *testing.T, s *Service, d *localDriver) {
		b := acquire(t, s, "a")
		b.Release()
		after(10 * time.Minute)
		if err := s.Configure(Config{Driver: d, Idle: time.Minute}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if b.Status() != Terminated {
			t.Errorf("it is %s", b.Status())
		}
	})
}

func TestStartFails(t *testing.T) {
	cases := map[string]struct {
		prepare func(*localDriver)
		timeout bool
		reason  Reason
	}{
		"cannot be started": {func(d *localDriver) { d.fails = errors.New("no such program") }, false, InternalError},
		"ends at once":      {func(d *localDriver) { d.mute, d.exit = true, &Exit{Code: 3} }, false, ""},
		"ends well":         {func(d *localDriver) { d.mute, d.exit = true, &Exit{} }, false, ""},
		"never listens":     {func(d *localDriver) { d.mute = true }, true, StartupTimeout},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{StartTimeout: 10 * time.Second}, func(t *testing.T, s *Service, d *localDriver) {
				c.prepare(d)
				// All that wait are told, and nothing stays.
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() {
						_, err := s.Acquire(t.Context(), "a", Caller{})
						var start *StartError
						if !errors.As(err, &start) || (start.Timeout != 0) != c.timeout {
							t.Errorf("the error is %v", err)
						}
					})
				}
				wg.Wait()
				if len(s.List()) != 0 {
					t.Errorf("%v is left", s.List())
				}
			})
		})
	}
}

func TestBackoff(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Service, d *localDriver) {
		d.fails = errors.New("no such program")
		try := func() error {
			_, err := s.Acquire(t.Context(), "a", Caller{})
			return err
		}
		var start *StartError
		if err := try(); !errors.As(err, &start) {
			t.Fatal(err)
		}
		for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			start = nil
			if err := try(); !errors.As(err, &start) {
				t.Fatalf("after its time: %v", err)
			}
			var backoff *BackoffError
			if err := try(); !errors.As(err, &backoff) || backoff.RetryAfter() != want*time.Second {
				t.Fatalf("the error is %v, want one of %d s", err, want)
			}
			if _, err := s.Acquire(t.Context(), "b", Caller{}); !errors.As(err, &start) {
				t.Fatalf("another key: %v", err)
			}
			s.failures.forget("b")
			after(want * time.Second)
		}
		d.fails = nil
		b := acquire(t, s, "a")
		after(2 * time.Minute)
		d.last().end(Exit{Code: 1}) // the first after a good while
		synctest.Wait()
		b.Release()
		acquire(t, s, "a").Release()
	})
}

// One that is to end is asked once: a second SIGTERM means to end at once.
func TestAskedOnce(t *testing.T) {
	inBubble(t, Config{StopGrace: time.Hour}, func(t *testing.T, s *Service, d *localDriver) {
		d.ending = time.Minute
		acquire(t, s, "a").Release()
		s.Terminate("a", Soft)
		after(time.Second)
		if err := s.Configure(Config{Driver: d, Idle: time.Hour}); err != nil {
			t.Fatal(err)
		}
		s.Terminate("a", Soft)
		after(time.Second)
		if n := d.last().stops.Load(); n != 1 {
			t.Errorf("it was asked %d times", n)
		}
	})
}

// A backend that dies is started again by the next request.
func TestDeath(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Service, d *localDriver) {
		first := acquire(t, s, "a")
		d.last().end(Exit{Code: -1, Signal: "SIGSEGV"})
		synctest.Wait()
		history, _ := first.History()
		if end := history[len(history)-1]; end.Status != Terminated || end.Reason != "" || !end.ExitError {
			t.Errorf("it ended as %+v", end)
		}
		second := acquire(t, s, "a")
		if second == first {
			t.Error("the dead backend serves on")
		}
		first.Release()
		second.Release()
	})
}

func TestMaxBackends(t *testing.T) {
	inBubble(t, Config{MaxBackends: 2}, func(t *testing.T, s *Service, _ *localDriver) {
		acquire(t, s, "a").Release()
		acquire(t, s, "b").Release()
		var full *FullError
		if _, err := s.Acquire(t.Context(), "c", Caller{}); !errors.As(err, &full) {
			t.Fatalf("the error is %v", err)
		}
		acquire(t, s, "a").Release() // is there already
	})
}

func TestEvict(t *testing.T) {
	inBubble(t, Config{MaxBackends: 2, Evict: true}, func(t *testing.T, s *Service, _ *localDriver) {
		a, b := acquire(t, s, "a"), acquire(t, s, "b")
		var full *FullError
		if _, err := s.Acquire(t.Context(), "c", Caller{}); !errors.As(err, &full) {
			t.Fatalf("while both have requests: %v", err)
		}
		b.Release()
		after(time.Second)
		a.Release()
		acquire(t, s, "c").Release()
		if a.Status() != Ready || b.Status() != Terminated {
			t.Errorf("the one idle for longer is %s, the other %s", b.Status(), a.Status())
		}
	})
}

func TestClientStarts(t *testing.T) {
	inBubble(t, Config{ClientStarts: 2}, func(t *testing.T, s *Service, _ *localDriver) {
		from := func(client, key string) error {
			b, err := s.Acquire(t.Context(), key, Caller{Client: client})
			if err == nil {
				b.Release()
			}
			return err
		}
		for i, client := range []string{"192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"} {
			if err := from(client, fmt.Sprint(i)); err != nil {
				t.Fatalf("%s: %v", client, err)
			}
		}
		for _, client := range []string{"192.0.2.1", "2001:db8::ffff"} {
			var tooMany *ClientError
			if err := from(client, "new"); !errors.As(err, &tooMany) || tooMany.RetryAfter() <= 0 || tooMany.RetryAfter() > time.Minute {
				t.Errorf("%s: %v", client, err)
			}
			if err := from(client, "0"); err != nil {
				t.Errorf("%s, to one that is there: %v", client, err)
			}
		}
		after(time.Minute)
		if err := from("192.0.2.1", "new"); err != nil {
			t.Error(err)
		}
	})
}

func TestCallerLeaves(t *testing.T) {
	inBubble(t, Config{StartTimeout: time.Minute}, func(t *testing.T, s *Service, d *localDriver) {
		d.mute = true
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Acquire(ctx, "a", Caller{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error is %v", err)
		}
		if n := s.List()[0].Connections; n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

// TestStuck has a driver that does not answer: nobody waits for ever, and nobody is
// started in its place.
func TestStuck(t *testing.T) {
	inBubble(t, Config{StartTimeout: 10 * time.Second, StopGrace: 5 * time.Second}, func(t *testing.T, s *Service, d *localDriver) {
		d.stuck = make(chan struct{})
		for range 3 {
			began := time.Now()
			var start *StartError
			if _, err := s.Acquire(t.Context(), "a", Caller{}); !errors.As(err, &start) || start.Timeout != 10*time.Second {
				t.Errorf("the error is %v", err)
			}
			if waited := time.Since(began); waited != 15*time.Second {
				t.Errorf("the request waited %v", waited)
			}
		}
		if n := d.starts(); n != 0 {
			t.Errorf("%d were started", n)
		}
		close(d.stuck)
	})
}

// TestAfter has a service whose predecessor has not ended yet.
func TestAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, before := newLocalDriver(t), make(chan struct{})
		s := NewService("docs", ServiceOptions{Ownership: new(counter), After: before})
		if err := s.Configure(Config{Driver: d}); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() { close(before) })
		began := time.Now()
		acquire(t, s, "a").Release()
		if waited := time.Since(began); waited < time.Second || waited > 2*time.Second {
			t.Errorf("the first request waited %v", waited)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestTerminate(t *testing.T) {
	for _, waiting := range []bool{false, true} {
		inBubble(t, Config{StopGrace: time.Hour}, func(t *testing.T, s *Service, d *localDriver) {
			d.mute, d.ending = waiting, time.Minute
			outcome := make(chan error, 1)
			go func() {
				b, err := s.Acquire(t.Context(), "a", Caller{})
				if err == nil {
					b.Release()
				}
				outcome <- err
			}()
			after(time.Second)
			d.mu.Lock()
			d.mute = false // the next one
			d.mu.Unlock()
			gone := s.Terminate("a", Soft)
			after(time.Second)
			if got := s.List()[0].Status; got != Terminating {
				t.Errorf("asked softly, it is %s", got)
			}
			s.Terminate("a", Hard)
			synctest.Wait()
			select {
			case <-gone:
			default:
				t.Error("asked hard, it is there still")
			}
			// A request that waited gets the next one.
			if err := <-outcome; err != nil {
				t.Errorf("the request ended with %v", err)
			}
			if n := d.starts(); waiting != (n == 2) {
				t.Errorf("there were %d", n)
			}
		})
	}
}

// TestReadyAndGone has backends that accept a connection and end: whoever waited is
// told, or gets one that is there.
func TestReadyAndGone(t *testing.T) {
	inBubble(t, Config{ClientStarts: -1}, func(t *testing.T, s *Service, d *localDriver) {
		d.exit = &Exit{Code: 1}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				for range 20 {
					if b, err := s.Acquire(t.Context(), "a", Caller{}); err == nil {
						b.Release() // panics if it is nil
					}
					s.mu.Lock()
					s.failures.forget("a")
					s.mu.Unlock()
				}
			})
		}
		wg.Wait()
	})
}

func TestClose(t *testing.T) {
	inBubble(t, Config{StopGrace: time.Hour}, func(t *testing.T, s *Service, d *localDriver) {
		d.ending = time.Minute
		b := acquire(t, s, "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("closing in a second: %v", err)
		}
		b.Release()
		if _, err := s.Acquire(t.Context(), "b", Caller{}); err != ErrClosed {
			t.Errorf("a new one: %v", err)
		}
	})
}

// Statuses only go forward, and whoever watches sees each.
func TestHistory(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Service, _ *localDriver) {
		b := acquire(t, s, "a")
		b.Release()
		var seen []Status
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			for {
				history, changed := b.History()
				for _, event := range history[len(seen):] {
					seen = append(seen, event.Status)
				}
				if seen[len(seen)-1] == Terminated {
					return
				}
				<-changed
			}
		}()
		s.Terminate("a", Soft)
		<-watched
		if got, want := fmt.Sprint(seen), fmt.Sprint([]Status{Scheduled, Starting, Waiting, Ready, Terminating, Terminated}); got != want {
			t.Errorf("saw %s, want %s", got, want)
		}
	})
}

func TestKeys(t *testing.T) {
	long := string(make([]byte, maxKey))
	for _, key := range []string{"", " a", "a ", "a\x00b", "a\nb", "\xff", long + "x"} {
		if CheckKey(key) == nil {
			t.Errorf("the key %.20q is no key", key)
		}
	}
	for _, key := range []string{"a", "../../etc/passwd", "a/b", "{env.HOME}", "ключ", "-rf"} {
		if err := CheckKey(key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
}

// TestIdleRace has requests come in the very moment in which the backend's time
// is over: it is never ended while it has one.
func TestIdleRace(t *testing.T) {
	inBubble(t, Config{Idle: time.Millisecond, ClientStarts: -1}, func(t *testing.T, s *Service, d *localDriver) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 5000 {
					b := acquire(t, s, "a")
					if last := d.last(); last.ID == b.ID && last.soft.Load() {
						t.Error("a backend with a request was asked to end")
					}
					b.Release()
					<-time.After(time.Millisecond)
				}
			})
		}
		wg.Wait()
		if d.starts() < 10 {
			t.Errorf("there were %d backends only: nothing was tried", d.starts())
		}
	})
}
