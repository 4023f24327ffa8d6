-- SPDX-License-Identifier: GPL-2.0-or-later
-- Law 1, by the bytes: the same random calls of a restricted caller in two worlds, one of them with hidden qubes, get the same answers, errors and events.
-- Meanwhile dom0 acts in both, and on hidden qubes in the one that has them. Estates and calls are drawn by spec/support/two_worlds*.lua.
-- QD_DRAWS: how many calls (10,000; fewer with sanitizers). QD_SEED: others than these. QD_SURVEY: go on with new estates after a difference, and list
-- them at the end.

local json = require('cjson')
local daemons = require('spec.support.daemon')
local draw = require('spec.support.two_worlds')
local calls = require('spec.support.two_worlds_calls')

local CONSOLE = { socket = 'qubesd.console.sock' }
local DRAWS = tonumber(os.getenv('QD_DRAWS')) or (daemons.build_dir:find('sanitizers', 1, true) and 1500 or 10000)
local SEED = tonumber(os.getenv('QD_SEED')) or 20261123
local SURVEY = os.getenv('QD_SURVEY')
local CALLS_OF_AN_ESTATE, CALLS_OF_A_BATCH = 250, 25

local STREAMS = { ['admin.Events'] = true, ['admin.vm.Stats'] = true }
local POWER = { Start = true, Shutdown = true, Kill = true, Pause = true, Unpause = true, Suspend = true, Resume = true, CreateDisposable = true }

