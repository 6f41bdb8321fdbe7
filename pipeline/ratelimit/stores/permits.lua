-- Permits in flight: leases that end by themselves.
-- KEYS: all leases, those of the part of small shares, the slots' state; members are leases, scores
-- their ends.
-- ARGV: step, lease in seconds, permits, permits of this share (0: all), LENT_BACK_S, members...
-- Answers {0: none free, 1: a permit of the share's part, 2: one that is lent; since when nobody with
-- the whole share was about}.
local step, lease_s, whole, part = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local LENT_BACK_S, LEASES, FIRST = tonumber(ARGV[5]), {KEYS[1], KEYS[2]}, 6
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local ends = string.format('%.6f', now + lease_s)
local full_seen = tonumber(redis.call('HGET', KEYS[3], 'full_seen') or '0')
local taken = 1

if step == 'take' then
  for _, key in ipairs(LEASES) do
    redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.6f', now))
  end
  if part > 0 and redis.call('ZCARD', KEYS[2]) >= part then
    taken = now - full_seen < LENT_BACK_S and 0 or 2
  end
  if redis.call('ZCARD', KEYS[1]) >= whole then
    taken = 0
    if part == 0 then
      full_seen = math.max(full_seen, now)
      redis.call('HSET', KEYS[3], 'full_seen', string.format('%.17g', full_seen))
    end
  end
  if taken > 0 then redis.call('ZADD', KEYS[1], ends, ARGV[FIRST]) end
  if taken == 1 and part > 0 then redis.call('ZADD', KEYS[2], ends, ARGV[FIRST]) end
elseif step ~= 'look' then
  for i = FIRST, #ARGV do
    if step == 'free' then
      redis.call('ZREM', KEYS[1], ARGV[i])
      redis.call('ZREM', KEYS[2], ARGV[i])
    else
      redis.call('ZADD', KEYS[1], 'XX', ends, ARGV[i])
      redis.call('ZADD', KEYS[2], 'XX', ends, ARGV[i])
    end
  end
end
for _, key in ipairs(LEASES) do
  redis.call('PEXPIRE', key, math.ceil(lease_s * 2000))
end
return {taken, string.format('%.6f', now - full_seen)}
