// Package jsruntime runs JavaScript: programs compiled once, isolates pooled
// by key, and an event loop that costs nothing while a handler is synchronous.
//
//	engine := jsruntime.NewEngine(jsruntime.Options{Web: webapi.New(), Node: nodeapi.New()})
//	program, err := engine.Compile(ctx, jsruntime.Script{Name: "hello.js", Code: src})
//	spec := jsruntime.NewSpec(key, program, jsruntime.SpecOptions{Container: "acme"})
//	resp, err := engine.Do(ctx, spec, &jsruntime.Request{Method: "GET", URL: "https://…/", Host: host})
//
// An isolate is one goja runtime that serves one request at a time and is
// never used for another key. It has no ambient authority: Host is its only
// way out. Everything here is plain data and streams, so that the same calls
// can be served over a worker process's socket.
package jsruntime

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// MoveToNew, in SessionChange.MoveTo, asks the Host to choose the new id:
// isolates never see the secrets of sessions.
const MoveToNew = "*"

// Host is what one live request may do outside its isolate. The edge makes one
// per request, looks up container, session, egress and rights from that
// request alone, and answers ErrRequestEnded once it is over. Its methods are
// called from goroutines of the runtime, several at a time.
type Host interface {
	// Fetch sends an HTTP request under the egress rights of the task. The
	// answer's body streams; whoever gets it closes it. ctx ends with the
	// request that made it.
	Fetch(ctx context.Context, req *FetchRequest) (*FetchResponse, error)

	// LoadSession returns the session of the request; ID is empty when it has
	// none yet. One round trip of the store at most.
	LoadSession(ctx context.Context) (*Session, error)

	// SaveSession applies a change at once and returns the session after it.
	// With webtask.ErrSessionConflict the session as it is now comes too.
	// Changes made before the response is committed travel in
	// Response.Session instead, but for those whose outcome a script awaits.
	//
	// In either, the isolate sets Expect, Set, Delete, Destroy and MoveTo
	// (MoveToNew) only; the Host adds Create, TTL and the bounds.
	SaveSession(ctx context.Context, change *webtask.SessionChange) (*Session, error)

	// Log takes one line of console output. It never blocks for long and
	// never fails; what exceeds the request's log limit is dropped and said.
	Log(entry LogEntry)
}

// SessionNamer may be implemented by a Host that can tell the public id which
// the session of the request will have once Response.Session, with a first
// write or MoveToNew, is saved: ctx.session.id is that from then on.
type SessionNamer interface {
	NewSessionID() string
}

// SessionCommitter may be implemented by a Host, which saves Response.Session
// after Do returned while the script goes on: session calls that the script
// makes after the head wait for it, so as not to overtake the writes before.
type SessionCommitter interface {
	AwaitSessionCommit(ctx context.Context) error
}

// Session is a session as a script sees it.
type Session struct {
	ID   string // public id; empty: none yet
	Data webtask.SessionData
}

// FetchRequest is an outgoing request. URL is absolute and serialised as the
// URL Standard says.
type FetchRequest struct {
	Method   string
	URL      string
	Header   http.Header
	Body     io.Reader // nil: none
	Length   int64     // of Body; -1: unknown
	Redirect string    // "follow" (default), "error" or "manual"
}

// FetchResponse is its answer, content-decoded; Body is never nil.
type FetchResponse struct {
	Status     int
	StatusText string
	Header     http.Header
	URL        string // after redirects
	Redirected bool
	Body       io.ReadCloser
}

// LogEntry is one call of console.*, or one uncaught error of a script.
type LogEntry struct {
	Time    time.Time
	Level   LogLevel
	Message string // formatted as the Console Standard says; control characters escaped
	Stack   string // mapped to the author's files; for errors
}

// LogLevel is the severity of a LogEntry.
type LogLevel int8

const (
	LogDebug LogLevel = iota
	LogInfo
	LogWarn
	LogError
)

// Script is bundled source: what source.Bundle holds, less its provenance.
type Script struct {
	Name   string // the entry, as errors name it
	Code   string // assigns module.exports
	Map    []byte // source map, or nil
	ESM    bool   // the Web model
	Digest string // identity; empty: computed from Code
}

// Request is one request to a handler. Header and Body belong to the runtime
// until the response is done; Header is not written to.
type Request struct {
	ID       string // request id
	Method   string
	URL      string // absolute: scheme, host, path and query as the caller sent them
	Proto    string // "HTTP/1.1", "HTTP/2.0" …
	Header   http.Header
	Body     io.Reader // nil or http.NoBody: none
	Length   int64     // of Body; -1: unknown
	RemoteIP string    // the client's address, as trusted proxies say
	Query    QueryFilter
	Host     Host
	Deadline time.Time // for the response's headers

	// ParseBody and MergeBody, when the request forces them (webtask_pb,
	// webtask_mb), override those of the Spec.
	ForceParseBody, ForceMergeBody bool

	// Ended, if set, is called once when nothing of the request goes on any
	// more, waitUntil and a body that passes through included. Its Host owes
	// nothing after that.
	Ended func()

	// QueueWait is set by Do, whatever comes of it: how long the request waited
	// for an isolate to come free.
	QueueWait time.Duration
}

func (req *Request) ended() {
	if req.Ended != nil {
		req.Ended()
	}
}

// QueryFilter hides query parameters from a script (a caller's token).
// Nil hides none.
type QueryFilter func(name string) bool

// Response is what a handler answered. It is returned as soon as its head is
// known; a streamed Body goes on while the isolate works, and ends with an
// error when the script fails or runs out of a limit.
type Response struct {
	Status      int
	ContentType string                 // of an answer whose Header says nothing of it; empty: none
	Header      http.Header            // nil: none
	Session     *webtask.SessionChange // writes to save before the head is sent; nil: none

	// Bytes is the whole body when Body is nil.
	Bytes []byte
	Body  io.ReadCloser

	// BodyLength is the length of Body; -1: unknown.
	BodyLength int64
	// PassThrough says that Body is an upstream's, not made by the script:
	// response_body does not bound it.
	PassThrough bool
}
