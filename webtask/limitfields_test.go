package webtask

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"
)

// Every field of Limits has a row in the table, and only one.
func TestLimitFieldsAreComplete(t *testing.T) {
	values := map[LimitKind]string{LimitDuration: "7s", LimitSize: "7", LimitCount: "7"}
	var all Limits
	for _, name := range LimitNames() {
		f, _ := findLimit(name)
		var one Limits
		if err := one.Set(name, values[f.Kind]); err != nil {
			t.Fatal(err)
		}
		set := 0
		for v := reflect.ValueOf(one); set < v.NumField() && v.Field(set).IsZero(); {
			set++
		}
		if reflect.ValueOf(all).Field(set).Int() != 0 {
			t.Errorf("%s sets field %d, which another limit sets", name, set)
		}
		if err := all.Set(name, values[f.Kind]); err != nil {
			t.Fatal(err)
		}
		if got := one.Get(name); got != values[f.Kind] {
			t.Errorf("%s: Get returns %q after Set %q", name, got, values[f.Kind])
		}
	}
	v := reflect.ValueOf(all)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("no limit sets %s", v.Type().Field(i).Name)
		}
	}
	if len(LimitFields()) != v.NumField() || LimitFields()[0].Kind != LimitDuration {
		t.Error("LimitFields does not list them")
	}
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	var again Limits
	if err := json.Unmarshal(data, &again); err != nil || again != all {
		t.Errorf("%s reads back as %+v, %v", data, again, err)
	}
}

func TestLimitSet(t *testing.T) {
	for _, test := range []struct {
		name, value string
		want        int64
		text        string // of Get
	}{
		{"timeout", "5s", int64(5 * time.Second), "5s"},
		{"timeout", "1h30m", int64(90 * time.Minute), "1h30m0s"},
		{"session_ttl", "30d", int64(30 * 24 * time.Hour), "720h0m0s"},
		{"memory", "64MiB", 64 << 20, "64MiB"},
		{"memory", "64 MiB", 64 << 20, "64MiB"},
		{"memory", "10MB", 10_000_000, "10000000"},
		{"memory", "1.5KiB", 1536, "1536"},
		{"memory", "4096", 4096, "4KiB"},
		{"code_size", "8PiB", 8 << 50, "8192TiB"},
		{"isolates", "512", 512, "512"},
	} {
		var l Limits
		if err := l.Set(test.name, test.value); err != nil {
			t.Errorf("%s %s: %v", test.name, test.value, err)
			continue
		}
		f, _ := findLimit(test.name)
		if got := f.value(&l); got != test.want || l.Get(test.name) != test.text {
			t.Errorf("%s %s: %d, %q; want %d, %q", test.name, test.value, got, l.Get(test.name), test.want, test.text)
		}
	}
}

func TestLimitSetRefuses(t *testing.T) {
	for _, test := range []struct{ name, value string }{
		{"speed", "1"}, {"", "1"}, {"Timeout", "1s"},
		{"timeout", ""}, {"timeout", "5"}, {"timeout", "0s"}, {"timeout", "-1s"}, {"timeout", "1 s"}, {"timeout", "106752d"}, {"timeout", "-1d"}, {"timeout", "9999999h"},
		{"memory", ""}, {"memory", "0"}, {"memory", "-1"}, {"memory", "64 apples"}, {"memory", "16EiB"}, {"memory", "1,024"}, {"memory", "0.1"},
		{"isolates", ""}, {"isolates", "0"}, {"isolates", "auto"}, {"isolates", "1.5"}, {"isolates", "99999999999"},
	} {
		l := Limits{Timeout: math.MaxInt64}
		err := l.Set(test.name, test.value)
		if err == nil {
			t.Errorf("%s %q was accepted: %+v", test.name, test.value, l)
			continue
		}
		wantField(t, err, nil, test.name)
		if l != (Limits{Timeout: math.MaxInt64}) {
			t.Errorf("%s %q changed the limits", test.name, test.value)
		}
	}
	if got := (Limits{}).Get("speed"); got != "" {
		t.Errorf("Get of no limit is %q", got)
	}
}

func TestNarrow(t *testing.T) {
	a := Limits{Timeout: 5, Memory: 10, Isolates: 3}
	b := Limits{Timeout: 7, Memory: 4, Timers: 2}
	want := Limits{Timeout: 5, Memory: 4, Isolates: 3, Timers: 2}
	if a.Narrow(b) != want || b.Narrow(a) != want {
		t.Errorf("narrowed to %+v and %+v, want %+v", a.Narrow(b), b.Narrow(a), want)
	}
	// Every field: the smaller wins, and an unset one never does.
	for _, f := range limitFields {
		text := map[LimitKind][2]string{LimitDuration: {"1s", "2s"}, LimitSize: {"1", "2"}, LimitCount: {"1", "2"}}[f.Kind]
		var small, large Limits
		if f.set(&small, text[0]) != nil || f.set(&large, text[1]) != nil {
			t.Fatal("cannot set " + f.Name)
		}
		for _, got := range []Limits{small.Narrow(large), large.Narrow(small), small.Narrow(Limits{}), Limits{}.Narrow(small)} {
			if got != small {
				t.Errorf("%s: narrowed to %+v", f.Name, got)
			}
		}
	}
}

func TestRateWindows(t *testing.T) {
	var none RateLimits
	if got := none.Windows("acme", "id"); got != nil {
		t.Errorf("windows without limits: %v", got)
	}
	limits := RateLimits{Container: RateWindows{Second: 5, Month: 100}, Token: RateWindows{Hour: 7}}
	got := limits.Windows("acme", "0123")
	want := []RateWindow{
		{"container/acme/s", time.Second, 5},
		{"container/acme/o", 30 * 24 * time.Hour, 100},
		{"token/0123/h", time.Hour, 7},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("windows are %v, want %v", got, want)
	}
}
