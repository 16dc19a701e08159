-- Gives a key back.
--
-- ARGV: …, node, incarnation, key, fence, or '' for whatever the node has
-- Returns {'free'}, or {'lost'} when it was another's.

local fence, holder, held = owner(ARGV[4])
if fence and holder == ARGV[2] and held == ARGV[3] and (ARGV[5] == '' or ARGV[5] == fence) then
	redis.call('HDEL', owners, ARGV[4])
	return {'free'}
end
return {'lost'}
