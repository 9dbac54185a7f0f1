-- An entry, the inode that it names and whether that has entries, in one trip.
-- Without an entry, the directory: whether it is one decides what the answer is.
-- An inode above 2^52 (the trash's) is no exact double: then the entry alone is answered.
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if not entry then return {false, redis.call('GET', KEYS[2])} end
local ino = struct.unpack('>I8', entry, 2)
if ino >= 4503599627370496 then return {entry} end
local name = string.format('%.0f', ino)
return {entry, redis.call('GET', ARGV[2] .. 'i' .. name), redis.call('HLEN', ARGV[2] .. 'd' .. name)}
