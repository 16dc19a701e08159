package attacks

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// witness requests a victim and a static file all the time, on a schedule that
// no slow answer delays, and keeps how long each took from when it was due.
type witness struct {
	client *http.Client
	page   string // of the victim
	file   string
	cookie string
	want   string // what the victim answers
	lost   func(error) bool

	stop context.CancelFunc
	done sync.WaitGroup

	mu     sync.Mutex
	took   []time.Duration
	failed []string
}

// observe starts a witness with so many requests a second.
func (st *stage) observe(rate int) *witness {
	ctx, cancel := context.WithCancel(context.Background())
	w := &witness{
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}, Timeout: time.Minute},
		page:   st.srv.URL + "/victim", file: st.srv.URL + "/still.txt", cookie: st.victim, stop: cancel, lost: st.lost,
		want: fmt.Sprintf(`{"secret":%d,"note":%d,"config":%d}`,
			len(st.canaries.made["secret"]), len(st.canaries.made["session"]), len(st.canaries.made["config"])),
	}
	w.done.Go(func() { w.schedule(ctx, time.Second/time.Duration(rate)) })
	return w
}

func (w *witness) schedule(ctx context.Context, every time.Duration) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := time.Now()
	for n := 0; ; n++ {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		due = due.Add(every)
		timer.Reset(time.Until(due))
		at, file := due.Add(-every), n%2 == 1
		w.done.Go(func() {
			err := w.ask(file)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.took = append(w.took, time.Since(at))
			if err != nil && !w.lost(err) && len(w.failed) < 20 {
				w.failed = append(w.failed, err.Error())
			}
		})
	}
}

func (w *witness) ask(file bool) error {
	url, want := w.page, w.want
	if file {
		url, want = w.file, "a static file\n"
	}
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Cookie", w.cookie)
	resp, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("GET %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK || strings.TrimSpace(string(body)) != strings.TrimSpace(want) {
		return fmt.Errorf("GET %s: %s %.300q", url, resp.Status, body)
	}
	return nil
}

// lost reports, and counts, an error that a reload of Caddy may cause.
func (st *stage) lost(err error) bool {
	if !st.reloading || !unconnected(err) {
		return false
	}
	st.unconnected.Add(1)
	return true
}

// sight is what a witness saw.
type sight struct {
	requests int
	p50, p99 time.Duration
	failed   []string
}

// end stops the witness once its last request is answered.
func (w *witness) end() sight {
	w.stop()
	w.done.Wait()
	w.client.CloseIdleConnections()
	slices.Sort(w.took)
	s := sight{requests: len(w.took), failed: w.failed}
	if len(w.took) > 0 {
		s.p50, s.p99 = w.took[len(w.took)/2], w.took[len(w.took)*99/100]
	}
	return s
}

func (s sight) String() string {
	return fmt.Sprintf("%d requests, %d failed, p50 %v, p99 %v", s.requests, len(s.failed), s.p50.Round(10*time.Microsecond), s.p99.Round(10*time.Microsecond))
}
