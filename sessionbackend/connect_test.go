package sessionbackend

import (
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"
)

// connect returns the backend of a key, started with spawn if it is not there.
func connect(t *testing.T, s *Service, key, tag string, spawn *Spawn) (*Backend, bool) {
	t.Helper()
	b, started, err := s.Connect(t.Context(), key, tag, spawn)
	if err != nil {
		t.Fatal(err)
	}
	return b, started
}

func TestConnect(t *testing.T) {
	inBubble(t, Config{Idle: time.Minute}, func(t *testing.T, s *Service, d *localDriver) {
		if _, _, err := s.Connect(t.Context(), "a", "", nil); !errors.Is(err, ErrUnheld) {
			t.Fatalf("of a key without backend: %v", err)
		}
		first, started := connect(t, s, "a", "v1", &Spawn{Env: map[string]string{"A": "b"}})
		if !started || first.Status() == Ready {
			t.Fatalf("it waited: started %v, %s", started, first.Status())
		}
		synctest.Wait()
		if first.Status() != Ready || !maps.Equal(d.last().Env, map[string]string{"A": "b"}) {
			t.Fatalf("it is %s, with %v", first.Status(), d.last().Env)
		}
		if _, _, err := s.Connect(t.Context(), "a", "v2", &Spawn{}); !errors.Is(err, ErrHeld) {
			t.Errorf("with another tag: %v", err)
		}
		// Each call gives it its idle time once more.
		for range 3 {
			after(time.Minute - time.Second)
			if again, started := connect(t, s, "a", "v1", nil); again != first || started {
				t.Fatal("it was started again")
			}
		}
		after(time.Minute + time.Second)
		if first.Status() != Terminated {
			t.Errorf("nobody came, and it is %s", first.Status())
		}
	})
}

// A key whose backend is ending has one again once that is gone.
func TestConnectWhileEnding(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Service, d *localDriver) {
		d.ending = 5 * time.Second
		first := acquire(t, s, "a")
		first.Release()
		first.Terminate(Soft)
		synctest.Wait()
		if _, _, err := s.Connect(t.Context(), "a", "", nil); !errors.Is(err, ErrUnheld) {
			t.Errorf("without starting one: %v", err)
		}
		began := time.Now()
		second, started := connect(t, s, "a", "other", &Spawn{})
		if !started || second == first || time.Since(began) != 5*time.Second {
			t.Errorf("started %v after %v", started, time.Since(began))
		}
	})
}

// What one backend has of its own can only be less.
func TestSpawnNarrows(t *testing.T) {
	for name, c := range map[string]struct {
		service, own Spawn
		ends         time.Duration
	}{
		"idle less":     {Spawn{Idle: time.Hour}, Spawn{Idle: time.Minute}, time.Minute},
		"idle more":     {Spawn{Idle: time.Minute}, Spawn{Idle: time.Hour}, time.Minute},
		"idle never":    {Spawn{Idle: -1}, Spawn{Idle: time.Minute}, time.Minute},
		"lifetime less": {Spawn{Idle: -1, Lifetime: time.Hour}, Spawn{Lifetime: time.Minute}, time.Minute},
		"lifetime more": {Spawn{Idle: -1, Lifetime: time.Minute}, Spawn{Lifetime: time.Hour}, time.Minute},
		"lifetime none": {Spawn{Idle: -1}, Spawn{Lifetime: time.Minute}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{Idle: c.service.Idle, Lifetime: c.service.Lifetime}, func(t *testing.T, s *Service, _ *localDriver) {
				b, _ := connect(t, s, "a", "", &c.own)
				after(c.ends - time.Second)
				if b.Status() != Ready {
					t.Errorf("it is %s before its time", b.Status())
				}
				after(2 * time.Second)
				if b.Status() != Terminated {
					t.Errorf("it is %s after its time", b.Status())
				}
			})
		})
	}
}

// A backend can be reached by its id, and none in its place.
func TestAcquireBackend(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Service, _ *localDriver) {
		first, _ := connect(t, s, "a", "", &Spawn{})
		b, err := s.AcquireBackend(t.Context(), first.ID) // waits until it is ready
		if err != nil || b != first || b.Status() != Ready {
			t.Fatalf("%v, %v", b, err)
		}
		b.Release()
		<-first.Terminate(Hard)
		acquire(t, s, "a").Release()
		for _, id := range []string{first.ID, "unknown", ""} {
			if _, err := s.AcquireBackend(t.Context(), id); !errors.Is(err, ErrGone) {
				t.Errorf("%q: %v", id, err)
			}
		}
	})
	inBubble(t, Config{}, func(t *testing.T, s *Service, d *localDriver) {
		d.mute = true
		b, _ := connect(t, s, "a", "", &Spawn{})
		var start *StartError
		if _, err := s.AcquireBackend(t.Context(), b.ID); !errors.As(err, &start) {
			t.Errorf("of one that is never ready: %v", err)
		}
	})
}

// How a backend ended can be asked for an hour.
func TestEndedAreRemembered(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, s *Service, _ *localDriver) {
		b := acquire(t, s, "a")
		b.Release()
		if s.ByID(b.ID) != b || s.ByKey("a") != b || s.ByID("other") != nil || s.ByKey("b") != nil {
			t.Fatal("one that is there is not found")
		}
		text, err := b.Keep(b.Token("ann", nil, 24*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		<-b.Terminate(Soft)
		if _, err := b.Kept(text, time.Now()); err == nil {
			t.Error("its tokens are kept")
		}
		after(historyTime - time.Minute)
		if found := s.ByID(b.ID); found != b || found.Status() != Terminated || s.ByKey("a") != nil {
			t.Errorf("after its end there is %v", found)
		}
		after(2 * time.Minute)
		if s.ByID(b.ID) != nil {
			t.Error("it is never forgotten")
		}
	})
}

func TestHistoryIsBounded(t *testing.T) {
	var h history
	now := time.Now()
	for n := range 3 * historyLength {
		b := &Backend{Identity: Identity{ID: string(rune('a' + n%26))}}
		b.ID += time.Duration(n).String()
		h.add(b)
		h.ended(b, now)
	}
	if len(h.byID) != historyLength || len(h.past) != historyLength {
		t.Errorf("it has %d backends in a list of %d", len(h.byID), len(h.past))
	}
}
