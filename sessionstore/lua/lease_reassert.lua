-- Says again which keys a node has, to a server that may have forgotten.
--
-- ARGV: …, node, incarnation, number of the call, then for each key itself, fence and
--       backend
-- Returns {'late'}; {'kept', the keys that are lost}, or {'none'} when the node has no lease.
--
-- A key that the server does not know is restored while it is quiet. Later on,
-- somebody else may have had it.

local node, incarnation = ARGV[2], ARGV[3]
if not holds(node, incarnation) then
	return {'none'}
end
if late(node, incarnation, ARGV[4]) then
	return {'late'}
end
local lost = {'kept'}
for i = 5, #ARGV, 3 do
	local key, fence, backend = ARGV[i], ARGV[i + 1], ARGV[i + 2]
	local current, holder, held = owner(key)
	raise(fence)
	if not current and now < quiet then
		own(key, fence, node, incarnation, backend)
	elseif not (current == fence and holder == node and held == incarnation) then
		lost[#lost + 1] = key
	end
end
return lost
