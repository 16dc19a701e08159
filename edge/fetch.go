package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/webtask-edge/caddy-webtask/jsruntime"
)

// maxRedirects is how many redirects one fetch() follows (Fetch Standard,
// HTTP-redirect fetch).
const maxRedirects = 20

// userAgent is sent when a script sets none.
const userAgent = "webtask-edge"

// tracerName is the instrumentation scope of the edge's spans.
const tracerName = "github.com/webtask-edge/caddy-webtask/edge"

// Fetch implements jsruntime.Host. Every hop of a redirect is a request of its
// own to the egress policy and to the limits.
func (c *call) Fetch(ctx context.Context, req *jsruntime.FetchRequest) (*jsruntime.FetchResponse, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	if c.plan.transport == nil {
		return nil, errors.New("this edge gives webtasks no way to call out")
	}
	target, err := fetchURL(req.URL)
	if err != nil {
		return nil, err
	}
	leave, err := c.edge.fetches.enter(c.plan.task.Container)
	if err != nil {
		return nil, err
	}
	// A body that nobody closes ends with its request.
	stop := context.AfterFunc(ctx, leave)
	h := hop{method: req.Method, url: target, header: fetchHeader(req.Header), body: req.Body, length: req.Length}
	c.edge.wantDecoded(&h)
	h.header[headerLoop] = append(c.loop[:len(c.loop):len(c.loop)], userAgent)
	ctx, span := startFetchSpan(ctx, &h)
	start := c.edge.opts.Now()
	resp, err := c.follow(ctx, &h, req.Redirect)
	c.edge.opts.Observer.FetchDone(c.edge.opts.Now().Sub(start), err)
	endFetchSpan(span, resp, err)
	if err != nil {
		stop()
		leave()
		c.edge.leaveZstd(&h)
		return nil, err
	}
	resp.Body = &openBody{ReadCloser: resp.Body, closed: func() { stop(); leave() }}
	return resp, nil
}

// hop is one request on the way of a fetch().
type hop struct {
	method string
	url    *url.URL
	header http.Header // the hop's own
	body   io.Reader
	length int64
	zstd   bool // a place among maxZstd is kept for its answer
}

// follow sends a request and, if asked to, those that it is redirected to.
func (c *call) follow(ctx context.Context, h *hop, mode string) (*jsruntime.FetchResponse, error) {
	for redirects := 0; ; redirects++ {
		resp, err := c.send(ctx, h)
		if err != nil {
			return nil, err
		}
		if !isRedirect(resp.StatusCode) || mode == "manual" || resp.Header.Get("Location") == "" {
			if c.edge.decode(resp, h) {
				// A few bytes may become many, and those are what is paid for.
				resp.Body = c.metered(ctx, resp.Body)
			}
			return fetched(resp, h.url, redirects > 0), nil
		}
		location := resp.Header.Get("Location")
		status := resp.StatusCode
		// The connection is kept only if the body was read; a redirect's is
		// short, or not worth it.
		_, _ = io.CopyN(io.Discard, resp.Body, 2<<10)
		resp.Body.Close()
		switch {
		case mode == "error":
			return nil, fmt.Errorf("%s redirects, which redirect: \"error\" forbids", h.url.Host)
		case redirects == maxRedirects:
			return nil, fmt.Errorf("%s redirects more than %d times", h.url.Host, maxRedirects)
		}
		if err := h.redirect(status, location); err != nil {
			return nil, err
		}
	}
}

// send makes one round trip.
func (c *call) send(ctx context.Context, h *hop) (*http.Response, error) {
	if limit := c.plan.task.Limits.Subrequests; limit > 0 && c.subrequests.Add(1) > int64(limit) {
		return nil, &jsruntime.LimitError{Limit: "subrequests", Value: strconv.Itoa(limit), Option: "subrequests", Status: http.StatusInternalServerError}
	}
	out, err := http.NewRequestWithContext(ctx, h.method, h.url.String(), h.body)
	if err != nil {
		return nil, fmt.Errorf("the request cannot be sent: %w", err)
	}
	if err := c.countFetch(); err != nil {
		return nil, err
	}
	out.Header = h.header
	if h.body != nil {
		out.ContentLength = h.length
		if h.length == 0 {
			out.Body = http.NoBody
		}
	}
	c.meterRequest(ctx, out)
	resp, err := c.plan.transport.RoundTrip(out)
	if err != nil {
		if ended := ended(ctx); ended != nil {
			return nil, ended
		}
		return nil, err
	}
	if resp.Body != http.NoBody {
		resp.Body = c.metered(ctx, resp.Body)
	}
	return resp, nil
}

