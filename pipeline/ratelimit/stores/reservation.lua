-- The law of reservation.py on sorted sets: read it there. Each step decides as it does there, to the last bit
-- (tests/ratelimit/test_two_laws.py), so times are doubles, and texts of them have all 17 digits.
-- KEYS: state (a hash), all reservations, those of the part of small shares, prefix of minutes.
-- ARGV: step, windows "requests:seconds ...", member, share, wait, the constants as JSON, permits.
-- Answers {wait, slot, margin, blocked for, since a whole share was about} as text, or {"windows", text} if others set other windows.
local step, windows_text, member = ARGV[1], ARGV[2], ARGV[3]
local share, wait_s = tonumber(ARGV[4]), tonumber(ARGV[5])
local C, IN_FLIGHT = cjson.decode(ARGV[6]), tonumber(ARGV[7])
local STATE, ALL, LOW, MINUTE = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local function text(x) return string.format('%.17g', x) end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6

local FIELDS = {'windows', 'next_at', 'blocked', 'margin', 'cut_at', 'decayed', 'step', 'full_seen',
  'advertised_requests', 'advertised_per_s', 'advertised_until', 'successes', 'next_lent'}
local read = redis.call('HMGET', STATE, unpack(FIELDS))
local s = {windows = read[1] or windows_text}
local FRESH = {margin = C.MARGIN_MIN, step = 0, advertised_requests = 0, advertised_per_s = 0, successes = 0}
for i = 2, #FIELDS do s[FIELDS[i]] = tonumber(read[i] or FRESH[FIELDS[i]] or C.LONG_AGO) end
if step == 'open' then s.windows = windows_text end
if s.windows ~= windows_text then return {'windows', s.windows} end

