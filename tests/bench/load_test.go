package bench

import "testing"

func TestParseWrk(t *testing.T) {
	const good = "Running 3s test\n  1234 requests in 3.00s, 1.00MB read\nRequests/sec:  41234.56\nTransfer/sec: 4.2MB\n"
	if rate, err := parseWrk(good); err != nil || rate != 41234.56 {
		t.Errorf("got %v, %v", rate, err)
	}
	for _, bad := range []string{
		"",
		good + "  Non-2xx or 3xx responses: 12\n",
		good + "  Socket errors: connect 0, read 3, write 0, timeout 0\n",
	} {
		if rate, err := parseWrk(bad); err == nil {
			t.Errorf("%q passes as %v", bad, rate)
		}
	}
}

func TestMedian(t *testing.T) {
	for want, values := range map[float64][]float64{2: {3, 1, 2}, 2.5: {4, 1, 2, 3}, 7: {7}} {
		if got := median(values); got != want {
			t.Errorf("median(%v) = %v, want %v", values, got, want)
		}
	}
}
