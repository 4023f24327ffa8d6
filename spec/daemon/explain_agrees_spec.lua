-- SPDX-License-Identifier: GPL-2.0-or-later
-- Explanation and daemon never disagree: random rules, estates and calls. Each call is explained, then made, and the two are compared in verdict, class,
-- message and body. QD_DRAWS: how many calls (10,000; fewer with sanitizers). QD_SEED: those of an earlier run.

local json = require('cjson')
local uv = require('luv')
local daemons = require('spec.support.daemon')
local declared = require('spec.support.declared')
local draw = require('spec.support.draw_calls')

local CONSOLE = { socket = 'qubesd.console.sock' }
local DRAWS = tonumber(os.getenv('QD_DRAWS')) or (daemons.build_dir:find('sanitizers', 1, true) and 2000 or 10000)
local SEED = tonumber(os.getenv('QD_SEED')) or (os.time() * 1000003 ~ uv.hrtime()) & 0x7fffffff
local CALLS_OF_A_RULE_SET = 40

local STREAMS = { ['admin.Events'] = true, ['admin.vm.Stats'] = true }

-- They read the qube's QubesDB before they ask, so nothing can be said of them without waiting.
local WAIT_FIRST = { ['qubes.FeaturesRequest'] = true, ['qubes.NotifyTools'] = true }

local function hex(bytes)
  return (bytes:gsub('.', function(byte) return ('%02x'):format(byte:byte()) end))
end

