-- KEYS meta members
-- ARGV node, ttl, age, how to publish, channel, body
-- What the node has done stays known for a day: it may only have been cut off, and ask for it again.
local meta, members = KEYS[1], KEYS[2]
local epoch = redis.call('HGET', meta, 'e')
if epoch then
  local time = now()
  redis.call('HSET', meta, 'd' .. ARGV[1], time)
  local all = redis.call('HGETALL', meta)
  for place = 1, #all, 2 do
    local kind, node = string.sub(all[place], 1, 1), string.sub(all[place], 2)
    if kind == 'd' and tonumber(all[place + 1]) < time - 86400000 then
      redis.call('HDEL', meta, 'a' .. node, 'd' .. node, 'm' .. node)
    end
  end
end
if redis.call('HDEL', members, ARGV[1]) == 1 and epoch then
  tell(meta, epoch, redis.call('HGET', meta, 'o'), ARGV[6], ARGV[4], ARGV[5])
  keep(meta, members, ARGV[2], ARGV[3])
end
