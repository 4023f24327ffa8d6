-- SPDX-License-Identifier: GPL-2.0-or-later
-- grant{…} of rules: a source has for a method what its grants give, as long as they are in force, and no more. The daemon's clock is set by a file; its
-- time zone is two hours ahead of UTC.

local daemon = require('spec.support.daemon')
local new_clock = require('spec.support.clock')

local CONSOLE = { socket = 'qubesd.console.sock' }
local WEDNESDAY = 1796169600 -- 2026-12-02T00:00:00Z
local HOUR, DAY = 3600, 86400

-- A time of the week that begins on Monday, 30 November 2026, in the daemon's local time: 1 is Monday; the hours may have a fraction.
local function week(day, hours)
  return WEDNESDAY + (day - 3) * DAY + math.floor((hours - 2) * HOUR)
end

describe('a grant', function()
  local d, clock

  setup(function()
    clock = new_clock()
    clock:set(week(3, 12))
    clock.env.TZ = 'SPEC-2'
    d = daemon.start { binary = 'qubesd-testing', env = clock.env }
    d:estate { 'mgmt', 'work', 'other', 'vault' }
    d:ok('admin.vm.tag.Set', 'work', 'office')
  end)

  teardown(function()
    d:stop()
    clock:remove()
  end)

  before_each(function()
    clock:set(week(3, 12))
    d:remove_rule('10-grant.lua')
    assert.equal('ok', d:reload().kind)
  end)

  local NONE, CLOSED = 'no grant permits this call', 'no grant is in force now'

  local function refused(words, src, method, dest, arg, payload)
    local answer = d:call(src, method, dest, arg, payload)
    assert.equal('PermissionDenied', answer.class, ('%s %s %s: %s'):format(src, method, dest, tostring(answer.message)))
    assert.equal(words, answer.message)
  end

  local function given(src, method, dest, arg, payload)
    local answer = d:call(src, method, dest, arg, payload)
    assert.not_equal('PermissionDenied', answer.class, ('%s %s %s: %s'):format(src, method, dest, tostring(answer.message)))
    return answer
  end

  it('gives what it says and, of its method, nothing else to its source', function()
    d:set_rule('10-grant.lua', "\ngrant { src = 'mgmt', method = 'admin.vm.tag.List', dest = 'work' }")
    given('mgmt', 'admin.vm.tag.List', 'work')
    refused(NONE, 'mgmt', 'admin.vm.tag.List', 'other')
    refused(NONE, 'mgmt', 'admin.vm.tag.List', 'dom0')
    given('mgmt', 'admin.vm.tag.Get', 'other', 'x')
    given('mgmt', 'admin.vm.List', 'dom0')
    given('other', 'admin.vm.tag.List', 'other')
    given('dom0', 'admin.vm.tag.List', 'other')
    assert.is_true(d:logged('denied admin.vm.tag.List+ (mgmt -> other) by acl.d/10-grant.lua:2: ' .. NONE))
  end)

  it('adds to others, of whatever generality', function()
    d:set_rule('10-grant.lua', [[
      grant { src = 'mgmt', method = 'admin.vm.tag.*', dest = 'work', arg = 'x*' }
      grant { src = 'tag:trusted', method = 'admin.vm.tag.Get', dest = 'tag:office' }
      grant { src = '*', method = 'admin.vm.tag.List' }
      grant { src = 'type:AppVM', method = 'admin.vm.tag.Set', dest = 'type:TemplateVM' }]])
    given('mgmt', 'admin.vm.tag.Get', 'work', 'x1')
    refused(NONE, 'mgmt', 'admin.vm.tag.Get', 'work', 'y')
    d:ok('admin.vm.tag.Set', 'mgmt', 'trusted')
    given('mgmt', 'admin.vm.tag.Get', 'work', 'y')
    refused(NONE, 'mgmt', 'admin.vm.tag.Get', 'other', 'y')
    d:ok('admin.vm.tag.Remove', 'mgmt', 'trusted')
    given('mgmt', 'admin.vm.tag.List', 'other')
    given('other', 'admin.vm.tag.List', 'other')
    given('other', 'admin.vm.tag.Set', 'fedora', 'z')
    refused(NONE, 'other', 'admin.vm.tag.Set', 'work', 'z')
    given('mgmt', 'admin.vm.tag.Set', 'work', 'x2')
    given('fedora', 'admin.vm.tag.Set', 'work', 'y2')
    given('other', 'admin.vm.tag.Remove', 'work', 'x2') -- nothing is said of others than mgmt
    refused(NONE, 'mgmt', 'admin.vm.tag.Remove', 'work', 'y2')
  end)

  it('can not be got round by the other spelling', function()
    for _, method in ipairs { 'admin.vm.tag.List', 'mgmt.vm.tag.List', 'mgmt.vm.tag.L*', '?????.vm.tag.List' } do
      d:set_rule('10-grant.lua', ("grant { src = 'mgmt', method = '%s', dest = 'work' }"):format(method))
      for _, spelling in ipairs { 'admin.vm.tag.List', 'mgmt.vm.tag.List' } do
        given('mgmt', spelling, 'work')
        refused(NONE, 'mgmt', spelling, 'other')
      end
    end
  end)

  it('is no permission beyond the rules', function()
    d:set_rule('10-grant.lua', [[
      grant { src = 'mgmt', method = 'admin.vm.tag.List', dest = '*' }
      on('admin-permission:admin.vm.tag.List', function(src) if src.name == 'mgmt' then deny('said a rule') end end)]])
    refused('said a rule', 'mgmt', 'admin.vm.tag.List', 'work')
  end)

  it('begins and ends to the second', function()
    d:set_rule('10-grant.lua', [[grant {
      src = 'mgmt', method = 'admin.vm.tag.List', from = '2026-12-02T10:00:00Z', expires = '2026-12-02T12:30:00+01:00', reason = 'on Wednesday, by 100%',
    }]])
    local words = CLOSED .. ': on Wednesday, by 100%%'
    -- The daemon's clock shows the second that it is set to, or the next one.
    clock:set(WEDNESDAY + 10 * HOUR - 5)
    refused(words, 'mgmt', 'admin.vm.tag.List', 'work')
    clock:set(WEDNESDAY + 10 * HOUR)
    given('mgmt', 'admin.vm.tag.List', 'work')
    clock:set(WEDNESDAY + 11.5 * HOUR - 5)
    given('mgmt', 'admin.vm.tag.List', 'work')
    clock:set(WEDNESDAY + 11.5 * HOUR)
    refused(words, 'mgmt', 'admin.vm.tag.List', 'work')
    clock:set(WEDNESDAY + 11 * HOUR) -- a clock that is set back
    given('mgmt', 'admin.vm.tag.List', 'work')
  end)

  for _, case in ipairs {
    { "hours = '09:00-17:30'", { { 3, 9 }, { 3, 17.49 }, { 7, 12 } }, { { 3, 8.99 }, { 3, 17.5 }, { 3, 0 }, { 3, 23.99 } } },
    { "hours = '09:00-24:00'", { { 3, 9 }, { 3, 23.99 } }, { { 3, 0 }, { 3, 8.99 } } },
    { "hours = '22:00-06:00'", { { 3, 22 }, { 3, 0 }, { 3, 5.99 } }, { { 3, 6 }, { 3, 21.99 } } },
    { "days = 'mon-fri'", { { 1, 0 }, { 5, 23.99 } }, { { 6, 0 }, { 7, 23.99 } } },
    { "days = 'sat-mon,wed'", { { 6, 0 }, { 7, 12 }, { 1, 23.9 }, { 3, 1 } }, { { 2, 0 }, { 4, 0 }, { 5, 23.9 } } },
    { "days = 'sun'", { { 7, 0 } }, { { 1, 0 }, { 6, 23.9 } } },
    { "days = 'mon-fri', hours = '09:00-17:30'", { { 1, 9 }, { 5, 17 } }, { { 6, 12 }, { 1, 8 }, { 7, 9 } } },
    { "days = 'fri', hours = '22:00-06:00'", { { 5, 22 }, { 6, 0 }, { 6, 5.99 } }, { { 5, 5 }, { 5, 0 }, { 6, 6 }, { 6, 22 } } },
  } do
    it('keeps its hours and days, of the local time: ' .. case[1], function()
      d:set_rule('10-grant.lua', ("grant { src = 'mgmt', method = 'admin.vm.tag.List', %s }"):format(case[1]))
      for _, time in ipairs(case[2]) do
        clock:set(week(time[1], time[2]))
        given('mgmt', 'admin.vm.tag.List', 'work')
      end
      for _, time in ipairs(case[3]) do
        clock:set(week(time[1], time[2]))
        refused(CLOSED, 'mgmt', 'admin.vm.tag.List', 'work')
      end
    end)
  end

  it('that has ended does not end another', function()
    d:set_rule('10-grant.lua', [[
      grant { src = 'mgmt', method = 'admin.vm.tag.List', dest = 'other' }
      grant { src = 'mgmt', method = 'admin.vm.tag.List', dest = 'work', expires = '2026-01-01T00:00:00Z', reason = 'last year' }
      grant { src = 'mgmt', method = 'admin.vm.tag.List', dest = 'vault', hours = '11:00-13:00' }]])
    given('mgmt', 'admin.vm.tag.List', 'other')
    given('mgmt', 'admin.vm.tag.List', 'vault')
    refused(CLOSED .. ': last year', 'mgmt', 'admin.vm.tag.List', 'work')
    refused(NONE, 'mgmt', 'admin.vm.tag.List', 'mgmt')
    assert.is_true(d:logged('acl.d/10-grant.lua:2: the grant of mgmt for admin.vm.tag.List has ended for good, and can be deleted'))
    assert.is_true(d:logged('denied admin.vm.tag.List+ (mgmt -> work) by acl.d/10-grant.lua:2: '))
  end)

  it('never holds dom0 or the console', function()
    d:set_rule('10-grant.lua', "grant { src = '*', method = '*', dest = 'vault' } grant { src = 'type:AdminVM', method = '*', dest = 'vault' }")
    given('dom0', 'admin.vm.tag.List', 'work')
    refused(NONE, 'mgmt', 'admin.vm.tag.List', 'work')
    assert.equal('ok', d:call('mgmt', 'admin.vm.tag.List', 'work', '', '', CONSOLE).kind)
    d:write_rule('10-grant.lua', "grant { src = 'dom0', method = '*' }")
    assert.truthy(d:reload().message:find('acl.d/10-grant.lua:1: grant: dom0 needs none', 1, true))
  end)

  it('holds the items of what is answered item by item', function()
    d:set_rule('10-grant.lua', "grant { src = 'mgmt', method = 'admin.vm.property.Get', dest = 'work', arg = 'label' }")
    local body = given('mgmt', 'admin.vm.property.GetAll', 'work').body
    assert.truthy(body:find('^label '))
    local _, lines = body:gsub('\n', '')
    assert.equal(1, lines)
    assert.equal('', given('mgmt', 'admin.vm.property.GetAll', 'other').body)
    assert.is_true(#given('other', 'admin.vm.property.GetAll', 'other').body > 100)
  end)

  it('hides nothing', function()
    d:set_rule('10-grant.lua', "grant { src = 'mgmt', method = 'admin.vm.List', dest = 'work', hours = '12:00-13:00' }")
    refused(NONE, 'mgmt', 'admin.vm.List', 'dom0')
    given('mgmt', 'admin.vm.List', 'work')
    clock:set(week(3, 14))
    refused(CLOSED, 'mgmt', 'admin.vm.List', 'work')
    assert.equal('ok', d:call('mgmt', 'admin.vm.property.Get', 'vault', 'label').kind)
  end)

  it('tells nothing of a hidden destination', function()
    d:set_rule('10-grant.lua', [[
      grant { src = 'mgmt', method = 'admin.vm.tag.List', dest = 'vault', expires = '2026-01-01T00:00:00Z' }
      on('admin-permission:admin.vm.List', function(src)
        if src.name == 'mgmt' then return function(qube) return qube.name ~= 'vault' end end
      end)]])
    local hidden = d:raw(daemon.request('mgmt', 'admin.vm.tag.List', 'vault'))
    assert.equal(d:raw(daemon.request('mgmt', 'admin.vm.tag.List', 'absnt')), (hidden:gsub('vault', 'absnt')))
    assert.truthy(hidden:find('QubesVMNotFoundError', 1, true))
  end)

  it('that ends, ends the streams that depend on it, and no others', function()
    d:set_rule('10-grant.lua', [[
      grant { src = 'mgmt', method = 'admin.Events', expires = '2026-12-02T12:00:00Z' }
      grant { src = 'other', method = 'admin.Events', expires = '2026-12-02T12:00:00Z' }
      grant { src = 'other', method = 'admin.Events', dest = 'work' }]])
    clock:set(WEDNESDAY + 11.5 * HOUR)
    local streams = { d:subscribe('mgmt'), d:subscribe('mgmt', 'work'), d:subscribe('other'), d:subscribe('other', 'work'), d:subscribe('work'),
      d:subscribe('dom0'), d:subscribe('mgmt', 'dom0', CONSOLE) }
    for i, stream in ipairs(streams) do assert.truthy(stream:wait('connection-established'), i) end
    clock:set(WEDNESDAY + 12 * HOUR)
    assert.is_true(daemon.run_until(function() return streams[1].ended and streams[2].ended and streams[3].ended end, 10))
    assert.is_true(d:logged('acl.d/10-grant.lua:1: the grant of mgmt for admin.Events has ended'))
    d:ok('admin.vm.tag.Set', 'work', 'news')
    for i = 4, 7 do assert.truthy(streams[i]:wait('domain-tag-add:news'), i) end
    d:ok('admin.vm.tag.Remove', 'work', 'news')
    for i = 1, 3 do assert.equal(0, #streams[i]:take(0), i) end
    for _, stream in ipairs(streams) do stream:close() end
    refused(CLOSED, 'mgmt', 'admin.Events', 'dom0')
  end)

  it('keeps a stream over the reload that adds it, or ends it', function()
    local stays, ends = d:subscribe('mgmt', 'work'), d:subscribe('mgmt', 'other')
    assert.truthy(stays:wait('connection-established'))
    assert.truthy(ends:wait('connection-established'))
    d:set_rule('10-grant.lua', "grant { src = 'mgmt', method = 'admin.Events', dest = 'work' }")
    assert.is_true(daemon.run_until(function() return ends.ended end, 10))
    assert.is_false(stays.ended)
    stays:close()
    ends:close()
  end)

  for text, words in pairs {
    ["method = 'admin.*'"] = "grant: 'src' has to be a string",
    ["src = 'mgmt'"] = "grant: 'method' has to be a string",
    ["src = 'mgmt', method = 'admin.vm.Strat'"] = "grant: there is no method 'admin.vm.Strat'",
    ["src = 'mgmt', method = 'admin.vm.Start', des = 'work'"] = "grant has no field 'des'",
    ["src = 'mgmt', method = 'admin.vm.Start', dest = 'no name'"] = "grant: 'dest' is the name of a qube",
    ["src = 'tag:a b', method = 'admin.vm.Start'"] = "grant: 'src' is the name of a qube",
    ["src = 'mgmt', method = 'admin.vm.Start', arg = 5"] = "grant: 'arg' has to be a string",
    ["src = 'mgmt', method = 'admin.vm.Start', expires = 1796169600"] = "grant: 'expires' has to be a string",
    ["src = 'mgmt', method = 'admin.vm.Start', from = '2026-12-31T00:00:00Z', expires = '2026-12-31T01:00:00+02:00'"] = 'grant: it expires before it begins',
    ["src = 'mgmt', method = 'admin.vm.Start', from = '2026-12-31T00:00:00Z', expires = '2026-12-31T00:00:00Z'"] = 'grant: it expires before it begins',
    ["src = 'mgmt', method = 'admin.vm.Start', hours = '12:00-12:00'"] = "grant: 'hours': these hours are none",
    ["src = 'mgmt', method = 'admin.vm.Start', hours = '24:00-06:00'"] = "grant: 'hours': these hours are none",
  } do
    it('that is written wrong does not load: ' .. text, function()
      d:write_rule('10-grant.lua', ('\ngrant { %s }'):format(text))
      local answer = d:reload()
      assert.equal('QubesException', answer.class)
      assert.truthy(answer.message:find('acl.d/10-grant.lua:2: ' .. words, 1, true), answer.message)
    end)
  end

  it('of a malformed time does not load', function()
    for field, values in pairs {
      expires = { '2026-12-31', '2026-12-31 00:00:00Z', '2026-12-31T00:00:00', '2026-12-31T00:00:00+01', '2026-12-31T00:00:00+0100', '2026-12-31T00:00:00ZZ',
        '2026-13-01T00:00:00Z', '2026-00-01T00:00:00Z', '2026-02-29T00:00:00Z', '2100-02-29T00:00:00Z', '2026-04-31T00:00:00Z', '2026-12-31T24:00:00Z',
        '2026-12-31T00:60:00Z', '2026-12-31T00:00:60Z', '1969-12-31T23:59:59Z', '2026-12-31T00:00:00+15:00', '2026-12-31T00:00:00+01:60',
        '-026-12-31T00:00:00Z',
        '2026-1a-31T00:00:00Z', '2026-12-31T+1:00:00Z', 'tomorrow', '2026-12-31T00:00:00+01:00x', '20261-12-31T00:00:00Z' },
      hours = { '9-17', '09:00', '09:00-', '9:00-17:30', '09:00 - 17:30', '09:60-17:00', '25:00-26:00', '09:00-24:01', '09:00-17:30x', 'xx:00-17:30' },
      days = { 'monday', 'Mon', 'mon-', '-mon', 'mon,,tue', 'mon, tue', 'mon-fri-sun', 'xyz', 'mon,', 'mo' },
    } do
      for _, value in ipairs(values) do
        d:write_rule('10-grant.lua', ("grant { src = 'mgmt', method = 'admin.vm.Start', %s = '%s' }"):format(field, value))
        local answer = d:reload()
        assert.equal('QubesException', answer.class, value)
        assert.truthy(answer.message:find(("grant: '%s': "):format(field), 1, true), value .. answer.message)
      end
    end
  end)

  it('of a leap day loads, and ends then', function()
    d:set_rule('10-grant.lua', "grant { src = 'mgmt', method = 'admin.vm.tag.List', from = '2028-02-29T00:00:00Z', expires = '2028-03-01T00:00:00-01:00' }")
    local leap_day = 1835395200 -- 2028-02-29T00:00:00Z
    clock:set(leap_day - 5)
    refused(CLOSED, 'mgmt', 'admin.vm.tag.List', 'work')
    clock:set(leap_day + 25 * HOUR - 5)
    given('mgmt', 'admin.vm.tag.List', 'work')
    clock:set(leap_day + 25 * HOUR)
    refused(CLOSED, 'mgmt', 'admin.vm.tag.List', 'work')
  end)

  it('is not made by a rule that is asked', function()
    d:set_rule('10-grant.lua', [[on('admin-permission:admin.vm.tag.List', function(src)
      if src.name == 'work' then grant { src = 'other', method = 'admin.*', dest = 'vault' } end
    end)]])
    refused('the rules do not permit this call', 'work', 'admin.vm.tag.List', 'other')
    given('other', 'admin.vm.tag.List', 'work')
  end)
end)
