-- SPDX-License-Identifier: GPL-2.0-or-later
-- Law 4: a rule that costs too much is killed, whatever it hides behind, and the call is denied. Nobody else waits for it long.

local uv = require('luv')
local daemon = require('spec.support.daemon')

-- The rule that is asked is the function named by the call's argument.
local RULES = [[
local attacks = {}
local big = ('a'):rep(3000000)

function attacks.loop() while true do end end
function attacks.repeat_until() repeat until false end
function attacks.pcall_in_loop() while true do pcall(function() while true do end end) end end
function attacks.pcall_recursion() local function f() while true do pcall(f) end end f() end
function attacks.pcall_once() pcall(function() while true do end end) end
function attacks.xpcall_loops() xpcall(function() while true do end end, function() while true do end end) end
function attacks.handler_loops() while true do xpcall(error, function() while true do end end) end end
function attacks.handler_errs() while true do xpcall(error, function() error('again') end) end end
function attacks.recursion() local function f() return 1 + f() end return f() end
function attacks.tail_call() local function f() return f() end return f() end
function attacks.pcalled_recursion() local function f() pcall(f) f() end f() end

function attacks.table_growth() local t = {} while true do t[#t + 1] = {} end end
function attacks.nested_tables() local t = {} while true do t = { t } end end
function attacks.doubling() local s = 'x' while true do s = s .. s end end
function attacks.doubling_in_pcall() local s = 'x' while true do pcall(function() s = s .. s end) end end
function attacks.gigabyte() return ('x'):rep(1000000000) end
function attacks.gigabyte_in_pcall() while true do pcall(string.rep, 'x', 1000000000) end end
function attacks.many_megabytes() while true do pcall(string.rep, 'x', 10000000) end end
function attacks.concat() local t = {} for i = 1, 2000 do t[i] = big end return table.concat(t) end
function attacks.format() return ('%s%s%s%s%s%s%s%s'):format(big, big, big, big, big, big, big, big) end
function attacks.gsub_growth() return (('a'):rep(100000):gsub('a', ('b'):rep(100000))) end
function attacks.vararg() local function f(...) return f(1, ...) end f() end

local hard = ('a?'):rep(26) .. ('a'):rep(26)
local subject = ('a'):rep(26)
function attacks.find() while true do pcall(string.find, subject, hard) end end
function attacks.match() while true do pcall(string.match, subject, hard .. '$') end end
function attacks.gsub() while true do pcall(string.gsub, subject, hard, '') end end
function attacks.gmatch() while true do pcall(function() for _ in subject:gmatch(hard) do end end) end end
function attacks.stars() return big:find('.*.*.*.*b') end
function attacks.plain_find() while true do big:find(('a'):rep(1000000) .. 'b', 1, true) end end

function attacks.sort_long_strings() local t = {} for i = 1, 5000 do t[i] = big end table.sort(t) end
function attacks.sort_without_order() local t = {} for i = 1, 200 do t[i] = i end table.sort(t, function() while true do end end) end
function attacks.utf8() while true do utf8.len(big) end end
function attacks.tonumber() while true do tonumber(big, 36) end end
function attacks.lower() while true do big:lower() end end
function attacks.hashing() local t = {} while true do t[big .. 'x'] = nil end end

on('admin-permission:admin.vm.feature.Get', function(src, event, info)
  if src.name == 'guest' and attacks[info.arg] then return attacks[info.arg]() end
end)
on('admin-permission:admin.vm.tag.List', function(src, event, info)
  local attack = src.name == 'guest' and attacks[info.dest.features.attack or '']
  if attack and info.dest.features.whole then return filter_list(attack) end
  if attack then return attack end
end)
]]

local SECONDS = daemon.build_dir:find('sanitizers', 1, true) and 8 or 2.5

describe('a rule that costs too much', function()
  local d

  setup(function()
    d = daemon.start { acl = { ['10-attacks.lua'] = RULES } }
    d:estate { 'guest', 'target' }
  end)

  teardown(function() d:stop() end)

  local function denied(answer, since)
    assert.equal('exception', answer.kind)
    assert.equal('PermissionDenied', answer.class)
    assert.equal('the rules do not permit this call', answer.message)
    assert.equal('', answer.trace)
    assert.is_true((uv.hrtime() - since) / 1e9 < SECONDS, 'it took too long')
    assert.is_true(d:is_alive())
  end

  local function attack(name)
    local since = uv.hrtime()
    denied(d:call('guest', 'admin.vm.feature.Get', 'target', name), since)
  end

  for group, names in pairs {
    ['by instructions'] = { 'loop', 'repeat_until', 'pcall_in_loop', 'pcall_recursion', 'pcall_once', 'recursion', 'tail_call', 'pcalled_recursion' },
    ['in an error handler'] = { 'xpcall_loops', 'handler_loops', 'handler_errs' },
    ['by memory'] = { 'table_growth', 'nested_tables', 'doubling', 'doubling_in_pcall', 'gigabyte', 'gigabyte_in_pcall', 'many_megabytes', 'concat',
      'format', 'gsub_growth', 'vararg' },
    ['inside one pattern'] = { 'find', 'match', 'gsub', 'gmatch', 'stars', 'plain_find' },
    ['inside one C function'] = { 'sort_long_strings', 'sort_without_order', 'utf8', 'tonumber', 'lower', 'hashing' },
  } do
    for _, name in ipairs(names) do
      it('is denied ' .. group .. ': ' .. name, function() attack(name) end)
    end
  end

  it('is denied as a filter, of items or of the whole list', function()
    for _, name in ipairs { 'loop', 'pcall_in_loop', 'handler_loops', 'table_growth', 'many_megabytes', 'find', 'sort_long_strings' } do
      d:ok('admin.vm.feature.Set', 'target', 'attack', name)
      for _, whole in ipairs { '', '1' } do
        d:ok('admin.vm.feature.Set', 'target', 'whole', whole)
        local since = uv.hrtime()
        denied(d:call('guest', 'admin.vm.tag.List', 'target'), since)
      end
    end
  end)

  it('slows nobody else down for long', function()
    local pending = d:begin('guest', 'admin.vm.feature.Get', 'target', 'loop')
    local since = uv.hrtime()
    assert.equal('ok', d:call('dom0', 'admin.vm.List', 'dom0').kind)
    assert.is_true((uv.hrtime() - since) / 1e9 < SECONDS)
    daemon.run_until(pending.result, 10)
    assert.equal('PermissionDenied', pending.result().class)
  end)

  it('says in the log, but not to the caller, what was wrong', function()
    d:call('guest', 'admin.vm.feature.Get', 'target', 'gigabyte')
    assert.is_true(d:logged('acl.d/10-attacks.lua'))
    assert.is_true(d:logged('the rule failed: '))
  end)

  it('leaves rules that cost little alone', function()
    local answer = d:call('guest', 'admin.vm.feature.Get', 'target', 'nothing-of-these')
    assert.equal('QubesFeatureNotFoundError', answer.class)
  end)

  it('leaves no memory behind', function()
    local function bytes()
      local status = d:call('dom0', 'internal.Status', 'dom0', '', '', { socket = 'qubesd.console.sock' }).body
      return assert(tonumber(status:match('"lua_bytes": (%d+)')))
    end
    attack('table_growth')
    local before = bytes()
    for _ = 1, 20 do attack('table_growth') end
    assert.is_true(bytes() < before + 128 * 1024 * 1024, 'more than a few questions\' garbage is kept')
  end)
end)
