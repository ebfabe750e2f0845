-- KEYS meta members
-- ARGV node, ttl, age, how to publish, channel, body
local meta, members = KEYS[1], KEYS[2]
local epoch = redis.call('HGET', meta, 'e')
-- What it has done stays known: it may only have been away, and ask for that again.
if redis.call('HDEL', members, ARGV[1]) == 1 and epoch then
  tell(meta, epoch, redis.call('HGET', meta, 'o'), ARGV[6], ARGV[4], ARGV[5])
  keep(meta, members, ARGV[2], ARGV[3])
end
