-- Takes or renews the lease of a node.
--
-- ARGV: …, node, incarnation, time to live in µs, address, incarnation of which
--       nothing is left, or its first part, or ''
-- Returns {status, run}: renewed; taken, when there was none of this incarnation;
-- expired, when this incarnation's was over; other, when another incarnation has
-- one.

local node, incarnation, ttl, address, gone = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
local current, till = lease(node)
local status = 'taken'
if current == incarnation then
	if now >= till then
		return {'expired', run}
	end
	status = 'renewed'
elseif current and now < till and not (gone ~= '' and (current == gone or string.sub(current, 1, #gone + 1) == gone .. '.')) then
	return {'other', run}
end
redis.call('HSET', nodes, node, incarnation .. '|' .. text(now + ttl) .. '|' .. address)
return {status, run}
