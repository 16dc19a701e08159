-- Comes first in each script about leases of session backends.
--
-- KEYS: owners: a hash of keys of backends → fence|node|incarnation|backend
--       nodes: a hash of nodes → incarnation|end of its lease in µs|address
--       meta: a hash of run, quiet, fence, and the last call of each node
-- ARGV: for how long to be quiet, in µs
--
-- A server that is another than the last time, or was started anew, may have
-- lost the newest that was written. It is quiet for a while: what it does not
-- know is given to nobody, so that those who have it can say so.

local owners, nodes, meta = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- Lua writes large numbers as 1.7e+15 where it is not told otherwise.
local function text(number)
	return string.format('%.0f', number)
end

local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if not run then
	return redis.error_reply('ERR the server does not tell its run_id, by which leases know that it was restarted')
end
local known = redis.call('HMGET', meta, 'run', 'quiet')
local quiet = tonumber(known[2] or '0')
if known[1] ~= run then
	quiet = now + tonumber(ARGV[1])
	redis.call('HSET', meta, 'run', run, 'quiet', text(quiet))
end

-- Returns the incarnation of a node, the end of its lease, and its address.
local function lease(node)
	local value = redis.call('HGET', nodes, node)
	if not value then
		return nil, 0, ''
	end
	local incarnation, till, address = string.match(value, '^([^|]*)|([^|]*)|(.*)$')
	return incarnation, tonumber(till), address
end

-- Returns the fence, the node, the incarnation and the backend of a key's owner.
local function owner(key)
	local value = redis.call('HGET', owners, key)
	if not value then
		return nil
	end
	return string.match(value, '^([^|]*)|([^|]*)|([^|]*)|(.*)$')
end

local function own(key, fence, node, incarnation, backend)
	redis.call('HSET', owners, key, fence .. '|' .. node .. '|' .. incarnation .. '|' .. backend)
end

local function holds(node, incarnation)
	local current, till = lease(node)
	return current == incarnation and now < till
end

-- Reports whether a call of a node that has a lease comes after one that it made
-- later: its answer was not waited for, and what it asks for is not wanted any more.
local function late(node, incarnation, call)
	local last = redis.call('HGET', meta, 'call|' .. node) or ''
	local by, number = string.match(last, '^([^|]*)|(%d+)$')
	if by == incarnation and tonumber(call) < tonumber(number) then
		return true
	end
	redis.call('HSET', meta, 'call|' .. node, incarnation .. '|' .. call)
	return false
end

-- Has later fencing tokens be larger than this one.
local function raise(fence)
	if tonumber(fence) > tonumber(redis.call('HGET', meta, 'fence') or '0') then
		redis.call('HSET', meta, 'fence', fence)
	end
end