// meterRequest has the body of a request count. net/http gets one again when it
// has to send it on another connection.
func (c *call) meterRequest(ctx context.Context, out *http.Request) {
	if out.Body == nil || out.Body == http.NoBody {
		return
	}
	out.Body = c.metered(ctx, out.Body)
	again := out.GetBody
	if again == nil {
		return
	}
	out.GetBody = func() (io.ReadCloser, error) {
		body, err := again()
		if err != nil {
			return nil, err
		}
		return c.metered(ctx, body), nil
	}
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// redirect makes h the request that a redirect asks for (Fetch Standard,
// HTTP-redirect fetch).
func (h *hop) redirect(status int, location string) error {
	next, err := h.url.Parse(location)
	if err != nil {
		return fmt.Errorf("%s redirects to what is no URL", h.url.Host)
	}
	if next, err = fetchURL(next.String()); err != nil {
		return fmt.Errorf("%s redirects: %w", h.url.Host, err)
	}
	if next.Fragment == "" {
		next.Fragment = h.url.Fragment
	}
	toGet := status == http.StatusSeeOther && h.method != http.MethodGet && h.method != http.MethodHead ||
		(status == http.StatusMovedPermanently || status == http.StatusFound) && h.method == http.MethodPost
	switch {
	case toGet:
		h.method, h.body, h.length = http.MethodGet, nil, 0
		for _, name := range []string{"Content-Encoding", "Content-Language", "Content-Location", "Content-Type"} {
			delete(h.header, name)
		}
	case h.body != nil:
		again, ok := h.body.(io.Seeker)
		if !ok {
			return fmt.Errorf("%s redirects a request whose body was a stream and is gone", h.url.Host)
		}
		if _, err := again.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("sending a body again: %w", err)
		}
	}
	if next.Scheme != h.url.Scheme || next.Host != h.url.Host {
		// What was meant for one origin is not for another.
		delete(h.header, headerAuthorization)
		delete(h.header, "Cookie")
	}
	h.url = next
	return nil
}

// fetchURL parses the URL of a request.
func fetchURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("the URL cannot be parsed; write one like https://api.example.com/path")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("the scheme %q cannot be fetched; only http and https can", u.Scheme)
	case u.Host == "":
		return nil, errors.New("the URL names no host; write one like https://api.example.com/path")
	case u.User != nil:
		return nil, errors.New("the URL holds a user name or password; send them as the header Authorization")
	}
	return u, nil
}

// fetchHeader returns the headers to send: those of the script, less what
// belongs to the connection. Accept-Encoding is the edge's, which decodes what
// it asked for; Host is the URL's.
func fetchHeader(header http.Header) http.Header {
	out := make(http.Header, len(header)+2)
	for name, values := range header {
		name = http.CanonicalHeaderKey(name)
		switch name {
		case "Host", "Content-Length", "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
			"Proxy-Authorization", "Proxy-Connection", "Expect", "Accept-Encoding":
			continue
		}
		out[name] = append(out[name], values...)
	}
	if len(out["User-Agent"]) == 0 {
		out["User-Agent"] = []string{userAgent}
	}
	return out
}

// fetched is the answer as the runtime takes it.
func fetched(resp *http.Response, u *url.URL, redirected bool) *jsruntime.FetchResponse {
	final := *u
	final.Fragment, final.RawFragment = "", ""
	text := resp.Status
	if prefix := strconv.Itoa(resp.StatusCode) + " "; len(text) >= len(prefix) && text[:len(prefix)] == prefix {
		text = text[len(prefix):]
	} else {
		text = ""
	}
	return &jsruntime.FetchResponse{
		Status:     resp.StatusCode,
		StatusText: text,
		Header:     resp.Header,
		URL:        final.String(),
		Redirected: redirected,
		Body:       resp.Body,
	}
}

// startFetchSpan begins a span under that of the request, if there is one, and
// passes it on as W3C Trace Context; what the script itself set there counts
// for nothing then.
func startFetchSpan(ctx context.Context, h *hop) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsValid() {
		return ctx, parent
	}
	ctx, span := parent.TracerProvider().Tracer(tracerName).Start(ctx, h.method, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("http.request.method", h.method), attribute.String("server.address", h.url.Hostname())))
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(h.header))
	return ctx, span
}

func endFetchSpan(span trace.Span, resp *jsruntime.FetchResponse, err error) {
	switch {
	case !span.SpanContext().IsValid():
		return
	case err != nil:
		span.SetStatus(codes.Error, "fetch failed")
	default:
		span.SetAttributes(attribute.Int("http.response.status_code", resp.Status))
	}
	span.End()
}
