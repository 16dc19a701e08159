package webtask

import "slices"

// What a token may do. Whoever holds a token that names code, secrets or a
// webtask is a caller of that webtask and not the tenant: such a token runs
// it, may revoke itself, and nothing else.

// CanRun reports whether the token names code to run.
func (v *Verified) CanRun() bool { return v.claims.URL != "" }

// CanManage reports whether the token may call APIs other than to run a
// webtask or to revoke itself.
func (v *Verified) CanManage() bool {
	return v.claims.URL == "" && v.claims.sealed == "" && v.claims.Name == ""
}

// CanIssue reports whether tokens may be derived from the token.
func (v *Verified) CanIssue() bool { return v.CanManage() && v.claims.Depth > 0 }

// CanRevokeSelf reports whether the token may revoke itself (dr is not 1).
func (v *Verified) CanRevokeSelf() bool { return !v.claims.NoSelfRevoke }

// AllowsContainer reports whether ten names container, or the token is a
// master. No token reaches the containers of the Caddyfile's own sites ("@…").
func (v *Verified) AllowsContainer(container string) bool {
	if v.claims.Master {
		return checkName(container) == nil
	}
	return v.containers.allows(container)
}

// AllowsName reports whether API calls of the token may touch the webtask
// called name (jtnm).
func (v *Verified) AllowsName(name string) bool {
	return v.claims.Names == nil || slices.Contains(v.claims.Names, name)
}
