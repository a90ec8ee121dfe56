-- Admission, settlement, leases and epochs. Version 1.
--
-- Called by gateway/storage/redis/script.py, which packs the items and reads the answers, as
--   EVALSHA sha numkeys [key] run_id payload
-- run_id   the run ID of this server, as the connection learnt it at its handshake
-- payload  msgpack of a list of items; the reply is msgpack of a list with one answer an item, in order
--
-- On a Cluster all items are of one account and the key routes the call; elsewhere they are of any accounts.
-- Each item is decided by itself, after the ones before it: it reads all, checks all, then writes all or nothing. Items may be
-- repeated safely. The rules of the buckets are those of gateway/domain/buckets.py, to the unit: levels in millionths, times in
-- microseconds of this server's clock, divisions before multiplications, every number below 2^53.
--
--   {1, account, call, epoch, nonce, lease_us, tokens, claims, slots}
--        admit; a claim is {bucket, limit, capacity, amount, rank}, a slot {name, limit}: how many calls may be open at once
--        -> {0, now, remaining, reset_us, ...}                    admitted, with a pair a claim
--        -> {1, now, index, wait_us, remaining, reset_us, ...}    refused by the claim, or behind the claims the slot, at
--                                                                 `index` (from 0); nothing taken
--        -> {2, now, nonce}                                       stale: read the principal again; "" if there is no nonce
--   {2, account, call, tokens, actual, claims, slots}             settle; a claim is {bucket, limit, capacity, amount}, a slot
--                                                                 its name
--        -> 1 if the reservation was open, else 0
--   {3, account, lease_us, epochs, calls}                         renew leases; a call is {call, tokens, slot, ...}
--        -> {stale (1 or 0) an epoch, ...}
--   {4, account, epoch}                                           raise -> 1
--   {5, account}                                                  -> {reserved, overdrawn, settled, given back, expired, live},
--                                                                 or false where too many calls are open to be added up
--   {6, account, claims}                                          look; a claim is {bucket, limit, capacity}
--        -> {open calls, remaining, reset_us, ...}                with a pair a claim, below 0 in debt; changes nothing
--
-- rank is 2 * kind + level, which breaks ties: requests before tokens, workspace before account. A member is `call|tokens`.
--
-- Keys of an account:  gw:{account}:epoch    N@R, or ?nonce@R for two seconds after a loss. R names this server's time as a
--                                            master: its run ID, and its replication ID, which is another after a fail-over
--                                            and back. So what it wrote before, or what another wrote, counts for nothing.
--                      gw:{account}:open     sorted set of members by the end of their lease
--                      gw:{account}:s:...    a slot: sorted set of calls by the end of their lease
--                      gw:{account}:tokens   hash of the sums r, o, s, g, e
--                      gw:{account}:b:...    a bucket: level, time, limit, capacity as four doubles

local MICRO, MINUTE, GRACE_MS, NONCE_MS, SWEPT, SLOT_WAIT = 1000000, 60, 1000, 2000, 100, 1000000
local ADDED_UP = 1000 -- open calls of an account; more would keep the server for more than a millisecond
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
local call, pack, unpack_struct = redis.call, struct.pack, struct.unpack

local payload = ARGV[2]
local run = ARGV[1] .. ':' .. string.match(call('INFO', 'replication'), 'master_replid:(%w+)')
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function refill_us(micro, limit)
  if micro <= 0 then return 0 end
  local whole = floor(micro / limit)
  return whole * MINUTE + ceil((micro - whole * limit) * MINUTE / limit)
end

local function refilled(micro, at, limit, capacity)
  local full = capacity * MICRO
  if not micro then return full, now end
  if micro >= full or now <= at then return min(micro, full), now end
  local elapsed = min(now - at, refill_us(full - micro, limit))
  local whole = floor(elapsed / MINUTE)
  local part = (elapsed - whole * MINUTE) * limit
  local gained = floor(part / MINUTE)
  micro = micro + whole * limit + gained
  if micro >= full then return full, now end
  return micro, now - floor((part - gained * MINUTE) / limit)
end

local function reset_us(micro, at, limit, capacity)
  return max(0, refill_us(capacity * MICRO - micro, limit) - (now - at))
end

local function load(key)
  local stored = call('GET', key)
  if not stored then return nil end
  return unpack_struct('<dddd', stored)
end

local function store(key, micro, at, limit, capacity)
  local ttl = ceil(reset_us(micro, at, limit, capacity) / 1000) + GRACE_MS
  call('SET', key, pack('<dddd', micro, at, limit, capacity), 'PX', ttl)
