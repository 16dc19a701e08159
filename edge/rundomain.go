package edge

import (
	"fmt"
	"strings"
)

// runDomain is a wildcard host under which every container has an origin of
// its own: "*.run.example.com". The zero value matches nothing.
type runDomain struct {
	suffix string // ".run.example.com"
}

func parseRunDomain(pattern string) (runDomain, error) {
	if pattern == "" {
		return runDomain{}, nil
	}
	rest, ok := strings.CutPrefix(pattern, "*.")
	if !ok || rest == "" || strings.ContainsAny(rest, "*:/ ") || strings.HasPrefix(rest, ".") || strings.HasSuffix(rest, ".") {
		return runDomain{}, fmt.Errorf("run_domain %q is not a wildcard host; write it as *.run.example.com, without scheme, port or path", pattern)
	}
	return runDomain{suffix: "." + strings.ToLower(rest)}, nil
}

// CheckRunDomain reports what is wrong with a pattern of Options.RunDomain.
func CheckRunDomain(pattern string) error {
	_, err := parseRunDomain(pattern)
	return err
}

// container returns the container that host, which may carry a port, is the
// origin of.
func (d runDomain) container(host string) (string, bool) {
	if d.suffix == "" {
		return "", false
	}
	host = strings.ToLower(stripPort(host))
	label, ok := strings.CutSuffix(host, d.suffix)
	if !ok || label == "" || strings.Contains(label, ".") {
		return "", false
	}
	return label, true
}

// stripPort returns host without its port, and an IPv6 address without its
// brackets.
func stripPort(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 && strings.IndexByte(host, ':') == i {
		return host[:i]
	}
	if strings.HasPrefix(host, "[") {
		if end := strings.IndexByte(host, ']'); end > 0 {
			return host[1:end]
		}
	}
	return host
}