local windows, shortest, longest, most = {}, nil, nil, 0
local function add_window(n, w, at)
  local window = {n = n, w = w}
  windows[at or #windows + 1] = window
  if not shortest or window.w < shortest.w then shortest = window end
  if not longest or window.w > longest.w then longest = window end
  most = math.max(most, window.n)
end
for n, w in string.gmatch(s.windows, '(%d+):(%S+)') do add_window(tonumber(n), tonumber(w)) end
local function spacing_s()
  return shortest.w <= C.SHORT_S and C.SMOOTH * shortest.w / shortest.n or 0
end
local own_spacing_s, own_longest_s, cap = spacing_s(), longest.w, most + C.OUTSTANDING

if step == 'advertise' then
  s.advertised_requests = math.min(math.max(1, tonumber(member)), C.MAX_REQUESTS)
  s.advertised_per_s, s.advertised_until = wait_s, now + C.ADVERTISED_TTL_S
end
local advertised = now < s.advertised_until and s.advertised_until <= now + C.ADVERTISED_TTL_S
if advertised and s.advertised_requests >= 1 and s.advertised_per_s > 0 then
  local says_more = true
  for _, window in ipairs(windows) do
    local can_be = math.ceil(s.advertised_per_s / window.w) * window.n
    if can_be <= s.advertised_requests then says_more = false end
  end
  local parts = math.ceil(s.advertised_requests / most)
  if says_more then
    add_window(math.floor(s.advertised_requests / parts), s.advertised_per_s / parts, math.min(#windows + 1, C.MAX_WINDOWS))
    shortest, longest = windows[1], windows[1]
    for _, window in ipairs(windows) do
      if window.w < shortest.w then shortest = window end
      if window.w > longest.w then longest = window end
    end
  end
end

-- The n-th last entry at or before `at`, not counting `skip`.
local function back(key, at, n, skip)
  local later = redis.call('ZCOUNT', key, '(' .. text(at), '+inf')
  local i = later + n - 1
  if skip then
    local rank = redis.call('ZREVRANK', key, skip)
    if rank and rank >= later and rank <= i then i = i + 1 end
  end
  local entry = redis.call('ZREVRANGE', key, i, i, 'WITHSCORES')
  return entry[2] and tonumber(entry[2]) or C.LONG_AGO
end

local rules, lent_each_s = {}, 0
local function make_rules()
  local pad_s = s.margin * shortest.w
  for _, window in ipairs(windows) do
    local per_s = window.w + math.max(pad_s, C.LONG_PAD * window.w)
    rules[#rules + 1] = {key = ALL, n = window.n, per_s = per_s, for_all = true}
    local long = per_s > C.SHORT_S * 1.5
    local n = math.max(1, math.floor(window.n * share + 1e-9))
    if share < 1 and (long or now - s.full_seen < C.LENT_BACK_S) then
      rules[#rules + 1] = {key = LOW, n = n, per_s = per_s, for_all = false}
    end
    if share < 1 and long and window.n > n then
      lent_each_s = math.max(lent_each_s, per_s / (window.n - n))
    end
  end
end

local function allowed_at(at, skip, all_only)
  local allowed = at
  for _, rule in ipairs(rules) do
    if rule.for_all or not all_only then
      allowed = math.max(allowed, back(rule.key, at, rule.n, skip) + rule.per_s)
    end
  end
  return allowed
end

local function settle(at, all_only)
  for _ = 1, C.OUTSTANDING do
    local allowed = allowed_at(at, nil, all_only)
    if allowed <= at then break end
    at = allowed
  end
  return at
end

local function reserve()
  local at = settle(math.max(now, s.blocked, s.next_at - C.CATCH_UP_S), true)
  local slot = settle(at, false)
  if slot <= at then s.next_at = math.max(s.next_at, at) + spacing_s() end
  return at, slot
end

local function put(at)
  redis.call('ZADD', ALL, text(at), member)
  if share < 1 then redis.call('ZADD', LOW, text(at), member) end
end

-- What this minute had: its requests, ':throttled' or ':waited'.
local minute = MINUTE .. math.floor(now / 60)
local function count(what, by)
  local key = minute .. what
  redis.call('INCRBYFLOAT', key, by)
  redis.call('EXPIRE', key, 3700)
end

local function newest_of(key)
  local entry = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
  return entry[2] and tonumber(entry[2]) or C.LONG_AGO
end

-- The clock was set back: drop the times that it left in the future.
local function forget_other_clock()
  if s.blocked > now + C.MAX_BLOCK_S + 1 then s.blocked = now end
  local horizon = math.max(now, s.blocked) + 60 + C.OUTSTANDING * 2 * own_longest_s
  if s.next_at > horizon or newest_of(ALL) > horizon then
    redis.call('DEL', ALL, LOW)
    s.next_at, s.full_seen, s.next_lent = C.LONG_AGO, C.LONG_AGO, C.LONG_AGO
  end
end

local function decay()
  if now - s.decayed < 1 then return end
  local half_life_s = s.step <= C.FIRST_STEP and C.HICCUP_HALF_LIFE_S or C.HALF_LIFE_S
  local excess = math.max(0, s.margin - C.MARGIN_MIN)
  s.margin = C.MARGIN_MIN + excess * 0.5 ^ ((now - s.decayed) / half_life_s)
  s.decayed = now
end

local function take()
  local slot = redis.call('ZSCORE', ALL, member)
  if step == 'reserve' then
    forget_other_clock()
    decay()
    slot = redis.call('ZSCORE', ALL, member)
  end
  make_rules()
  if share >= 1 then s.full_seen = math.max(s.full_seen, now) end
  slot = slot and tonumber(slot)
  local due, turn_at = not slot or now >= slot, now
  if not slot or now < s.blocked then
    turn_at, slot = reserve()
    put(slot)
  end
  if share >= 1 then s.full_seen = math.max(s.full_seen, slot) end
  local own_at, lent_at = math.max(slot, allowed_at(now, member, false)), math.huge
  if lent_each_s > 0 then
    local at = math.max(turn_at, s.next_lent, s.full_seen + lent_each_s, s.blocked)
    lent_at = allowed_at(at, member, true)
  end
  local wait = math.min(own_at, lent_at) - now
  if wait > C.EPSILON_S then
    if due or lent_at < own_at then count(':waited', text(wait)) end
    return wait, slot
  end
  local sent_at = math.max(now, slot)
  if lent_at <= now + C.EPSILON_S then
    sent_at = math.max(now, lent_at)
    redis.call('ZREM', LOW, member)
    redis.call('ZADD', ALL, text(sent_at), member)
    s.next_lent = math.max(s.next_lent, sent_at - C.CATCH_UP_S) + lent_each_s
  else
    put(sent_at)
  end
  s.successes = s.successes + 1
  count('', 1)
  for _, key in ipairs({ALL, LOW}) do
    redis.call('ZREMRANGEBYRANK', key, 0, -(cap + 1))
    redis.call('EXPIRE', key, math.ceil(longest.w * 2 + 600))
  end
  return 0, sent_at
end

local function block()
  s.blocked = math.max(s.blocked, now + math.min(math.max(wait_s, 0), C.MAX_BLOCK_S))
end

local function goes_on()
  local quiet_at = math.max(s.cut_at, s.blocked) + C.QUIET_S
  return s.successes <= math.min(IN_FLIGHT, shortest.n) and now < quiet_at
end

local function cut()
  local cool_down_s = math.max(C.COOL_DOWN_MIN_S, shortest.w, math.min(wait_s, 60))
  if now < s.cut_at + cool_down_s or goes_on() then return end
  local again = now < s.cut_at + cool_down_s + C.AGAIN_S
  s.step = again and C.STEP_AGAIN or C.FIRST_STEP
  s.margin = math.min(C.MARGIN_MAX, s.margin + s.step)
  s.cut_at, s.decayed, s.successes = now, now, 0
end

local function give_back()
  local slot = tonumber(redis.call('ZSCORE', ALL, member) or C.LONG_AGO)
  if slot == C.LONG_AGO or slot ~= newest_of(ALL) then return end
  redis.call('ZREM', ALL, member)
  redis.call('ZREM', LOW, member)
  s.next_at = math.min(s.next_at, slot)
end

local function forget()
  redis.call('ZREM', ALL, member)
  redis.call('ZREM', LOW, member)
  s.next_at = math.min(s.next_at, newest_of(ALL) + own_spacing_s)
end

local function departed()
  for _, key in ipairs({ALL, LOW}) do
    redis.call('ZADD', key, 'XX', 'INCR', text(math.max(0, wait_s)), member)
  end
end

if step == 'throttled' then
  count(':throttled', 1)
  s.successes = math.max(0, s.successes - 1)
end
if step == 'throttled' and wait_s < 0 and now < s.blocked then
  wait_s = 0
elseif step == 'throttled' and wait_s < 0 then
  local soon = now < s.cut_at + math.max(C.COOL_DOWN_MIN_S, shortest.w)
  local first = not (soon or goes_on())
  wait_s = first and math.min(C.SURE_WAIT_S, C.FIRST_PART * shortest.w) or C.SURE_WAIT_S
end
local wait, slot = 0, 0
if step == 'reserve' or step == 'take' then wait, slot = take() end
if step == 'throttled' then cut() end
if step == 'block' or step == 'throttled' then block() end
if step == 'give_back' then give_back() end
if step == 'forget' then forget() end
if step == 'departed' then departed() end
local written = {}
for _, field in ipairs(FIELDS) do
  written[#written + 1] = field
  written[#written + 1] = field == 'windows' and s.windows or text(s[field])
end
redis.call('HSET', STATE, unpack(written))
redis.call('EXPIRE', STATE, 604800)
return {text(wait), text(slot), text(s.margin), text(math.max(0, s.blocked - now)), text(now - s.full_seen)}
