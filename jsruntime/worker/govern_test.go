//go:build unix

package worker

import (
	"context"
	"testing"
	"time"
)

// TestPace follows workers look by look: who computes long for each answer
// yields, who answers quickly or waits does not.
func TestPace(t *testing.T) {
	type look struct {
		after   time.Duration // the look before
		cpu     time.Duration // taken since then
		answers uint64        // given since then
		idle    bool
		yields  bool
	}
	const ms = time.Millisecond
	for name, looks := range map[string][]look{
		"computes":                  {{after: 0}, {after: 10 * ms, cpu: 10 * ms, yields: true}, {after: 10 * ms, cpu: 10 * ms, yields: true}},
		"a little at a time":        {{after: 0}, {after: 10 * ms, cpu: 6 * ms}, {after: 10 * ms, cpu: 6 * ms, yields: true}},
		"answers thousands":         {{after: 0}, {after: 10 * ms, cpu: 16 * ms, answers: 400}, {after: 10 * ms, cpu: 16 * ms, answers: 400}},
		"answers few":               {{after: 0}, {after: 10 * ms, cpu: 20 * ms, answers: 1, yields: true}},
		"waits":                     {{after: 0}, {after: 200 * ms, cpu: ms}, {after: 100 * ms, cpu: ms}},
		"computes, then waits":      {{after: 0}, {after: 10 * ms, cpu: 10 * ms, yields: true}, {after: 240 * ms, yields: true}, {after: 10 * ms, cpu: ms}},
		"yields and gets no CPU":    {{after: 0}, {after: 10 * ms, cpu: 10 * ms, yields: true}, {after: 250 * ms, cpu: ms}, {after: 10 * ms, cpu: 10 * ms, yields: true}},
		"yields and gets some":      {{after: 0}, {after: 10 * ms, cpu: 10 * ms, yields: true}, {after: 250 * ms, cpu: 8 * ms, yields: true}},
		"computes, then is quick":   {{after: 0}, {after: 10 * ms, cpu: 10 * ms, yields: true}, {after: 10 * ms, cpu: 12 * ms, answers: 100}},
		"computes, then is done":    {{after: 0}, {after: 10 * ms, cpu: 10 * ms, yields: true}, {after: 10 * ms, idle: true}, {after: time.Hour}, {after: 10 * ms, cpu: 9 * ms}},
		"took much before it began": {{after: 0, cpu: time.Minute}, {after: 10 * ms, cpu: 2 * ms}},
	} {
		t.Run(name, func(t *testing.T) {
			var p pace
			now, cpu, answers := time.Unix(1000, 0), time.Duration(0), uint64(0)
			for i, look := range looks {
				now, cpu, answers = now.Add(look.after), cpu+look.cpu, answers+look.answers
				if p.look(now, !look.idle, cpu, answers); p.yields != look.yields {
					t.Errorf("look %d: yields %v, want %v", i, p.yields, look.yields)
				}
			}
		})
	}
}

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
