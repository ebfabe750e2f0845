-- KEYS meta log members, and one for each id of a message
-- ARGV node, its members afterwards, its last operation among the events, messages that it has
--      published with these, messages among the events, how many the log keeps, ttl, age, how to
--      publish, channel, body
-- Returns nothing: the room is gone. A number: done. A table: for some ids, which they are and the
-- entry that has them.
local meta, log, members = KEYS[1], KEYS[2], KEYS[3]
local node, op, messages, most = ARGV[1], ARGV[3], tonumber(ARGV[5]), tonumber(ARGV[6])
local room = redis.call('HMGET', meta, 'e', 'o', 'a' .. node)
if not room[1] then
  return false
end
if tonumber(room[3] or '0') >= tonumber(op) then
  return 1
end
local repeated = {}
for place = 4, #KEYS do
  local known = redis.call('GET', KEYS[place])
  local id = known and string.sub(known, 1, 8) == room[1] and string.sub(known, 9)
  local entry = id and redis.call('XRANGE', log, id, id)[1]
  if entry then
    table.insert(repeated, {place - 4, entry[2][2]})
  end
end
if #repeated > 0 then
  return repeated
end
local offset = tonumber(room[2])
local last = offset + messages
redis.call('HSET', meta, 'o', last, 'a' .. node, op, 'm' .. node, ARGV[4])
count(members, node, tonumber(ARGV[2]))
keep(meta, members, ARGV[7], ARGV[8])
local envelope = tell(meta, room[1], offset, ARGV[11], ARGV[9], ARGV[10])
if messages > 0 and most > 0 then
  local id = string.format('%.0f-0', last)
  redis.call('XADD', log, id, 'e', envelope)
  redis.call('XTRIM', log, 'MINID', string.format('%.0f', math.max(0, last + 1 - most)))
  redis.call('PEXPIRE', log, ARGV[8])
  for place = 4, #KEYS do
    redis.call('SET', KEYS[place], room[1] .. id, 'PX', ARGV[8])
  end
end
return 1
