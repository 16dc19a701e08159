package places

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// take takes a place that must be there.
func take(t *testing.T, p *Places, name string) {
	t.Helper()
	if err := p.Take(t.Context(), name, time.Hour); err != nil {
		t.Fatal(err)
	}
}

// line has names wait, in this order, and returns who got a place since it was
// asked last. Whoever gets one keeps it.
func line(t *testing.T, p *Places, names ...string) (served func() []string) {
	t.Helper()
	got := make(chan string, len(names))
	for _, name := range names {
		go func() {
			if p.Take(t.Context(), name, time.Hour) == nil {
				got <- name
			}
		}()
		synctest.Wait()
	}
	return func() (names []string) {
		synctest.Wait()
		for len(got) > 0 {
			names = append(names, <-got)
		}
		return names
	}
}

func TestShare(t *testing.T) {
	for n, share := range map[int]int{1: 1, 2: 1, 3: 1, 4: 2, 16: 8} {
		p := New(n)
		for range share {
			take(t, p, "a")
		}
		if err := p.Take(t.Context(), "a", time.Nanosecond); !errors.Is(err, ErrBusy) {
			t.Errorf("one user has more than %d of %d places: %v", share, n, err)
		}
		for i := range n - share {
			take(t, p, strconv.Itoa(i))
		}
		if err := p.Take(t.Context(), "another", time.Nanosecond); !errors.Is(err, ErrBusy) {
			t.Errorf("there are more than %d places: %v", n, err)
		}
	}
}

func TestTurns(t *testing.T) {
	for name, test := range map[string]struct {
		places  int
		held    []string
		waiting []string
		freed   []string
		want    []string // one for each that is freed
	}{
		"a single place goes round":       {1, []string{"a"}, []string{"a", "a", "b", "c", "b"}, []string{"a", "b", "c", "a", "b"}, []string{"b", "c", "a", "b", "a"}},
		"whoever holds fewest is next":    {4, []string{"a", "b", "b", "c"}, []string{"b", "a", "d"}, []string{"c", "b", "b"}, []string{"d", "a", "b"}},
		"nobody gets more than its share": {4, []string{"a", "a", "b", "c"}, []string{"a", "d"}, []string{"b", "c", "a"}, []string{"d", "", "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := New(test.places)
				for _, holder := range test.held {
					take(t, p, holder)
				}
				served := line(t, p, test.waiting...)
				for i, holder := range test.freed {
					p.Free(holder)
					var want []string
					if test.want[i] != "" {
						want = []string{test.want[i]}
					}
					if got := served(); !slices.Equal(got, want) {
						t.Errorf("when %s frees its place, %q get one, want %q", holder, got, want)
					}
				}
			})
		})
	}
}

func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(2)
		take(t, p, "a")
		take(t, p, "b")
		start := time.Now()
		if err := p.Take(t.Context(), "c", time.Minute); !errors.Is(err, ErrBusy) || time.Since(start) != time.Minute {
			t.Errorf("waited %v: %v", time.Since(start), err)
		}
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(gone)
		if err := p.Take(ctx, "c", time.Minute); !errors.Is(err, gone) {
			t.Errorf("whoever has gone: %v", err)
		}
		p.Free("a")
		p.Free("b")
		take(t, p, "c") // nobody is in front
		p.Free("c")
		if len(p.users) != 0 || p.free != 2 {
			t.Errorf("%d users are remembered, %d places are free", len(p.users), p.free)
		}
	})
}
