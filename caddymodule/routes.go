package caddymodule

import (
	"cmp"
	"errors"
	"maps"
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
)

// place is where in a server's routes a handler stands.
type place struct {
	server      string   // the server's first listen address
	logged      bool     // the server has an access log
	hosts       []string // of the nearest host matcher
	paths       []string // of the nearest path matcher
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
			zap.String("logger", logger), zap.Strings("sites", siteNames(hosts)), zap.Strings("listen", server.Listen))
	}
}

// siteNames returns the hosts of sites; one without host is `*`.
func siteNames(hosts map[string]bool) []string {
	names := sorted(slices.Collect(maps.Keys(hosts)))
	for i, name := range names {
		names[i] = cmp.Or(name, "*")
	}
	return names
}

// walker walks the routes of one server.
type walker struct {
	looking    bool // and tells handlers nothing
	app        *App
	server     *caddyhttp.Server
	invoked    []string        // named routes that are being walked
	tokenHosts map[string]bool // hosts of handlers in token mode; "" is any
}

// routes walks a list in the order that requests do. It returns the place of
// what follows the list: handlers of a list go on to wrap what comes after it.
func (w *walker) routes(list caddyhttp.RouteList, at place) (after place, err error) {
	beside := map[string]place{} // of each group: what all routes but its own add
	after = at
	for _, route := range list {
		before := after
		if route.Group != "" {
			// Of a group only the first matching route runs: the others wrap
			// neither it nor what is in it.
			if _, ok := beside[route.Group]; !ok {
				beside[route.Group] = after
			}
			before = beside[route.Group]
		}
		inside := before.matched(route.MatcherSets)
		for _, handler := range route.Handlers {
			if inside, err = w.handler(handler, inside); err != nil {
				return at, err
			}
		}
		if route.Terminal {
			continue // nothing follows it
		}
		after = after.wrapped(inside)
		for group, other := range beside {
			if group != route.Group {
				beside[group] = other.wrapped(inside)
			}
		}
	}
	return after, nil
}

// matched returns the place of handlers behind matchers.
func (at place) matched(sets caddyhttp.MatcherSets) place {
	if hosts := hostsOf(sets); hosts != nil {
		at.hosts = hosts
	}
	if paths := pathsOf(sets); paths != nil {
		at.paths = paths
	}
	return at
}

// wrapped returns the place with the handlers that wrap another, too.
func (at place) wrapped(by place) place {
	at.processors = union(at.processors, by.processors)
	at.authHeaders = union(at.authHeaders, by.authHeaders)
	return at
}

// handler looks at one handler and returns the place of the next.
func (w *walker) handler(handler caddyhttp.MiddlewareHandler, at place) (place, error) {
	switch handler := handler.(type) {
	case *Handler:
		if w.looking {
			return at, nil
		}
		if handler.Code == nil {
			w.acceptsTokens(at.hosts)
		}
		return at, handler.bind(at)
	case *SessionBackend:
		if w.looking {
			return at, nil
		}
		if handler.Auth == authToken {
			w.acceptsTokens(at.hosts)
		}
		return at, handler.bind(at)
	case *SessionConnect:
		if w.looking {
			return at, nil
		}
		w.acceptsTokens(at.hosts)
		return at, handler.bind(at)
	case *SessionAPI:
		if w.looking {
			return at, nil
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
