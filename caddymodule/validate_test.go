package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestValidateRefusesWhatRunRefuses validates configurations as `caddy
// validate` does, which starts nothing, and wants errors that name the place.
func TestValidateRefusesWhatRunRefuses(t *testing.T) {
	s := newServer(t, map[string]string{"a.js": helloJS, "empty.json": "\n"})
	t.Setenv("WEBTASK_TEST_EMPTY", "")
	const site = "the directive webtask at 127.0.0.1"
	for name, c := range map[string]struct {
		options, site string
		want          []string
	}{
		"run_domain":         {"run_domain run.example.com", "webtask", []string{"run_domain", "Caddyfile:"}},
		"egress":             {"egress allow http://localhost:8080", "webtask", []string{"egress rule", "Caddyfile:"}},
		"code_allow":         {"code_allow example.com/tasks", "webtask", []string{"code_allow", "Caddyfile:"}},
		"integrity":          {"", "webtask {\n code a.js\n integrity sha256-abc\n}", []string{"integrity", "Caddyfile:"}},
		"absent keys":        {"keys absent.json", "webtask", []string{"the global option webtask: keys: the file cannot be read", "caddy webtask keygen --output " + s.folder + "/absent.json"}},
		"empty keys":         {"keys empty.json", "webtask", []string{"the global option webtask: keys: " + s.folder + "/empty.json is empty"}},
		"absent code":        {"", "webtask /x/* {\n code absent.js\n}", []string{site + " /x/*: code: the file cannot be read"}},
		"unset secret":       {"", "webtask /x {\n code a.js\n secret A {env.WEBTASK_TEST_EMPTY}\n}", []string{site + " /x: secret A: "}},
		"under templates":    {"", "route /t/* {\n templates\n webtask\n}", []string{site + " /t/*: webtask in token mode stands under templates"}},
		"under intercept":    {"", "route {\n intercept {\n  replace_status 200\n }\n webtask /run/*\n}", []string{site + " /run/*: ", "stands under intercept"}},
		"under both, deep":   {"", "route {\n templates\n route /a/* {\n  intercept {\n   replace_status 200\n  }\n  handle {\n   webtask\n  }\n }\n}", []string{"stands under templates and intercept"}},
		"under an earlier":   {"", "route {\n route {\n  templates\n }\n webtask\n}", []string{"stands under templates"}},
		"between two groups": {"", "route {\n handle /a {\n  respond a\n }\n templates\n handle /b {\n  webtask\n }\n}", []string{"stands under templates"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := s.validate(c.options, c.site)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("validating gave %v, want an error with %q", err, want)
				}
			}
		})
	}
	for name, site := range map[string]string{
		"templates after it":   "webtask /run/*\n templates",
		"templates beside it":  "handle /pages/* {\n templates\n}\nhandle {\n webtask\n}",
		"before, then under":   "route {\n webtask\n templates\n}",
		"trust_responses":      "route {\n templates\n webtask {\n  trust_responses\n }\n}",
		"route-bound under it": "route {\n templates\n webtask {\n  code a.js\n }\n}",
	} {
		t.Run(name, func(t *testing.T) {
			if err := s.validate("", site); err != nil {
				t.Error(err)
			}
		})
	}
}

// validate provisions a configuration, as far as `caddy validate` goes.
func (s *server) validate(options, site string) error {
	s.t.Helper()
	text, err := s.config(options, site)
	if err != nil {
		return err
	}
	config := new(caddy.Config)
	if err := json.Unmarshal(text, config); err != nil {
		s.t.Fatal(err)
	}
	return caddy.Validate(config)
}

// TestLogsNameTheRoute wants what is logged of a task to say which it is.
func TestLogsNameTheRoute(t *testing.T) {
	s := newServer(t, map[string]string{"none.js": "exports.a = 1", "bad.js": "module.exports = cb => {"})
	s.mustLoad("", `
	webtask /none/* {
		code none.js
		container shop
		secret A literal
	}
	webtask /bad {
		code bad.js
	}
	`)
	s.want("/none/x", 400, "Supplied code must return or export a function.")
	for message, want := range map[string]string{
		"webtask failed":                         "127.0.0.1 /none/* " + s.folder + "/none.js",
		"code of a webtask cannot be run yet":    "127.0.0.1 /bad " + s.folder + "/bad.js",
		"the configuration itself holds secrets": "127.0.0.1 /none/* ",
	} {
		entries := s.logged(message)
		if len(entries) != 1 {
			t.Errorf("the log has %v for %q", entries, message)
			continue
		}
		code, _ := entries[0]["code"].(string)
		if route, _ := entries[0]["route"].(string); route+" "+code != want {
			t.Errorf("the log names %s %s for %q, want %s", route, code, message, want)
		}
	}
}
