-- SPDX-License-Identifier: GPL-2.0-or-later
-- Law 11: clients that misbehave are served or dropped within bounds, and cost nobody else.

local uv = require('luv')
local daemon = require('spec.support.daemon')

local METHODS = [[
method('admin.spec.Big', { dest = 'any', arg = 'required', payload = 'none', scope = 'local', read = true, doc = 'x' }, function(call)
  call:permission {}
  return ('x'):rep(tonumber(call.arg))
end)
method('admin.spec.Length', { dest = 'any', arg = 'none', payload = 'required', scope = 'local', read = true, doc = 'x' }, function(call, untrusted_payload)
  call:permission {}
  return tostring(untrusted_payload:length())
end)
method('admin.spec.Flood', { dest = 'any', arg = 'required', payload = 'none', scope = 'local', write = true, doc = 'x' }, function(call)
  call:permission {}
  local value = ('v'):rep(4000)
  for i = 1, tonumber(call.arg) do call.dest:fire('spec-flood', { value = value, number = i }) end
end)
method('admin.spec.Sleep', { dest = 'any', arg = 'required', payload = 'none', scope = 'local', read = true, cancellable = true, doc = 'x' }, function(call)
  call:permission {}
  core.sleep(tonumber(call.arg))
  return 'slept'
end)
]]

local REQUEST_MAX = 65536

