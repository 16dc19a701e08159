package webtask

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// check reports what is wrong with claims as a whole. It holds for every
// token that was issued, and Open relies on it for none: it runs again there.
func (c *Claims) check() error {
	for _, check := range []func() error{
		c.checkContainer, c.checkNames, c.checkTimes, c.checkCode, c.checkValues,
		func() error { return checkNet(c.Net) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Claims) checkContainer() error {
	if c.Master {
		if c.Container != "" {
			return claimError("ten", "restricts a token that is to be a master", "leave out one of ten and master")
		}
		return nil
	}
	if c.Container == "" {
		return claimError("ten", "is missing", "name the container the token is for")
	}
	_, err := parseContainers(c.Container)
	return err
}

// checkNames checks names, and the claims that need the token to be for one
// container.
func (c *Claims) checkNames() error {
	containers, _ := parseContainers(c.Container)
	if _, one := containers.single(); !one {
		for _, claim := range []struct {
			name  string
			given bool
		}{{"url", c.URL != ""}, {"ectx", c.HasSecrets()}, {"jtn", c.Name != ""}} {
			if claim.given {
				return claimError(claim.name, "needs a token for one container", "give ten the name of one container")
			}
		}
	}
	if c.Name != "" {
		if err := checkName(c.Name); err != nil {
			return claimError("jtn", quote(c.Name)+" "+err.Problem, err.Remedy)
		}
	}
	for _, name := range c.Names {
		if err := checkName(name); err != nil {
			return claimError("jtnm", quote(name)+" "+err.Problem, err.Remedy)
		}
	}
	if c.Host != "" {
		if err := checkHostname(c.Host); err != nil {
			return claimError("host", quote(c.Host)+" "+err.Problem, err.Remedy)
		}
	}
	return nil
}

func (c *Claims) checkTimes() error {
	if c.Depth < 0 || c.Depth > maxDepth {
		return claimError("dd", "is not a depth", fmt.Sprintf("write a whole number from 0 to %d", maxDepth))
	}
	for _, claim := range []struct {
		name string
		time time.Time
	}{{"exp", c.Expires}, {"nbf", c.NotBefore}} {
		if t := claim.time; !t.IsZero() && (t.Unix() <= 0 || t.Unix() > maxTime) {
			return claimError(claim.name, "is not a time between 1970 and 9999", "write another, or leave it out")
		}
	}
	if !c.Expires.IsZero() && !c.Expires.After(c.NotBefore) {
		return claimError("exp", "is not after nbf", "end the token later than it begins")
	}
	return nil
}

func (c *Claims) checkCode() error {
	if c.URL != "" {
		u, err := url.Parse(c.URL)
		switch {
		case err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "":
			return claimError("url", "is not an absolute http or https URL", "write one like https://example.com/hello.js")
		case u.User != nil:
			return claimError("url", "has a user name or password, which whoever sees the token can read", "publish the code without one, or pin it with integrity at an unguessable path")
		case strings.ContainsFunc(c.URL, func(r rune) bool { return r <= ' ' || r == 0x7f }):
			return claimError("url", "has spaces or control characters", "percent-encode them")
		}
	}
	if c.Integrity != "" {
		if c.URL == "" {
			return claimError("integrity", "pins code that the token does not name", "give url too")
		}
		if !validIntegrity(c.Integrity) {
			return claimError("integrity", "is not a SHA-256 digest", `write "sha256-" and its base64, 44 characters`)
		}
	}
	if c.ParseBody != nil && (*c.ParseBody < ParseBodyNever || *c.ParseBody > ParseBodyByArity) {
		return claimError("pb", "is not 0, 1 or 2", "write 0 (never parse the body), 1 (always) or 2 (by the handler's arity)")
	}
	if len(c.Meta) > 0 && c.Name == "" {
		return claimError("meta", "needs a named webtask", "give jtn too")
	}
	return nil
}

// validIntegrity reports whether s is "sha256-" and a digest in base64, as
// Subresource Integrity (W3C) writes it.
func validIntegrity(s string) bool {
	text, ok := strings.CutPrefix(s, "sha256-")
	digest, err := base64.StdEncoding.Strict().DecodeString(text)
	return ok && err == nil && len(digest) == 32 && base64.StdEncoding.EncodedLen(len(digest)) == len(text)
}

// checkValues refuses what JSON cannot carry unchanged, and numbers that only
// a Go caller can have set: the parsers take positive ones.
func (c *Claims) checkValues() error {
	for _, claim := range []struct {
		name   string
		values map[string]string
	}{{"pctx", c.Params}, {"ectx", c.Secrets}, {"meta", c.Meta}} {
		for _, name := range sortedKeys(claim.values) {
			if name == "" || !utf8.ValidString(name) {
				return claimError(claim.name, "has a name that is empty or not UTF-8", "name every value")
			}
			if !utf8.ValidString(claim.values[name]) {
				return claimError(claim.name+"."+name, "is not UTF-8", "encode binary values, for example as base64")
			}
		}
	}
	if !utf8.ValidString(c.URL) {
		return claimError("url", "is not UTF-8", "percent-encode it")
	}
	for _, f := range limitFields {
		if f.value(&c.Limits) < 0 {
			return claimError("lim."+f.Name, "is negative", "leave it out for the edge's own")
		}
	}
	for _, w := range rateWindows {
		if *w.limit(&c.RateLimit.Container) < 0 || *w.limit(&c.RateLimit.Token) < 0 {
			return claimError("l"+w.suffix+" or lt"+w.suffix, "is negative", "leave it out for no limit")
		}
	}
	return nil
}
