-- SPDX-License-Identifier: GPL-2.0-or-later
-- Throws malformed requests at a running daemon of the sanitizers' build: lua5.4 fuzz/requests.lua SECONDS [SEED]
--
-- Random bytes, mutated valid requests of every method there is, random arguments and payloads; clients that close early, half-close, dribble, send
-- nothing or do not read. The daemon must live, answer a sane call now and then, log no internal error, and exit with 0 (so without a leak) at the end.

local uv = require('luv')
local cjson = require('cjson')
local daemon = require('spec.support.daemon')

local SECONDS = tonumber(arg[1]) or 10
local SEED = tonumber(arg[2]) or uv.hrtime() % 1000000007
local AT_ONCE = 24
local SOCKETS = { 'qubesd.sock', 'qubesd.internal.sock', 'qubesd.misc.sock', 'qubesd.console.sock' }
local QUBES = { 'dom0', 'fedora', 'work', 'other', 'disp', 'nobody', 'fresh1', 'fresh2', 'none', '', '-', '@adminvm', 'uuid:', 'a b' }
local STRANGE = { '', '\0', '\255', '\n', '%s%n', ('A'):rep(300), '../..', 'é', '-1', '1e9', '0x10', 'nan', ' ', '+', 'True', 'None', '{}', '\27[31m' }
local WORDS = { 'a', 'memory', 'label', 'netvm', 'name=fresh1', 'label=red', '0xff0000', '12' }
local LEFT_OUT = { ['internal.Reload'] = true } -- slow; once in a while is enough

local random = math.random

