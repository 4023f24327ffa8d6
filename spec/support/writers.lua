-- SPDX-License-Identifier: GPL-2.0-or-later
-- Concurrent writers for the specs of durability: each makes one write after the other and remembers what was acknowledged, so that a spec can ask a
-- restarted daemon for it.

local uv = require('luv')
local daemon = require('spec.support.daemon')

local M = {}
local State = {}
State.__index = State

-- Runs a program to its end: { code =, signal =, out =, err = }.
function M.run(path, args, options)
  options = options or {}
  local result = { out = '', err = '' }
  local out, err = uv.new_pipe(), uv.new_pipe()
  local open = 2
  local handle, pid = uv.spawn(path, { args = args, env = options.env, cwd = options.cwd, stdio = { nil, out, err } }, function(code, signal)
    result.code, result.signal = code, signal
  end)
  assert(handle, pid)
  local function gather(name)
    return function(_, data)
      if data then result[name] = result[name] .. data else open = open - 1 end
    end
  end
  out:read_start(gather('out'))
  err:read_start(gather('err'))
  local ended = daemon.run_until(function() return result.code and open == 0 end, options.seconds or 30)
  if not ended then uv.kill(pid, 'sigkill') end
  for _, each in ipairs { out, err, handle } do each:close() end
  uv.run('nowait')
  assert(ended, path .. ' did not end')
  return result
end

-- What each writer has written. A write that was not acknowledged may be there or not: both values are right.
function M.new(count)
  local self = setmetatable({ count = count, values = {}, serial = 0 }, State)
  for i = 1, count do self.values[i] = { qube = 'w' .. i, feature = {}, property = {}, tag = {}, created = {} } end
  return self
end

function State:qubes()
  local names = {}
  for i, values in ipairs(self.values) do names[i] = values.qube end
  return names
end

-- The kinds of writes: each gives method, destination, argument, payload, and the slot with the value that it will hold.
local kinds = {
  function(values, serial)
    return 'admin.vm.property.Set', values.qube, 'memory', tostring(400 + serial % 300), 'property', 'memory', tostring(400 + serial % 300)
  end,
  function(values, serial)
    local name = 'f' .. serial % 3
    return 'admin.vm.feature.Set', values.qube, name, 'v' .. serial, 'feature', name, 'v' .. serial
  end,
  function(values, serial)
    local name = 't' .. serial % 5
    local set = values.tag[name] ~= '1'
    return set and 'admin.vm.tag.Set' or 'admin.vm.tag.Remove', values.qube, name, '', 'tag', name, set and '1' or '0'
  end,
  function(values)
    local name = values.qube .. '-made'
    if values.created[name] == 'yes' then return 'admin.vm.Remove', name, '', '', 'created', name, 'no' end
    return 'admin.vm.Create.AppVM', 'dom0', 'fedora', 'name=' .. name .. ' label=red', 'created', name, 'yes'
  end,
}

local Group = {}
Group.__index = Group

local function write(group, values)
  local state = group.state
  state.serial = state.serial + 1
  local method, dest, arg, payload, kind, name, value = kinds[state.serial % #kinds + 1](values, state.serial)
  local slot, before = values[kind], values[kind][name]
  values.unsure = { kind = kind, name = name, before = before, value = value }
  local pipe, parts = uv.new_pipe(), {}
  local function ended()
    if pipe:is_closing() then return end
    pipe:close()
    group.open[pipe] = nil
    local answer = daemon.parse(table.concat(parts))
    if answer.kind == 'ok' then
      slot[name], values.unsure = value, nil
      group.acknowledged = group.acknowledged + 1
      if not group.stopped then write(group, values) end
    elseif answer.kind == 'exception' then
      group.refused = ('%s+%s: %s: %s'):format(method, arg, answer.class, answer.message)
    end
  end
  group.open[pipe] = ended
  pipe:connect(group.path, function(err)
    if err then return ended() end
    pipe:read_start(function(_, data)
      if data then parts[#parts + 1] = data else ended() end
    end)
    pipe:write(daemon.request('dom0', method, dest, arg, payload))
    pipe:shutdown()
  end)
end

-- Starts `count` writers, which go on until group:stop(), after the daemon was killed: then `group.acknowledged` says how many writes were.
function M.start(d, state)
  local group = setmetatable({ state = state, path = d:socket(), open = {}, acknowledged = 0, broken_pipes = uv.new_signal() }, Group)
  group.broken_pipes:start('sigpipe') -- of the kill
  for _, values in ipairs(state.values) do write(group, values) end
  return group
end

function Group:stop()
  self.stopped = true
  daemon.run_until(function() return not next(self.open) end, 5)
  assert(not next(self.open), 'a connection of a killed daemon stays open')
  self.broken_pipes:close()
  uv.run('nowait')
  assert(not self.refused, self.refused)
end

-- The values as the daemon has them now.
local function read(d, kind, qube, name)
  if kind == 'property' then return d:ok('admin.vm.property.Get', qube, name):match('(%S+)$') end
  if kind == 'tag' then return d:ok('admin.vm.tag.Get', qube, name) end
  if kind == 'created' then return d:call('dom0', 'admin.vm.feature.List', name).kind == 'ok' and 'yes' or 'no' end
  local answer = d:call('dom0', 'admin.vm.feature.Get', qube, name)
  return answer.kind == 'ok' and answer.body or nil
end

-- What is not as it was acknowledged: an array of sentences. Settles what was unsure.
function State:lost(d)
  local lost = {}
  for _, values in ipairs(self.values) do
    local unsure = values.unsure
    values.unsure = nil
    if unsure then
      local found = read(d, unsure.kind, values.qube, unsure.name)
      if found == unsure.value then values[unsure.kind][unsure.name] = found end
    end
    for _, kind in ipairs { 'property', 'feature', 'tag', 'created' } do
      for name, value in pairs(values[kind]) do
        local found = read(d, kind, values.qube, name)
        if found ~= value then lost[#lost + 1] = ('%s %s %s: %s, not %s'):format(values.qube, kind, name, found, value) end
      end
    end
  end
  return lost
end

return M
