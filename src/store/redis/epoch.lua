-- The epoch: without arguments, looks at it. With two, sets it to the second where it still is the first, and says
-- "done" where it is the second already; so one that comes late, or twice, changes nothing.
--
-- KEYS: the streams chain, log, refused, state; the fields.
-- ARGV: nothing; or the epoch that was found, '-' for none or '+' and its bytes, and the next one.
-- Gives {'found', epoch, whether the store holds anything else}, {'done'}, {'type', key, type}.

for key, expected in ipairs({ 'stream', 'stream', 'stream', 'stream', 'hash' }) do
  local found = redis.call('TYPE', KEYS[key]).ok
  if found ~= 'none' and found ~= expected then
    return { 'type', tostring(key), found }
  end
end

local stored = redis.call('HGET', KEYS[5], 'epoch')
if #ARGV == 2 then
  -- What is there already is written again: the server may have read it from a log whose last sync never happened.
  if stored == ARGV[2] or (stored and '+' .. stored or '-') == ARGV[1] then
    local reply = redis.pcall('HSET', KEYS[5], 'epoch', ARGV[2])
    if type(reply) == 'table' and reply.err then
      return reply
    end
    return { 'done' }
  end
end

local used = redis.call('HEXISTS', KEYS[5], 'head') + redis.call('HEXISTS', KEYS[5], 'identity')
for stream = 1, 4 do
  used = used + redis.call('XLEN', KEYS[stream])
end
return { 'found', stored, used > 0 and 'used' or 'new' }
