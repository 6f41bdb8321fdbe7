-- Places in flight: leases that end by themselves.
-- KEYS: all leases, those of users with a share under 1; members are leases, scores their ends.
-- ARGV: step, lease in seconds, places, places of this share (0: all), members...
local step, lease_s, whole, part = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local ends = string.format('%.6f', now + lease_s)

if step == 'take' then
  for _, key in ipairs(KEYS) do
    redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.6f', now))
  end
  if redis.call('ZCARD', KEYS[1]) >= whole then return 0 end
  if part > 0 then
    if redis.call('ZCARD', KEYS[2]) >= part then return 0 end
    redis.call('ZADD', KEYS[2], ends, ARGV[5])
  end
  redis.call('ZADD', KEYS[1], ends, ARGV[5])
else
  for i = 5, #ARGV do
    if step == 'free' then
      redis.call('ZREM', KEYS[1], ARGV[i])
      redis.call('ZREM', KEYS[2], ARGV[i])
    else
      redis.call('ZADD', KEYS[1], 'XX', ends, ARGV[i])
      redis.call('ZADD', KEYS[2], 'XX', ends, ARGV[i])
    end
  end
end
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, math.ceil(lease_s * 2000))
end
return 1
