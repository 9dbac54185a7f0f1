-- Applies a plan's mutations if all that the plan read still holds.
--
-- ARGV is a program: each step is a letter and its arguments; keys are taken from
-- KEYS one after the other. No arithmetic on ids: numbers here are doubles.
-- Answers {0} when done, {1, record} if the operation was done before,
-- {2, value...} with what the guards find if one of them does not hold,
-- {3, what} if a limit is passed.
local nextkey, nextarg = 0, 0
local function key() nextkey = nextkey + 1; return KEYS[nextkey] end
local function arg() nextarg = nextarg + 1; return ARGV[nextarg] end

local function joined(parts)
    local out = {}
    for i = 1, #parts do
        out[#out + 1] = struct.pack('>I4', #parts[i])
        out[#out + 1] = parts[i]
    end
    return table.concat(out)
end

local function text(value, shape)
    if not value then return '' end
    if shape then value = string.sub(value, 1, 11) .. string.sub(value, 64) end
    return '+' .. value
end

-- What a guard finds, and the text that it is compared by.
local find = {
    t = function() local v = redis.call('GET', key()); return v, text(v) end,
    d = function() local v = redis.call('GET', key()); return v, text(v, true) end,
    f = function() local v = redis.call('HGET', key(), arg()); return v, text(v) end,
    h = function() local v = redis.call('HGETALL', key()); return v, joined(v) end,
    k = function() local v = redis.call('HKEYS', key()); return v, joined(v) end,
    l = function() local v = redis.call('LRANGE', key(), 0, -1); return v, joined(v) end,
    p = function() local v = redis.call('LRANGE', key(), 0, tonumber(arg()) - 1); return v, joined(v) end,
    s = function() local v = redis.call('SMEMBERS', key()); return v, joined(v) end,
    n = function() local v = redis.call('HLEN', key()); return v, v == 0 and '0' or '1' end,
}

local record, slot
if arg() == 'R' then
    record, slot = key(), arg()
    local sequence = arg()
    local done = redis.call('HGET', record, slot)
    if done and string.sub(done, 1, 8) == sequence then return {1, done} end
end

local found, holds = {2}, true
for i = 1, tonumber(arg()) do
    local value, seen = find[arg()]()
    found[i + 1] = value
    if seen ~= arg() then holds = false end
end
if not holds then return found end

local function number(value) return tonumber(value or '0') or 0 end

for _ = 1, tonumber(arg()) do
    local what = arg()
    if what == 'u' then
        local usedspace, usedinodes = key(), key()
        local space, inodes, capacity, most = number(arg()), number(arg()), number(arg()), number(arg())
        if space > 0 and capacity > 0 and number(redis.call('GET', usedspace)) + space > capacity then return {3, 'space'} end
        if inodes > 0 and most > 0 and number(redis.call('GET', usedinodes)) + inodes > most then return {3, 'space'} end
    else
        local field, space, inodes = arg(), number(arg()), number(arg())
        local limits = redis.call('HGET', key(), field)
        local usedspace, usedinodes = key(), key()
        if limits and #limits == 16 then
            local bytes, most = struct.unpack('>I8I8', limits)
            if space > 0 and bytes > 0 and number(redis.call('HGET', usedspace, field)) + space > bytes then return {3, 'quota'} end
            if inodes > 0 and most > 0 and number(redis.call('HGET', usedinodes, field)) + inodes > most then return {3, 'quota'} end
        end
    end
end

local apply = {
    -- Any one command on one key.
    c = function()
        local count, name = tonumber(arg()), arg()
        local rest = {}
        for i = 1, count do rest[i] = arg() end
        redis.call(name, key(), unpack(rest))
    end,
    -- A directory's times and links, in place.
    t = function()
        local at, links, time = key(), tonumber(arg()), arg()
        local attr = redis.call('GET', at)
        if attr and #attr >= 71 then
            local nlink = math.max(struct.unpack('>I4', attr, 48) + links, 0)
            redis.call('SET', at, string.sub(attr, 1, 23) .. time .. time .. struct.pack('>I4', nlink) .. string.sub(attr, 52))
        end
    end,
    -- Adds to fields of several hashes if the first hash has the field.
    a = function()
        local field, count, has = arg(), tonumber(arg()), nil
        for i = 1, count do
            local at, delta = key(), arg()
            if i == 1 then has = redis.call('HEXISTS', at, field) == 1 end
            if has and delta ~= '0' then redis.call('HINCRBY', at, field, delta) end
        end
    end,
    -- Puts a key into a set of keys.
    j = function() local set = key(); redis.call('SADD', set, key()) end,
    -- Removes a lock, and its key from the session's set when none is left.
    o = function()
        local at, set, field = key(), key(), arg()
        redis.call('HDEL', at, field)
        if redis.call('EXISTS', at) == 0 then redis.call('SREM', set, at) end
    end,
    -- Removes all locks of a session.
    x = function()
        local set, prefix = key(), arg()
        for _, at in ipairs(redis.call('SMEMBERS', set)) do
            for _, field in ipairs(redis.call('HKEYS', at)) do
                if string.sub(field, 1, #prefix) == prefix then redis.call('HDEL', at, field) end
            end
        end
        redis.call('DEL', set)
    end,
}

for _ = 1, tonumber(arg()) do apply[arg()]() end
if record then redis.call('HSET', record, slot, arg()) end
return {0}
