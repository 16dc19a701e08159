package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/webtask-edge/caddy-webtask/edge"
)

// String names the place as an operator knows it, site and path:
// "example.com /run/*". It is empty where neither is known.
func (at place) String() string {
	site := strings.TrimPrefix(at.container(), "@")
	return strings.TrimSpace(site + " " + strings.Join(at.paths, " "))
}

// at adds to an error of a handler which one it is.
func (h *Handler) at(at place, err error) error {
	name := "the directive webtask"
	if where := at.String(); where != "" {
		name += " at " + where
	}
	return fmt.Errorf("%s: %w", name, err)
}

// placeUnderway tells where a handler stands that is being provisioned, as far
// as its ancestors show: what stands before it is there already, and what it is
// part of still has its JSON. Its own route is the first of its list without
// handlers. It may see less than bindRoutes, which walks what is whole, but it
// is there when a configuration is validated, and for errors to name a site.
func placeUnderway(modules []caddy.Module) place {
	var at place
	for i := range modules[:max(len(modules)-1, 0)] {
		inner := modules[i+1].CaddyModule().ID.Name()
		for _, list := range listsOf(modules[i], inner, &at) {
			at = underway(list, at, inner)
		}
	}
	return at
}

// listsOf returns the routes of a module that may have the handler in them.
func listsOf(module caddy.Module, inner string, at *place) []caddyhttp.RouteList {
	switch module := module.(type) {
	case *caddyhttp.App:
		var found *caddyhttp.Server
		for _, server := range module.Servers {
			if current := current(server.Routes); current >= 0 && hasRaw(server.Routes[current], inner) {
				if found != nil {
					return nil // either may be it
				}
				found = server
			}
		}
		if found != nil {
			if len(found.Listen) > 0 {
				at.server = found.Listen[0]
			}
			return []caddyhttp.RouteList{found.Routes}
		}
	case *caddyhttp.Subroute:
		return []caddyhttp.RouteList{module.Routes}
	case *intercept.Intercept:
		return responseLists(module.HandleResponse)
	case *reverseproxy.Handler:
		return responseLists(module.HandleResponse)
	}
	return nil
}

func responseLists(handlers []caddyhttp.ResponseHandler) []caddyhttp.RouteList {
	var lists []caddyhttp.RouteList
	for _, response := range handlers {
		lists = append(lists, response.Routes)
	}
	return lists
}

// current returns the route of a list whose handlers are being provisioned, or
// -1.
func current(list caddyhttp.RouteList) int {
	return slices.IndexFunc(list, func(route caddyhttp.Route) bool { return len(route.HandlersRaw) > 0 })
}

// rawHandler is what is looked at of a handler that is JSON still.
type rawHandler struct {
	Name   string `json:"handler"`
	Routes []struct {
		Handlers []json.RawMessage `json:"handle"`
		Terminal bool              `json:"terminal"`
	} `json:"routes"`
}

func readRaw(raw json.RawMessage) (handler rawHandler) {
	if json.Unmarshal(raw, &handler) != nil {
		return rawHandler{} // of another form, and none of those
	}
	return handler
}

// processors returns those of a handler, which process what follows it.
func (h rawHandler) processors() []string {
	switch h.Name {
	case "templates", "intercept":
		return []string{h.Name}
	case "subroute":
	default:
		return nil
	}
	var found []string
	for _, route := range h.Routes {
		if route.Terminal {
			continue
		}
		for _, raw := range route.Handlers {
			found = union(found, readRaw(raw).processors())
		}
	}
	return found
}

func hasRaw(route caddyhttp.Route, name string) bool {
	return slices.ContainsFunc(route.HandlersRaw, func(raw json.RawMessage) bool { return readRaw(raw).Name == name })
}

// underway returns the place of the handler of that name in the current route
// of a list.
func underway(list caddyhttp.RouteList, at place, name string) place {
	i := current(list)
	if i < 0 || !hasRaw(list[i], name) {
		return at
	}
	route := list[i]
	others := slices.DeleteFunc(slices.Clone(list[:i]), func(other caddyhttp.Route) bool {
		return route.Group != "" && other.Group == route.Group
	})
	// What it finds to be wrong, it has said of the handler itself.
	if after, err := (&walker{looking: true, server: new(caddyhttp.Server)}).routes(others, at); err == nil {
		at = after
	}
	at = at.matched(route.MatcherSets)
	for _, raw := range route.HandlersRaw {
		before := readRaw(raw)
		if before.Name == name {
			break
		}
		at.processors = union(at.processors, before.processors())
	}
	return at
}

// bind tells a handler where it stands. What it is told first holds: a named
// route may be invoked from several places.
func (h *Handler) bind(at place) error {
	if err := h.checkPlace(at); err != nil {
		return h.at(at, err)
	}
	if h.bound.Load() != nil {
		return nil
	}
	bound := &boundRoute{
		route: &edge.Route{
			Trusted:    h.Trusted,
			Limits:     h.Limits,
			ErrorsPass: h.Errors == "pass",
			Name:       at.String(),
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
	if h.bound.CompareAndSwap(nil, bound) {
		h.warnOfLimits(bound.route.Name)
	}
	return nil
}

// checkPlace refuses token mode where what tasks answer would be processed.
func (h *Handler) checkPlace(at place) error {
	if h.Code != nil || h.TrustResponses || at.processors == nil {
		return nil
	}
	return fmt.Errorf("webtask in token mode stands under %s, which would process what tasks answer: whoever can make a token could run it; "+
		"keep them apart with `handle` blocks, or write trust_responses in the block of webtask if everybody who can make tokens is trusted with it",
		strings.Join(at.processors, " and "))
}

// warnOfLimits warns of limits that have no effect.
func (h *Handler) warnOfLimits(route string) {
	wider := edge.WiderLimits(h.app.Limits, h.Limits)
	for _, name := range sorted(slices.Collect(maps.Keys(wider))) {
		h.app.logger.Warn("a limit of the directive webtask is larger than the server's, which counts; raise it in the global option webtask too",
			zap.String("route", route), zap.String("limit", name), zap.String("directive", h.Limits.Get(name)), zap.String("global", wider[name]))
	}
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
