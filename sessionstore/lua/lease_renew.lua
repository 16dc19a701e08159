-- Takes or renews the lease of a node.
--
-- ARGV: …, node, incarnation, time to live in µs, address, incarnation of which
--       nothing is left, or its first part, or ''
-- Returns {status, epoch}: renewed; taken, when there was none of this incarnation;
-- expired, when this incarnation's was over; other, when another incarnation has
-- one.

local node, incarnation, ttl, address, gone = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
local current, till = lease(node)
local status = 'taken'
-- What this server was is told by its run, and by when it was quiet last: it may be
-- one that was here before, or the same without what it knew.
local epoch = run .. ':' .. text(quiet)
if current == incarnation then
	if now >= till then
		return {'expired', epoch}
	end
	status = 'renewed'
elseif current and (now < till or now < quiet) and not (gone ~= '' and (current == gone or string.sub(current, 1, #gone + 1) == gone .. '.')) then
	return {'other', epoch}
end
redis.call('HSET', nodes, node, incarnation .. '|' .. text(now + ttl) .. '|' .. address)
return {status, epoch}
