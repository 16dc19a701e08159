package sessionstore

import _ "embed"

// Scripts about leases begin with the same lines.
var (
	//go:embed lua/lease_gate.lua
	gateSource string
	//go:embed lua/lease_renew.lua
	renewSource string
	//go:embed lua/lease_claim.lua
	claimSource string
	//go:embed lua/lease_owner.lua
	ownerSource string
	//go:embed lua/lease_reassert.lua
	reassertSource string
	//go:embed lua/lease_release.lua
	releaseSource string
	//go:embed lua/lease_leave.lua
	leaveSource string
	//go:embed lua/lease_prune.lua
	pruneSource string

	renewScript    = newScript(gateSource + renewSource)
	claimScript    = newScript(gateSource + claimSource)
	ownerScript    = newScript(gateSource + ownerSource)
	reassertScript = newScript(gateSource + reassertSource)
	releaseScript  = newScript(gateSource + releaseSource)
	leaveScript    = newScript(gateSource + leaveSource)
	pruneScript    = newScript(gateSource + pruneSource)
)
