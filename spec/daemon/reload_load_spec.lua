-- SPDX-License-Identifier: GPL-2.0-or-later
-- Reloads under load: 64 connections are kept busy while rules change, every fifth time to broken ones. Each call gets one answer, has one line in the audit,
-- and was judged by one generation: that of its line.

local daemon = require('spec.support.daemon')
local json = require('cjson')
local uv = require('luv')

local CONNECTIONS = 64
local RELOADS = daemon.build_dir:find('sanitizers', 1, true) and 60 or 200
local TAGS = 40 -- so many generations in a row have different answers

-- Keeps of some tags those that the rules keep. "late": asks only after a wait, in which others reload; "long": answers after one.
local METHOD = ([[
method('admin.spec.Round', {
  dest = 'any', arg = 'required', payload = 'none', scope = 'local', read = true, filters = 'tags', doc = 'x',
}, function(call)
  local tags = {}
  for i = 0, %d - 1 do tags[#tags + 1] = 'round-' .. i end
  if call.arg:match('^late') then core.sleep(0.02) end
  tags = call:filter(tags)
  if call.arg:match('^long') then core.sleep(0.02) end
  return table.concat(tags, ' ')
end)
]]):format(TAGS)

-- Two files that keep one tag each. Of one generation they agree; two of different ones would leave nothing.
local FIRST = [[
on('admin-permission:admin.spec.Round', function(src, event, info)
  if info.arg:match('^deny') then deny('round-%d') end
  return function(tag) return tag == 'round-%d' end
end)
]]
local SECOND = [[
on('mgmt-permission:mgmt.spec.*', function()
  return filter_list(function(tags)
    local kept = {}
    for _, tag in ipairs(tags) do if tag == 'round-%d' then kept[#kept + 1] = tag end end
    return kept
  end)
end)
]]
local KINDS = { 'plain', 'deny', 'late', 'plain', 'long' }

describe('reloads under load', function()
  local base, d

  -- The rules of a round, in a directory of their own; then, at once, they are those that a reload finds. (The daemon watches the first directory only, so
  -- nothing is loaded but when it is asked for.)
  local function put(round, broken)
    local directory = ('%s/rules-%d'):format(base, round)
    assert(uv.fs_mkdir(directory, 448))
    daemon.write_file(directory .. '/10-a.lua', FIRST:format(round % TAGS, round % TAGS))
    daemon.write_file(directory .. '/20-b.lua', broken and 'on( -- broken' or SECOND:format(round % TAGS))
    assert(uv.fs_symlink(directory, base .. '/next'))
    assert(uv.fs_rename(base .. '/next', base .. '/rules'))
  end

  before_each(function()
    base = daemon.temporary_directory()
    put(0)
    d = daemon.start {
      extra_scripts = { ['api/spec_round.lua'] = METHOD },
      args = { '--acl-dir', base .. '/rules', '--audit-file', base .. '/audit.log' },
    }
    d:estate { 'guest' }
  end)

  after_each(function()
    daemon.remove_tree(base)
  end)

  -- Keeps a connection busy: one call after the other, until `load.over`. What was asked and answered goes to load.calls, by argument.
  local function keep_busy(load, number)
    if load.over then
      load.busy = load.busy - 1
      return
    end
    load.begun = load.begun + 1
    local arg = ('%s-%d-%d'):format(KINDS[load.begun % #KINDS + 1], number, load.begun)
    local pipe, parts = uv.new_pipe(), {}
    local function ended()
      pipe:close()
      load.calls[arg], load.ended = daemon.parse(table.concat(parts)), load.ended + 1
      keep_busy(load, number)
    end
    pipe:connect(d:socket(), function(problem)
      if problem then return ended() end
      pipe:read_start(function(_, data)
        if data then parts[#parts + 1] = data else ended() end
      end)
      pipe:write(daemon.request('guest', 'admin.spec.Round', 'guest', arg))
      pipe:shutdown()
    end)
  end

  local function run_load()
    local load = { calls = {}, begun = 0, ended = 0, busy = CONNECTIONS }
    for number = 1, CONNECTIONS do keep_busy(load, number) end
    return load
  end

  -- Reloads, and lets calls go on meanwhile and after it, so many that at least one of them begins after it. The number of the new generation, or nil.
  local function reload(load, round)
    local broken = round % 5 == 0
    put(round, broken)
    local pending = d:begin('dom0', 'internal.Reload', 'dom0', '', '', { socket = 'qubesd.console.sock' })
    assert.is_true(daemon.run_until(function() return pending.ended end, 60), 'no reload in a minute')
    local ended, answer = load.ended, pending.result()
    assert.is_true(daemon.run_until(function() return load.ended > ended + CONNECTIONS end, 60), 'no answers in a minute')
    assert.equal(broken and 'exception' or 'ok', answer.kind)
    if broken then
      assert.truthy(answer.message:find('acl.d/20-b.lua:1:', 1, true), answer.message)
      return nil
    end
    return assert(tonumber(answer.body:match('generation=(%d+)')))
  end

  -- Digests by generation, as the log has announced them.
  local function announced()
    local digests = {}
    for number, digest in d.log:gmatch('generation (%d+) serves:[^\n]* digest (%x+)') do
      assert.is_nil(digests[tonumber(number)])
      digests[tonumber(number)] = digest
    end
    return digests
  end

  local function audit_lines()
    local lines = {}
    for text in io.lines(base .. '/audit.log') do lines[#lines + 1] = json.decode(text) end
    return lines
  end

  -- The answer fits the generation that the line names.
  local function check_call(line, answer, tag)
    if line.argument:match('^deny') then
      assert.same({ 'denied', tag, 'acl.d/10-a.lua:1' }, { line.verdict, line.reason, line.rule })
      assert.same({ 'exception', 'PermissionDenied', tag }, { answer.kind, answer.class, answer.message })
    else
      assert.equal('permitted', line.verdict)
      assert.same({ 'ok', tag }, { answer.kind, answer.body })
    end
  end

  it('lose no call, and judge none by two generations', function()
    local rounds = { [1] = 0 } -- by generation
    local load = run_load()
    for round = 1, RELOADS do
      local generation = reload(load, round)
      if generation then rounds[generation] = round end
    end
    load.over = true
    assert.is_true(daemon.run_until(function() return load.busy == 0 end, 60), 'calls without an answer')
    assert.equal(load.begun, load.ended)
    d:stop() -- writes the rest of the audit

    local digests, lines, used = announced(), audit_lines(), {}
    assert.equal(load.begun, #lines)
    for i, line in ipairs(lines) do
      local answer = load.calls[line.argument]
      load.calls[line.argument] = nil -- so that a second line for the call finds nothing
      assert.truthy(answer, 'a line without its call, or a second one')
      assert.equal(i, line.sequence)
      assert.equal(digests[line.generation], line.digest)
      check_call(line, answer, ('round-%d'):format(rounds[line.generation] % TAGS))
      used[line.generation] = true
    end
    assert.is_nil(next(load.calls))
    local generations = 0
    for _ in pairs(used) do generations = generations + 1 end
    assert.equal(RELOADS - RELOADS // 5 + 1, generations, 'each generation has judged calls')
  end)
end)
