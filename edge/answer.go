package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

// Source names the part that an error answer comes from: the value of the
// header x-wt-response-source.
type Source string

const (
	SourceWebtask  Source = "webtask"  // the script
	SourceCompiler Source = "compiler" // its compilation
	SourceProxy    Source = "proxy"    // the edge
	SourceNetwork  Source = "network"  // what the edge reaches over the network: code, a store
)

// StatusClientClosed is the status of a request whose client went away. It is
// never sent; it is what logs show, as those of nginx and reverse_proxy do.
const StatusClientClosed = 499

// Answer is an error as the caller sees it. It is an error itself, so that a
// route with ErrorsPass can hand it on. But for Err, all of it is meant for
// the caller: no stacks, no paths, no secrets.
type Answer struct {
	Status  int    // HTTP status
	Message string // what is wrong and what to do
	Kind    string // fixed text of the kind of a script's error (JSON: error), or empty
	Name    string // of a script's error ("TypeError"), or empty
	Details any    // of a script's error: text or JSON-like data, or nil

	Source     Source
	Outcome    Outcome
	RequestID  string        // set by Serve
	RetryAfter time.Duration // sent with 429 and 503; 0: none

	Err error // the cause, for logs and errors.Is
}

// Error returns the text of the cause.
func (a *Answer) Error() string {
	if a.Err != nil {
		return a.Err.Error()
	}
	return a.Message
}

// Unwrap returns the cause.
func (a *Answer) Unwrap() error { return a.Err }

// retryError adds to an error when it is worth trying again.
type retryError struct {
	err   error
	after time.Duration
}

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// AnswerFor maps an error to what the caller is told. It is the one place
// where an error becomes an HTTP status.
func AnswerFor(err error) *Answer {
	var answer *Answer
	if errors.As(err, &answer) {
		return answer
	}
	a := answerStore(err)
	if a == nil {
		a = answerToken(err)
	}
	if a == nil {
		a = answerCode(err)
	}
	if a == nil {
		a = answerRun(err)
	}
	var retry *retryError
	if errors.As(err, &retry) {
		a.RetryAfter = retry.after
	}
	a.Err = err
	return a
}

// answerStore comes first: what a store did may reach the edge through a
// script that let the error pass.
func answerStore(err error) *Answer {
	a := &Answer{Source: SourceNetwork, Outcome: OutcomeStoreDown}
	switch {
	case errors.Is(err, webtask.ErrStoreUnavailable):
		a.Status, a.RetryAfter = http.StatusServiceUnavailable, time.Second
		a.Message = "The session store cannot be reached. Try again later."
	case errors.Is(err, ErrRevocationsStale):
		a.Status, a.RetryAfter = http.StatusServiceUnavailable, 5*time.Second
		a.Message = "It cannot be told whether the webtask token was revoked. Try again later."
	case errors.Is(err, webtask.ErrSessionQuota):
		a.Status, a.RetryAfter = http.StatusServiceUnavailable, time.Minute
		a.Source, a.Outcome = SourceProxy, OutcomeLimit
		a.Message = "The container has as many sessions as it may. The limit `sessions` raises it."
	case errors.Is(err, webtask.ErrSessionTooLarge):
		a.Status = http.StatusRequestEntityTooLarge
		a.Source, a.Outcome = SourceProxy, OutcomeLimit
		a.Message = "The session would exceed its size. Store less in it, or raise the limit `session_size`."
	case errors.Is(err, webtask.ErrSessionConflict):
		a.Status, a.RetryAfter = http.StatusServiceUnavailable, time.Second
		a.Source, a.Outcome = SourceProxy, OutcomeOverload
		a.Message = "The session is being changed by too many requests at once. Try again later."
	case errors.Is(err, webtask.ErrSessionNotFound):
		a.Status = http.StatusConflict
		a.Source, a.Outcome = SourceProxy, OutcomeScriptFailed
		a.Message = "The session ended while the request was served; nothing was saved. Send the request again."
	default:
		return nil
	}
	return a
}

