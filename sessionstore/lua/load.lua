-- Reads a session; restarts its time to live when a tenth of it has passed.
--
-- KEYS: session, index of the container's sessions by expiry
-- ARGV: time to live in ms, id in the index
-- Returns the hash's fields and values; nil if there is no such session.

local session, index = KEYS[1], KEYS[2]
local ttl, id = tonumber(ARGV[1]), ARGV[2]

local fields = redis.call('HGETALL', session)
if #fields == 0 then
	return false
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local touched = tonumber(redis.call('HGET', session, 'm:t'))
if (now - touched) * 10 > ttl then
	-- ZADD goes first: it is what Redis refuses when its memory is full, which
	-- is no reason to fail a read.
	local added = redis.pcall('ZADD', index, string.format('%.0f', now + ttl), id)
	if type(added) == 'table' and added.err then
		if string.sub(added.err, 1, 3) == 'OOM' then
			return fields
		end
		return added
	end
	redis.call('HSET', session, 'm:t', string.format('%.0f', now))
	redis.call('PEXPIREAT', session, string.format('%.0f', now + ttl))
	if redis.call('PTTL', index) < ttl then
		redis.call('PEXPIRE', index, string.format('%.0f', ttl))
	end
end
return fields
