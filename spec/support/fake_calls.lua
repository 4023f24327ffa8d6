-- SPDX-License-Identifier: GPL-2.0-or-later
-- Calls of API methods on a world of fake_core.lua: the request's checks, `untrusted` payloads, and permission events, as the core has them.

local fake_calls = {}

local function failure(class, message)
  error({ class = class, message = message }, 0)
end

local validators = {}
fake_calls.validators = validators

local function text_check(class, test)
  return function(text)
    if not test(text) then failure(class, 'not what was expected') end
    return text
  end
end

validators.ascii = text_check('ProtocolError', function(text) return not text:find('[\x80-\xff]') end)
validators.printable_ascii = text_check('ProtocolError', function(text) return not text:find('[^\x20-\x7e]') end)
validators.feature_value = validators.printable_ascii
validators.feature_name = text_check('ProtocolError', function(text) return text:find('^[a-zA-Z0-9_.-]+$') ~= nil end)
validators.tag = text_check('QubesInvalidTagError', function(text) return text:find('^[a-zA-Z0-9_-]+$') ~= nil end)
validators.label_name = text_check('QubesInvalidLabelError', function(text) return text:find('^[%w_.-]+$') ~= nil end)
validators.new_label_name = text_check('QubesInvalidLabelError', function(text)
  return text:find('^[%w_.-]+$') ~= nil and not text:find('^%d+$')
end)
validators.argument = text_check('ProtocolError', function(text) return text:find('^[%w_.+-]*$') ~= nil end)
validators.label_value = text_check('QubesInvalidLabelValueError', function(text) return text:find('^0x%x%x%x%x%x%x$') ~= nil end)
validators.uuid = text_check('QubesVMInvalidUUIDError', function(text)
  return text:find('^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$') ~= nil
end)
validators.qube_name = text_check('QubesValueError', function(text)
  return #text <= 31 and text:find('^%a[%w_.-]*$') ~= nil and text ~= 'none' and text ~= 'default' and text ~= 'Domain-0' and text:sub(-3) ~= '-dm'
end)

function validators.empty(text) return text == '' end
function validators.length(text) return #text end

function validators.int(text)
  if not text:find('^%s*[+-]?%d+%s*$') then failure('QubesValueError', 'a number was expected') end
  return math.tointeger(tonumber(text))
end

function validators.size(text)
  if not text:find('^%d+$') then failure('ProtocolError', 'a number was expected') end
  return math.tointeger(tonumber(text))
end

function validators.number(text, bounds)
  local number = text:find(bounds and bounds.negative and '^%-?%d+$' or '^%d+$') and math.tointeger(tonumber(text))
  if not number or (bounds and (number < (bounds.min or number) or number > (bounds.max or number))) then
    failure('ProtocolError', 'a number was expected')
  end
  return number
end

local WORDS = { ['0'] = false, no = false, ['false'] = false, off = false, ['1'] = true, yes = true, ['true'] = true, on = true }

function validators.boolean(text)
  local value = WORDS[text:lower()]
  if value == nil then failure('QubesValueError', 'a truth value was expected') end
  return value
end

function validators.matches_ascii(text, set)
  for i = 1, #text do
    if not set:find(text:sub(i, i), 1, true) then failure('ProtocolError', 'a byte is not allowed') end
  end
  return text
end

local function untrusted(text)
  local value = {}
  for name, check in pairs(validators) do
    value[name] = function(_, ...) return check(text, ...) end
  end
  return value
end

local Call = {}
Call.__index = Call

function Call:enforce(condition, expected)
  if not condition then failure('ProtocolError', expected) end
end

local function glob_matches(world, pattern, event)
  return world:import('glob').match(pattern, event)
end

local function ask(self, info)
  local told = { dest = self.dest, arg = self.arg }
  for key, value in pairs(info or {}) do told[key] = value end
  local event, filters = 'admin-permission:' .. self.method, {}
  for _, each in ipairs(self.world.hooks) do
    if glob_matches(self.world, each.pattern, event) then
      local ok, answer = pcall(each.hook, self.src, event, told)
      if not ok then failure('PermissionDenied', 'denied') end
      if type(answer) == 'function' then filters[#filters + 1] = answer end
    end
  end
  return filters
end

function Call:permission(info) ask(self, info) end

function Call:filter(list, info)
  local kept = {}
  local filters = ask(self, info)
  for _, item in ipairs(list == self.world.environment.app.domains and self.world.core.qubes() or list) do
    local keep = true
    for _, filter in ipairs(filters) do keep = keep and filter(item) end
    if keep then kept[#kept + 1] = item end
  end
  return kept
end

function Call:filter_as(_, list) return list end
function Call:visible(qube) return qube ~= nil and not self.world.core.removed(qube) end
function Call:qube(name) return self.world.core.qube(name) end
function Call:subscribe() end
function Call:send_event() end
function Call:is_resumed() return false end
function Call:may_hide() return false end

local function find_qube(world, name)
  validators.qube_name(name)
  return world.core.qube(name) or failure('QubesVMNotFoundError', 'there is no such qube')
end

local function check_declaration(declaration, dest, arg, payload)
  local function check(wanted, given)
    if wanted == 'none' and given ~= '' or wanted == 'required' and given == '' then failure('ProtocolError', 'not as declared') end
  end
  check(declaration.payload, payload)
  check(declaration.arg, arg)
  local is_adminvm = dest.klass == 'AdminVM'
  if declaration.dest == 'adminvm' and not is_adminvm or declaration.dest == 'qube' and is_adminvm then
    failure('ProtocolError', 'another destination was expected')
  end
end

-- Makes a call. True and the text of the answer, or false and the error: a table, whose `class` is false for an internal error.
function fake_calls.call(world, source, name, destination, arg, payload)
  return world:task(function()
    local src, dest = find_qube(world, source), find_qube(world, destination)
    local full_name = name:gsub('^mgmt%.', 'admin.')
    local method = full_name:find('^admin%.') and world.methods[full_name]
    if not method then failure('ProtocolError', 'there is no such method') end
    check_declaration(method.declaration, dest, arg, payload)
    validators.ascii(arg)
    local call = setmetatable({ world = world, src = src, dest = dest, arg = arg, method = full_name, app = world.app }, Call)
    return method.handler(call, method.declaration.payload ~= 'none' and untrusted(payload) or nil) or ''
  end)
end

return fake_calls