describe('two worlds', function()
  local there, here -- the world with hidden qubes, and the one without
  local streams
  local methods, weighted
  local w = { uuids = {}, made = {} }
  local seen, differences = {}, {}
  local number = 0 -- of the call

  -- ---- dom0 ----

  local function as_dom0(world, method, ...)
    return world:call('dom0', method, ...)
  end

  -- What is made for hidden qubes draws its numbers from elsewhere.
  local function as_hidden(world, method, ...)
    local makes = method:find('%.Create')
    if makes then world:ok('console.spec.Hidden', 'dom0', '', '1', CONSOLE) end
    local answer = as_dom0(world, method, ...)
    if makes then world:ok('console.spec.Hidden', 'dom0', '', '0', CONSOLE) end
    return answer
  end

  local function must(answer, method, dest, arg, text)
    if answer.kind ~= 'ok' then
      error(('%s+%s %s %s: %s %s (QD_SEED=%d)'):format(method, arg, dest, text, tostring(answer.class), tostring(answer.message), SEED), 0)
    end
  end

  -- For the generator: who does what in which world. `try` is done in both and has to have the same outcome.
  function w.both(...)
    must(as_dom0(there, ...), ...)
    must(as_dom0(here, ...), ...)
  end
  function w.with(...) must(as_hidden(there, ...), ...) end
  function w.without(...) must(as_dom0(here, ...), ...) end
  function w.none(holder, name) here:ok('console.spec.None', holder, '', name, CONSOLE) end

  -- What has just happened is told of before this returns.
  local function settle()
    local one, other
    one = there:begin('dom0', 'console.spec.Settle', 'dom0', '', '', CONSOLE)
    other = here:begin('dom0', 'console.spec.Settle', 'dom0', '', '', CONSOLE)
    assert(daemons.run_until(function() return one.ended and other.ended end, 30), 'the worlds do not come to rest')
    assert.are.same({ 'ok', 'ok' }, { one.result().kind, other.result().kind })
  end

  local function pair(method, dest, arg, text, text_here)
    local one, other = as_dom0(there, method, dest, arg, text), as_dom0(here, method, dest, arg, text_here)
    if one.kind ~= other.kind then
      error(('the worlds part, so that nothing can be compared: %s+%s %s %s: %s %s, %s %s (QD_SEED=%d, call %d)'):format(method, tostring(arg), dest,
        tostring(text), one.kind, tostring(one.message), other.kind, tostring(other.message), SEED, number), 0)
    end
    if one.kind == 'ok' and POWER[method:match('[^.]*$')] then settle() end
  end
  w.pair = pair
  function w.try(method, dest, arg, text) pair(method, dest, arg, text, text) end

  -- ---- estates ----

  local function start(rules)
    return daemons.start { extra_scripts = { ['api/spec.lua'] = draw.SCRIPT }, acl = { ['10-hide.lua'] = rules } }
  end

  local function subscribe()
    streams = {}
    for _, dest in ipairs { 'dom0', 'v1', 'net' } do
      streams[#streams + 1] = { dest = dest, there = there:subscribe(draw.CALLER, dest), here = here:subscribe(draw.CALLER, dest) }
    end
  end

  local function begin_estate()
    local rules = draw.rules()
    there, here = start(rules), start(rules)
    draw.build(w)
    w.uuids, w.made = {}, {}
    for uuid in there:ok('admin.vm.List'):gmatch('uuid=(%S+)') do w.uuids[#w.uuids + 1] = 'uuid:' .. uuid end
    subscribe()
  end

  local function end_estate()
    for _, stream in ipairs(streams or {}) do
      stream.there:close()
      stream.here:close()
    end
    streams = nil
    for _, world in pairs { there, here } do world:stop() end
    there, here = nil, nil
  end

  setup(function()
    math.randomseed(SEED)
    local d = start(draw.rules())
    methods = json.decode(d:ok('console.spec.Declarations', 'dom0', '', '', CONSOLE))
    weighted = calls.weighted(methods)
    d:stop()
  end)

  teardown(function()
    for _, world in pairs { there, here } do world:kill() end
  end)

  -- ---- answers ----

  -- What is left out of the comparison, with reasons:
  -- (What is not drawn at all is said in spec/support/two_worlds*.lua.)
  --   xid: the hypervisor counts all starts, and who draws windows or connects to a qube needs its number.
  --   cputime, cpu_time, cpu_usage: time of this machine's processors.
  --   mem, vm-stats: what a running qube has is what a hidden template gave to it.
  local function comparable(call, bytes)
    if call.arg == 'xid' then bytes = bytes:gsub('type=int %d+$', 'type=int #') end
    bytes = bytes:gsub('(\nxid default=%a+ type=int )%d+', '%1#'):gsub('mem=%d+', 'mem=#'):gsub('cputime=%d+', 'cputime=#')
    return (bytes:gsub('([cm][pe][um][%l_]*%z)%d+', '%1#'):gsub('(online_vcpus%z)%d+', '%1#'))
  end

  local function socket_of(method)
    return method:match('^qubes%.') and 'qubesd.misc.sock' or 'qubesd.sock' -- those that a call of another qube can arrive at
  end

  -- Begins the call in one world. A stream is read until it has said something, and closed.
  local function begin(world, call)
    return world:begin(draw.CALLER, call.method, call.dest, call.arg, call.payload, { socket = socket_of(call.method) })
  end

  local function bytes_of(pending) return table.concat(pending.parts) end

  local function finish_stream(call, one, other)
    daemons.run_until(function()
      local a, b = bytes_of(one), bytes_of(other)
      return a ~= '' and comparable(call, a) == comparable(call, b)
    end, 3)
    if not one.ended then daemons.sleep(0.005) end -- whether one of them has more to say
  end

  local function make_once(call)
    local one, other = begin(there, call), begin(here, call)
    if STREAMS[call.declared.name] then
      finish_stream(call, one, other)
    else
      assert(daemons.run_until(function() return one.ended and other.ended end, 30), 'no answer in time')
    end
    one.close()
    other.close()
    return comparable(call, bytes_of(one)), comparable(call, bytes_of(other))
  end

  -- The answers. Numbers of a busy machine may come too late, so a stream that differs is asked for again.
  local function make(call)
    local one, other = make_once(call)
    for _ = 1, STREAMS[call.declared.name] and one ~= other and 3 or 0 do
      if one ~= other then one, other = make_once(call) end
    end
    return one, other
  end

  local function text_of(call)
    return ('%s+%s %s %q'):format(call.method, call.arg, call.dest, call.payload:sub(1, 100))
  end

  -- The place where two texts part.
  local function excerpts(one, other)
    local at = 1
    while one:byte(at) == other:byte(at) do at = at + 1 end
    return one:sub(math.max(1, at - 200), at + 300), other:sub(math.max(1, at - 200), at + 300)
  end

  local function differ(what, one, other)
    error(('%s (QD_SEED=%d, call %d)\n  with hidden qubes:    %q\n  without hidden qubes: %q'):format(what, SEED, number, excerpts(one, other)), 0)
  end

  local function note(call, bytes)
    local answer = daemons.parse(bytes)
    local kind = answer.class or answer.kind
    seen[kind] = (seen[kind] or 0) + 1
    seen[call.declared.name] = (seen[call.declared.name] or 0) + 1
    if call.declared.name == 'admin.vm.CreateDisposable' and answer.kind == 'ok' and answer.body:find('^disp') then w.made[#w.made + 1] = answer.body end
  end

  local function compare_call()
    number = number + 1
    local call = calls.call(w, weighted)
    local one, other = make(call)
    note(call, other)
    if other:sub(1, 1) == '0' and POWER[call.declared.name:match('[^.]*$')] then settle() end
    if one ~= other then differ(text_of(call), one, other) end
    return text_of(call)
  end

  -- ---- events ----

  local function compare_events(history)
    settle()
    local mark = 'mark' .. number
    for _, world in ipairs { there, here } do world:ok('admin.vm.tag.Set', 'v1', mark) end
    for _, world in ipairs { there, here } do world:ok('admin.vm.tag.Set', 'net', mark) end
    local last = 'domain-tag-add:' .. mark .. '\0tag\0' .. mark .. '\0'
    local function has_all(stream) return stream.buffer:find(last, 1, true) or stream.ended end
    for _, stream in ipairs(streams) do
      daemons.run_until(function() return has_all(stream.there) and has_all(stream.here) end, 10)
    end
    settle()
    for _, stream in ipairs(streams) do
      if stream.there.buffer ~= stream.here.buffer then
        local one, other = stream.there.buffer, stream.here.buffer
        differ('events of ' .. stream.dest .. ' after\n' .. table.concat(history, '\n'), one, other)
      end
      stream.there.buffer, stream.here.buffer = '', ''
    end
  end

  local function recorded(history)
    local function text(...)
      local words = { ... }
      for i, word in ipairs(words) do words[i] = tostring(word) end
      return table.concat(words, ' ')
    end
    local recorder = { uuids = w.uuids, made = w.made }
    function recorder.try(...)
      history[#history + 1] = 'dom0: ' .. text(...)
      w.try(...)
    end
    function recorder.pair(...)
      history[#history + 1] = 'dom0, or none: ' .. text(...)
      w.pair(...)
    end
    function recorder.hidden(...)
      history[#history + 1] = 'dom0, there only: ' .. text(...)
      local answer = as_hidden(there, ...)
      if answer.kind == 'ok' and POWER[select(1, ...):match('[^.]*$')] then settle() end
    end
    return recorder
  end

  local function batch(count)
    local history = {}
    local dom0 = recorded(history)
    for _ = 1, count do
      if draw.chance(25) then draw.hidden_event(dom0.hidden, dom0) end
      if draw.chance(6) then draw.visible_event(dom0) end
      history[#history + 1] = compare_call()
    end
    compare_events(history)
  end

  local function one_estate(till)
    begin_estate()
    while number < till do batch(math.min(CALLS_OF_A_BATCH, till - number)) end
  end

  it(('are the same to who sees no hidden qube: %d calls (QD_SEED=%d)'):format(DRAWS, SEED), function()
    while number < DRAWS do
      local is_same, what = pcall(one_estate, math.min(DRAWS, number + CALLS_OF_AN_ESTATE))
      if not is_same and not SURVEY then error(what, 0) end
      if not is_same then differences[#differences + 1] = what end
      end_estate()
    end
    if SURVEY then io.stderr:write(json.encode(seen), '\n', table.concat(differences, '\n'), '\n', #differences, ' differences\n') end
    assert.are.equal(0, #differences)
    if DRAWS < 5000 then return end
    for _, method in ipairs(methods) do assert.is_truthy(seen[method.name], method.name .. ' was not drawn') end
    for _, what in ipairs { 'ok', 'events', 'PermissionDenied', 'QubesVMNotFoundError', 'QubesVMInUseError', 'QubesPropertyValueError' } do
      assert.is_true((seen[what] or 0) > DRAWS / 1000, what .. ' was answered too seldom')
    end
  end)
end)
