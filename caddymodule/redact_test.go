package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// aToken looks like a token of ours.
const aToken = "eyJhbGciOiJIUzI1NiIsImtpZCI6Ind0MS1hYmMifQ.eyJ0ZW4iOiJhY21lIn0.c2lnbmF0dXJl"

// backendToken looks like a token of a session backend.
const backendToken = "eyJhbGciOiJIUzI1NiIsImtpZCI6Ind0MS1hYmMiLCJ0eXAiOiJiYWNrZW5kIn0.eyJzdmMiOiJkb2NzIn0.c2lnbmF0dXJl"

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"/run?key=" + aToken:                                "/run?key=REDACTED",
		"/run?a=1&key=short&b=2":                            "/run?a=1&key=REDACTED&b=2",
		"/run?key=a&x=1&key=b":                              "/run?key=REDACTED&x=1&key=REDACTED",
		"/run?%6Bey=abc":                                    "/run?%6Bey=REDACTED",
		"/run?key=":                                         "/run?key=REDACTED",
		"/run?a=1;key=abc;def&b=2":                          "/run?a=1;key=REDACTED&b=2",
		"/run?key":                                          "/run?key",
		"/run?keys=1&monkey=2":                              "/run?keys=1&monkey=2",
		"/run?a=?key=abc":                                   "/run?a=?key=REDACTED",
		"/run/" + aToken + "/x":                             "/run/REDACTED/x",
		"/run/" + aToken + "/" + aToken:                     "/run/REDACTED/REDACTED",
		"/s/" + backendToken + "/ws?x=1":                    "/s/REDACTED/ws?x=1",
		"/s/abcdefghijklmnop-ABCDEFGHIJKLMNOPQRSTUVWXYZ/x":  "/s/REDACTED/x",
		"/s/s.abcdefghijklmnop-ABCDEFGHIJKLMNOPQRSTUVWXYZ/": "/s/s.REDACTED/",
		"a-b-abcdefghijklmnop-ABCDEFGHIJKLMNOPQRSTUVWXYZ":   "a-b-REDACTED",
		"/s/abcdefghijklmnop-ABCDEFGHIJKLMNOPQRSTUVWXY/x":   "/s/abcdefghijklmnop-ABCDEFGHIJKLMNOPQRSTUVWXY/x",
		"/room/blue?token=" + backendToken + "&a":           "/room/blue?token=REDACTED&a",
		strings.ReplaceAll(aToken, ".", "%2E"):              "REDACTED",
		"GET https://h/x?key=abc failed":                    "GET https://h/x?key=REDACTED failed",
		`parse "https://h/x?key=abc": bad`:                  `parse "https://h/x?key=REDACTED": bad`,
		"eyJust a word":                                     "eyJust a word",
		"nothing here":                                      "nothing here",
		"":                                                  "",
		"Bearer " + aToken + ", and " + aToken[:9]:          "Bearer REDACTED, and " + aToken[:9],
	} {
		if got := redact(in); got != want {
			t.Errorf("redact(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestRedactAllocatesNothingWhereNothingIs(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { redact("/static/site.css?v=12&theme=dark") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestEncoderEscapesControls(t *testing.T) {
	const hostile = "a\u009b31m\u007f\u2028\u0085b ünï"
	for _, config := range []string{"webtask", "webtask {\n wrap console\n}"} {
		got := entryOf(t, config, zapcore.Entry{Message: hostile}, zap.String("field", hostile), zap.Any("any", http.Header{"User-Agent": {hostile}}))
		if strings.ContainsFunc(got, isLeftByEncoders) {
			t.Errorf("%s wrote %q", config, got)
		}
		if n := strings.Count(got, `a\u009b31m\u007f\u2028\u0085b ünï`); n != 3 {
			t.Errorf("%s wrote the text %d times as it should: %q", config, n, got)
		}
	}
}

// entryOf writes one log entry through the encoder that a Caddyfile sets up.
func entryOf(t *testing.T, config string, entry zapcore.Entry, fields ...zapcore.Field) string {
	t.Helper()
	encoder := new(Encoder)
	if err := encoder.UnmarshalCaddyfile(caddyfile.NewTestDispenser(config)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	if err := encoder.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	line, err := encoder.Clone().EncodeEntry(entry, fields)
	if err != nil {
		t.Fatal(err)
	}
	return line.String()
}

func TestEncoder(t *testing.T) {
	const secret = "hunter2-hunter2"
	request := &http.Request{
		Method: "GET", Host: "example.com", RequestURI: "/run?key=" + secret, RemoteAddr: "127.0.0.1:1",
		Header: http.Header{
			"Authorization":   {"Bearer " + secret},
			"Cookie":          {"webtask_session=" + secret},
			"X-Webtask-Token": {secret}, "X-Verified-Secret": {secret},
			"Referer":    {"https://example.com/?key=" + secret},
			"User-Agent": {"a browser"},
		},
	}
	fields := []zapcore.Field{
		zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: request, ShouldLogCredentials: true}),
		zap.Object("resp_headers", caddyhttp.LoggableHTTPHeader{
			Header: http.Header{"Set-Cookie": {secret}, "Location": {"/?key=" + secret}}, ShouldLogCredentials: true,
		}),
		zap.String("path", "/"+aToken),
		zap.ByteString("bytes", []byte("?key="+secret)),
		zap.String("authorization", secret),
		zap.Strings("list", []string{"/?key=" + secret}),
		zap.Any("map", map[string]any{"cookie": secret, "deep": []any{map[string]string{"u": "/?key=" + secret}}, "n": 12}),
		zap.Error(&http.ProtocolError{ErrorString: "bad ?key=" + secret}),
		zap.Int("status", 200),
	}
	for _, config := range []string{"webtask", "webtask {\n wrap console\n}", "webtask {\n wrap filter {\n status delete\n }\n}"} {
		line := entryOf(t, config, zapcore.Entry{Message: "got /?key=" + secret}, fields...)
		for _, leak := range []string{secret, aToken} {
			if strings.Contains(line, leak) {
				t.Errorf("%s: the entry shows a secret:\n%s", config, line)
			}
		}
		for _, kept := range []string{"example.com", "a browser", "/run?key=REDACTED", `"n":12`, "got /?key=REDACTED"} {
			if !strings.Contains(strings.ReplaceAll(line, `"n": 12`, `"n":12`), kept) {
				t.Errorf("%s: the entry lacks %q:\n%s", config, kept, line)
			}
		}
	}
	var decoded map[string]any
	if err := json.Unmarshal([]byte(entryOf(t, "webtask", zapcore.Entry{}, fields...)), &decoded); err != nil {
		t.Errorf("the entry is not JSON: %v", err)
	}
}

// TestEncoderWith wants fields that were added before the entry,
// by With, redacted too.
func TestEncoderWith(t *testing.T) {
	encoder := new(Encoder)
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	if err := encoder.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	logger := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&out), zapcore.DebugLevel))
	logger.With(
		zap.String("uri", "/?key=abc"),
		zap.Reflect("v", map[string]string{"Cookie": "abc"}),
		zap.Strings("l", []string{"?key=abc"}),
		zap.Dict("d", zap.String("u", "?key=abc"), zap.ByteString("b", []byte("?key=abc"))),
	).Info("x")
	if strings.Contains(out.String(), "abc") || !strings.Contains(out.String(), redacted) {
		t.Errorf("the entry is %s", out.String())
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("/run?key=", "abc")
	f.Add("x?a=1&key=", aToken)
	f.Fuzz(func(t *testing.T, before, value string) {
		if strings.ContainsAny(before, "?&; \"'<>") || strings.ContainsAny(value, "?&; \"'<>") || strings.Contains(before+"?key="+redacted, value) {
			return // not one value of one parameter, or nothing to tell apart
		}
		if got := redact(before + "?key=" + value); strings.Contains(got, value) {
			t.Errorf("redact left %q in %q", value, got)
		}
	})
}
