-- Notes a gateway's interest. ARGV: prefix, gateway, then topics (guilds and users). Returns 1, or 0 if Redis does not know the gateway (any more).
if redis.call('EXISTS', ARGV[1] .. 'gateway:' .. ARGV[2]) == 0 then
  return 0
end
for at = 3, #ARGV do
  redis.call('SADD', ARGV[1] .. 'interest:' .. ARGV[at], ARGV[2])
end
return 1
