//go:build unix

package process

import "time"

// PaceTick is how often a Pace wants to look.
const PaceTick = 5 * time.Millisecond

// StartPatience is how long a process should yield that has not shown yet what it
// is: its start is tens of milliseconds of computing, and of what it then runs
// nothing is known. Where the CPU has room it takes no longer for that.
const StartPatience = 100 * time.Millisecond

const (
	// A process is judged each time it has taken burst: it is to yield if that
	// was heavy or more for each answer that it gave meanwhile. One that answers
	// thousands of small requests takes as much, and is not.
	burst = 5 * time.Millisecond
	heavy = 5 * time.Millisecond

	// One that takes less than calm in calmWindow waits for something, or does
	// not get the CPU at all; it is to yield no more, so that whoever computes
	// gets on even where nothing is ever left over.
	calm       = 2 * time.Millisecond
	calmWindow = 100 * time.Millisecond
)

// Pace judges whether a process is to yield (see Process.Yield), by what it takes
// and what it gives. The zero value is for one that has done nothing yet.
type Pace struct {
	began   bool // the rest is set
	yields  bool
	since   time.Time
	cpu     time.Duration
	answers uint64
}

// Idle reports whether the process has had nothing to do since it was looked at.
func (p *Pace) Idle() bool { return !p.began }

// Look tells it of a process that has, or has not, something to do, of the CPU
// time that it took since its start, and of how many answers it gave. It returns
// whether the process is to yield.
func (p *Pace) Look(now time.Time, open bool, cpu time.Duration, answers uint64) (yields bool) {
	took, given, passed := cpu-p.cpu, answers-p.answers, now.Sub(p.since)
	switch {
	case !open:
		*p = Pace{}
		return false
	case !p.began:
	case took >= burst:
		p.yields = took/time.Duration(1+given) >= heavy
	case passed < calmWindow:
		return p.yields
	case took < calm:
		p.yields = false
	}
	p.began, p.since, p.cpu, p.answers = true, now, cpu, answers
	return p.yields
}
