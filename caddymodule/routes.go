package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/templates"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/edge"
)

// place is where in a server's routes a handler stands.
type place struct {
	server      string   // the server's first listen address
	logged      bool     // the server has an access log
	hosts       []string // of the nearest host matcher
	processors  []string // handlers before it that process what it answers
	authHeaders []string // request headers that auth handlers before it set
}

// bindRoutes walks the routes of every server, tells each handler where it
// stands, and refuses token mode where what tasks answer would be processed.
// A handler inside another plugin's routes is not found, and bound without.
func (a *App) bindRoutes() error {
	app, err := a.ctx.AppIfConfigured("http")
	if err != nil && !errors.Is(err, caddy.ErrNotConfigured) {
		return err
	}
	httpApp, ok := app.(*caddyhttp.App)
	ownListeners.use(httpApp)
	if ok {
		for _, name := range sorted(slices.Collect(maps.Keys(httpApp.Servers))) {
			if err := a.bindServer(httpApp.Servers[name]); err != nil {
				return err
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range a.handlers {
		if err := h.bind(place{logged: true}); err != nil {
			return err
		}
	}
	return nil
}

func (a *App) bindServer(server *caddyhttp.Server) error {
	w := &walker{app: a, server: server}
	start := place{logged: server.Logs != nil}
	if len(server.Listen) > 0 {
		start.server = server.Listen[0]
	}
	if _, err := w.routes(server.Routes, start); err != nil {
		return err
	}
	if server.Errors != nil {
		if _, err := w.routes(server.Errors.Routes, start); err != nil {
			return err
		}
	}
	if w.tokenHosts != nil {
		a.warnOfLogs(server, w.tokenHosts)
	}
	return nil
}

// warnOfLogs warns of access logs that would show the tokens of requests.
func (a *App) warnOfLogs(server *caddyhttp.Server, hosts map[string]bool) {
	if server.Logs == nil {
		return
	}
	for _, logger := range unredactedLogs(a.ctx, loggersOf(server.Logs, hosts)) {
		a.logger.Warn("an access log of a server that accepts webtask tokens does not redact them; use `log { format webtask }`",
			zap.String("logger", logger), zap.Strings("listen", server.Listen))
	}
}

// walker walks the routes of one server.
type walker struct {
	app        *App
	server     *caddyhttp.Server
	invoked    []string        // named routes that are being walked
	tokenHosts map[string]bool // hosts of handlers in token mode; "" is any
}

// routes walks a list in the order that requests do. It returns the place of
// what follows the list: handlers of a list go on to wrap what comes after it.
func (w *walker) routes(list caddyhttp.RouteList, at place) (after place, err error) {
	inGroup := map[string]place{} // what each group's routes add, for those outside it
	after = at
	for _, route := range list {
		before := after
		if route.Group != "" {
			// Of a group only the first matching route runs: the others wrap
			// neither it nor what is in it.
			if _, ok := inGroup[route.Group]; !ok {
				inGroup[route.Group] = after
			}
			before = inGroup[route.Group]
		}
		if hosts := hostsOf(route.MatcherSets); hosts != nil {
			before.hosts = hosts
		}
		inside := before
		for _, handler := range route.Handlers {
			if inside, err = w.handler(handler, inside); err != nil {
				return at, err
			}
		}
		if route.Terminal {
			continue // nothing follows it
		}
		after.processors = union(after.processors, inside.processors)
		after.authHeaders = union(after.authHeaders, inside.authHeaders)
	}
	return after, nil
}

// handler looks at one handler and returns the place of the next.
func (w *walker) handler(handler caddyhttp.MiddlewareHandler, at place) (place, error) {
	switch handler := handler.(type) {
	case *Handler:
		if handler.Code == nil {
			w.acceptsTokens(at.hosts)
		}
		return at, handler.bind(at)
	case *caddyhttp.Subroute:
		after, err := w.routes(handler.Routes, at)
		if err == nil && handler.Errors != nil {
			_, err = w.routes(handler.Errors.Routes, at)
		}
		at.processors, at.authHeaders = after.processors, after.authHeaders
		return at, err
	case *caddyhttp.Invoke:
		if slices.Contains(w.invoked, handler.Name) || w.server.NamedRoutes[handler.Name] == nil {
			return at, nil
		}
		w.invoked = append(w.invoked, handler.Name)
		after, err := w.routes(caddyhttp.RouteList{*w.server.NamedRoutes[handler.Name]}, at)
		w.invoked = w.invoked[:len(w.invoked)-1]
		at.processors, at.authHeaders = after.processors, after.authHeaders
		return at, err
	case *templates.Templates:
		at.processors = union(at.processors, []string{"templates"})
	case *intercept.Intercept:
		err := w.responses(handler.HandleResponse, at)
		at.processors = union(at.processors, []string{"intercept"})
		return at, err
	case *reverseproxy.Handler:
		// forward_auth is a reverse_proxy whose response routes copy headers
		// of the answer to the request.
		at.authHeaders = union(at.authHeaders, copiedHeaders(handler.HandleResponse))
		return at, w.responses(handler.HandleResponse, at)
	case *headers.Handler:
		at.authHeaders = union(at.authHeaders, identityHeaders(handler))
	}
	return at, nil
}

func (w *walker) acceptsTokens(hosts []string) {
	if w.tokenHosts == nil {
		w.tokenHosts = map[string]bool{}
	}
	for _, host := range hosts {
		w.tokenHosts[strings.ToLower(host)] = true
	}
	if hosts == nil {
		w.tokenHosts[""] = true
	}
}

// loggersOf returns the names of the access loggers that requests to hosts go
// to, as caddyhttp.Server chooses them.
func loggersOf(logs *caddyhttp.ServerLogConfig, hosts map[string]bool) []string {
	var names []string
	for host := range hosts {
		mapped := false
		for pattern, loggers := range logs.LoggerNames {
			if host == "" || certmagic.MatchWildcard(host, strings.ToLower(pattern)) {
				names = union(names, loggers)
				mapped = mapped || host != ""
			}
		}
		if !mapped && !logs.SkipUnmappedHosts {
			names = union(names, []string{logs.DefaultLoggerName})
		}
	}
	return sorted(names)
}

func (w *walker) responses(handlers []caddyhttp.ResponseHandler, at place) error {
	for _, response := range handlers {
		if _, err := w.routes(response.Routes, at); err != nil {
			return err
		}
	}
	return nil
}

// hostsOf returns the names of the host matchers of a route, or nil.
func hostsOf(sets caddyhttp.MatcherSets) []string {
	var hosts []string
	for _, set := range sets {
		for _, matcher := range set {
			if names, ok := matcher.(*caddyhttp.MatchHost); ok {
				hosts = append(hosts, *names...)
			}
		}
	}
	return hosts
}

// copiedHeaders returns the request headers that the response routes of a
// reverse_proxy set.
func copiedHeaders(handlers []caddyhttp.ResponseHandler) []string {
	var names []string
	var visit func(caddyhttp.RouteList)
	visit = func(routes caddyhttp.RouteList) {
		for _, route := range routes {
			for _, handler := range route.Handlers {
				switch handler := handler.(type) {
				case *headers.Handler:
					names = append(names, identityHeaders(handler)...)
				case *caddyhttp.Subroute:
					visit(handler.Routes)
				}
			}
		}
	}
	for _, response := range handlers {
		visit(response.Routes)
	}
	return names
}

// identitySources begin the placeholders that say who a client is.
var identitySources = []string{"{http.auth.", "{http.reverse_proxy.header.", "{http.request.tls.client."}

// identityHeaders returns the request headers that a `request_header` handler
// sets from who the client is. They are meant for the site's own code.
func identityHeaders(handler *headers.Handler) []string {
	if handler.Request == nil {
		return nil
	}
	var names []string
	for _, fields := range []http.Header{handler.Request.Set, handler.Request.Add} {
		for name, values := range fields {
			text := strings.Join(values, " ")
			if slices.ContainsFunc(identitySources, func(source string) bool { return strings.Contains(text, source) }) {
				names = append(names, http.CanonicalHeaderKey(name))
			}
		}
	}
	return names
}

// bind tells a handler where it stands. What it is told first holds: a named
// route may be invoked from several places.
func (h *Handler) bind(at place) error {
	if h.Code == nil && !h.TrustResponses && at.processors != nil {
		return fmt.Errorf("webtask in token mode stands under %s, which would process what tasks answer: whoever can make a token could run it; "+
			"keep them apart with `handle` blocks, or write trust_responses in the block of webtask if everybody who can make tokens is trusted with it",
			strings.Join(at.processors, " and "))
	}
	if h.bound.Load() != nil {
		return nil
	}
	bound := &boundRoute{
		route: &edge.Route{
			Trusted:    h.Trusted,
			Limits:     h.Limits,
			ErrorsPass: h.Errors == "pass",
		},
		authHeaders: at.authHeaders,
		logged:      at.logged,
	}
	label := h.Container
	if h.Code == nil {
		bound.route.Container = h.Container
		if label == "" {
			label = "*"
		}
	} else {
		if label == "" {
			label = at.container()
		}
		task, err := h.task(label)
		if err != nil {
			return err
		}
		bound.route.Task = task
	}
	bound.metrics = metrics.route(label)
	h.bound.CompareAndSwap(nil, bound)
	return nil
}

// container returns the default container of a route at that place. The
// alphabetically first of several hosts is one that does not change with the
// order in which they are written.
func (at place) container() string {
	if len(at.hosts) > 0 {
		return "@" + slices.Min(at.hosts)
	}
	return "@" + at.server
}

func (a *App) addHandler(h *Handler) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handlers = append(a.handlers, h)
}

// union returns a with the elements of b that it lacks. a is not changed.
func union(a, b []string) []string {
	a = a[:len(a):len(a)]
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}
