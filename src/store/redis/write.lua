-- One write. Redis takes nothing back of a script that fails, so that everything is checked before the first change,
-- and after it no command can fail.
--
-- KEYS: the streams chain, log, refused, state; the fields.
-- ARGV: the epoch; the head before; the new head; then four lists, each after its length: appends (stream, id of the
--       record before or '', id, record), trims (stream, first id that stays), fields to set (name, value), fields
--       to delete (name). The head before is '-' for none, or '+' and its bytes.
-- Gives what was found: {'applied'}, {'done'}, {'epoch', stored}, {'head', stored}, {'record', stream, id},
--       {'field', name}, {'type', key, type}.

local position = 3
local function argument()
  position = position + 1
  return ARGV[position]
end

local function list(read)
  local items = {}
  for index = 1, tonumber(argument()) do
    items[index] = read()
  end
  return items
end

local epoch, head_before, head = ARGV[1], ARGV[2], ARGV[3]
local appends = list(function()
  local stream, after = tonumber(argument()), argument()
  local id = argument()
  return { stream = stream, after = after, id = id, record = argument() }
end)
local trims = list(function()
  local stream = tonumber(argument())
  return { stream = stream, first_kept = argument() }
end)
local sets = list(function()
  local name = argument()
  return { name = name, value = argument() }
end)
local deletes = list(argument)

-- Redis has no entry 0-0, where genesis would be.
local function entry_id(id)
  return id == '0' and '0-1' or id .. '-0'
end

local function number_of(entry)
  return entry:match('^%d+')
end

-- Ids have 64 bits, numbers of Lua 53: they are compared as texts.
local function below(a, b)
  if #a ~= #b then
    return #a < #b
  end
  return a < b
end

local function entry_below(a, b)
  local a_number, a_rest = a:match('^(%d+)-(%d+)$')
  local b_number, b_rest = b:match('^(%d+)-(%d+)$')
  return below(a_number, b_number) or (a_number == b_number and below(a_rest, b_rest))
end

local there = {}
for key, expected in ipairs({ 'stream', 'stream', 'stream', 'stream', 'hash' }) do
  local found = redis.call('TYPE', KEYS[key]).ok
  if found ~= 'none' and found ~= expected then
    return { 'type', tostring(key), found }
  end
  there[key] = found ~= 'none'
end

local stored_epoch = redis.call('HGET', KEYS[5], 'epoch')
if stored_epoch ~= epoch then
  return { 'epoch', stored_epoch }
end

-- What is there already may have been read from a log whose last sync never happened, by a server that was killed before
-- it: so something is written again, and the answer waits for its sync, and with it for that of all before.
local function done()
  for _, append in ipairs(appends) do
    local trimmed = false
    for _, trim in ipairs(trims) do
      trimmed = trimmed or (trim.stream == append.stream and below(append.id, trim.first_kept))
    end
    if not trimmed then
      local id = entry_id(append.id)
      local found = redis.call('XRANGE', KEYS[append.stream], id, id)[1]
      local fields = found and found[2] or {}
      if #fields ~= 2 or fields[1] ~= 'record' or fields[2] ~= append.record then
        return { 'record', tostring(append.stream), append.id }
      end
    end
  end
  for _, trim in ipairs(trims) do
    local first = redis.call('XRANGE', KEYS[trim.stream], '-', '+', 'COUNT', 1)[1]
    if first and below(number_of(first[1]), trim.first_kept) then
      return { 'record', tostring(trim.stream), number_of(first[1]) }
    end
  end
  for _, set in ipairs(sets) do
    if redis.call('HGET', KEYS[5], set.name) ~= set.value then
      return { 'field', set.name }
    end
  end
  for _, name in ipairs(deletes) do
    if redis.call('HGET', KEYS[5], name) then
      return { 'field', name }
    end
  end
  local reply = redis.pcall('HSET', KEYS[5], 'epoch', epoch)
  if type(reply) == 'table' and reply.err then
    return reply
  end
  return { 'done' }
end

local stored_head = redis.call('HGET', KEYS[5], 'head')
if (stored_head and '+' .. stored_head or '-') ~= head_before then
  if stored_head == head then
    return done()
  end
  return { 'head', stored_head }
end

-- The last entry of a stream, and the id that XADD must exceed: that of an entry which may be gone by now.
local function end_of(stream)
  local last, generated = '', '0-0'
  if there[stream] then
    local info = redis.call('XINFO', 'STREAM', KEYS[stream])
    for index = 1, #info, 2 do
      if info[index] == 'last-generated-id' then
        generated = info[index + 1]
      elseif info[index] == 'last-entry' and info[index + 1] then
        last = info[index + 1][1]
      end
    end
  end
  return { last = last, generated = generated }
end

local ends = {}
for _, append in ipairs(appends) do
  local stream, id = append.stream, entry_id(append.id)
  local found = ends[stream] or end_of(stream)
  if found.last ~= (append.after == '' and '' or entry_id(append.after)) then
    local id_there = number_of(found.last) or (append.after ~= '' and append.after) or append.id
    return { 'record', tostring(stream), id_there }
  end
  if not entry_below(found.generated, id) then
    return { 'record', tostring(stream), append.id }
  end
  ends[stream] = { last = id, generated = id }
end

-- What changes nothing goes first, so that a command which this user may not run, or which was renamed, fails here.
-- The very first is one that Redis refuses when its memory is full: it looks at that once in a script.
local rehearsal = { { 'HSET', KEYS[5], 'epoch', epoch }, { 'HDEL', KEYS[5], '' } }
local touched = {}
for _, changes in ipairs({ appends, trims }) do
  for _, change in ipairs(changes) do
    touched[change.stream] = true
  end
end
for stream = 1, 4 do
  if touched[stream] then
    table.insert(rehearsal, { 'XTRIM', KEYS[stream], 'MINID', '0' })
  end
end
for _, command in ipairs(rehearsal) do
  local reply = redis.pcall(unpack(command))
  if type(reply) == 'table' and reply.err then
    return reply
  end
end

for _, append in ipairs(appends) do
  local reply = redis.pcall('XADD', KEYS[append.stream], entry_id(append.id), 'record', append.record)
  if type(reply) == 'table' and reply.err then
    return reply
  end
end
for _, trim in ipairs(trims) do
  redis.call('XTRIM', KEYS[trim.stream], 'MINID', trim.first_kept)
end
for _, set in ipairs(sets) do
  redis.call('HSET', KEYS[5], set.name, set.value)
end
for _, name in ipairs(deletes) do
  redis.call('HDEL', KEYS[5], name)
end
return { 'applied' }
