-- SPDX-License-Identifier: GPL-2.0-or-later
-- Firewall rules of a qube: reading and checking them, where they are kept, what the qube that provides network is told of them, and their
-- expiry. Registers nothing.
--
-- A rule is a table of its options as they are written: `action`, `expire`, `dsthost` (an array: dst4, dst6 or dsthost, and the value), `proto`,
-- `specialtarget`, `dstports` (first-last), `icmptype`, `comment`. The rules are kept as text, a line each in canonical form, under the kind
-- `firewall` and the name `rules` of the qube; without it the qube has the default, one rule that accepts everything.
--
-- The host of a rule is text like a comment: it is never looked up among the qubes, so nothing shows whether one of that name exists.

local addresses = import('addresses')
local exceptions = import('exceptions')
local qubesdb = import('qubesdb')

local core_get = core.get

local firewall = {}

local KIND, NAME = 'firewall', 'rules'
local DEFAULT = 'action=accept\n'
local POLICY = 'drop' -- for what no rule matches

local HOST_MAX = 253 -- characters of a host name, as in DNS
local EXPIRE_MAX = 253402300799 -- the last second of the year 9999
local INTERVAL = 1 -- seconds between two looks whether rules have expired

-- Options in the order in which they are written.
local ORDER = { 'action', 'expire', 'dsthost', 'proto', 'specialtarget', 'dstports', 'icmptype', 'comment' }

-- An option's value in canonical form; nil and why, when there is none.
local values = {}

local function choice(...)
  local allowed = {}
  for _, word in ipairs { ... } do allowed[word] = true end
  local wanted = 'one of ' .. table.concat({ ... }, ', ') .. ' was expected'
  return function(text)
    if not allowed[text] then return nil, wanted end
    return text
  end
end

values.action = choice('accept', 'drop')
values.proto = choice('tcp', 'udp', 'icmp')
values.specialtarget = choice('dns')

-- Zones (fe80::1%eth0) mean something inside one machine only.
local function is_ipv6(text)
  return not text:find('%', 1, true) and addresses.ipv6(text) ~= nil
end

function values.dsthost(text)
  local address, length = text:match('^(.-)/(.*)$')
  if not address then
    if is_ipv6(text) then return { 'dst6', text .. '/128' } end
    if addresses.ipv4(text) then return { 'dst4', text .. '/32' } end
    if #text > HOST_MAX or not text:find('^[a-z0-9._-]+$') then return nil, 'an address, a network or a host name was expected' end
    return { 'dsthost', text }
  end
  local bits = length:find('^%d+$') and #length <= 4 and math.tointeger(tonumber(length))
  if not bits then return nil, 'the length of a network prefix is a number' end
  local kind, most
  if is_ipv6(address) then
    kind, most = 'dst6', 128
  elseif addresses.ipv4(address) then
    kind, most = 'dst4', 32
  else
    return nil, 'only an address has a prefix length'
  end
  if bits > most then return nil, ('a prefix has at most %d bits here'):format(most) end
  return { kind, text }
end

local function number(text, digits, most)
  if not text:find('^%d+$') or #text > digits then return nil end
  local value = math.tointeger(tonumber(text))
  return value and value <= most and value or nil
end

function values.dstports(text)
  local first, last = text:match('^(%d+)%-(%d+)$')
  first = number(first or text, 20, 65535)
  last = last and number(last, 20, 65535) or not text:find('-', 1, true) and first
  if not first or not last then return nil, 'a port or first-last was expected, of 0 to 65535' end
  if first > last then return nil, 'the range of ports is empty' end
  return ('%d-%d'):format(first, last)
end

function values.icmptype(text)
  local value = number(text, 3, 255)
  if not value then return nil, 'a number of 0 to 255 was expected' end
  return tostring(value)
end

function values.expire(text)
  if not number(text, 18, EXPIRE_MAX) then return nil, 'seconds since 1970 were expected' end
  return text
end

function values.comment(text)
  if text:find('[^a-zA-Z0-9:;,./_%[%] -]') then return nil, 'only letters, digits, spaces and :;,./-_[] are allowed' end
  return text
end

local ALIASES = { dst4 = 'dsthost', dst6 = 'dsthost', dstname = 'dsthost' }

-- What one option demands of the others; nil when the rule is whole.
local function fault_of(rule)
  if not rule.action then return 'a rule has an action' end
  if rule.dstports and rule.proto ~= 'tcp' and rule.proto ~= 'udp' then return 'only tcp and udp have dstports' end
  if rule.icmptype and rule.proto ~= 'icmp' then return 'only icmp has an icmptype' end
  return nil
end

local function take(rule, key, text)
  local name = ALIASES[key] or key
  local read = values[name]
  if not read then return 'there is no such option' end
  if rule[name] then return name .. ' is given twice' end
  local value, why = read(text)
  if value == nil then return name .. ': ' .. why end
  rule[name] = value
  return nil
end

-- A rule from a line; nil and why. A comment is last, and reaches to the end of the line.
function firewall.parse_rule(line)
  local rule = {}
  local at, behind = line:find('comment=', 1, true)
  if at then
    local comment, why = values.comment(line:sub(behind + 1))
    if not comment then return nil, 'comment: ' .. why end
    if comment ~= '' then rule.comment = comment end
    line = line:sub(1, at - 1)
  end
  for option in (line:match('^%s*(.-)%s*$') .. ' '):gmatch('([^ ]*) ') do
    local key, value = option:match('^([^=]*)=(.*)$')
    if not key or key == 'comment' then return nil, 'options are name=value, with one space between them' end
    local fault = take(rule, key, value)
    if fault then return nil, fault end
  end
  local fault = fault_of(rule)
  if fault then return nil, fault end
  return rule
