package attacks

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// witnessing tells this binary, when it is started again, to be a witness.
const witnessing = "WEBTASK_ATTACKS_WITNESS=1"

func TestMain(m *testing.M) {
	if slices.Contains(os.Environ(), witnessing) {
		bearWitness()
		return
	}
	os.Exit(m.Run())
}

// witness is a process that requests a victim and a static file all the time, on
// a schedule that no slow answer delays, and keeps how long each took from when
// it was due. It is a process of its own because it stands for other visitors:
// what the attackers' client does with their answers must not make it wait.
type witness struct {
	t       testing.TB
	process *exec.Cmd
	order   io.WriteCloser
	sight   *bufio.Reader
	lost    func(int)
}

// order is what a witness is told. It goes on until its standard input ends.
type order struct {
	Page, File, Cookie string
	Want               string        // what the victim answers
	Every              time.Duration // between requests
	Reloading          bool          // connections may be lost
}

// sight is what a witness saw.
type sight struct {
	Requests int
	P50, P99 time.Duration
	Failed   []string
	Lost     int // connections
}

// observe starts a witness with so many requests a second.
func (st *stage) observe(rate int) *witness {
	st.t.Helper()
	w := &witness{t: st.t, process: exec.Command(os.Args[0]), lost: func(n int) { st.unconnected.Add(int64(n)) }}
	w.process.Env, w.process.Stderr = append(os.Environ(), witnessing), os.Stderr
	out, err := w.process.StdoutPipe()
	if err == nil {
		w.order, err = w.process.StdinPipe()
	}
	if err == nil {
		err = w.process.Start()
	}
	if err != nil {
		w.t.Fatalf("starting a witness: %v", err)
	}
	w.sight = bufio.NewReader(out)
	err = json.NewEncoder(w.order).Encode(order{
		Page: st.srv.URL + "/victim", File: st.srv.URL + "/still.txt", Cookie: st.victim,
		Want: fmt.Sprintf(`{"secret":%d,"note":%d,"config":%d}`,
			len(st.canaries.made["secret"]), len(st.canaries.made["session"]), len(st.canaries.made["config"])),
		Every: time.Second / time.Duration(rate), Reloading: st.reloading,
	})
	if err == nil {
		_, err = w.sight.ReadString('\n') // it has begun
	}
	if err != nil {
		w.t.Fatalf("telling a witness what to do: %v", err)
	}
	return w
}

// end stops the witness once its last request is answered.
func (w *witness) end() (s sight) {
	w.t.Helper()
	w.order.Close()
	err := json.NewDecoder(w.sight).Decode(&s)
	if ended := w.process.Wait(); err != nil || ended != nil {
		w.t.Fatalf("a witness told nothing: %v, %v", err, ended)
	}
	w.lost(s.Lost)
	return s
}

func (s sight) String() string {
	return fmt.Sprintf("%d requests, %d failed, p50 %v, p99 %v", s.Requests, len(s.Failed), s.P50.Round(10*time.Microsecond), s.P99.Round(10*time.Microsecond))
}

// bearWitness is the process.
func bearWitness() {
	in := bufio.NewReader(os.Stdin)
	v := &visits{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}, Timeout: time.Minute}}
	line, err := in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &v.order)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "witness:", err)
		os.Exit(1)
	}
	fmt.Println("begun")
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	v.schedule(ctx)
	v.done.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(v.sight()); err != nil {
		os.Exit(1) // whoever asked has gone
	}
}

// visits are those of one witness.
type visits struct {
	order
	client *http.Client
	done   sync.WaitGroup

	mu     sync.Mutex
	took   []time.Duration
	failed []string
	lost   int
}

func (v *visits) schedule(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := time.Now()
	for n := 0; ; n++ {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		due = due.Add(v.Every)
		timer.Reset(time.Until(due))
		at, file := due.Add(-v.Every), n%2 == 1
		v.done.Go(func() {
			err := v.ask(file)
			v.mu.Lock()
			defer v.mu.Unlock()
			v.took = append(v.took, time.Since(at))
			switch {
			case err == nil:
			case v.Reloading && unconnected(err):
				v.lost++
			case len(v.failed) < 20:
				v.failed = append(v.failed, err.Error())
			}
		})
	}
}

func (v *visits) ask(file bool) error {
	url, want := v.Page, v.Want
	if file {
		url, want = v.File, "a static file\n"
	}
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Cookie", v.Cookie)
	resp, err := v.client.Do(req)
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

func (v *visits) sight() sight {
	slices.Sort(v.took)
	s := sight{Requests: len(v.took), Failed: v.failed, Lost: v.lost}
	if len(v.took) > 0 {
		s.P50, s.P99 = v.took[len(v.took)/2], v.took[len(v.took)*99/100]
	}
	return s
}