describe('explanation and daemon', function()
  local d, methods
  local seen = {} -- verdict → how often
  local refused = 0 -- calls that the rules refused, as they were explained

  setup(function()
    math.randomseed(SEED)
    d = daemons.start { extra_scripts = { ['api/spec.lua'] = declared.SCRIPT } }
    methods = {}
    for _, method in ipairs(declared.list(d)) do
      -- The console's can't be explained. A reload takes long, and changes nothing.
      if not method.name:match('^console%.') and method.name ~= 'internal.Reload' then
        methods[#methods + 1] = method
      end
    end
  end)

  teardown(function() d:stop() end)

  local function as_root(method, dest, arg, payload)
    return d:call('dom0', method, dest, arg, payload, CONSOLE)
  end

  local function status()
    return json.decode(d:ok('internal.Status', 'dom0', '', '', CONSOLE))
  end

  local function renew_estate()
    local exists = {}
    for name in as_root('admin.vm.List', 'dom0').body:gmatch('([^\n ]+) class=') do exists[name] = true end
    draw.estate(function(...)
      local answer = as_root(...)
      assert.are.equal('ok', answer.kind, answer.message)
    end, as_root, exists)
  end

  local function explain(call)
    local body = d:ok('console.Explain', 'dom0', '', json.encode {
      source = call.source, method = call.method, dest = call.dest, arg = call.arg, payload_hex = call.payload and hex(call.payload),
      subject = call.subject, event = call.event,
    }, CONSOLE)
    return json.decode(body)
  end

  -- The first bytes of a stream are enough.
  local function real(call)
    local bytes, ended = '', false
    local pipe = uv.new_pipe()
    local stream = STREAMS[call.declared.name]
    pipe:connect(d:socket(declared.socket_of(call.method)), function(problem)
      assert(not problem, problem)
      pipe:read_start(function(_, data)
        if data then bytes = bytes .. data else ended = true end
        if stream and bytes:sub(1, 1) == '1' then ended = true end
      end)
      pipe:write(daemons.request(call.source, call.method, call.dest, call.arg, call.payload))
      pipe:shutdown()
    end)
    daemons.run_until(function() return ended end, 60)
    pipe:close()
    assert(ended, 'no answer in time')
    return daemons.parse(bytes)
  end

  -- The items that the filters are said to have kept; nil when none was asked.
  local function kept_items(told)
    local items, kept = #told.questions > 0 and told.questions[#told.questions].items or {}, {}
    for _, item in ipairs(items) do
      if not item.removed_by then kept[#kept + 1] = item.name end
    end
    return #items > 0 and table.concat(kept, '\n') or nil
  end

  local function first_words(body)
    local words = {}
    for word in body:gmatch('([^ \n]+)[^\n]*') do words[#words + 1] = word end
    return table.concat(words, '\n')
  end

  -- nil, or how the two differ.
  local function difference(call, told, answer)
    if answer.kind == 'closed' and told.verdict == 'closed' then
      return told.problem ~= 'these bytes are no request' and 'an internal error' or nil
    end
    if answer.kind == 'closed' then return 'closed' end
    if told.verdict == 'closed' then return 'not closed' end
    if told.class then
      if answer.kind ~= 'exception' then return 'no exception' end
      if answer.class ~= told.class then return 'another class' end
      return answer.message:gsub('%%%%', '%%') ~= told.message and 'another message' or nil
    end
    if told.verdict == 'undecided' then return not WAIT_FIRST[call.method] and 'undecided' or nil end
    if told.verdict ~= 'permitted' then return 'an odd verdict' end
    if told.stopped then
      -- What comes after permission may be refused, but not by the rules; the daemon's own count of those is compared below.
      return nil
    end
    if not call.declared.reads then return 'it was run to its end' end
    if answer.kind == 'exception' then return 'an exception' end
    local counts = call.method == 'internal.Status' -- its answer is another each time
    if answer.kind == 'ok' and answer.body ~= told.body and not counts then return 'another body' end
    local kept = call.declared.name:match('%.List$') and kept_items(told)
    if kept and kept ~= first_words(answer.body) then return 'other items' end
  end

  local function compare(call, rules)
    local told = explain(call)
    local answer = real(call)
    local how = difference(call, told, answer)
    seen[told.verdict] = (seen[told.verdict] or 0) + 1
    if told.verdict == 'denied' or told.verdict == 'failed' then refused = refused + 1 end
    if told.verdict == 'undecided' then refused = status().denied end
    if told.stopped and answer.class == 'PermissionDenied' then refused = refused + 1 end -- for the sake of hidden qubes, after the rules had permitted it
    for _, question in ipairs(told.questions) do
      if #question.items > 0 then seen.filtered = (seen.filtered or 0) + 1 break end
    end
    if told.message and told.message:find('^over the limit of') then seen.limited = (seen.limited or 0) + 1 end
    if #told.hidden > 0 then seen.hidden = (seen.hidden or 0) + 1 end
    if not how then return end
    error(('%s (QD_SEED=%d)\n%s+%q %s -> %s %q\nexplained: %s\nreal: %s %s %s %s\n%s'):format(how, SEED, call.method, call.arg, call.source, call.dest,
      call.payload:sub(1, 200), json.encode(told), answer.kind, tostring(answer.class), tostring(answer.message), tostring(answer.body), rules), 0)
  end

  it(('agree on %d random calls (QD_SEED=%d)'):format(DRAWS, SEED), function()
    local done = 0
    while done < DRAWS do
      renew_estate()
      local rules = draw.rules(methods)
      d:set_rule('50.lua', rules)
      refused = status().denied -- streams whose end the daemon has not seen yet are asked again
      for _ = 1, math.min(CALLS_OF_A_RULE_SET, DRAWS - done) do
        compare(draw.call(methods), rules)
        done = done + 1
      end
      assert.are.equal(refused, status().denied, ('calls that the rules refused (QD_SEED=%d)\n%s'):format(SEED, rules))
    end
    if os.getenv('QD_DRAWS') then io.stderr:write(json.encode(seen), '\n') end
    for _, what in ipairs { 'permitted', 'denied', 'failed', 'exception', 'hidden', 'filtered' } do
      assert.is_true((seen[what] or 0) > DRAWS / 500, what .. ' was drawn too seldom')
    end
  end)

  -- Whether a subscriber is said to get the event.
  local function is_said_to_get(told, subject)
    for _, hidden in ipairs(told.hidden) do
      if hidden.qube == subject then return false end
    end
    for _, question in ipairs(told.questions) do
      for _, item in ipairs(question.items) do
        if item.removed_by then return false end
      end
      for _, rule in ipairs(question.rules) do
        if rule.said == 'failed' then return false end
      end
    end
    return true
  end

  -- Explains an event of a tag and causes it; whether the stream of `source` agrees.
  local function compare_event(stream, all, source, rules)
    local subject = draw.pick(draw.NAMES)
    local told = explain { source = source, method = 'admin.Events', dest = 'dom0', subject = subject, event = 'domain-tag-add:probe' }
    if stream.ended then
      assert.are_not.equal('permitted', told.verdict, rules)
      return
    end
    assert.are.equal('permitted', told.verdict, rules)
    stream:take(0)
    assert.are.equal('ok', as_root('admin.vm.tag.Set', subject, 'probe').kind)
    assert.is_truthy(all:wait('domain-tag-add:probe', 10)) -- so the other stream has it, too, if it gets it
    local got = false
    for _, event in ipairs(stream:take(0.005)) do got = got or event.name == 'domain-tag-add:probe' end
    as_root('admin.vm.tag.Remove', subject, 'probe')
    seen[got] = (seen[got] or 0) + 1
    assert.are.equal(is_said_to_get(told, subject), got, ('%s -> %s (QD_SEED=%d) %s\n%s'):format(subject, source, SEED, json.encode(told), rules))
  end

  it('agree on events', function()
    for _ = 1, DRAWS / 200 do
      renew_estate()
      local rules = draw.rules(methods):gsub('limit [^\n]*\n', '') -- which the subscription itself would use up
      d:set_rule('50.lua', rules)
      local source = draw.pick(draw.NAMES)
      local all = d:subscribe('dom0', 'dom0', { socket = 'qubesd.console.sock' })
      local stream = d:subscribe(source)
      for _ = 1, 8 do compare_event(stream, all, source, rules) end
      stream:close()
      all:close()
    end
    assert.is_true((seen[true] or 0) > 0 and (seen[false] or 0) > 0)
  end)
end)
