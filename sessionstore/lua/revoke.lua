-- Adds a revoked token id.
--
-- KEYS: log (ids by cursor), until (ids by end, ms or inf), meta (hash)
-- ARGV: id, end in ms or inf
--
-- A cursor is the time of its entry in us, made to grow: entries added after a
-- failover to a replica that lagged behind still come after all that any edge
-- has seen. meta has the first cursor ever given (first) and the last.

local log, ends, meta = KEYS[1], KEYS[2], KEYS[3]
local id, till = ARGV[1], ARGV[2]

local time = redis.call('TIME')
local cursor = time[1] * 1000000 + time[2]
local last = tonumber(redis.call('HGET', meta, 'last'))
if last and last >= cursor then
	cursor = last + 1
end
local text = string.format('%.0f', cursor)
redis.call('HSET', meta, 'last', text)
redis.call('HSETNX', meta, 'first', text)
redis.call('ZADD', log, text, id)
redis.call('ZADD', ends, 'GT', till, id)

local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local over = redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 100)
if #over > 0 then
	redis.call('ZREM', ends, unpack(over))
	redis.call('ZREM', log, unpack(over))
end
return text
