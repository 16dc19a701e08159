package webtask

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTokenForm(t *testing.T) {
	ring := newRing(t, 1)
	token := issue(t, ring, hello())
	header, payload, signature := segments(t, token)
	if header != headerOf(ring) {
		t.Errorf("header is %s, want exactly alg and kid: %s", header, headerOf(ring))
	}
	for _, want := range []string{`"ten":"acme"`, `"url":"https://example.com/hello.js?a=1&b=2"`, `"dd":0`, `"pctx":{"lang":"en"}`, fmt.Sprintf(`"iat":%d`, now.Unix()), `"jti":"`} {
		if !strings.Contains(payload, want) {
			t.Errorf("payload lacks %s: %s", want, payload)
		}
	}
	if strings.Contains(payload, "s3cret") {
		t.Errorf("payload shows the secret: %s", payload)
	}
	// The signature as documented, by means of the standard library alone.
	key, err := hkdf.Key(sha256.New, ring.keys[0].secret, nil, "webtask/sign/1", 32)
	if err != nil {
		t.Fatal(err)
	}
	if want := string(mac(key, token[:strings.LastIndexByte(token, '.')])); signature != want {
		t.Error("signature is not HMAC-SHA-256 with HKDF(key, webtask/sign/1)")
	}
}

// A token of an earlier build: the format is a contract with tokens that are
// out there.
func TestOpenTokenOfRecord(t *testing.T) {
	ring, err := ParseKeyring([]byte(recordedKeyring))
	if err != nil {
		t.Fatal(err)
	}
	v := open(t, ring, recordedToken)
	task, err := v.Task()
	if err != nil {
		t.Fatal(err)
	}
	if got := task.Secrets["API_KEY"]; got != "s3cret-value-4711" || task.Container != "acme" || task.Code.Value != "https://example.com/hello.js?a=1&b=2" {
		t.Errorf("task is %v with %d secrets", task, len(task.Secrets))
	}
}

