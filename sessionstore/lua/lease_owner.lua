-- Tells who has a key.
--
-- ARGV: …, key
-- Returns {'held', fence, node, incarnation, backend, address}, or {'free'} when
-- nobody who has a lease does.

local fence, holder, held, backend = owner(ARGV[2])
if fence then
	local current, till, address = lease(holder)
	if current == held and now < till then
		return {'held', fence, holder, held, backend, address}
	end
end
return {'free'}
