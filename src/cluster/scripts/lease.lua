-- KEYS nodes: a sorted set of nodes, by the end of their lease
-- ARGV node, the time of a lease in milliseconds, how to publish, the node's own channel, a number
-- Renews the lease, says the number on the channel, and returns the nodes that have one.
local time = now()
redis.call('ZADD', KEYS[1], time + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time - 86400000)
redis.call('PEXPIRE', KEYS[1], 172800000)
redis.call(ARGV[3], ARGV[4], ARGV[5])
return redis.call('ZRANGEBYSCORE', KEYS[1], time, '+inf')