func answerToken(err error) *Answer {
	a := &Answer{Status: http.StatusUnauthorized, Source: SourceProxy, Outcome: OutcomeTokenRefused}
	switch {
	case errors.Is(err, webtask.ErrTokenTwice):
		a.Status = http.StatusBadRequest
		a.Message = "The request carries more than one webtask token. Send one: as Authorization: Bearer, as ?key= or as X-Webtask-Token."
	case errors.Is(err, webtask.ErrTokenMalformed):
		a.Message = "The webtask token is malformed. Send it exactly as it was issued."
	case errors.Is(err, webtask.ErrTokenUnverified):
		a.Message = "The webtask token was not signed by this edge, or its key was retired. Have a new one issued."
	case errors.Is(err, webtask.ErrTokenExpired):
		a.Message = "The webtask token has expired. Have a new one issued."
	case errors.Is(err, webtask.ErrTokenNotYetValid):
		a.Message = "The webtask token is not valid yet."
	case errors.Is(err, webtask.ErrTokenRevoked):
		a.Message = "The webtask token was revoked. Have a new one issued."
	case errors.Is(err, webtask.ErrTokenSecrets):
		a.Message = "The secrets of the webtask token cannot be opened. Have a new one issued."
	case errors.Is(err, webtask.ErrTokenNotAllowed):
		a.Status = http.StatusForbidden
		a.Message = "The webtask token is not allowed here."
		var reason *tokenNotAllowed
		if errors.As(err, &reason) {
			a.Message = "The webtask token is not allowed here: " + reason.why
		}
	case errors.Is(err, webtask.ErrRateLimited):
		a.Status, a.RetryAfter, a.Outcome = http.StatusTooManyRequests, time.Second, OutcomeRateLimited
		a.Message = "Too many requests: a rate limit of the webtask token is used up. Try again later."
	default:
		return nil
	}
	return a
}

// tokenNotAllowed is ErrTokenNotAllowed with a reason for the caller.
type tokenNotAllowed struct{ why string }

func (e *tokenNotAllowed) Error() string { return webtask.ErrTokenNotAllowed.Error() + ": " + e.why }
func (e *tokenNotAllowed) Unwrap() error { return webtask.ErrTokenNotAllowed }

