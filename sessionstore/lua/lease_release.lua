-- Gives a key back.
--
-- ARGV: …, node, incarnation, number of the call, key, fence, or '' for whatever the
--       node has
-- Returns {'late'}; {'free'}; or {'lost'} when it was another's, or the node has no
-- lease, and so nothing.

local node, incarnation, key = ARGV[2], ARGV[3], ARGV[5]
if not holds(node, incarnation) then
	return {'lost'}
end
if late(node, incarnation, ARGV[4]) then
	return {'late'}
end
local fence, holder, held = owner(key)
if fence and holder == node and held == incarnation and (ARGV[6] == '' or ARGV[6] == fence) then
	redis.call('HDEL', owners, key)
	return {'free'}
end
return {'lost'}
