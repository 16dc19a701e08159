package edge

import (
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/webtask-edge/caddy-webtask/webtask"
)

// A foreign task is one that whoever holds a token chose, on a site that is
// not its own. It must not act as the site: it sees none of the credentials
// that a visitor shows the site, and its answers set no state of the origin.

// foreign reports whether a task is foreign to the site that host is of.
func (e *Edge) foreign(task *webtask.Task, route *Route, host string) bool {
	if !task.FromToken || route.Trusted {
		return false
	}
	home, ok := e.runDomain.container(host)
	return !ok || home != task.Container
}

// sandbox is added to what else a foreign answer's Content-Security-Policy
// says; a browser enforces both (CSP Level 3 §8.1). The document gets an
// origin of its own, without the site's cookies and storage.
const sandbox = "sandbox allow-scripts allow-forms allow-popups"

// hiddenFromForeign reports whether a request header in canonical form is a
// credential of the site: what browsers send by themselves, and what handlers
// in front of the task said about who the visitor is.
func hiddenFromForeign(name string, values, authHeaders []string) bool {
	switch name {
	case "Cookie", "Cookie2", "Proxy-Authorization":
		return true
	case headerAuthorization:
		// Basic, Digest, Negotiate … are shown to an origin by the browser
		// itself; a bearer token is put there by whoever calls the task.
		return slices.ContainsFunc(values, func(v string) bool {
			_, ok := bearer(v)
			return !ok
		})
	}
	return isAuthHeader(name) || slices.Contains(authHeaders, name)
}

// authHeaderPrefixes begin the names of the headers in which well-known
// authentication gateways pass on who the visitor is.
var authHeaderPrefixes = []string{
	"Remote-",                                 // Authelia, Authentik, tinyauth
	"X-Remote-",                               //
	"X-Auth-",                                 // oauth2-proxy: X-Auth-Request-User …
	"X-Forwarded-User",                        // oauth2-proxy, Traefik
	"X-Forwarded-Email", "X-Forwarded-Groups", //
	"X-Forwarded-Preferred-Username",                      //
	"X-Forwarded-Access-Token", "X-Forwarded-Client-Cert", //
	"X-Authentik-", "X-Authelia-", "X-Pomerium-", "X-Vouch-", "X-Webauth-",
	"X-Token-", "X-User", // caddy-security
	"X-Client-Cert", "X-Ssl-Client-", // TLS client certificates
	"X-Amzn-Oidc-", "X-Goog-Authenticated-User-", "X-Goog-Iap-", "X-Ms-Client-Principal", "X-Ms-Token-",
	"Cf-Access-", "Tailscale-",
}

func isAuthHeader(name string) bool {
	if len(name) < 5 || !strings.ContainsRune("RXCT", rune(name[0])) {
		return false
	}
	for _, prefix := range authHeaderPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// requestHeader returns the headers that the script sees: those of the request,
// less what is not for it. Nothing is copied when there is nothing to hide.
func requestHeader(header http.Header, token carried, own, foreign bool, authHeaders []string) http.Header {
	hidden := func(name string, values []string) bool {
		if foreign && hiddenFromForeign(name, values, authHeaders) {
			return true
		}
		if own {
			return false
		}
		return (token.in == carriedHeader && name == headerToken) || (token.in == carriedBearer && name == headerAuthorization)
	}
	for name, values := range header {
		if !hidden(name, values) {
			continue
		}
		visible := make(http.Header, len(header))
		for name, values := range header {
			if !hidden(name, values) {
				visible[name] = values
			}
		}
		return visible
	}
	return header
}

// droppedFromForeign reports whether a response header in canonical form is
// dropped from a foreign answer: it would set state of the site's origin, or
// steer the server in front of it.
func droppedFromForeign(name string) bool {
	switch name {
	case "Set-Cookie", "Set-Cookie2", "Service-Worker-Allowed", "Clear-Site-Data",
		"Strict-Transport-Security", "Public-Key-Pins", "Alt-Svc", "Nel", "Report-To", "Reporting-Endpoints",
		"Accept-Ch", "Critical-Ch", "Set-Login", "Use-As-Dictionary", "Observe-Browsing-Topics", "Shared-Storage-Write",
		"Refresh", "X-Sendfile", "X-Lighttpd-Send-File":
		return true
	}
	return slices.ContainsFunc(droppedPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// droppedPrefixes begin the names of others: of sessions that are bound to a
// device, of advertising, and of what servers in front obey.
var droppedPrefixes = []string{
	"Sec-Session-", "Secure-Session-", "Attribution-Reporting-",
	"X-Accel-", "X-Reproxy-", "X-Litespeed-", "X-Lscache",
}

// droppedFromAll reports whether a response header in canonical form is the
// edge's alone to set, whatever the task: framing and the connection
// (RFC 9110 §7.6.1, RFC 9112 §6). What is no header at all is dropped too: the
// platforms refuse it, but parts of them are JavaScript, which a script can get
// at, and net/http makes a trailer, by any name, of "Trailer:Set-Cookie".
func droppedFromAll(name string, values []string) bool {
	switch name {
	case "Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return !httpguts.ValidHeaderFieldName(name) ||
		slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) })
}

// replacesParts reports whether a Content-Type is multipart/x-mixed-replace:
// browsers that know it take Set-Cookie from the head of each part.
func replacesParts(values []string) bool {
	return slices.ContainsFunc(values, func(v string) bool {
		return strings.Contains(strings.ToLower(v), "multipart/x-mixed-replace")
	})
}