func TestIssuedTokenOpens(t *testing.T) {
	ring := newRing(t, 1)
	want := Claims{
		Depth: 3, NoSelfRevoke: true, Container: "acme", Name: "hello", Names: []string{"hello", "bye"},
		NotBefore: now.Add(-time.Hour), Expires: now.Add(time.Hour),
		URL: "https://example.com/ü.js", Integrity: "sha256-" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
		Params: map[string]string{"a": "1", "": ""}, Secrets: map[string]string{"k": "v"},
		ParseBody: new(ParseBodyAlways), MergeBody: true, Meta: map[string]string{"m": "n"}, Host: "run.example.com",
		RateLimit: RateLimits{Container: RateWindows{1, 2, 3, 4, 5, 6}, Token: RateWindows{7, 8, 9, 10, 11, 12}},
		Net:       []string{}, Limits: Limits{Timeout: 1500 * time.Millisecond, Memory: 64 << 20, Isolates: 4, RequestBody: 1000},
	}
	delete(want.Params, "")
	v := open(t, ring, issue(t, ring, want))
	got := *v.Claims()
	if len(got.ID) != 32 || !got.IssuedAt.Equal(now) || got.sealed == "" || got.Secrets != nil {
		t.Errorf("jti, iat or ectx are wrong: %+v", got)
	}
	gotJSON, err := v.Inspect(true)
	if err != nil {
		t.Fatal(err)
	}
	for _, member := range []string{
		`"dd":3`, `"dr":1`, `"ten":"acme"`, `"jtn":"hello"`, `"jtnm":["hello","bye"]`, `"url":"https://example.com/ü.js"`,
		`"pctx":{"a":"1"}`, `"ectx":{"k":"v"}`, `"secrets":{"k":"v"}`, `"pb":1`, `"mb":1`, `"meta":{"m":"n"}`, `"host":"run.example.com"`,
		`"ls":1`, `"lo":6`, `"lts":7`, `"lto":12`, `"net":[]`, `"lim":{"timeout":"1.5s","memory":"64MiB","isolates":4,"request_body":"1000"}`,
		fmt.Sprintf(`"nbf":%d`, now.Unix()-3600), fmt.Sprintf(`"exp":%d`, now.Unix()+3600),
	} {
		if !strings.Contains(string(gotJSON), member) {
			t.Errorf("claims lack %s: %s", member, gotJSON)
		}
	}
	if got.Limits != want.Limits || got.RateLimit != want.RateLimit || got.Net == nil || *got.ParseBody != ParseBodyAlways {
		t.Errorf("claims changed: %+v", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	ring, other := newRing(t, 1), newRing(t, 2)
	token := issue(t, ring, hello())
	header, payload, _ := segments(t, token)
	b64 := base64.RawURLEncoding
	parts := strings.Split(token, ".")
	none := b64.EncodeToString([]byte(`{"alg":"none","kid":"` + ring.KeyIDs()[0] + `"}`))
	withPayload := func(p string) string { return forge(ring, header, p) }

	for _, test := range []struct {
		name, token string
		want        error
	}{
		{"empty", "", ErrTokenMalformed},
		{"garbage", "garbage", ErrTokenMalformed},
		{"only dots", "..", ErrTokenMalformed},
		{"cut in the signature", token[:len(token)-5], ErrTokenMalformed},
		{"cut in the payload", token[:len(token)/2], ErrTokenMalformed},
		{"without signature", parts[0] + "." + parts[1] + ".", ErrTokenMalformed},
		{"fourth segment", token + "." + parts[2], ErrTokenMalformed},
		{"doubled", token + token, ErrTokenMalformed},
		{"doubled with a dot", token + "." + token, ErrTokenMalformed},
		{"doubled with a comma", token + "," + token, ErrTokenMalformed},
		{"space before", " " + token, ErrTokenMalformed},
		{"line break after", token + "\n", ErrTokenMalformed},
		{"line break inside", token[:70] + "\r\n" + token[70:], ErrTokenMalformed},
		{"NUL after", token + "\x00", ErrTokenMalformed},
		{"padding", token + "=", ErrTokenMalformed},
		{"padded segments", parts[0] + "=." + parts[1] + "=." + parts[2] + "=", ErrTokenMalformed},
		{"oversized", token + strings.Repeat("A", MaxTokenLength), ErrTokenMalformed},
		{"oversized but signed", withPayload(`{"ten":"` + strings.Repeat("a", MaxTokenLength) + `"}`), ErrTokenMalformed},
		{"alg none", none + "." + parts[1] + "." + parts[2], ErrTokenMalformed},
		{"alg none without signature", none + "." + parts[1] + ".", ErrTokenMalformed},
		{"alg HS512", forge(ring, strings.Replace(header, "HS256", "HS512", 1), payload), ErrTokenMalformed},
		{"alg in lower case", forge(ring, strings.Replace(header, "HS256", "hs256", 1), payload), ErrTokenMalformed},
		{"typ", forge(ring, strings.Replace(header, "{", `{"typ":"JWT",`, 1), payload), ErrTokenMalformed},
		{"crit", forge(ring, strings.Replace(header, "{", `{"crit":["exp"],`, 1), payload), ErrTokenMalformed},
		{"b64", forge(ring, strings.Replace(header, "{", `{"b64":false,`, 1), payload), ErrTokenMalformed},
		{"zip", forge(ring, strings.Replace(header, "{", `{"zip":"DEF",`, 1), payload), ErrTokenMalformed},
		{"alg twice", forge(ring, strings.Replace(header, "{", `{"alg":"none",`, 1), payload), ErrTokenMalformed},
		{"alg twice, the same", forge(ring, strings.Replace(header, "{", `{"alg":"HS256",`, 1), payload), ErrTokenMalformed},
		{"without kid", forge(ring, `{"alg":"HS256"}`, payload), ErrTokenMalformed},
		{"kid of others", forge(ring, `{"alg":"HS256","kid":"2"}`, payload), ErrTokenMalformed},
		{"kid is no string", forge(ring, `{"alg":"HS256","kid":["`+ring.KeyIDs()[0]+`"]}`, payload), ErrTokenMalformed},
		{"header is an array", forge(ring, `["HS256"]`, payload), ErrTokenMalformed},
		{"header has a tail", forge(ring, header+"{}", payload), ErrTokenMalformed},
		{"JSON form, flattened", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, ErrTokenMalformed},
		{"JSON form, general", `{"payload":"` + parts[1] + `","signatures":[{"protected":"` + parts[0] + `","signature":"` + parts[2] + `"}]}`, ErrTokenMalformed},

		{"unknown key", issue(t, other, hello()), ErrTokenUnverified},
		{"another key under our kid", parts[0] + "." + parts[1] + "." + b64.EncodeToString(mac(other.keys[0].sign, parts[0]+"."+parts[1])), ErrTokenUnverified},
		{"signed with the ring's key itself", parts[0] + "." + parts[1] + "." + b64.EncodeToString(mac(ring.keys[0].secret, parts[0]+"."+parts[1])), ErrTokenUnverified},
		{"short signature", parts[0] + "." + parts[1] + "." + b64.EncodeToString(mac(ring.keys[0].sign, parts[0]+"."+parts[1])[:16]), ErrTokenUnverified},
		{"changed claim", parts[0] + "." + b64.EncodeToString([]byte(strings.Replace(payload, "acme", "evil", 1))) + "." + parts[2], ErrTokenUnverified},

		{"payload is no object", withPayload(`"acme"`), ErrTokenMalformed},
		{"payload is null", withPayload(`null`), ErrTokenMalformed},
		{"payload has a tail", withPayload(payload + " x"), ErrTokenMalformed},
		{"claim twice", withPayload(strings.Replace(payload, "{", `{"ten":"other",`, 1)), ErrTokenMalformed},
		{"param twice", withPayload(strings.Replace(payload, `"lang":"en"`, `"lang":"en","lang":"de"`, 1)), ErrTokenMalformed},
		{"unknown claim", withPayload(strings.Replace(payload, "{", `{"sub":"x",`, 1)), ErrTokenMalformed},
		{"claim in upper case", withPayload(strings.Replace(payload, `"ten"`, `"TEN"`, 1)), ErrTokenMalformed},
		{"code", withPayload(strings.Replace(payload, "{", `{"code":"x",`, 1)), ErrTokenMalformed},
		{"exp is a boolean", withPayload(strings.Replace(payload, fmt.Sprint(now.Unix()+3600), "true", 1)), ErrTokenMalformed},
		{"payload is not UTF-8", withPayload(strings.Replace(payload, "acme", "acm\xff", 1)), ErrTokenMalformed},
		{"no container", withPayload(strings.Replace(payload, `"ten":"acme",`, "", 1)), ErrTokenMalformed},
		{"no id", withPayload(`{"ten":"acme"}`), ErrTokenMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, err := ring.Open(test.token, now)
			if !errors.Is(err, test.want) || v != nil {
				t.Fatalf("Open returned %v, %v; want %v", v, err, test.want)
			}
			if len(test.token) > 40 && strings.Contains(err.Error(), test.token[:40]) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error shows the token or a secret: %v", err)
			}
		})
	}
	open(t, ring, token) // the one they were made from is good
}

