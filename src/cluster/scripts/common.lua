-- Before every script. A room has three keys with one hash tag:
--   meta     hash: e epoch, s envelopes so far, o offset of the last message; of each node a its last
--            operation that was done, m messages that it has published, d when it was taken for gone
--   log      stream of envelopes with messages; an entry's id is the offset of its last message
--   members  hash: of each node its members, where it has any
-- Beside them stand the ids of messages, each with the epoch and the entry that has it: they may
-- outlive the epoch.
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Gives a node's words their place in the room, and tells everybody. Returns the envelope.
local function tell(meta, epoch, offset, body, publish, channel)
  local seq = redis.call('HINCRBY', meta, 's', 1)
  local envelope = struct.pack('>B', 1) .. epoch .. struct.pack('>I8I8I8', seq, offset, now()) .. body
  redis.call(publish, channel, envelope)
  return envelope
end

-- A room in use is kept as long as its nodes look after it; an empty one as long as its messages, for
-- those who come back.
local function keep(meta, members, ttl, age)
  if redis.call('EXISTS', members) == 0 then
    redis.call('PEXPIRE', meta, age)
  else
    redis.call('PEXPIRE', meta, ttl)
    redis.call('PEXPIRE', members, ttl)
  end
end

-- Sets the number of a node's members.
local function count(members, node, number)
  if number == 0 then
    redis.call('HDEL', members, node)
  else
    redis.call('HSET', members, node, number)
  end
end
