package attacks

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// everything reports whether the whole suite was asked for: ATTACKS=all.
func everything() bool { return os.Getenv("ATTACKS") == "all" }

// modes are those whose edges the attacks run against.
func modes() []mode {
	all := []mode{{isolation: "process"}}
	if everything() && os.Getuid() == 0 {
		all = append(all, mode{isolation: "process", uid: nobody})
	}
	return all
}

// nobody is the unprivileged user of the run as root.
const nobody = 65534

// chosen returns the attacks to run: all, those that ATTACK names, or some of
// each class.
func chosen(t testing.TB) []Attack {
	t.Helper()
	all := All()
	if pattern := os.Getenv("ATTACK"); pattern != "" {
		named, err := regexp.Compile(pattern)
		if err != nil {
			t.Fatalf("ATTACK is no regular expression: %v", err)
		}
		all = slices.DeleteFunc(all, func(a Attack) bool { return !named.MatchString(a.Label()) })
		if len(all) == 0 {
			t.Fatalf("ATTACK=%s names none", pattern)
		}
		return all
	}
	if everything() {
		return all
	}
	const of = 12
	n := 0
	return slices.DeleteFunc(all, func(Attack) bool { n++; return n%of != 1 })
}

// bears returns those attacks that the mode is to contain.
func (m mode) bears(attacks []Attack) []Attack {
	if m.isolation == "none" {
		attacks = slices.DeleteFunc(attacks, func(a Attack) bool { return a.Dangerous })
	}
	return attacks
}

// TestAttacks is the suite: under each isolation that is to contain them, it runs attacks one by one and then four at once
// while a witness requests another tenant's task and a static file.
func TestAttacks(t *testing.T) {
	for _, m := range modes() {
		t.Run(m.String(), func(t *testing.T) {
			attacks := m.bears(chosen(t))
			newStage(t, m, attacks, false).runAll(t, attacks)
		})
	}
}

func (st *stage) runAll(t *testing.T, attacks []Attack) {
	rate, quiet := 50, time.Second
	if everything() {
		rate, quiet = 200, 10*time.Second
	}
	r := &report{mode: st.mode}

	// Both once, so that what is made once per process is there.
	st.observe(rate).after(500 * time.Millisecond)
	r.alone = st.observe(rate).after(quiet)
	st.renew(t)
	base := measure(t, st.srv)

	for _, at := range []int{1, 4} {
		if at == 1 && !everything() && len(attacks) > 20 {
			continue // four at once is the harder test, and the shorter
		}
		order := slices.Clone(attacks)
		if at > 1 {
			rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		}
		st.crowded = at > 1
		w := st.observe(rate)
		verdicts := st.attack(t, order, at)
		seen := w.end()
		r.passes = append(r.passes, pass{at, seen, verdicts})
		for _, failure := range seen.Failed {
			if st.mode.isolation == "none" {
				break // it promises no fairness; the report has the number
			}
			t.Errorf("%d at once: a request of the victim failed: %s", at, failure)
		}
		if !st.alive() {
			t.Fatalf("the edge died:\n%s", tail(st.srv.Log.String()))
		}
		now, ok := st.settle(t, base)
		r.usage = append(r.usage, fmt.Sprintf("before: %v; after %d at once: %v", base, at, now))
		if !ok {
			t.Errorf("%d at once: the edge holds %v, before it held %v", at, now, base)
		}
	}
	r.after = st.observe(rate).after(quiet)
	st.checkLog(t)
	t.Log(r)
}

// attack runs attacks, so many at once, and reports what was not contained.
func (st *stage) attack(t *testing.T, attacks []Attack, at int) []*verdict {
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		verdicts []*verdict
	)
	next := make(chan *Attack)
	for range at {
		wg.Go(func() {
			for a := range next {
				v := st.run(t, a, patience)
				if at == 1 {
					st.blame(v)
				}
				const shown = 3 // of an attack that is sent many times
				for _, problem := range v.problems[:min(len(v.problems), shown)] {
					t.Errorf("%d at once: %s: %s", at, a.Label(), problem)
				}
				mu.Lock()
				verdicts = append(verdicts, v)
				mu.Unlock()
			}
		})
	}
	for i := range attacks {
		if !st.alive() {
			break
		}
		next <- &attacks[i]
	}
	close(next)
	wg.Wait()
	if at > 1 {
		for _, hit := range st.internal.take() {
			t.Errorf("%d at once: the internal server was reached: %s", at, hit)
		}
		for _, leak := range st.origin.takeLeaks() {
			t.Errorf("%d at once: the attackers' origin was sent %s", at, leak)
		}
	}
	return verdicts
}

