-- KEYS meta log members
-- ARGV node, its members, its last operation known to be done, an epoch for a new room, the epoch and
--      the number of the last envelope that were heard or '', the epoch and offset behind which
--      messages are wanted or '', ttl, age, how to publish, channel, body, messages that it has
--      published: a room that was lost does not know of them
local meta, log, members = KEYS[1], KEYS[2], KEYS[3]
local node, number, op = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local epoch = redis.call('HGET', meta, 'e')
local was_heard_further = epoch and epoch == ARGV[5]
  and tonumber(redis.call('HGET', meta, 's')) < tonumber(ARGV[6])
if not epoch or was_heard_further then
  epoch = ARGV[4]
  redis.call('DEL', log, meta, members)
  redis.call('HSET', meta, 'e', epoch, 's', 0, 'o', 0)
end
redis.call('HDEL', meta, 'd' .. node)
local done = tonumber(redis.call('HGET', meta, 'a' .. node) or '0')
local counted = tonumber(redis.call('HGET', members, node) or '0')
if done <= op and counted ~= number then
  count(members, node, number)
  tell(meta, epoch, redis.call('HGET', meta, 'o'), ARGV[13], ARGV[11], ARGV[12])
end
if tonumber(redis.call('HGET', meta, 'm' .. node) or '0') < tonumber(ARGV[14]) then
  redis.call('HSET', meta, 'm' .. node, ARGV[14])
end
keep(meta, members, ARGV[9], ARGV[10])
local messages = {}
if epoch == ARGV[7] then
  messages = redis.call('XRANGE', log, '(' .. ARGV[8] .. '-0', '+')
end
return {redis.call('HGETALL', meta), redis.call('HGETALL', members), messages}