local function pick(list) return list[random(#list)] end

-- Answers the declarations, a line each.
local LISTER = [[
method('console.fuzz.Declarations', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'none', read = true, doc = 'For the fuzzer.',
}, function(call)
  call:permission {}
  local lines = {}
  for name, declared in pairs(core.declarations()) do
    lines[#lines + 1] = table.concat({ name, declared.dest, declared.arg, declared.payload }, ' ')
  end
  table.sort(lines)
  return table.concat(lines, '\n') .. '\n'
end)
]]

local function declared_methods(d)
  local methods = {}
  for line in d:ok('console.fuzz.Declarations', 'dom0', '', '', { socket = 'qubesd.console.sock' }):gmatch('[^\n]+') do
    local name, dest, arg, payload = line:match('^(%S+) (%S+) (%S+) (%S+)$')
    if not LEFT_OUT[name] then methods[#methods + 1] = { name = name, dest = dest, arg = arg, payload = payload } end
  end
  assert(#methods > 40, 'only ' .. #methods .. ' methods are declared')
  return methods
end

local function bytes(limit)
  local parts = {}
  for i = 1, random(0, limit) do parts[i] = string.char(random(0, 255)) end
  return table.concat(parts)
end

local function words()
  local parts = {}
  for i = 1, random(0, 6) do parts[i] = pick(random(3) == 1 and STRANGE or WORDS) end
  return table.concat(parts, pick { ' ', '', '+', '\n', ',', '=' })
end

local PROPERTIES = { 'label', 'memory', 'netvm', 'template', 'default_netvm', 'red', 'fedora', 'force', 'wait', 'force+wait', 'anon-timezone', 'a' }

local function argument()
  return pick {
    words, function() return pick(STRANGE) end, function() return pick(QUBES) end, function() return bytes(40) end, function() return pick(PROPERTIES) end,
    function() return pick(PROPERTIES) end, function() return pick(PROPERTIES) end,
  }()
end

local function payload()
  return pick {
    words, function() return pick(STRANGE) end, function() return pick(QUBES) end, function() return bytes(200) end, function() return pick(WORDS) end,
    function() return 'name=' .. pick { 'fresh1', 'fresh2', '', 'a b', ('n'):rep(40) } .. ' label=' .. pick { 'red', 'pink', '' } end,
    function() return tostring(random(-5, 5000)) end, function() return ('x'):rep(random(0, 65000)) end, function() return ('\0'):rep(random(0, 300)) end,
  }()
end

-- One byte more, fewer or another; a piece twice or not at all.
local function mutate(text)
  for _ = 1, random(3) do
    local at = random(#text + 1)
    local what = random(5)
    if what == 1 then
      text = text:sub(1, at - 1) .. string.char(random(0, 255)) .. text:sub(at)
    elseif what == 2 then
      text = text:sub(1, at - 1) .. text:sub(at + 1)
    elseif what == 3 then
      text = text:sub(1, at - 1) .. string.char(random(0, 255)) .. text:sub(at + 1)
    elseif what == 4 then
      text = text:sub(1, at) .. text:sub(random(#text + 1))
    else
      text = text:sub(1, at)
    end
  end
  return text
end

-- What a declaration wants, nearly always.
local function needed(need, make)
  local wanted = need == 'required' or need == 'optional' and random(2) == 1
  if random(8) == 1 then wanted = not wanted end
  return wanted and make() or ''
end

local HOMES = { internal = 'qubesd.internal.sock', qubes = 'qubesd.misc.sock', console = 'qubesd.console.sock' }

-- The bytes, and the socket for them.
local function request(methods)
  if random(12) == 1 then return bytes(300), pick(SOCKETS) end
  local method = pick(methods)
  local name, dest = method.name, random(4) == 1 and pick(QUBES) or method.dest == 'adminvm' and 'dom0' or pick { 'work', 'other', 'disp', 'fresh1', 'dom0' }
  local home = random(8) == 1 and pick(SOCKETS) or HOMES[name:match('^%a+')] or 'qubesd.sock'
  if random(5) == 1 then name = name:gsub('^admin%.', 'mgmt.') end
  local text = ('%s+%s %s name %s\0%s'):format(name, needed(method.arg, argument), random(6) == 1 and pick(QUBES) or 'dom0', dest,
    needed(method.payload, payload))
  if random(20) == 1 then text = text:gsub(' name %S+%z', ' keyword adminvm\0', 1) end
  if random(4) == 1 then text = mutate(text) end
  if random(200) == 1 then text = text .. ('y'):rep(70000) end
  return text, home
end

local statistics = { sent = 0, ok = 0, exception = 0, events = 0, closed = 0 }
local open = 0

-- What the client does once it is connected.
local behaviours = {
  whole = function(client) client.pipe:write(client.text) client.pipe:shutdown() end,
  pieces = function(client)
    for at = 1, math.min(#client.text, 4000), 97 do client.pipe:write(client.text:sub(at, at + 96)) end
    client.pipe:shutdown()
  end,
  leaves = function(client)
    client.pipe:write(client.text, function() client.finish() end)
  end,
  leaves_after_end = function(client)
    client.pipe:write(client.text)
    client.pipe:shutdown(function() client.finish() end)
  end,
  silent = function() end,
  deaf = function(client)
    client.pipe:write(client.text)
    client.pipe:shutdown()
    client.pipe:read_stop()
  end,
}
local BEHAVIOURS = { 'whole', 'whole', 'whole', 'whole', 'whole', 'pieces', 'leaves', 'leaves_after_end', 'silent', 'deaf' }

-- A client, until its connection is closed by either side; it gives up after a while.
local function client(d, text, socket, behaviour)
  local self = { pipe = uv.new_pipe(), text = text, parts = {}, timer = uv.new_timer() }
  open = open + 1
  statistics.sent = statistics.sent + 1
  function self.finish()
    if self.pipe:is_closing() then return end
    self.pipe:close()
    self.timer:close()
    open = open - 1
    local kind = daemon.parse(table.concat(self.parts)).kind
    statistics[kind] = statistics[kind] + 1
  end
  self.timer:start((behaviour == 'silent' or behaviour == 'deaf') and 50 or 500, 0, self.finish)
  self.pipe:connect(d:socket(socket), function(err)
    if err then return self.finish() end
    self.pipe:read_start(function(_, data)
      if data then self.parts[#self.parts + 1] = data else self.finish() end
    end)
    behaviours[behaviour](self)
  end)
end

local function add(d, methods)
  local text, socket = request(methods)
  client(d, text, socket, pick(BEHAVIOURS))
end

-- A sane call; and qubes that were removed are made again. Returns what is wrong, or nil.
local function insane(d)
  local answer = d:call('dom0', 'admin.vm.List', 'dom0', '', '', { seconds = 20 })
  if answer.kind ~= 'ok' or not answer.body:find('dom0 class=AdminVM', 1, true) then
    daemon.sleep(1) -- for its last words
    return ('a sane call was answered %s; the daemon: %s'):format(answer.kind, d.exit_code or 'lives')
  end
  d:call('dom0', 'admin.vm.Create.TemplateVM', 'dom0', '', 'name=fedora label=black')
  for _, name in ipairs { 'work', 'other', 'disp' } do d:call('dom0', 'admin.vm.Create.AppVM', 'dom0', 'fedora', 'name=' .. name .. ' label=red') end
  return nil
end

local function internal_error(log)
  for _, pattern in ipairs { 'runtime error: [^\n]*', 'ERROR: %a+Sanitizer[^\n]*', 'stack traceback:' } do
    local from = log:find(pattern)
    if from then return log:sub(math.max(1, from - 1500), from + 3000) end
  end
end

local function main()
  math.randomseed(SEED)
  print(('requests: seed %d, %g seconds on %s'):format(SEED, SECONDS, daemon.build_dir))
  local d = daemon.start { seconds = 60, extra_scripts = { ['api/fuzz_declarations.lua'] = LISTER } }
  d:estate { 'work', 'other', 'disp' }
  d:ok('admin.vm.property.Set', 'disp', 'template_for_dispvms', 'True')
  local methods = declared_methods(d)
  local broken_pipes = uv.new_signal()
  broken_pipes:start('sigpipe')
  local ends, sane_at, problem = uv.hrtime() + SECONDS * 1e9, 0, nil
  while uv.hrtime() < ends and not problem do
    while open < AT_ONCE do add(d, methods) end
    uv.run('once')
    if d.exit_code then problem = 'the daemon has ended' end
    if not problem and uv.hrtime() > sane_at then
      problem = insane(d) or internal_error(d.log)
      sane_at = uv.hrtime() + 5e8
    end
    if #d.log > 4e6 then d.log = '' end
  end
  daemon.run_until(function() return open == 0 end, 5)
  broken_pipes:close()
  if problem then
    print(problem .. '\n' .. d.log:sub(-8000))
    d:kill()
    os.exit(1)
  end
  assert(not insane(d))
  local status
  local left = daemon.run_until(function()
    daemon.sleep(0.1)
    status = cjson.decode(d:ok('internal.Status', 'dom0', '', '', { socket = 'qubesd.internal.sock' }))
    return status.connections == 1 -- ours
  end, 100)
  assert(left, status.connections .. ' connections are left')
  assert(status.failed == 0, status.failed .. ' internal errors')
  d:stop()
  print(('requests: %d sent, %d answered, %d exceptions, %d streams, %d closed; the daemon ended well'):format(statistics.sent, statistics.ok,
    statistics.exception, statistics.events, statistics.closed))
  assert(statistics.ok > 0 and statistics.exception > 0 and statistics.closed > 0, 'the requests are of one kind only')
end

main()
