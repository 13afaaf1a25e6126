-- Keeps a gateway alive. ARGV: prefix, gateway, life in seconds. Returns 1, or 0 if Redis does not know it (any more).
if redis.call('EXPIRE', ARGV[1] .. 'gateway:' .. ARGV[2], ARGV[3]) == 0 then
  return 0
end
redis.call('EXPIRE', ARGV[1] .. 'inbox:' .. ARGV[2], ARGV[3])
redis.call('EXPIRE', ARGV[1] .. 'count:' .. ARGV[2], ARGV[3])
return 1
