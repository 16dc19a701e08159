-- Applies one change to a session, whole or not at all: everything that can
-- refuse it is looked at before the first write.
--
-- KEYS: session, index of the container's sessions by expiry[, session's new key]
-- ARGV: time to live in ms, id in the index, new id in the index or '',
--       create (0 or 1), destroy (0 or 1), limit of bytes or 0, limit of sessions or 0,
--       number of expectations, of assignments, of removals,
--       then each expectation (key, version), assignment (key, value), removal (key)
-- Returns {status[, fields and values]}; status is ok, absent, conflict, quota,
-- large (then the size that it would have) or taken.
--
-- The session is a hash: k:<key> has the entry (its format: codec.go), m:v the
-- version last given, m:t when the time to live was last restarted (ms).

local session, index = KEYS[1], KEYS[2]
local ttl, id, moved = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local create, destroy = ARGV[4] == '1', ARGV[5] == '1'
local maxBytes, maxSessions = tonumber(ARGV[6]), tonumber(ARGV[7])
local expects, sets, removes = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])

local firstExpect = 11
local firstSet = firstExpect + 2 * expects
local firstRemove = firstSet + 2 * sets

-- Lua writes large numbers as 1.7e+15 where it is not told otherwise.
local function text(number)
	return string.format('%.0f', number)
end

if destroy then
	redis.call('DEL', session)
	redis.call('ZREM', index, id)
	return {'ok', {}}
end

local exists = redis.call('EXISTS', session) == 1
if not exists and not create then
	return {'absent'}
end

for i = firstExpect, firstSet - 1, 2 do
	local entry = redis.call('HGET', session, 'k:' .. ARGV[i])
	local version = entry and struct.unpack('>I8', entry) or 0
	if version ~= tonumber(ARGV[i + 1]) then
		return {'conflict', redis.call('HGETALL', session)}
	end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- ZCOUNT, and not the number of members, so that sessions that have expired
-- but are still in the index do not count.
if not exists and maxSessions > 0 and redis.call('ZCOUNT', index, '(' .. text(now), '+inf') >= maxSessions then
	return {'quota'}
end
if moved ~= '' and redis.call('EXISTS', KEYS[3]) == 1 then
	return {'taken'}
end

if maxBytes > 0 and sets > 0 then
	local sizes = {}
	local fields = redis.call('HGETALL', session)
	for i = 1, #fields, 2 do
		if string.sub(fields[i], 1, 2) == 'k:' then
			sizes[fields[i]] = #fields[i] - 2 + struct.unpack('>I4', fields[i + 1], 10)
		end
	end
	for i = firstRemove, firstRemove + removes - 1 do
		sizes['k:' .. ARGV[i]] = nil
	end
	for i = firstSet, firstRemove - 1, 2 do
		sizes['k:' .. ARGV[i]] = #ARGV[i] + struct.unpack('>I4', ARGV[i + 1], 2)
	end
	local total = 0
	for _, size in pairs(sizes) do
		total = total + size
	end
	if total > maxBytes then
		return {'large', total}
	end
end

-- Versions start at the time of creation, so that a session that is made anew
-- under an old id never shows a version it had before.
local version = (tonumber(redis.call('HGET', session, 'm:v')) or time[1] * 1000000 + time[2]) + 1
redis.call('HSET', session, 'm:v', text(version), 'm:t', text(now))
for i = firstRemove, firstRemove + removes - 1 do
	redis.call('HDEL', session, 'k:' .. ARGV[i])
end
for i = firstSet, firstRemove - 1, 2 do
	redis.call('HSET', session, 'k:' .. ARGV[i], struct.pack('>I8', version) .. ARGV[i + 1])
end
if moved ~= '' then
	redis.call('RENAME', session, KEYS[3])
	redis.call('ZREM', index, id)
	session, id = KEYS[3], moved
end
redis.call('PEXPIREAT', session, text(now + ttl))
redis.call('ZADD', index, text(now + ttl), id)

-- The index sheds a bounded number of expired members with every write, and as
-- a whole when its last session has expired.
local expired = redis.call('ZRANGEBYSCORE', index, '-inf', text(now), 'LIMIT', 0, 100)
if #expired > 0 then
	redis.call('ZREM', index, unpack(expired))
end
if redis.call('PTTL', index) < ttl then
	redis.call('PEXPIRE', index, text(ttl))
end
return {'ok', redis.call('HGETALL', session)}