end

-- Lines end as text of any system has them; a line may not be empty.
local function lines_of(text)
  text = text:gsub('\r\n', '\n'):gsub('[\r\v\f\x1c-\x1e]', '\n')
  if text:sub(-1) ~= '\n' then text = text .. '\n' end
  return text:gmatch('([^\n]*)\n')
end

-- The rules in the text, an array; nil and why, with the number of the line.
function firewall.parse(text)
  local rules = {}
  if text == '' then return rules end
  for line in lines_of(text) do
    local rule, why = firewall.parse_rule(line)
    if not rule then return nil, ('line %d: %s'):format(#rules + 1, why) end
    rules[#rules + 1] = rule
  end
  return rules
end

-- Some options of the rule as they are written, in their order.
local function write(rule, leave_out)
  local words = {}
  for _, name in ipairs(ORDER) do
    local value = rule[name]
    if value and not leave_out[name] then
      words[#words + 1] = name == 'dsthost' and value[1] .. '=' .. value[2] or name .. '=' .. value
    end
  end
  return table.concat(words, ' ')
end

local NOTHING, FOR_PEOPLE = {}, { expire = true, comment = true }

-- The canonical line of a rule.
function firewall.line(rule) return write(rule, NOTHING) end

local function expires_at(rule)
  return rule.expire and math.tointeger(tonumber(rule.expire))
end

local function is_expired(rule, now)
  local at = expires_at(rule)
  return at ~= nil and at < now
end

-- The rules of the qube that are in force, an array.
function firewall.rules(qube)
  local is_set, text = core_get(qube, KIND, NAME)
  local now, rules = core.time(), {}
  for _, rule in ipairs(firewall.parse(is_set and text or DEFAULT) or {}) do -- what can't be read lets nothing through
    if not is_expired(rule, now) then rules[#rules + 1] = rule end
  end
  return rules
end

-- The text of rules, a line each.
function firewall.text(rules)
  local lines = {}
  for i, rule in ipairs(rules) do lines[i] = firewall.line(rule) .. '\n' end
  return table.concat(lines)
end

local function keep(qube, rules)
  local now, left = core.time(), {}
  for _, rule in ipairs(rules) do
    if not is_expired(rule, now) then left[#left + 1] = rule end
  end
  core.set(qube, KIND, NAME, firewall.text(left))
end

-- Tells that the rules of the qube are other ones, or have to be read again.
function firewall.reload(qube)
  qube:fire('firewall-changed')
end

local function nearest_expiry(qube)
  local is_set, text = core_get(qube, KIND, NAME)
  local nearest
  for _, rule in ipairs(is_set and firewall.parse(text) or {}) do
    local at = expires_at(rule)
    if at and (not nearest or at < nearest) then nearest = at end
  end
  return nearest
end

-- Replaces the rules of the qube.
function firewall.set(qube, rules)
  keep(qube, rules)
  firewall.watch(qube)
  firewall.reload(qube)
end

-- When rules of which qube expire next, for the one task of this generation that waits for it.
local due, is_waiting = {}, false

local function take_expired(qube)
  local ok, err = pcall(function() firewall.set(qube, firewall.rules(qube)) end)
  if not ok then core.log('error', ('%s: firewall-changed: %s'):format(qube.name, exceptions.message(err))) end
end

local function due_before(now)
  local list = {}
  for qube, at in pairs(due) do
    if at < now or core.removed(qube) then list[#list + 1] = qube end
  end
  return list
end

local function wait_for_expiry()
  if is_waiting then return end
  is_waiting = true
  while core.serves() and next(due) do
    local now = core.time()
    for _, qube in ipairs(due_before(now)) do
      local at = not core.removed(qube) and nearest_expiry(qube) or nil
      if at and at < now then
        take_expired(qube)
        at = nearest_expiry(qube)
      end
      due[qube] = at
    end
    if next(due) then core.sleep(INTERVAL) end
  end
  is_waiting = false
end

-- Has rules of the qube taken away as they expire.
function firewall.watch(qube)
  due[qube] = nearest_expiry(qube)
  if due[qube] and not is_waiting then core.spawn(wait_for_expiry) end
end

-- Takes over the rules of another qube, without an event: for a qube that is being created.
function firewall.clone(qube, from)
  local is_set, text = core_get(from, KIND, NAME)
  if is_set then core.set(qube, KIND, NAME, text) end
end

local OTHER_FAMILY = { [4] = 'dst6', [6] = 'dst4' }

-- Tells the qube that provides network the rules of a client.
function firewall.announce(provider, client)
  if not qubesdb.is_there(provider) then return end
  for family, address in pairs { [4] = client.ip, [6] = client.ip6 } do
    local base = '/qubes-firewall/' .. address
    qubesdb.remove(provider, base .. '/')
    qubesdb.write(provider, base .. '/policy', POLICY)
    for i, rule in ipairs(firewall.rules(client)) do
      if not rule.dsthost or rule.dsthost[1] ~= OTHER_FAMILY[family] then
        qubesdb.write(provider, ('%s/%04d'):format(base, i - 1), write(rule, FOR_PEOPLE))
      end
    end
    qubesdb.write(provider, base, '') -- it reads the rules anew when this is written
  end
end

return firewall
