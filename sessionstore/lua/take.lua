-- Counts a request in all windows, or in none if one of them is full.
--
-- KEYS: windows
-- ARGV: for each window its limit and how long it is kept, in ms
-- Returns 0, or the number of the first window that is full.

for i, window in ipairs(KEYS) do
	if tonumber(redis.call('GET', window) or '0') >= tonumber(ARGV[2 * i - 1]) then
		return i
	end
end
for i, window in ipairs(KEYS) do
	if redis.call('INCR', window) == 1 then
		redis.call('PEXPIRE', window, ARGV[2 * i])
	end
end
return 0