// Characters whose unused bits differ decode to the same bytes in a lenient
// decoder, which would give a token several spellings.
func TestOpenRefusesUnusedBits(t *testing.T) {
	ring := newRing(t, 1)
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	token := issue(t, ring, hello())
	last := strings.IndexByte(alphabet, token[len(token)-1])
	for bits := 1; bits < 4; bits++ { // 32 bytes leave two bits unused
		respelled := token[:len(token)-1] + string(alphabet[last^bits])
		lenient, err := base64.RawURLEncoding.DecodeString(respelled[strings.LastIndexByte(respelled, '.')+1:])
		if _, _, signature := segments(t, token); err != nil || string(lenient) != signature {
			t.Fatal("the test's own respelling is not one")
		}
		if _, err := ring.Open(respelled, now); !errors.Is(err, ErrTokenMalformed) {
			t.Errorf("unused bits %02b: %v", bits, err)
		}
	}
}

// A JOSE library that holds the keys may write the header in its own way.
func TestOpenOtherHeaderSpelling(t *testing.T) {
	ring := newRing(t, 1)
	_, payload, _ := segments(t, issue(t, ring, hello()))
	token := forge(ring, `{ "kid": "`+ring.KeyIDs()[0]+`", "alg": "HS256" }`, payload)
	if !IsToken(token) {
		t.Error("IsToken does not recognise it")
	}
	open(t, ring, token)
}

