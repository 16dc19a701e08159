package jsruntime_test

import (
	"context"
	"testing"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

func TestSessionReadsSeeTheWritesBefore(t *testing.T) {
	for name, test := range map[string]struct {
		body, want string
		saves      int
	}{
		"get while an update is saved": {
			`await s.set("a", 2); const u = s.update("n", n => n + 1), a = await s.get("a"); await u; cb(null, [a, await s.get("n")])`,
			`[2,2]`, 1},
		"entries while an update is saved": {
			`await s.set("a", 2); s.update("n", n => n + 1); cb(null, await s.entries())`, `[["a",2],["n",2]]`, 1},
		"updates at the same time": {
			`cb(null, [...await Promise.all([s.update("n", n => n + 1), s.update("n", n => n + 1), s.update("a", a => a + 1)]), await s.entries()])`,
			`[2,3,2,[["a",2],["n",3]]]`, 3},
		"update whose function reads": {
			`cb(null, await s.update("n", async n => n + await s.get("a")))`, `2`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, jsruntime.Options{})
			host := existing("id1", map[string]string{"n": "1", "a": "1"})
			got, _ := b.do(b.spec(session(`await s.get("n"); `+test.body), jsruntime.SpecOptions{}), request(host))
			if got != test.want || host.saves != test.saves {
				t.Errorf("got %s after %d saves, want %s after %d", got, host.saves, test.want, test.saves)
			}
		})
	}
}

// slowHost saves when the test says so.
type slowHost struct {
	*fakeHost
	asked, save chan struct{}
}

func (h *slowHost) SaveSession(ctx context.Context, change *webtask.SessionChange) (*jsruntime.Session, error) {
	h.asked <- struct{}{}
	select {
	case <-h.save:
		return h.fakeHost.SaveSession(ctx, change)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestHeadWaitsForWritesUnderWay(t *testing.T) {
	for name, test := range map[string]struct {
		down   bool
		commit string
	}{
		"saved":   {false, "nothing"},
		"unsaved": {true, "set map[a:2] delete [] move \"\" destroy false"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, jsruntime.Options{})
			host := &slowHost{existing("id1", map[string]string{"n": "1"}), make(chan struct{}), make(chan struct{})}
			spec := b.spec(session(`await s.get("n"); await s.set("a", 2); s.update("n", n => n + 1).catch(() => {}); cb(null, 1)`), jsruntime.SpecOptions{})
			answers := make(chan *jsruntime.Response)
			go func() {
				_, resp := b.do(spec, request(host))
				answers <- resp
			}()
			<-host.asked
			host.mu.Lock()
			host.down = test.down
			host.mu.Unlock()
			close(host.save)
			if got := summary((<-answers).Session); got != test.commit {
				t.Errorf("the head commits %s, want %s", got, test.commit)
			}
			if _, saved := host.session.Data.Entries["a"]; saved == test.down {
				t.Errorf("a saved: %v, store down: %v", saved, test.down)
			}
		})
	}
}

func TestWritesAfterTheHeadKeepTheirOrder(t *testing.T) {
	b := newBench(t, jsruntime.Options{})
	b.gates.release("head")
	spec := b.spec(`module.exports = async (ctx, req, res) => {
		res.writeHead(200); res.write("n is "); await gate("head");
		await Promise.all(Array.from({ length: 50 }, (_, i) => ctx.session.set("n", i + 1)));
		res.write("" + await ctx.session.get("n")); res.end() }`, jsruntime.SpecOptions{})
	for range 20 {
		host := existing("id1", map[string]string{"n": "0"})
		got, _ := b.do(spec, request(host))
		if stored := string(host.session.Data.Entries["n"].Value); stored != "50" || got != "n is 50" {
			t.Fatalf("stored %s, answered %q", stored, got)
		}
	}
}
