//go:build unix

package process

import (
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
		"a little at a time":        {{after: 0}, {after: 5 * ms, cpu: 3 * ms}, {after: 5 * ms, cpu: 3 * ms, yields: true}},
		"answers thousands":         {{after: 0}, {after: 10 * ms, cpu: 16 * ms, answers: 400}, {after: 10 * ms, cpu: 16 * ms, answers: 400}},
		"answers few":               {{after: 0}, {after: 10 * ms, cpu: 20 * ms, answers: 1, yields: true}},
		"waits":                     {{after: 0}, {after: 80 * ms, cpu: ms}, {after: 40 * ms, cpu: ms}},
		"computes, then waits":      {{after: 0}, {after: 10 * ms, cpu: 10 * ms, yields: true}, {after: 90 * ms, yields: true}, {after: 10 * ms, cpu: ms}},
		"yields and gets no CPU":    {{after: 0}, {after: 10 * ms, cpu: 10 * ms, yields: true}, {after: 100 * ms, cpu: ms}, {after: 10 * ms, cpu: 10 * ms, yields: true}},
		"yields and gets some":      {{after: 0}, {after: 10 * ms, cpu: 10 * ms, yields: true}, {after: 100 * ms, cpu: 8 * ms, yields: true}},
		"computes, then is quick":   {{after: 0}, {after: 10 * ms, cpu: 10 * ms, yields: true}, {after: 10 * ms, cpu: 12 * ms, answers: 100}},
		"computes, then is done":    {{after: 0}, {after: 10 * ms, cpu: 10 * ms, yields: true}, {after: 10 * ms, idle: true}, {after: time.Hour}, {after: 5 * ms, cpu: 4 * ms}},
		"took much before it began": {{after: 0, cpu: time.Minute}, {after: 10 * ms, cpu: 2 * ms}},
	} {
		t.Run(name, func(t *testing.T) {
			var p Pace
			now, cpu, answers := time.Unix(1000, 0), time.Duration(0), uint64(0)
			for i, look := range looks {
				now, cpu, answers = now.Add(look.after), cpu+look.cpu, answers+look.answers
				if yields := p.Look(now, !look.idle, cpu, answers); yields != look.yields {
					t.Errorf("look %d: yields %v, want %v", i, yields, look.yields)
				}
			}
		})
	}
}