end

-- Fails where this server may not write: a replica, or (from Redis 7 on) a master that lacks replicas. There a newer epoch may be in
-- force than the one it knows, and the server refuses by itself only what writes. Changes nothing: an epoch has no time to live.
local function reign(key)
  call('PERSIST', key)
end

-- Whether the caller's epoch holds; else false and the nonce, if there is one. The caller's epoch comes from the database, which
-- is the authority: one that is ahead of the stored one is in force already, its raise is on the way.
local function epoch_holds(prefix, epoch, nonce, id)
  local key = prefix .. 'epoch'
  local stored = call('GET', key)
  local mine = string.format('%.0f', epoch) .. '@' .. run
  if stored == mine then return true end
  if stored then
    local number, writer = string.match(stored, '^(.-)@(.*)$')
    if writer == run then
      local present = string.match(number, '^%?(.*)$')
      if present then
        if nonce ~= present then return false, present end
      elseif tonumber(number) > epoch then
        return false, ''
      end
      call('SET', key, mine)
      return true
    end
  end
  local fresh = id .. ':' .. string.format('%.0f', now)
  call('SET', key, '?' .. fresh .. '@' .. run, 'PX', NONCE_MS)
  return false, fresh
end

local function hold_slot(key, id, lease_us)
  call('ZADD', key, now + lease_us, id)
  call('PEXPIRE', key, ceil(lease_us / 1000) + GRACE_MS)
end

-- The number of the first slot that is not free, if there is one.
local function full_slot(prefix, slots)
  for index, slot in ipairs(slots) do
    local key = prefix .. 's:' .. slot[1]
    call('ZREMRANGEBYSCORE', key, '-inf', '(' .. string.format('%.0f', now))
    if call('ZCARD', key) >= slot[2] then return index end
  end
end

