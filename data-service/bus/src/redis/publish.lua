-- Hands records to every live gateway with interest in one of their topics, each once.
-- ARGV: prefix, epoch to set if there is none, records an inbox keeps, life of an inbox in seconds, then for each record:
-- its kind ('r' in the log, 'e' ephemeral), topics (guilds and users, by commas), bytes.
-- Returns the epoch.
local prefix, keep, life = ARGV[1], ARGV[3], ARGV[4]
redis.call('SET', prefix .. 'epoch', ARGV[2], 'NX')
local live = {}

local function gateways_of(topic)
  local interest = prefix .. 'interest:' .. topic
  local found = {}
  for _, gateway in ipairs(redis.call('SMEMBERS', interest)) do
    if live[gateway] == nil then
      live[gateway] = redis.call('EXISTS', prefix .. 'gateway:' .. gateway) == 1
    end
    if live[gateway] then
      found[#found + 1] = gateway
    else
      redis.call('SREM', interest, gateway)
    end
  end
  return found
end

local function hand_over(gateway, kind, record)
  local inbox, count = prefix .. 'inbox:' .. gateway, prefix .. 'count:' .. gateway
  -- Entries are numbered without gaps, so that the reader sees when one is missing.
  local number = redis.call('INCR', count)
  local added = redis.pcall('XADD', inbox, 'MAXLEN', '~', keep, number .. '-0', kind, record)
  if type(added) == 'table' and added.err then
    -- Numbers and entries no longer agree (a key was evicted or changed by hand): make the gateway begin anew.
    redis.call('DEL', prefix .. 'gateway:' .. gateway, inbox, count)
    live[gateway] = false
  elseif number == 1 then
    redis.call('EXPIRE', inbox, life)
    redis.call('EXPIRE', count, life)
  end
end

local by_topic = {}
for at = 5, #ARGV, 3 do
  local kind, record = ARGV[at], ARGV[at + 2]
  local told = {}
  for topic in string.gmatch(ARGV[at + 1], '%d+') do
    by_topic[topic] = by_topic[topic] or gateways_of(topic)
    for _, gateway in ipairs(by_topic[topic]) do
      if not told[gateway] then
        told[gateway] = true
        hand_over(gateway, kind, record)
      end
    end
  end
end
return redis.call('GET', prefix .. 'epoch')
