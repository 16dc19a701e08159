-- Gives the lease of a node back.
--
-- ARGV: …, node, incarnation
-- Returns {'free'}, or {'lost'} when another incarnation has one.

if lease(ARGV[2]) == ARGV[3] then
	redis.call('HDEL', nodes, ARGV[2])
	return {'free'}
end
return {'lost'}
