package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/webtask-edge/caddy-webtask/edge"
	"github.com/webtask-edge/caddy-webtask/webtask"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler runs webtasks. With `code` it runs that code for every request; it
// is then bound to its route. Without, it is in token mode: it runs what the
// webtask token of a request names, and passes requests without one on.
//
// It publishes these placeholders, which are unknown where no task has run:
//
// Placeholder | Description
// ------------|---------------
// `{http.webtask.container}` | The container of the task
// `{http.webtask.name}` | The name of the task, if it has one
// `{http.webtask.id}` | The id of the token, or of the route
// `{http.session.id}` | The public id of the request's session
//
// Access logs get a field `webtask` with container, name, id, outcome and
// duration.
type Handler struct {
	// The code to run. Default: token mode.
	Code *Code `json:"code,omitempty"`

	// Secrets of the code, by name: `ctx.secrets`, `env`. A value should be a
	// global placeholder, {env.NAME} or {file./absolute/path}, which is
	// replaced when the server starts and appears in no configuration.
	Secrets map[string]string `json:"secrets,omitempty"`

	// Parameters of the code, by name: `ctx.params`, `env`. Global placeholders
	// are replaced as in secrets.
	Params map[string]string `json:"params,omitempty"`

	// Metadata of the code: `ctx.meta`.
	Meta map[string]string `json:"meta,omitempty"`

	// The container: session state and isolates are shared within it and never
	// across. Default: `@` and the host of the route, the alphabetically first
	// of several, or the server's listen address where there is none. In token
	// mode: the only container whose tokens are accepted here. Default: any.
	Container string `json:"container,omitempty"`

	// The name of the webtask: `ctx.webtask.name`.
	Name string `json:"name,omitempty"`

	// `sha256-…`, a digest of every byte that runs; code that differs is not
	// run.
	Integrity string `json:"integrity,omitempty"`

	// The hosts that the code may call, within what the edge allows. Default:
	// whatever that is.
	Net []string `json:"net,omitempty"`

	// When the body of a request is parsed before the code is called: `never`,
	// `always` or `by_arity`, which is for handlers of one or two parameters.
	// Default: `by_arity`.
	ParseBody string `json:"parse_body,omitempty"`

	// Whether fields of a parsed body are added to `ctx.data`.
	MergeBody bool `json:"merge_body,omitempty"`

	// Token mode: whether everybody who can make tokens is trusted with this
	// site. Tasks then see the request's cookies and credentials and may set
	// cookies, as the site's own.
	Trusted bool `json:"trusted,omitempty"`

	// Token mode: run even where `templates` or `intercept` would process what
	// tasks answer. Whoever can make tokens can then run templates.
	TrustResponses bool `json:"trust_responses,omitempty"`

	// `pass` hands the edge's own errors to the error routes of the server
	// (`handle_errors`) instead of answering them as JSON.
	Errors string `json:"errors,omitempty"`

	// Limits, within those of the app.
	Limits webtask.Limits `json:"limits,omitzero"`

	app     *App
	ref     webtask.CodeRef
	secrets map[string]string
	params  map[string]string
	bound   atomic.Pointer[boundRoute]
}

// boundRoute is a handler once it is known where it stands.
type boundRoute struct {
	route       *edge.Route
	authHeaders []string // request headers that this site's auth handlers set
	logged      bool     // the server has an access log
	metrics     *routeMetrics
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.webtask",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision checks the configuration and resolves secrets.
func (h *Handler) Provision(ctx caddy.Context) error {
	at := placeUnderway(ctx.Modules())
	if err := h.provision(ctx, at); err != nil {
		return h.at(at, err)
	}
	return nil
}

func (h *Handler) provision(ctx caddy.Context, at place) error {
	if err := h.check(); err != nil {
		return err
	}
	if err := h.checkPlace(at); err != nil {
		return err
	}
	if h.Code != nil {
		var err error
		if h.ref, err = h.Code.ref(); err != nil {
			return err
		}
		if err := h.Code.checkFile(); err != nil {
			return err
		}
	}
	secrets, params, literal, err := h.resolveSecrets()
	if err != nil {
		return err
	}
	h.secrets, h.params = secrets, params
	if literal != nil {
		ctx.Logger().Warn("the configuration itself holds secrets of a webtask; anyone who can read the configuration sees them",
			zap.String("route", at.String()), zap.Strings("secrets", literal), zap.String("instead", "{env.NAME} or {file./absolute/path}"))
	}
	app, err := ctx.App("webtask")
	if err != nil {
		return err
	}
	h.app = app.(*App)
	if h.Limits.Memory != 0 && !h.app.usesWorkers() {
		return errMemory
	}
	if h.Code == nil {
		if err := h.app.needKeys(); err != nil {
			return err
		}
	}
	h.app.addHandler(h)
	return nil
}

var (
	errConfigurationOver = errors.New("the configuration that this request belongs to has ended")
	errNotRunning        = errors.New("webtask is not running")
)

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !h.app.life.enter() {
		w.Header().Set("Retry-After", "1")
		return caddyhttp.Error(http.StatusServiceUnavailable, errConfigurationOver)
	}
	defer h.app.life.leave()
	e := h.app.running(r.Context())
	if e == nil {
		return caddyhttp.Error(http.StatusServiceUnavailable, errNotRunning)
	}
	bound := h.bound.Load()
	if bound == nil { // provisioned after the start, by another plugin
		if err := h.bind(place{logged: true}); err != nil {
			return caddyhttp.Error(http.StatusInternalServerError, err)
		}
		bound = h.bound.Load()
	}
	info := &requestInfo{RequestInfo: edge.RequestInfo{AuthHeaders: bound.authHeaders}}
	describeRequest(&info.RequestInfo, r)
	publish(info, r, bound.logged)

	ctx := r.Context()
	span := trace.SpanFromContext(ctx)
	if span.SpanContext().IsValid() {
		ctx, span = span.TracerProvider().Tracer("github.com/webtask-edge/caddy-webtask").Start(ctx, "webtask")
		r = r.WithContext(ctx)
		defer info.endSpan(span)
	}
	// Deferred, for the edge aborts a broken answer with a panic.
	defer bound.metrics.observe(info)
	return passedError(e.Serve(w, r, bound.route, &info.RequestInfo, next.ServeHTTP))
}

