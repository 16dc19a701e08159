// Package webtask is the domain of the edge, free of I/O: what a webtask
// token says, who may have made it, and what a request may therefore run.
//
// A token is a compact JWT. Its claims name code by URL; its secrets travel
// inside it, encrypted so that only the edge can read them:
//
//	ring, _ := webtask.GenerateKeyring(rand.Reader)
//	token, _ := ring.Issue(webtask.Claims{
//		Container: "acme",
//		URL:       "https://example.com/hello.js",
//		Secrets:   map[string]string{"API_KEY": "s3cret"},
//	}, webtask.IssueOptions{Now: time.Now(), Rand: rand.Reader})
//
//	verified, err := ring.Open(token, time.Now()) // errors: see errors.go
//	task, err := verified.Task()                  // secrets opened, code named
//
// A server opens tokens with a Verifier, which remembers those it has seen,
// and asks a RevocationSet whether one was taken back. A tenant's token makes
// others within its rights with Keyring.Derive; deriving only narrows.
//
// The edge runs a Task; a route of the Caddyfile makes the same Task without
// a token. Everything that decides which isolate may serve it is in Task, so
// that Task.Key can be the one definition of who shares what.
package webtask

import "time"

// CodeKind says how a CodeRef names code.
type CodeKind string

const (
	CodeURL    CodeKind = "url"    // an http or https URL, fetched under code_allow
	CodeFile   CodeKind = "file"   // an absolute path of the edge's own disk; routes only
	CodeInline CodeKind = "inline" // the source text itself; routes only
)

// CodeRef names the code of a task.
type CodeRef struct {
	Kind  CodeKind
	Value string
}

// ParseBody says when a request's body is read and parsed before the handler
// runs (claim pb; webtask-api §3.3).
type ParseBody int

const (
	ParseBodyNever   ParseBody = 0
	ParseBodyAlways  ParseBody = 1
	ParseBodyByArity ParseBody = 2 // the default: for handlers of one or two parameters
)

// Task is what one request runs, whether a token or a route named it. It is
// immutable: tasks are cached and shared by concurrent requests.
type Task struct {
	Container string            // tenant; state and isolates are never shared across it
	Name      string            // webtask name (jtn), or empty
	ID        string            // the token's jti, or "route:" and a digest of the route
	Code      CodeRef           // what it runs
	Integrity string            // "sha256-…" over every byte that runs, or empty
	Secrets   map[string]string `json:"-"` // by name; never logged
	Params    map[string]string // pctx
	Meta      map[string]string // of a named webtask
	Net       []string          // host patterns fetch() may call; nil: whatever the edge allows
	Limits    Limits            // zero fields: the edge's own
	RateLimit RateLimits        // zero fields: unlimited
	ParseBody ParseBody         // when the runtime parses the request's body
	MergeBody bool              // add parsed body fields to ctx.data
	Token     string            `json:"-"` // the token, when it fixes the code (then the script may see it); else empty
	Expires   time.Time         // zero: never
	FromToken bool              // the request carried the choice of code
}
