-- The records of a stream, at least one where there is one, and none after the bound was passed.
--
-- KEYS: the stream. ARGV: first id, last id, bytes at most.
-- Gives {entry id, record, entry id, record, ...}; in place of what is no record stands nothing, and it is the last.

local last, bytes_max = ARGV[2], tonumber(ARGV[3])
local found, start, bytes = {}, ARGV[1], 0
repeat
  local entries = redis.pcall('XRANGE', KEYS[1], start, last, 'COUNT', 1)
  if entries.err then
    return entries
  end
  local entry = entries[1]
  if not entry then
    break
  end
  local id, fields = entry[1], entry[2]
  local record = #fields == 2 and fields[1] == 'record' and fields[2]
  table.insert(found, id)
  table.insert(found, record)
  bytes = bytes + (record and #record or 0)
  start = '(' .. id
until not record or bytes > bytes_max
return found
