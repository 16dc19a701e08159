-- Lists a page of revoked token ids.
--
-- KEYS: log (ids by cursor), until (ids by end, ms or inf), meta (hash)
-- ARGV: cursor, size of a page
-- Returns {the store's first and last cursor, whether it knows ARGV's cursor,
-- ids, their cursors and ends}; see revoke.lua.

local log, ends, meta = KEYS[1], KEYS[2], KEYS[3]
local cursor, page = ARGV[1], ARGV[2]

local range = redis.call('HMGET', meta, 'first', 'last')
local first, last = range[1] or '0', range[2] or '0'
local at = tonumber(cursor)
local known = at == 0 or (at >= tonumber(first) and at <= tonumber(last))
if not known then
	cursor = '0'
end

local found = redis.call('ZRANGEBYSCORE', log, '(' .. cursor, '+inf', 'WITHSCORES', 'LIMIT', 0, page)
local entries = {}
for i = 1, #found, 2 do
	entries[#entries + 1] = found[i]
	entries[#entries + 1] = string.format('%.0f', tonumber(found[i + 1]))
	entries[#entries + 1] = redis.call('ZSCORE', ends, found[i]) or 'inf'
end
return {last, known and 1 or 0, entries}
