//go:build unix

package worker

import (
	"context"
	"testing"
	"time"
)

// TestStarved has a request go on after its limit in a worker that hardly gets
// the CPU: the caller is told, new requests go elsewhere, and the worker has its
// grace in CPU time.
func TestStarved(t *testing.T) {
	for name, test := range map[string]struct {
		cpu    time.Duration // that the worker takes each second
		killed int           // after how many seconds
	}{
		"computes": {time.Second, 60},
		"starves":  {100 * time.Millisecond, 300},
		"stopped":  {0, 300},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			s := unstarted(Options{Grace: time.Minute})
			s.now = func() time.Time { return now }
			w := liarOf(t, s)
			l := w.link
			p := l.proc.(*liarProcess)
			p.cpu = new(time.Duration)
			_, outcome := w.ask(context.Background(), nil)

			now = now.Add(time.Hour + time.Minute)
			s.tend(l)
			if l.retired() || len(outcome) != 0 {
				t.Error("the grace of the caller was not waited for")
			}
			now = now.Add(time.Second)
			s.tend(l)
			if err := <-outcome; err == nil || err.Error() != timeLimit(onlyCall(l).spec, true).Error() {
				t.Errorf("the caller was told %v", err)
			}
			if !l.retiring {
				t.Error("it takes new requests")
			}
			for second := 1; ; second++ {
				now, *p.cpu = now.Add(time.Second), *p.cpu+test.cpu
				s.tend(l)
				select {
				case <-p.done:
					if second != test.killed {
						t.Errorf("killed after %d s, want %d", second, test.killed)
					}
					return
				default:
				}
				if second > test.killed {
					t.Fatalf("not killed after %d s", second)
				}
			}
		})
	}
}

// onlyCall is the one that a link has.
func onlyCall(l *link) *call {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.calls {
		return c
	}
	return nil
}