// blame adds what the servers around the edge saw to the one attack that ran.
func (st *stage) blame(v *verdict) {
	for _, hit := range st.internal.take() {
		v.problem("it reached the internal server: %s", hit)
	}
	for _, leak := range st.origin.takeLeaks() {
		v.problem("its origin was sent %s", leak)
	}
	if !st.alive() {
		v.problem("the edge died")
	}
}

// maxLines is how many lines log_bytes of the stage lets a request print, and
// the line that says so.
const maxLines = 64<<10/100 + 1

// checkLog reads the whole log: each line is one JSON object, whose own fields
// are the edge's, and no secret stands in it.
func (st *stage) checkLog(t *testing.T) {
	t.Helper()
	log := st.srv.Log.String()
	for _, found := range st.canaries.inLog(log) {
		t.Errorf("the log shows %s", found)
	}
	wrong := 0
	printed := map[any]int{} // lines of scripts, by request
	defer func() {
		for request, lines := range printed {
			if lines > maxLines {
				t.Errorf("a script printed %d lines in request %v", lines, request)
			}
		}
	}()
	for line := range strings.SplitSeq(strings.TrimSpace(log), "\n") {
		if wrong == 10 {
			t.Error("and so on")
			break
		}
		if strings.ContainsFunc(line, func(r rune) bool {
			return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029'
		}) {
			t.Errorf("a line of the log has a control character: %.300q", line)
			wrong++
		}
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("a line of the log is no JSON: %.300q", line)
			wrong++
			continue
		}
		if entry["logger"] == "webtask.console" {
			printed[entry["request_id"]]++
		}
		for _, name := range slices.Sorted(maps.Keys(entry)) {
			text, _ := entry[name].(string)
			if name == Forged || text == Forged {
				t.Errorf("a line of the log is forged: %.500s", line)
				wrong++
			}
		}
	}
}

// after ends a witness once it looked for so long.
func (w *witness) after(length time.Duration) sight {
	<-time.After(length)
	return w.end()
}

// pass is one run through the attacks.
type pass struct {
	at       int
	seen     sight
	verdicts []*verdict
}

// report is what a run prints.
type report struct {
	mode   mode
	alone  sight // without attackers, before
	after  sight // and after
	passes []pass
	usage  []string
}

func (r *report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\n", r.mode)
	for _, p := range r.passes {
		type count struct{ all, contained int }
		classes := map[string]*count{}
		for _, v := range p.verdicts {
			c := cmp.Or(classes[v.attack.Class], &count{})
			classes[v.attack.Class] = c
			c.all++
			if len(v.problems) == 0 {
				c.contained++
			}
		}
		fmt.Fprintf(&b, "  attacks, %d at once: contained / all\n", p.at)
		sum := count{}
		for _, class := range slices.Sorted(maps.Keys(classes)) {
			c := classes[class]
			sum.all, sum.contained = sum.all+c.all, sum.contained+c.contained
			fmt.Fprintf(&b, "    %-10s %4d / %d\n", class, c.contained, c.all)
		}
		fmt.Fprintf(&b, "    %-10s %4d / %d\n", "all", sum.contained, sum.all)
	}
	fmt.Fprintf(&b, "  victim without attackers, before: %v\n", r.alone)
	fmt.Fprintf(&b, "  victim without attackers, after:  %v\n", r.after)
	without := max((r.alone.P99+r.after.P99)/2, 1)
	for _, p := range r.passes {
		fmt.Fprintf(&b, "  victim with %d at once:            %v, p99 %.2f times that without\n", p.at, p.seen, float64(p.seen.P99)/float64(without))
	}
	for _, line := range r.usage {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	return b.String()
}

// tail is the end of a log.
func tail(log string) string {
	const length = 8000
	return log[max(0, len(log)-length):]
}

// TestEntries checks the data itself.
func TestEntries(t *testing.T) {
	all := All()
	if len(all) < 200 {
		t.Errorf("the suite has %d attacks", len(all))
	}
	seen := map[string]bool{}
	for i := range all {
		a := &all[i]
		switch {
		case seen[a.Label()]:
			t.Errorf("%s is there twice", a.Label())
		case (a.Code == "") == (a.Module == ""):
			t.Errorf("%s has both or neither of Code and Module", a.Label())
		case len(a.Want) == 0:
			t.Errorf("%s wants no answer", a.Label())
		}
		seen[a.Label()] = true
	}
	t.Logf("%d attacks", len(all))
}