// passedError turns an error that the edge passes on into one that Caddy's
// error routes understand.
func passedError(err error) error {
	var answer *edge.Answer
	if err == nil || !errors.As(err, &answer) {
		return err
	}
	// What the caller is told becomes {err.message}; the cause, which may name
	// files of the server, was logged by the edge.
	return caddyhttp.Error(answer.Status, errors.New(answer.Message))
}

// requestInfo is what the edge is told of a request, and learns. It is a log
// field.
type requestInfo struct {
	edge.RequestInfo
}

// describeRequest fills in what Caddy knows.
func describeRequest(info *edge.RequestInfo, r *http.Request) {
	ctx := r.Context()
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	info.ClientIP, _ = vars[caddyhttp.ClientIPVarKey].(string)
	info.Secure = r.TLS != nil
	if trusted, _ := vars[caddyhttp.TrustedProxyVarKey].(bool); trusted {
		if proto := r.Header.Get("X-Forwarded-Proto"); proto != "" {
			info.Secure = proto == "https"
		}
	}
	if original, ok := ctx.Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		info.URI = original.RequestURI
	}
}

// publish makes the placeholders and the access log's field. Both are read
// after the edge has filled info in, or not at all.
func publish(info *requestInfo, r *http.Request, logged bool) {
	ctx := r.Context()
	if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(info.placeholder)
	}
	if !logged {
		return // adding a field costs more than the rest of this
	}
	if extra, ok := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Add(zap.Inline(info))
	}
}

func (i *requestInfo) placeholder(key string) (any, bool) {
	if i.Task == nil {
		return nil, false // a directive further on may know
	}
	switch key {
	case "http.webtask.container":
		return i.Task.Container, true
	case "http.webtask.name":
		return i.Task.Name, true
	case "http.webtask.id":
		return i.Task.ID, true
	case "http.session.id":
		return i.SessionID, true
	}
	return nil, false
}

// MarshalLogObject implements zapcore.ObjectMarshaler: the field `webtask` of
// access logs, for requests that were not passed on.
func (i *requestInfo) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	if i.Outcome == edge.OutcomePassed || i.Outcome == "" {
		return nil
	}
	return enc.AddObject("webtask", zapcore.ObjectMarshalerFunc(i.marshal))
}

func (i *requestInfo) marshal(enc zapcore.ObjectEncoder) error {
	if i.Task != nil {
		enc.AddString("container", i.Task.Container)
		if i.Task.Name != "" {
			enc.AddString("name", i.Task.Name)
		}
		enc.AddString("id", i.Task.ID)
	}
	if i.ID != "" {
		enc.AddString("request_id", i.ID)
	}
	enc.AddString("outcome", string(i.Outcome))
	enc.AddDuration("duration", i.Duration)
	enc.AddDuration("queue_wait", i.QueueWait)
	return nil
}

func (i *requestInfo) endSpan(span trace.Span) {
	if i.Task != nil {
		span.SetAttributes(attribute.String("webtask.container", i.Task.Container), attribute.String("webtask.name", i.Task.Name))
	}
	span.SetAttributes(attribute.String("webtask.outcome", string(i.Outcome)))
	if i.Status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, string(i.Outcome))
	}
	span.End()
}

// warm loads and compiles code that is at hand, so that the first request
// does not wait and a mistake is logged when the server starts.
func (a *App) warm(ctx context.Context) {
	a.mu.Lock()
	handlers := a.handlers
	a.mu.Unlock()
	for _, h := range handlers {
		if h.Code == nil || h.Code.URL != "" {
			continue
		}
		// The loader logs what is wrong with a file, code frame and all. The
		// site starts nevertheless: one task's mistake is no reason to be down.
		if _, err := a.loader.Load(ctx, h.bound.Load().route.Task.Container, h.ref, h.Integrity, a.Limits); err != nil {
			a.logger.Error("code of a webtask cannot be run yet", append(edge.RouteFields(h.bound.Load().route), zap.Error(err))...)
		}
	}
}

// task returns what a route-bound handler runs.
func (h *Handler) task(container string) (*webtask.Task, error) {
	parseBody, err := h.parseBody()
	if err != nil {
		return nil, err
	}
	task := &webtask.Task{
		Container: container,
		Name:      h.Name,
		Code:      h.ref,
		Integrity: h.Integrity,
		Secrets:   h.secrets,
		Params:    h.params,
		Meta:      h.Meta,
		Net:       h.Net,
		Limits:    h.Limits,
		ParseBody: parseBody,
		MergeBody: h.MergeBody,
	}
	digest := task.Key(fmt.Sprintf("%s %s", h.ref.Kind, h.ref.Value))
	task.ID = "route:" + digest[len(digest)-16:]
	return task, nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ zapcore.ObjectMarshaler     = (*requestInfo)(nil)
)