local function admit(item)
  local prefix, id, claims, slots = 'gw:{' .. item[2] .. '}:', item[3], item[8], item[9]
  local holds, nonce = epoch_holds(prefix, item[4], item[5], id)
  if not holds then return {2, now, nonce} end
  if #claims == 0 and #slots == 0 then
    reign(prefix .. 'epoch')
    return {0, now}
  end
  local open, member = prefix .. 'open', id .. '|' .. string.format('%.0f', item[7])
  local again = call('ZSCORE', open, member)
  local longest, refused, rank = 0, 0, 0
  local states = {}
  for index, claim in ipairs(claims) do
    local limit, capacity, key = claim[2], claim[3], prefix .. 'b:' .. claim[1]
    local micro, at, old_limit, old_capacity = load(key)
    local level, since = refilled(micro, at, limit, capacity)
    local changed = old_limit ~= limit or old_capacity ~= capacity
    if not micro or at > now then micro, at, changed = level, since, true end
    local missing, wait = claim[4] * MICRO - micro, 0
    if missing > 0 then wait = max(0, refill_us(missing, limit) - (now - at)) end
    if wait > longest or (wait == longest and wait > 0 and claim[5] < rank) then
      longest, refused, rank = wait, index, claim[5]
    end
    states[index] = {key, level, since, micro, at, changed}
  end
  local full = not again and longest < SLOT_WAIT and full_slot(prefix, slots)
  if again then longest = 0 elseif full then longest, refused = SLOT_WAIT, #claims + full end
  local answer = longest > 0 and {1, now, refused - 1, longest} or {0, now}
  for index, claim in ipairs(claims) do
    local state, limit, capacity = states[index], claim[2], claim[3]
    local level, since = state[2], state[3]
    if longest > 0 then
      if state[6] then store(state[1], state[4], state[5], limit, capacity) end
    elseif not again then
      level = level - claim[4] * MICRO
      store(state[1], level, since, limit, capacity)
    end
    answer[#answer + 1] = max(0, floor(level / MICRO))
    answer[#answer + 1] = reset_us(level, since, limit, capacity)
  end
  if longest == 0 and not again then
    call('ZADD', open, now + item[6], member)
    for _, slot in ipairs(slots) do hold_slot(prefix .. 's:' .. slot[1], id, item[6]) end
    if item[7] > 0 then call('HINCRBY', prefix .. 'tokens', 'r', item[7]) end
  end
  return answer
end

local function settle(item)
  local prefix, actual = 'gw:{' .. item[2] .. '}:', item[5]
  local member = item[3] .. '|' .. string.format('%.0f', item[4])
  if call('ZREM', prefix .. 'open', member) == 0 then return 0 end
  for _, slot in ipairs(item[7]) do call('ZREM', prefix .. 's:' .. slot, item[3]) end
  local over, back = 0, 0
  for _, claim in ipairs(item[6]) do
    local key, amount = prefix .. 'b:' .. claim[1], claim[4]
    local micro, at, limit, capacity = load(key)
    -- By the limits of now: a call of before a change must not clamp the bucket to those of then.
    limit, capacity = limit or claim[2], capacity or claim[3]
    local level, since = refilled(micro, at, limit, capacity)
    store(key, min(level + (amount - actual) * MICRO, capacity * MICRO), since, limit, capacity)
    over, back = over + max(0, actual - amount), back + max(0, amount - actual)
  end
  if #item[6] > 0 then
    local sums = prefix .. 'tokens'
    call('HINCRBY', sums, 's', actual * #item[6])
    if over > 0 then call('HINCRBY', sums, 'o', over) end
    if back > 0 then call('HINCRBY', sums, 'g', back) end
  end
  return 1
end

-- A lapsed lease's tokens are not given back: nobody knows what was used.
local function sweep(prefix)
  local open = prefix .. 'open'
  local lapsed = call('ZRANGEBYSCORE', open, '-inf', '(' .. string.format('%.0f', now), 'LIMIT', 0, SWEPT)
  local tokens = 0
  for _, member in ipairs(lapsed) do
    call('ZREM', open, member)
    tokens = tokens + string.match(member, '|(%d+)$')
  end
  if tokens > 0 then call('HINCRBY', prefix .. 'tokens', 'e', tokens) end
end

local function renew(item)
  local prefix, answer = 'gw:{' .. item[2] .. '}:', {}
  local stored = call('GET', prefix .. 'epoch')
  for index, epoch in ipairs(item[4]) do
    answer[index] = stored == string.format('%.0f', epoch) .. '@' .. run and 0 or 1
  end
  for _, one in ipairs(item[5]) do
    local member = one[1] .. '|' .. string.format('%.0f', one[2])
    call('ZADD', prefix .. 'open', 'XX', now + item[3], member)
    for index = 3, #one do
      if call('ZSCORE', prefix .. 's:' .. one[index], one[1]) then hold_slot(prefix .. 's:' .. one[index], one[1], item[3]) end
    end
  end
  sweep(prefix)
  return answer
end

-- Never lowers an epoch. Over a missing, foreign or unfinished one it leaves none: a raise that was long delayed cannot know
-- whether a later one was lost with the data, so only a fresh read of the database may install.
local function raise(item)
  local key = 'gw:{' .. item[2] .. '}:epoch'
  reign(key)
  local stored = call('GET', key)
  if not stored then return 1 end
  local number, writer = string.match(stored, '^(%d+)@(.*)$')
  if writer ~= run then
    call('DEL', key)
  elseif tonumber(number) < item[3] then
    call('SET', key, string.format('%.0f', item[3]) .. '@' .. run)
  end
  return 1
end

local function sums(item)
  local prefix, live, answer = 'gw:{' .. item[2] .. '}:', 0, {}
  sweep(prefix)
  if call('ZCARD', prefix .. 'open') > ADDED_UP then return false end
  for index, value in ipairs(call('HMGET', prefix .. 'tokens', 'r', 'o', 's', 'g', 'e')) do
    answer[index] = tonumber(value or 0)
  end
  for _, member in ipairs(call('ZRANGE', prefix .. 'open', 0, -1)) do
    live = live + string.match(member, '|(%d+)$')
  end
  answer[6] = live
  return answer
end

local function look(item)
  local prefix = 'gw:{' .. item[2] .. '}:'
  local answer = {call('ZCOUNT', prefix .. 'open', string.format('%.0f', now), '+inf')}
  local keys = {}
  for index, claim in ipairs(item[3]) do keys[index] = prefix .. 'b:' .. claim[1] end
  local stored = #keys > 0 and call('MGET', unpack(keys))
  for index, claim in ipairs(item[3]) do
    local micro, at
    if stored[index] then micro, at = unpack_struct('<dd', stored[index]) end
    local level, since = refilled(micro, at, claim[2], claim[3])
    answer[#answer + 1] = floor(level / MICRO)
    answer[#answer + 1] = reset_us(level, since, claim[2], claim[3])
  end
  return answer
end

local handlers = {admit, settle, renew, raise, sums, look}
local answers = {}
for index, item in ipairs(cmsgpack.unpack(payload)) do
  answers[index] = handlers[item[1]](item)
end
return cmsgpack.pack(answers)
