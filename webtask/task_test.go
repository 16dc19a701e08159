package webtask

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTask(t *testing.T) {
	ring := newRing(t, 1)
	c := hello()
	c.Name, c.Meta, c.MergeBody, c.ParseBody = "hello", map[string]string{"m": "n"}, true, new(ParseBodyNever)
	c.Net, c.Limits, c.RateLimit = []string{"api.example.com"}, Limits{Timeout: time.Second}, RateLimits{Token: RateWindows{Hour: 9}}
	c.Integrity = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	token := issue(t, ring, c)
	v := open(t, ring, token)
	task, err := v.Task()
	if err != nil {
		t.Fatal(err)
	}
	if task.Container != "acme" || task.Name != "hello" || task.ID != v.Claims().ID || task.Code != (CodeRef{CodeURL, c.URL}) ||
		task.Integrity != c.Integrity || !maps.Equal(task.Secrets, c.Secrets) || !maps.Equal(task.Params, c.Params) || !maps.Equal(task.Meta, c.Meta) ||
		!slices.Equal(task.Net, c.Net) || task.Limits != c.Limits || task.RateLimit != c.RateLimit || task.ParseBody != ParseBodyNever ||
		!task.MergeBody || task.Token != token || !task.Expires.Equal(c.Expires) || !task.FromToken {
		t.Errorf("task is %#v", *task)
	}
	plain, err := open(t, ring, issue(t, ring, hello())).Task()
	if err != nil {
		t.Fatal(err)
	}
	if plain.ParseBody != ParseBodyByArity || plain.Net != nil || plain.MergeBody {
		t.Errorf("defaults are wrong: pb %d, net %v, mb %v", plain.ParseBody, plain.Net, plain.MergeBody)
	}
}

func TestTaskKey(t *testing.T) {
	base := func() Task {
		return Task{
			Container: "acme", Name: "hello", Secrets: map[string]string{"a": "1", "b": "2"}, Params: map[string]string{"p": "q"},
			Net: []string{"x.com", "y.com"}, Limits: Limits{Timeout: time.Second},
		}
	}
	same := base()
	// What may differ from request to request, or says who asks, is no reason
	// for another isolate.
	same.ID, same.Token, same.Expires, same.RateLimit.Token.Hour, same.FromToken = "other", "other", now, 5, true
	first := base()
	key := first.Key("program")
	if got := same.Key("program"); got != key {
		t.Errorf("keys differ: %s, %s", got, key)
	}
	if !strings.HasPrefix(key, "acme/") || strings.Contains(key, "hello") {
		t.Errorf("key is %s", key)
	}
	seen := map[string]string{key: "base"}
	for name, change := range map[string]func(*Task){
		"container":                 func(t *Task) { t.Container = "beta" },
		"name":                      func(t *Task) { t.Name = "bye" },
		"secret's value":            func(t *Task) { t.Secrets["a"] = "3" },
		"secret's name":             func(t *Task) { t.Secrets["c"] = t.Secrets["a"]; delete(t.Secrets, "a") },
		"secret and param swapped":  func(t *Task) { t.Secrets, t.Params = t.Params, t.Secrets },
		"secret moved to a param":   func(t *Task) { t.Params["a"] = "1"; delete(t.Secrets, "a") },
		"boundary of a value":       func(t *Task) { t.Secrets = map[string]string{"a": "1b", "": "2"} },
		"params":                    func(t *Task) { t.Params = nil },
		"meta":                      func(t *Task) { t.Meta = map[string]string{"p": "q"} },
		"net absent":                func(t *Task) { t.Net = nil },
		"net empty":                 func(t *Task) { t.Net = []string{} },
		"net joined":                func(t *Task) { t.Net = []string{"x.comy.com"} },
		"net in another order":      func(t *Task) { t.Net = []string{"y.com", "x.com"} },
		"timeout":                   func(t *Task) { t.Limits.Timeout = 2 * time.Second },
		"another limit, same value": func(t *Task) { t.Limits = Limits{CPUTime: time.Second} },
		"no limit":                  func(t *Task) { t.Limits = Limits{} },
	} {
		task := base()
		change(&task)
		key := task.Key("program")
		if was, ok := seen[key]; ok {
			t.Errorf("%s and %s have the same key", name, was)
		}
		seen[key] = name
	}
	if first.Key("program2") == key || first.Key("") == key {
		t.Error("another program has the same key")
	}
}
