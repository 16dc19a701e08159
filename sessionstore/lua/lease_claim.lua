-- Gives a key to a node, unless another has it.
--
-- ARGV: …, node, incarnation, number of the call, key, backend, least fencing token
-- Returns {'late'}; {'yours', fence}; {'held', fence, node, incarnation, backend, address};
-- {'quiet', µs} when nobody may have it yet; or {'none'} when the node has no
-- lease.
--
-- Who has the key already gets it again, with a new token: each process has one
-- of its own.

local node, incarnation, key, backend, least = ARGV[2], ARGV[3], ARGV[5], ARGV[6], tonumber(ARGV[7])
if not holds(node, incarnation) then
	return {'none'}
end
if late(node, incarnation, ARGV[4]) then
	return {'late'}
end
local fence, holder, held, theirs = owner(key)
if fence then
	if not (holder == node and held == incarnation) then
		local current, till, address = lease(holder)
		if current == held and now < till then
			return {'held', fence, holder, held, theirs, address}
		end
		-- The end of a lease may be one that was put off since.
		if (not current or current == held) and now < quiet then
			return {'quiet', text(quiet - now)}
		end
	end
elseif now < quiet then
	return {'quiet', text(quiet - now)}
end
local last = tonumber(redis.call('HGET', meta, 'fence') or '0')
local token = text(math.max(last + 1, now, least))
redis.call('HSET', meta, 'fence', token)
own(key, token, node, incarnation, backend)
return {'yours', token}
