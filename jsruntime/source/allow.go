package source

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// allowList says which URLs code may come from.
type allowList []allowPattern

// allowPattern is one entry, parsed.
type allowPattern struct {
	scheme string
	host   string // with the port unless it is the scheme's own
	below  bool   // host was written as *.host
	path   string // decoded; the prefix when tail is set
	tail   bool   // path ended in *
}

func parseAllow(patterns []string) (allowList, error) {
	list := make(allowList, 0, len(patterns))
	for _, text := range patterns {
		p, err := parseAllowPattern(text)
		if err != nil {
			return nil, fmt.Errorf("code_allow %q: %w; write a pattern like https://example.com/tasks/*", text, err)
		}
		list = append(list, p)
	}
	return list, nil
}

// CheckAllow reports what is wrong with patterns of Options.Allow.
func CheckAllow(patterns []string) error {
	_, err := parseAllow(patterns)
	return err
}

// CheckURL reports whether a loader with these patterns would load the code of
// a URL; if not, the error is a *NotAllowedError.
func CheckURL(patterns []string, text string) error {
	list, err := parseAllow(patterns)
	if err != nil {
		return err
	}
	u, err := parseCodeURL(text)
	if err != nil {
		return err
	}
	return list.check(u)
}

func parseAllowPattern(text string) (allowPattern, error) {
	var p allowPattern
	u, err := url.Parse(text)
	if err != nil {
		return p, errors.New("it is not a URL")
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return p, errors.New("its scheme is neither https nor http")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return p, errors.New("it may hold a scheme, a host, a port and a path only")
	}
	p.scheme = u.Scheme
	p.host, p.below = strings.CutPrefix(hostOf(u), "*.")
	if p.host == "" || strings.Contains(p.host, "*") {
		return p, errors.New("its host is missing, or has a * that is not the first label")
	}
	p.path, p.tail = strings.CutSuffix(u.Path, "*")
	if u.Path == "" {
		p.tail = true
	}
	if strings.Contains(p.path, "*") {
		return p, errors.New("a * in the path may only be its last character")
	}
	return p, nil
}

func (p *allowPattern) matches(u *url.URL) bool {
	if u.Scheme != p.scheme {
		return false
	}
	host := hostOf(u)
	if p.below {
		if !strings.HasSuffix(host, "."+p.host) {
			return false
		}
	} else if host != p.host {
		return false
	}
	if p.tail {
		return strings.HasPrefix(u.Path, p.path)
	}
	return u.Path == p.path
}

// check returns a *NotAllowedError for a URL that is not on the list. An empty
// list allows every https URL.
func (list allowList) check(u *url.URL) error {
	if len(list) == 0 {
		if u.Scheme == "https" {
			return nil
		}
		return &NotAllowedError{URL: displayURL(u), Reason: "it is not https; serve it over https, or let the operator name it: code_allow " + originOf(u) + "/*"}
	}
	for i := range list {
		if list[i].matches(u) {
			return nil
		}
	}
	return &NotAllowedError{URL: displayURL(u), Reason: "no code_allow pattern of this edge matches; the operator can add one"}
}

// parseCodeURL returns the normal form of a URL that code is named by.
func parseCodeURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		// The parser's error repeats the text, which may hold credentials.
		return nil, &NotAllowedError{URL: "(unreadable URL)", Reason: "it is not a valid URL"}
	}
	return normalizeURL(u)
}

// normalizeURL lower-cases scheme and host, drops the fragment, the scheme's
// own port and dot segments, and refuses what servers and patterns could read
// differently.
func normalizeURL(u *url.URL) (*url.URL, error) {
	u = (&url.URL{}).ResolveReference(u)
	u.Scheme = strings.ToLower(u.Scheme)
	u.Fragment, u.RawFragment = "", ""
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, &NotAllowedError{URL: displayURL(u), Reason: "its scheme is neither https nor http"}
	case u.User != nil:
		return nil, &NotAllowedError{URL: displayURL(u), Reason: "it holds a user name or password; leave them out"}
	case u.Hostname() == "":
		return nil, &NotAllowedError{URL: displayURL(u), Reason: "it names no host"}
	}
	u.Host = hostOf(u)
	if u.Path == "" {
		u.Path = "/"
	}
	raw := strings.ToLower(u.EscapedPath())
	if strings.Contains(raw, "%2f") || strings.Contains(raw, "%5c") || strings.Contains(u.Path, `\`) {
		return nil, &NotAllowedError{URL: displayURL(u), Reason: "its path holds an encoded slash or a backslash"}
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return nil, &NotAllowedError{URL: displayURL(u), Reason: "its path holds an encoded dot segment"}
		}
	}
	return u, nil
}

// hostOf returns host and port in lower case, without the scheme's own port.
func hostOf(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "https":
		return strings.TrimSuffix(host, ":443")
	case "http":
		return strings.TrimSuffix(host, ":80")
	}
	return host
}

func originOf(u *url.URL) string { return u.Scheme + "://" + hostOf(u) }

// displayURL is how messages and logs name a URL: a query may hold a secret.
func displayURL(u *url.URL) string {
	d := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	if u.RawQuery != "" {
		return d.String() + "?…"
	}
	return d.String()
}
