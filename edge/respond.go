package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// statusError is the status of an answer that no task may give: 1xx and with
// it 101 are the edge's, others are no HTTP.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("the webtask answered with the status %d; use one from 200 to 599", int(e))
}

// brokenBody is an error of a response's body after its head was sent.
type brokenBody struct{ err error }

func (e *brokenBody) Error() string { return "the answer broke off: " + e.err.Error() }
func (e *brokenBody) Unwrap() error { return e.err }

// errClientGone reports that the client does not read the answer any more.
var errClientGone = errors.New("the client went away")

// respond writes a task's answer. What the session adds to the head is settled
// already.
func (c *call) respond(ctx context.Context, w http.ResponseWriter, r *http.Request, resp *jsruntime.Response, extra answerExtra) error {
	c.writeHeader(w.Header(), resp, extra)
	if !hasBody(r.Method, resp.Status) {
		if resp.Body != nil {
			resp.Body.Close()
		}
		if r.Method == http.MethodHead {
			setLength(w.Header(), resp)
		}
		w.WriteHeader(resp.Status)
		return nil
	}
	if resp.Body == nil {
		// net/http states the length of a short body itself.
		if len(resp.Bytes) > netHTTPBuffer {
			setLength(w.Header(), resp)
		}
		w.WriteHeader(resp.Status)
		if len(resp.Bytes) > 0 {
			if _, err := w.Write(resp.Bytes); err != nil {
				return errClientGone
			}
		}
		return nil
	}
	defer resp.Body.Close()
	// A body of which nothing comes would never find out that its reader left.
	defer context.AfterFunc(ctx, func() { resp.Body.Close() })()
	if resp.BodyLength >= 0 {
		setLength(w.Header(), resp)
	}
	return c.stream(ctx, w, r, resp)
}

// netHTTPBuffer is how much of a body net/http holds back to see whether it is
// all.
const netHTTPBuffer = 2048

// hasBody reports whether an answer has a body (RFC 9110 §6.4.1).
func hasBody(method string, status int) bool {
	return method != http.MethodHead && status != http.StatusNoContent && status != http.StatusResetContent && status != http.StatusNotModified
}

func setLength(h http.Header, resp *jsruntime.Response) {
	length := int64(len(resp.Bytes))
	if resp.Body != nil {
		if length = resp.BodyLength; length < 0 {
			return
		}
	}
	h["Content-Length"] = []string{strconv.FormatInt(length, 10)}
}

// answerExtra is what the edge adds to the head of an answer.
type answerExtra struct {
	setCookie  string // of the session; empty: none
	private    bool   // no cache may keep it, unless the task says otherwise
	anyOrigin  bool   // any page may read it, unless the task says otherwise
	noReferrer bool   // the URL holds a token
	carrier    string // the request header that holds one; empty: none
}

