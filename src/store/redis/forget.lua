-- Takes blocks out of the chain that an archive holds: never the last one, on which the next write follows. Those that
-- are gone already are no matter.
--
-- KEYS: the streams chain, log, refused, state; the fields. ARGV: the epoch; the ids of the blocks' entries.
-- Gives {'applied'}, {'epoch', stored}, {'record', stream, id}, {'type', key, type}.

for key, expected in ipairs({ 'stream', 'stream', 'stream', 'stream', 'hash' }) do
  local found = redis.call('TYPE', KEYS[key]).ok
  if found ~= 'none' and found ~= expected then
    return { 'type', tostring(key), found }
  end
end

local stored_epoch = redis.call('HGET', KEYS[5], 'epoch')
if stored_epoch ~= ARGV[1] then
  return { 'epoch', stored_epoch }
end

local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
for index = 2, #ARGV do
  if not last or ARGV[index] == last[1] then
    return { 'record', '1', ARGV[index]:match('^%d+') }
  end
end

local reply = redis.pcall('XDEL', KEYS[1], unpack(ARGV, 2))
if type(reply) == 'table' and reply.err then
  return reply
end
return { 'applied' }
