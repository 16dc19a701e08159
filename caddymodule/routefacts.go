package caddymodule

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
)

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

// pathsOf returns the patterns of the path matchers of a route, or nil.
func pathsOf(sets caddyhttp.MatcherSets) []string {
	var paths []string
	for _, set := range sets {
		for _, matcher := range set {
			switch patterns := matcher.(type) {
			case *caddyhttp.MatchPath:
				paths = append(paths, *patterns...)
			case caddyhttp.MatchPath:
				paths = append(paths, patterns...)
			}
		}
	}
	return paths
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
