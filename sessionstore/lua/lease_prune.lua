-- Forgets owners that have no lease any more, and nodes that have had none for
-- long.
--
-- ARGV: …, cursor, how long to remember a node in µs
-- Returns {the next cursor, how many were forgotten}.

local page = redis.call('HSCAN', owners, ARGV[2], 'COUNT', 200)
local forgotten = 0
if now >= quiet then
	for i = 1, #page[2], 2 do
		local _, holder, held = owner(page[2][i])
		if holder and not holds(holder, held) then
			forgotten = forgotten + redis.call('HDEL', owners, page[2][i])
		end
	end
	local all = redis.call('HGETALL', nodes)
	for i = 1, #all, 2 do
		local _, till = lease(all[i])
		if now - till > tonumber(ARGV[3]) then
			redis.call('HDEL', nodes, all[i])
			redis.call('HDEL', meta, 'call|' .. all[i])
		end
	end
end
return {page[1], text(forgotten)}
