package webtask

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Derive issues a token under the rights of parent. It only ever narrows:
//
//   - parent must be allowed to issue (CanIssue): dd of at least 1 and none of
//     url, ectx and jtn;
//   - dd is the smaller of the one asked for and parent's less one; ca is
//     parent's with parent's id;
//   - ten, jtnm, net, nbf, exp and each member of lim are parent's when left
//     out, and must lie within parent's when given;
//   - pctx, host and the container's rate limits are parent's when it has
//     them, and cannot be given anew with another value;
//   - it is never a master, whatever parent is.
//
// dr, pb, mb, meta and the token's own rate limits say nothing of a parent and
// are taken as asked for. A parent that may not issue is ErrTokenNotAllowed;
// claims that do not narrow wrap ErrClaims (*FieldError).
//
// The caller has checked that parent is valid now and not revoked.
func (k *Keyring) Derive(parent *Verified, c Claims, o IssueOptions) (string, error) {
	if !parent.CanIssue() {
		return "", fmt.Errorf("%w: it cannot be used to issue new webtask tokens; use one with dd of at least 1 that names no code, secrets or webtask", ErrTokenNotAllowed)
	}
	narrowed, err := narrow(parent.Claims(), c)
	if err != nil {
		return "", err
	}
	return k.issue(narrowed, o)
}

// narrow returns the claims of a child of parent.
func narrow(parent *Claims, c Claims) (Claims, error) {
	if c.Master {
		return c, claimError("master", "cannot be derived", "leave it out")
	}
	c.Depth = min(c.Depth, parent.Depth-1)
	c.Ancestors = append(slices.Clone(parent.Ancestors), parent.ID)
	for _, step := range []func(parent, c *Claims) error{
		narrowContainer, narrowNames, narrowTimes, narrowNet, narrowLimits, keepFixed,
	} {
		if err := step(parent, &c); err != nil {
			return c, err
		}
	}
	return c, nil
}

func narrowContainer(parent, c *Claims) error {
	if c.Container == "" {
		c.Container = parent.Container
	}
	if parent.Master || c.Container == parent.Container {
		return nil
	}
	child, err := parseContainers(c.Container)
	if err != nil {
		return err
	}
	if within, _ := parseContainers(parent.Container); !child.within(within) {
		return claimError("ten", "reaches beyond that of the token it is derived from", "name only containers of "+quote(parent.Container))
	}
	return nil
}

func narrowNames(parent, c *Claims) error {
	if parent.Names == nil {
		return nil
	}
	if c.Names == nil {
		c.Names = parent.Names
	}
	for _, name := range append(slices.Clone(c.Names), c.Name) {
		if name != "" && !slices.Contains(parent.Names, name) {
			return claimError("jtnm", "does not allow the webtask "+quote(name), "name one of "+strings.Join(parent.Names, ", "))
		}
	}
	return nil
}

func narrowTimes(parent, c *Claims) error {
	if c.NotBefore.IsZero() {
		c.NotBefore = parent.NotBefore
	}
	if c.NotBefore.Before(parent.NotBefore) {
		return claimError("nbf", "is before that of the token it is derived from", "write at least "+parent.NotBefore.UTC().Format(time.RFC3339))
	}
	if parent.Expires.IsZero() {
		return nil
	}
	if c.Expires.IsZero() {
		c.Expires = parent.Expires
	}
	if c.Expires.After(parent.Expires) {
		return claimError("exp", "is after that of the token it is derived from", "write at most "+parent.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

func narrowNet(parent, c *Claims) error {
	if c.Net == nil {
		c.Net = parent.Net
	}
	if err := checkNet(c.Net); err != nil {
		return err
	}
	if outside := outsideNet(parent.Net, c.Net); outside != "" {
		return claimError("net", quote(outside)+" is not within that of the token it is derived from", "name only hosts of "+strings.Join(parent.Net, ", "))
	}
	return nil
}

func narrowLimits(parent, c *Claims) error {
	for _, f := range limitFields {
		most, asked := f.value(&parent.Limits), f.value(&c.Limits)
		if most != 0 && asked > most {
			return claimError("lim."+f.Name, "is more than that of the token it is derived from", "write at most "+f.get(&parent.Limits))
		}
	}
	c.Limits = c.Limits.Narrow(parent.Limits)
	return nil
}

// keepFixed keeps what a parent fixes for all its descendants.
func keepFixed(parent, c *Claims) error {
	fixed := func(claim string) error {
		return claimError(claim, "is fixed by the token it is derived from", "leave it out")
	}
	if parent.Params != nil {
		if c.Params != nil && !maps.Equal(c.Params, parent.Params) {
			return fixed("pctx")
		}
		c.Params = parent.Params
	}
	if parent.Host != "" {
		if c.Host != "" && c.Host != parent.Host {
			return fixed("host")
		}
		c.Host = parent.Host
	}
	for _, w := range rateWindows {
		limit := w.limit(&c.RateLimit.Container)
		if most := *w.limit(&parent.RateLimit.Container); most != 0 {
			if *limit != 0 && *limit != most {
				return fixed("l" + w.suffix)
			}
			*limit = most
		}
	}
	return nil
}
