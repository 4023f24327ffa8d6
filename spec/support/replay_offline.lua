-- SPDX-License-Identifier: GPL-2.0-or-later
-- lua5.4 spec/support/replay_offline.lua [--show N] [--only PATTERN] [--no-aftermath] TRACE…: replays recorded calls on the scripts, without a daemon.
--
-- Compares as replay.py and wire.py of the conformance folder do. Where the reference failed inside (its answer is ["-"]) it may have been left half
-- changed; `aftermath` brings the model to that state, so that the calls after it can be compared too.

package.path = './?.lua;' .. package.path

local cjson = require('cjson')
local fake_calls = require('spec.support.fake_calls')
local fake_core = require('spec.support.fake_core')

local show, only, with_aftermath, traces = 10, nil, true, {}
do
  local i = 1
  while i <= #arg do
    if arg[i] == '--show' then
      show, i = tonumber(arg[i + 1]), i + 1
    elseif arg[i] == '--only' then
      only, i = arg[i + 1], i + 1
    elseif arg[i] == '--no-aftermath' then
      with_aftermath = false
    else
      traces[#traces + 1] = arg[i]
    end
    i = i + 1
  end
end

local UUID = '%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x'
local ZERO = '00000000-0000-0000-0000-000000000000'

local function hide(text, zeros_too)
  text = text:gsub(UUID, function(uuid) return (zeros_too or uuid ~= ZERO) and 'UUID' or nil end)
  return (text:gsub('10%.138%.%d+%.%d+', 'DISPIP'):gsub('fd09:24ef:4179::a8a:%x+', 'DISPIP'))
end

local function normal_text(method, argument, text)
  text = hide(text):gsub('(dispid default=%w+ type=int )%d+', '%1DISPID')
  if argument == 'dispid' then text = text:gsub('(type=int )%d+', '%1DISPID') end
  if method:find('%.List$') then
    local lines = {}
    for line in (text .. '\n'):gmatch('([^\n]*)\n') do lines[#lines + 1] = line end
    table.sort(lines)
    text = table.concat(lines, '\n')
  end
  return text
end

local function event_text(world, value)
  if type(value) == 'boolean' then return value and 'True' or 'False' end
  if value == fake_core.none then return 'None' end
  if world.core.is_object(value) then return world.core.name(value) end
  return tostring(value)
end

local function normal_event(world, event)
  local pairs_of = {}
  for key, value in pairs(event.info) do pairs_of[#pairs_of + 1] = { key, hide(event_text(world, value), true) } end
  table.sort(pairs_of, function(a, b) return a[1] < b[1] end)
  return { event.subject == world.app and '' or world.core.name(event.subject), event.event, pairs_of }
end

-- One form for both sides: cjson tells an empty array from an empty object only when it writes one.
local function flat(events)
  local words = {}
  for _, event in ipairs(events) do
    local info = {}
    for i, pair in ipairs(event[3]) do info[i] = pair[1] .. '=' .. pair[2] end
    words[#words + 1] = ('%s %s {%s}'):format(event[1], event[2], table.concat(info, ', '))
  end
  return table.concat(words, '\n      ')
end

local function to_latin1(text)
  return (text:gsub('[\xc2\xc3][\x80-\xbf]', function(pair) return string.char((pair:byte(1) & 3) << 6 | (pair:byte(2) & 63)) end))
end

local READ = { Get = true, GetAll = true, GetDefault = true, List = true, Index = true, Info = true, CurrentState = true }

local function is_read(method)
  return READ[method:match('[^.]*$')] or method:find('%.CheckWith') ~= nil
end

local function same_answer(method, want, got)
  if want[1] == '-' then return got[1] ~= '0' or is_read(method) end
  return got[1] == want[1] and got[2] == want[2]
end

local function aftermath(world, record, events)
  -- These are checked after they were set, so the reference keeps what it refused.
  local late = record.arg:find('^custom%-persist%.') or record.arg:find('^vm%-config%.')
  local refused_late = record.answer[1] == '2' and record.method == 'admin.vm.feature.Set' and late and events ~= ''
  if not refused_late and (record.answer[1] ~= '-' or is_read(record.method)) then return end
  local core = world.core
  if record.method == 'admin.property.Set' and events ~= '' then
    core.set(world.app, 'property', record.arg, core.qube(record.payload) or record.payload)
    for _, event in ipairs(record.events) do
      local kind, tag = event[2]:match('^domain%-tag%-(%a+):(.*)$')
      if kind == 'delete' and core.qube(event[1]) then core.unset(core.qube(event[1]), 'tag', tag) end
    end
  elseif record.method == 'admin.vm.feature.Set' and events ~= '' and core.qube(record.dest) then
    core.set(core.qube(record.dest), 'feature', record.arg, record.payload)
  elseif record.method == 'admin.vm.tag.Set' and record.arg:find('^created%-by%-') and core.qube(record.dest) then
    core.set(core.qube(record.dest), 'tag', record.arg, true)
  end
end

-- The lines of one answer that the other has not.
local function print_lines(word, answer, other)
  local known = {}
  for line in ((other[1] == answer[1] and other[2] or '') .. '\n'):gmatch('([^\n]*)\n') do known[line] = true end
  print(('    %s %s'):format(word, answer[1]))
  for line in ((answer[2] or '') .. '\n'):gmatch('([^\n]*)\n') do
    if not known[line] then print('      ' .. line) end
  end
end

local function replay(path)
  local world = fake_core.new { scripts = 'scripts' }
  world:load()
  local total, answers, events, shown, number = 0, 0, 0, 0, 0
  for line in io.lines(path) do
    number = number + 1
    local record = cjson.decode(line)
    world.events = {}
    local ok, result = fake_calls.call(world, record.src, record.method, record.dest, record.arg, to_latin1(record.payload))
    local got
    if ok then
      got = { '0', normal_text(record.method, record.arg, result) }
    elseif result.class then
      got = { '2', result.class }
    else
      got = { '-', result.message }
    end
    local seen = {}
    for i, event in ipairs(world.events) do seen[i] = normal_event(world, event) end
    local want_events, got_events = flat(record.events), flat(seen)
    if not only or record.method:find(only) then
      total = total + 1
      local same = same_answer(record.method, record.answer, got)
      local same_events = record.answer[1] == '-' or want_events == got_events
      answers, events = answers + (same and 1 or 0), events + (same_events and 1 or 0)
      if not (same and same_events) and shown < show then
        shown = shown + 1
        print(('%s:%d: %s %s+%s %s %q'):format(path, number, record.src, record.method, record.arg, record.dest, record.payload))
        if not same then
          print_lines('want', record.answer, got)
          print_lines('got ', got, record.answer)
          if not ok and result.class then print('      ' .. tostring(result.message)) end
        end
        if not same_events then print('    events want\n      ' .. want_events .. '\n    events got\n      ' .. got_events) end
      end
    end
    if with_aftermath then aftermath(world, record, want_events) end
  end
  print(('%s: %d calls, answers %d same, %d differ; events %d same, %d differ'):format(
    path, total, answers, total - answers, events, total - events))
  return 2 * total - answers - events
end

local bad = 0
for _, trace in ipairs(traces) do bad = bad + replay(trace) end
os.exit(bad == 0 and 0 or 1)