func answerRun(err error) *Answer {
	var (
		script *jsruntime.ScriptError
		limit  *jsruntime.LimitError
		queue  *jsruntime.QueueError

		crash      *jsruntime.CrashError
		quarantine *jsruntime.QuarantineError

		status   statusError
		tooLarge *http.MaxBytesError
	)
	switch {
	case errors.As(err, &limit):
		return &Answer{
			Status: limit.Status, Source: SourceProxy, Outcome: OutcomeLimit,
			Message: "The webtask exceeded the limit " + limit.Limit + " of " + limit.Value + "; the option " + limit.Option + " raises it.",
		}
	case errors.As(err, &script):
		return answerScript(script)
	case errors.As(err, &queue):
		return &Answer{
			Status: http.StatusServiceUnavailable, Source: SourceProxy, Outcome: OutcomeOverload, RetryAfter: queue.RetryAfter,
			Message: "All isolates of the container are busy, and no place in its queue is free, or the wait in it was too long. Try again later. The options isolates and queue raise how many there are and how long requests wait.",
		}
	case errors.As(err, &crash) && crash.Alone:
		return &Answer{
			Status: http.StatusInternalServerError, Source: SourceProxy, Outcome: OutcomeLimit,
			Message: "The webtask exhausted the worker process that it ran in, by memory or by the depth of its calls or data. Use less; the option memory raises how much it may take.",
		}
	case errors.As(err, &crash):
		return &Answer{
			Status: http.StatusBadGateway, Source: SourceProxy, Outcome: OutcomeOverload, RetryAfter: time.Second,
			Message: "Another webtask of the container ended the worker process that this one ran in. Try again.",
		}
	case errors.As(err, &quarantine):
		return &Answer{
			Status: http.StatusTooManyRequests, Source: SourceProxy, Outcome: OutcomeOverload, RetryAfter: quarantine.RetryAfter,
			Message: "Webtasks of the container keep ending their worker process. Try again later, and have the webtask that does it mended.",
		}
	case errors.Is(err, jsruntime.ErrClosed):
		return &Answer{
			Status: http.StatusServiceUnavailable, Source: SourceProxy, Outcome: OutcomeOverload, RetryAfter: time.Second,
			Message: "The edge is shutting down. Try again.",
		}
	case errors.Is(err, errLoop):
		return &Answer{
			Status: http.StatusLoopDetected, Source: SourceProxy, Outcome: OutcomeLimit,
			Message: fmt.Sprintf("Webtasks call each other in a circle: more than %d requests stand behind each other.", maxLoop),
		}
	case errors.Is(err, errTarget):
		return &Answer{
			Status: http.StatusBadRequest, Source: SourceProxy, Outcome: OutcomeInternal,
			Message: "The request's target and its header Host make no URL.",
		}
	case errors.As(err, &status):
		return &Answer{Status: http.StatusInternalServerError, Source: SourceWebtask, Outcome: OutcomeScriptFailed, Message: status.Error()}
	case errors.As(err, &tooLarge):
		return &Answer{
			Status: http.StatusRequestEntityTooLarge, Source: SourceProxy, Outcome: OutcomeLimit,
			Message: fmt.Sprintf("The request's body is larger than the %d bytes that this site takes.", tooLarge.Limit),
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &Answer{
			Status: http.StatusRequestTimeout, Source: SourceProxy, Outcome: OutcomeLimit,
			Message: "The request's body did not arrive in time.",
		}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &Answer{
			Status: http.StatusBadRequest, Source: SourceProxy, Outcome: OutcomeCanceled,
			Message: "The request's body ended before it was whole.",
		}
	case errors.Is(err, context.Canceled):
		return &Answer{Status: StatusClientClosed, Source: SourceProxy, Outcome: OutcomeCanceled, Message: "The client went away."}
	case errors.Is(err, context.DeadlineExceeded):
		return &Answer{Status: http.StatusGatewayTimeout, Source: SourceProxy, Outcome: OutcomeLimit, Message: "The webtask took too long."}
	}
	return &Answer{
		Status: http.StatusInternalServerError, Source: SourceProxy, Outcome: OutcomeInternal,
		Message: "The edge failed to serve the request. Its log says why, under this request id.",
	}
}

func answerScript(script *jsruntime.ScriptError) *Answer {
	a := &Answer{
		Status: script.Status, Source: SourceWebtask, Outcome: OutcomeScriptFailed,
		Message: script.Message, Kind: script.Summary, Name: script.Name, Details: script.Details,
	}
	if a.Message == "" {
		a.Message = script.Summary
	}
	switch script.Kind {
	case jsruntime.KindCompile, jsruntime.KindLoad, jsruntime.KindNoHandler:
		a.Source, a.Outcome = SourceCompiler, OutcomeCodeFailed
	}
	if a.Status < 400 || a.Status > 599 {
		a.Status = http.StatusInternalServerError
	}
	return a
}

// forPage returns the answer without what a foreign task could word. An error
// route puts it into a page of the site's own, where JSON and the sandbox of a
// foreign answer protect nobody.
func (a *Answer) forPage() *Answer {
	switch {
	case a.Source == SourceWebtask, a.Source == SourceCompiler, a.Outcome == OutcomeCodeFailed:
	default:
		return a
	}
	page := *a
	page.Message, page.Kind, page.Name, page.Details = "The webtask failed.", "", "", nil
	return &page
}

// answerBody is the JSON of an Answer.
type answerBody struct {
	Code      int    `json:"code"`
	Message   string `json:"message"`
	Error     string `json:"error,omitempty"`
	Name      string `json:"name,omitempty"`
	Details   any    `json:"details,omitempty"`
	RequestID string `json:"req_id,omitempty"`
}

// Header returns the header fields of the answer.
func (a *Answer) Header() http.Header {
	h := http.Header{
		"Content-Type":           {"application/json"},
		"Cache-Control":          {"private, no-store"},
		"X-Content-Type-Options": {"nosniff"},
		"X-Wt-Response-Source":   {string(a.Source)},
	}
	if a.RetryAfter > 0 {
		h["Retry-After"] = []string{strconv.Itoa(int(math.Ceil(a.RetryAfter.Seconds())))}
	}
	if a.Status == http.StatusUnauthorized {
		h["Www-Authenticate"] = []string{`Bearer realm="webtask", error="invalid_token"`} // RFC 6750 §3
	}
	return h
}

// Body returns the answer as JSON text.
func (a *Answer) Body() []byte {
	body := answerBody{Code: a.Status, Message: a.Message, Error: a.Kind, Name: a.Name, Details: a.Details, RequestID: a.RequestID}
	text, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		// Details of a script that JSON cannot express.
		body.Details = nil
		text, _ = json.MarshalIndent(body, "", "  ")
	}
	return append(text, '\n')
}