describe('the daemon', function()
  local d

  setup(function()
    d = daemon.start { extra_scripts = { ['api/spec_bounds.lua'] = METHODS } }
    d:estate { 'guest', 'target' }
  end)

  -- Nothing that a client did here may leave a handle or, in the sanitizers' build, a byte behind.
  teardown(function() d:stop() end)

  local function open(read)
    local pipe, state = uv.new_pipe(), { parts = {} }
    pipe:connect(d:socket(), function(err)
      state.connected = not err
      state.err = err
      if read ~= false and not err then
        pipe:read_start(function(problem, data)
          if data then state.parts[#state.parts + 1] = data else state.ended, state.problem = true, problem end
        end)
      end
    end)
    assert.is_true(daemon.run_until(function() return state.connected or state.err end, 5) == true, state.err)
    return pipe, state
  end

  local function close(pipe)
    if not pipe:is_closing() then pipe:close() end
    daemon.sleep(0)
  end

  local function served_quickly()
    local since = uv.hrtime()
    assert.equal('ok', d:call('dom0', 'admin.vm.List', 'dom0').kind)
    return (uv.hrtime() - since) / 1e9 < 5 -- a client that is waited for would cost 30
  end

  local function status(field)
    local text = d:call('dom0', 'internal.Status', 'dom0', '', '', { socket = 'qubesd.console.sock' }).body
    return tonumber(text:match('"' .. field .. '": (%d+)'))
  end

  it('serves a request of exactly 65,536 bytes, and closes on one more', function()
    local head = daemon.request('dom0', 'admin.spec.Length', 'target')
    local payload = ('p'):rep(REQUEST_MAX - #head)
    assert.equal('0\0' .. #payload, d:raw(head .. payload))
    local more = d:raw(head .. payload .. 'p')
    assert.is_true(more == '' or more == nil)
    local much = d:raw(head .. payload .. ('p'):rep(1000000))
    assert.is_true(much == '' or much == nil)
    assert.is_true(served_quickly())
  end)

  it('closes on a framing error without an answer', function()
    for _, bytes in ipairs { '', '\0', 'x', 'admin.vm.List', 'admin.vm.List dom0 name dom0', 'admin.vm.List dom0 name\0', 'admin.vm.List\0dom0 name dom0',
      'admin.vm.List dom0 other dom0\0', ('x'):rep(60000), ('x '):rep(30000), 'admin.vm.List dom0\0' } do
      local answer = d:raw(bytes)
      assert.is_true(answer == '' or answer == nil, ('%q: %q'):format(bytes:sub(1, 60), tostring(answer)))
    end
    assert.is_true(d:is_alive())
  end)

  it('answers no request that is almost one with data', function()
    for _, bytes in ipairs { 'admin.vm.List  dom0 name dom0\0', 'admin.vm.List dom0 name dom0 more\0', 'admin.vm.List dom0 keyword other\0',
      ' admin.vm.List dom0 name dom0\0', 'admin.vm.List dom0 name dom0 \0', '+ dom0 name dom0\0', 'admin.vm.List+ name dom0\0', ('a '):rep(30000) .. '\0',
      '\255\254 dom0 name dom0\0', 'admin.vm.List \255 name dom0\0', 'admin.vm.List dom0 name \255\0', 'admin.vm.List dom0 name ../dom0\0' } do
      local answer = d:raw(bytes)
      assert.is_true(answer == '' or answer == nil or answer:sub(1, 2) == '2\0', ('%q: %q'):format(bytes:sub(1, 60), tostring(answer)))
      assert.is_true(#(answer or '') < 400)
    end
    assert.is_true(d:is_alive())
  end)

  it('serves a client that sends byte by byte', function()
    local pipe, state = open()
    for byte in daemon.request('dom0', 'admin.vm.tag.List', 'target'):gmatch('.') do
      pipe:write(byte)
      daemon.sleep(0.001)
    end
    assert.equal(0, #state.parts)
    pipe:shutdown()
    assert.is_true(daemon.run_until(function() return state.ended end, 5))
    assert.equal('ok', daemon.parse(table.concat(state.parts)).kind)
    close(pipe)
  end)

  it('answers only when the input has ended', function()
    local pipe, state = open()
    pipe:write(daemon.request('dom0', 'admin.vm.List', 'dom0'))
    daemon.sleep(0.1)
    assert.equal(0, #state.parts)
    assert.is_true(served_quickly())
    pipe:shutdown()
    assert.is_true(daemon.run_until(function() return state.ended end, 5))
    assert.equal('0\0', table.concat(state.parts):sub(1, 2))
    close(pipe)
  end)

  it('survives clients that leave at once, or in the middle', function()
    for i = 1, 100 do
      local pipe = open(false)
      if i % 3 > 0 then pipe:write(daemon.request('dom0', i % 2 == 0 and 'admin.vm.List' or 'admin.Events', 'dom0')) end
      if i % 3 == 2 then pipe:shutdown() end
      pipe:close()
    end
    daemon.sleep(0.05)
    assert.is_true(served_quickly())
    assert.is_true(daemon.run_until(function() return status('connections') <= 2 end, 5), 'connections are left')
  end)

  it('ends a cancellable call when its client leaves', function()
    local calls = {}
    for i = 1, 10 do calls[i] = d:begin('dom0', 'admin.spec.Sleep', 'target', '60') end
    assert.is_true(daemon.run_until(function() return status('connections') >= 10 end, 5))
    for _, call in ipairs(calls) do call.close() end
    assert.is_true(daemon.run_until(function() return status('connections') <= 2 end, 10))
  end)

  it('serves others beside 300 connections that say nothing', function()
    local before, idle = status('connections'), {}
    for i = 1, 300 do idle[i] = open() end
    assert.is_true(status('connections') >= before + 300)
    for _ = 1, 20 do assert.is_true(served_quickly()) end
    for _, pipe in ipairs(idle) do close(pipe) end
    assert.is_true(daemon.run_until(function() return status('connections') <= before + 1 end, 5))
  end)

  it('serves others beside clients that never read a big answer', function()
    local pipes = {}
    for i = 1, 5 do
      pipes[i] = open(false)
      pipes[i]:write(daemon.request('dom0', 'admin.spec.Big', 'target', '8000000'))
      pipes[i]:shutdown()
    end
    for _ = 1, 20 do assert.is_true(served_quickly()) end
    for _, pipe in ipairs(pipes) do close(pipe) end
    local big = d:ok('admin.spec.Big', 'target', '8000000')
    assert.equal(8000000, #big)
  end)

  it('cuts off a subscriber that does not read, with a last event that says so', function()
    local slow, quick = d:subscribe('dom0', 'dom0', { read = false }), d:subscribe()
    assert.is_true(daemon.run_until(function() return status('subscribers') == 2 end, 5))
    local since, parts = uv.hrtime(), 0
    for _ = 1, 10 do
      d:ok('admin.spec.Flood', 'target', '100')
      assert.is_true(served_quickly())
      for _, event in ipairs(quick:take(0.02)) do if event.name == 'spec-flood' then parts = parts + 1 end end
    end
    assert.is_true(daemon.run_until(function()
      for _, event in ipairs(quick:take(0.02)) do if event.name == 'spec-flood' then parts = parts + 1 end end
      return parts == 1000
    end, 10), 'whoever reads gets every event')
    assert.is_true(d:logged('cut off'))
    local text, ended = {}, false
    slow.pipe:read_start(function(_, data) if data then text[#text + 1] = data else ended = true end end)
    assert.is_true(daemon.run_until(function() return ended end, 10))
    text = table.concat(text)
    assert.equal('1\0\0subscriber-too-slow\0\0', text:sub(-24))
    assert.is_true(#text < 4 * 1024 * 1024)
    assert.is_true((uv.hrtime() - since) / 1e9 < 30)
    quick:close()
    slow:close()
    assert.is_true(daemon.run_until(function() return status('subscribers') == 0 end, 5))
  end)

  it('gives events with long values', function()
    local events = d:subscribe()
    for _, size in ipairs { 1000, 1023, 1024, 1025, 5000, 60000 } do
      local value = ('v'):rep(size)
      d:ok('admin.vm.feature.Set', 'target', 'long', value)
      local event = events:wait('domain-feature-set:long')
      assert.truthy(event, tostring(size))
      assert.equal(value, event.info.value)
    end
    d:ok('admin.vm.feature.Remove', 'target', 'long')
    events:close()
  end)

  it('takes no input after the request', function()
    local pipe, state = open()
    pipe:write(daemon.request('dom0', 'admin.vm.List', 'dom0') .. daemon.request('dom0', 'admin.vm.List', 'dom0'))
    pipe:shutdown()
    assert.is_true(daemon.run_until(function() return state.ended end, 5))
    assert.equal('ProtocolError', daemon.parse(table.concat(state.parts)).class) -- the second is a payload to the first
    close(pipe)
  end)

  it('answers many clients at once, each with its own answer', function()
    local calls = {}
    for i = 1, 200 do calls[i] = d:begin('dom0', 'admin.spec.Big', 'target', tostring(i)) end
    assert.is_true(daemon.run_until(function()
      for _, call in ipairs(calls) do if not call.ended then return false end end
      return true
    end, 10))
    for i, call in ipairs(calls) do assert.equal(i, #call.result().body) end
  end)
end)