// writeHeader fills the head from the task's headers, less what is not a
// task's to set, and adds the edge's.
func (c *call) writeHeader(h http.Header, resp *jsruntime.Response, extra answerExtra) {
	cached := false
	if resp.ContentType != "" && httpguts.ValidHeaderFieldValue(resp.ContentType) {
		h["Content-Type"] = c.keep(resp.ContentType)
	}
	for name, values := range resp.Header {
		name = http.CanonicalHeaderKey(name)
		if droppedFromAll(name, values) || (c.foreign && droppedFromForeign(name)) {
			continue
		}
		values = c.keep(values...)
		if len(h[name]) == 0 {
			h[name] = values
		} else {
			h[name] = mergeHeader(name, h[name], values)
		}
		cached = cached || name == "Cache-Control"
	}
	if c.foreign {
		if policies := h["Content-Security-Policy"]; len(policies) > 0 {
			h["Content-Security-Policy"] = append(policies[:len(policies):len(policies)], sandbox)
		} else {
			h["Content-Security-Policy"] = c.keep(sandbox)
		}
		h["X-Content-Type-Options"] = c.keep("nosniff")
		if replacesParts(h["Content-Type"]) {
			h["Content-Type"] = c.keep("application/octet-stream")
		}
	}
	if extra.setCookie != "" {
		cookies := h["Set-Cookie"]
		h["Set-Cookie"] = append(cookies[:len(cookies):len(cookies)], extra.setCookie)
	}
	switch {
	case extra.setCookie != "", c.foreign && extra.carrier != "":
		// Whatever the task says: a cache must not hand one visitor's session
		// to the next, nor what a token made of a URL of the site to those who
		// ask for that URL.
		for name := range h {
			if steersCaches(name) {
				delete(h, name)
			}
		}
		cached = cached && keepsPrivate(h["Cache-Control"])
	case cached && extra.carrier != "":
		h["Vary"] = append(h["Vary"][:len(h["Vary"]):len(h["Vary"])], extra.carrier)
	}
	if !cached && extra.private {
		h["Cache-Control"] = c.keep("private, no-store")
	}
	if extra.anyOrigin && len(h["Access-Control-Allow-Origin"]) == 0 {
		h["Access-Control-Allow-Origin"] = c.keep("*")
	}
	if extra.noReferrer {
		h["Referrer-Policy"] = c.keep("no-referrer")
	}
}

// keep returns a copy of a header's values that nobody else has: Caddy's header
// directive replaces within values in place, so none may be shared with another
// answer or with the script. The usual few live in the call itself.
func (c *call) keep(values ...string) []string {
	end := c.kept + len(values)
	if end > len(c.head) {
		return slices.Clone(values)
	}
	own := c.head[c.kept:end:end]
	copy(own, values)
	c.kept = end
	return own
}

// mergeHeader joins a task's values of a header with those that handlers in
// front of it have set: both stand for headers that are lists by nature, the
// task's own for all others.
func mergeHeader(name string, before, task []string) []string {
	switch name {
	case "Vary", "Set-Cookie", "Link", "Content-Security-Policy":
		return append(before[:len(before):len(before)], task...)
	}
	return task
}

// keepsPrivate reports whether shared caches may not keep an answer (RFC 9111
// §5.2.2). With a list of fields, in quotes, private is about these alone.
func keepsPrivate(cacheControl []string) bool {
	for _, value := range cacheControl {
		if strings.Contains(value, `"`) {
			continue
		}
		for directive := range strings.SplitSeq(value, ",") {
			switch strings.ToLower(strings.TrimSpace(directive)) {
			case "private", "no-store":
				return true
			}
		}
	}
	return false
}

// steersCaches reports whether a header in canonical form is Cache-Control for
// some caches alone, which obey it instead (RFC 9213, Edge Architecture
// Specification).
func steersCaches(name string) bool {
	return name == "Surrogate-Control" || strings.HasSuffix(name, "-Cache-Control")
}

var streamBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// stream writes the head and the body as it comes. Each piece is flushed, so
// that events reach the client when they happen, unless the whole length is
// known: then nobody waits for a piece.
func (c *call) stream(ctx context.Context, w http.ResponseWriter, r *http.Request, resp *jsruntime.Response) error {
	control := http.NewResponseController(w)
	if r.Body != nil && r.Body != http.NoBody {
		// The script may still be reading the request; not every protocol and
		// writer knows the question.
		_ = control.EnableFullDuplex()
		c.body.closesConnection(w, r)
	}
	w.WriteHeader(resp.Status)
	flush := resp.BodyLength < 0
	if flush {
		if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return errClientGone
		}
	}
	buffer := streamBuffers.Get().(*[32 << 10]byte)
	defer streamBuffers.Put(buffer)
	for {
		n, err := resp.Body.Read(buffer[:])
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return errClientGone
			}
			if flush {
				if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
					return errClientGone
				}
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil && ctx.Err() != nil:
			return errClientGone
		case err != nil:
			return &brokenBody{err}
		}
	}
}