func TestValidity(t *testing.T) {
	ring := newRing(t, 1)
	c := hello()
	c.NotBefore, c.Expires = now.Add(time.Minute), now.Add(time.Hour)
	token := issue(t, ring, c)
	for _, test := range []struct {
		at   time.Time
		want error
	}{
		{now, ErrTokenNotYetValid},
		{c.NotBefore.Add(-time.Nanosecond), ErrTokenNotYetValid},
		{c.NotBefore, nil},
		{c.Expires.Add(-time.Nanosecond), nil},
		{c.Expires, ErrTokenExpired},
		{c.Expires.AddDate(10, 0, 0), ErrTokenExpired},
	} {
		if _, err := ring.Open(token, test.at); !errors.Is(err, test.want) {
			t.Errorf("at %s: %v, want %v", test.at, err, test.want)
		}
	}
}

func TestIsToken(t *testing.T) {
	ring := newRing(t, 1)
	token := issue(t, ring, hello())
	b64 := base64.RawURLEncoding
	head := func(json string) string { return b64.EncodeToString([]byte(json)) + ".e30.AAAA" }
	for _, test := range []struct {
		name, s string
		want    bool
	}{
		{"ours", token, true},
		{"ours of another edge", issue(t, newRing(t, 2), hello()), true},
		{"cut", token[:len(token)/2], true},
		{"cut after the header", token[:strings.IndexByte(token, '.')+1], true},
		{"with a line break", token + "\n", true},
		{"header padded", strings.Replace(token, ".", "=.", 1), true},
		{"oversized", token + strings.Repeat("A", 1<<20), true},
		{"kid of any length", head(`{"alg":"HS256","kid":"wt1-x"}`), true},
		{"empty", "", false},
		{"opaque", "c2VjcmV0", false},
		{"no dot", token[:strings.IndexByte(token, '.')], false},
		{"JWT with typ", head(`{"alg":"HS256","typ":"JWT","kid":"wt1-aaaaaaaaaaaaaaaa"}`), false},
		{"JWT of others", head(`{"alg":"HS256","kid":"2"}`), false},
		{"JWT without kid", head(`{"alg":"HS256"}`), false},
		{"alg none", head(`{"alg":"none","kid":"wt1-aaaaaaaaaaaaaaaa"}`), false},
		{"RS256", head(`{"alg":"RS256","kid":"wt1-aaaaaaaaaaaaaaaa"}`), false},
		{"long header", head(`{"alg":"HS256","kid":"wt1-` + strings.Repeat("a", 400) + `"}`), false},
		{"JSON form", `{"protected":"` + token[:20] + `."}`, false},
	} {
		if got := IsToken(test.s); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// One million one-character mutations, of tokens of every kind; none opens.
func TestMutationsAreRefused(t *testing.T) {
	const mutations, workers = 1_000_000, 2
	ring := newRing(t, 1)
	verifier, err := NewVerifier(ring, VerifierOptions{})
	if err != nil {
		t.Fatal(err)
	}
	short := hello()
	short.Secrets, short.Params = nil, nil
	tenant := Claims{Container: "acme", Depth: 1}
	tokens := []string{issue(t, ring, tenant), issue(t, ring, short), issue(t, ring, tenant), issue(t, ring, hello())}
	for _, token := range tokens {
		if _, err := verifier.Open(token, now); err != nil { // cached, to tempt it
			t.Fatal(err)
		}
	}
	// Mostly characters that a token may have, else the form alone refuses.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.+/= \n\x00\xff"
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			for range mutations / workers {
				token := []byte(tokens[random.IntN(len(tokens))])
				at, with := random.IntN(len(token)), alphabet[random.IntN(len(alphabet))]
				if token[at] == with {
					with = alphabet[(strings.IndexByte(alphabet, with)+1)%len(alphabet)]
				}
				was := token[at]
				token[at] = with
				if _, err := verifier.Open(string(token), now); err == nil {
					t.Errorf("accepted with %q for %q at %d", with, was, at)
					return
				}
			}
		})
	}
	wg.Wait()
}
