// Package bench measures what docs/performance.md says, as ratios of two
// servers under the same load in the same run: A, B, A, B, …, and the median.
//
//	make bench
//
// It is a benchmark of `go test`, so it runs only when asked for:
//
//	go test -run '^$' -bench . -benchtime 1x -v ./tests/bench
//
// BENCH_SECONDS (default 2) is the length of one measurement and BENCH_ROUNDS
// (default 7) their number on either side.
package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// target is one thing to put under load.
type target struct {
	name    string
	url     string
	headers []string // "Name: value"
}

const (
	connections = 32
	threads     = 1 // of wrk; the servers need the other core
)

// load returns requests per second of a target, by wrk where it is installed
// and else by clients of our own. Every answer must be a 200.
func load(t target, length time.Duration) (float64, error) {
	if path, err := exec.LookPath("wrk"); err == nil {
		return wrk(path, t, length)
	}
	return loop(t, length)
}

var (
	wrkRate   = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	wrkFailed = regexp.MustCompile(`Non-2xx or 3xx responses: \d+|Socket errors: .*`)
)

func wrk(path string, t target, length time.Duration) (float64, error) {
	args := []string{"-t", strconv.Itoa(threads), "-c", strconv.Itoa(connections), "-d", fmt.Sprintf("%.0fs", length.Seconds())}
	for _, header := range t.headers {
		args = append(args, "-H", header)
	}
	out, err := exec.Command(path, append(args, t.url)...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("wrk: %w: %s", err, out)
	}
	return parseWrk(string(out))
}

func parseWrk(out string) (float64, error) {
	if failed := wrkFailed.FindString(out); failed != "" {
		return 0, fmt.Errorf("wrk: %s", failed)
	}
	rate := wrkRate.FindStringSubmatch(out)
	if rate == nil {
		return 0, fmt.Errorf("wrk printed no rate: %s", out)
	}
	return strconv.ParseFloat(rate[1], 64)
}

// loop is the load generator where wrk is missing: a closed loop per
// connection.
func loop(t target, length time.Duration) (float64, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: connections, DisableCompression: true}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()

	var wg sync.WaitGroup
	counts, errs := make([]int, connections), make([]error, connections)
	start := time.Now()
	for i := range connections {
		wg.Go(func() {
			for ctx.Err() == nil {
				if errs[i] = get(transport, t); errs[i] != nil {
					return
				}
				counts[i]++
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	total := 0
	for i := range counts {
		if errs[i] != nil {
			return 0, errs[i]
		}
		total += counts[i]
	}
	return float64(total) / took.Seconds(), nil
}

func get(transport *http.Transport, t target) error {
	req, err := http.NewRequest(http.MethodGet, t.url, nil)
	if err != nil {
		return err
	}
	for _, header := range t.headers {
		name, value, _ := strings.Cut(header, ": ")
		req.Header.Set(name, value)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", t.url, resp.Status, body)
	}
	return err
}

// median of an odd or even number of values.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
