-- SPDX-License-Identifier: GPL-2.0-or-later
-- Law 2: a method can do nothing with an untrusted value but validate it. Whatever else it tries is an internal error: the caller gets no byte, and no
-- byte of the payload is in the log.

local daemon = require('spec.support.daemon')

local METHODS = [[
local kept = {} -- scripts hold no state, but nothing stops them from trying

local attacks = {
  tostring = function(_, u) return tostring(u) end,
  concat = function(_, u) return 'x' .. u end,
  concat_left = function(_, u) return u .. 'x' end,
  equals_itself_and_string = function(_, u) if u == 'MARK' then return 'equal' end return u end,
  less = function(_, u) return u < 'z' and 'less' or 'more' end,
  less_equal = function(_, u) return 'a' <= u and 'less' or 'more' end,
  less_itself = function(_, u) return u < u and 'less' or 'more' end,
  length = function(_, u) return ('x'):rep(#u) end,
  index = function(_, u) return u[1] end,
  index_name = function(_, u) return u.data end,
  sub = function(_, u) return u:sub(1, 4) end,
  newindex = function(_, u) u.x = 1 return 'set' end,
  call = function(_, u) return u() end,
  add = function(_, u) return tostring(u + 1) end,
  unary_minus = function(_, u) return tostring(-u) end,
  iterate = function(_, u) for _, v in pairs(u) do return v end return 'nothing' end,
  next = function(_, u) return tostring((next(u))) end,
  ipairs = function(_, u) for _, v in ipairs(u) do return v end return tostring(u) end,
  string_find = function(_, u) return string.find(u, 'MARK') and 'found' or 'not' end,
  string_rep = function(_, u) return string.rep(u, 2) end,
  string_format = function(_, u) return ('%s'):format(u) end,
  string_format_quoted = function(_, u) return ('%q'):format(u) end,
  string_upper = function(_, u) return string.upper(u) end,
  table_concat = function(_, u) return table.concat({ 'x', u }) end,
  tonumber = function(_, u) return ('x'):rep(tonumber(u, 36)) end,
  returned = function(_, u) return u end,
  returned_in_table = function(_, u) return { u } end,
  raised = function(_, u) error(u) end,
  raised_in_table = function(_, u) error({ class = 'QubesException', message = u }) end,
  raised_as_message = function(_, u) raise('QubesException', u) end,
  raised_as_class = function(_, u) raise(u, 'x') end,
  enforced = function(call, u) call:enforce(false, u) end,
  logged = function(_, u) core.log('error', u) return 'logged' end,
  in_info = function(call, u) call:permission { value = u } return 'passed' end,
  in_info_nested = function(call, u) call:permission { value = { deep = { u } } } return 'passed' end,
  in_info_as_key = function(call, u) call:permission { [u] = 'x' } return 'passed' end,
  in_info_nested_key = function(call, u) call:permission { value = { [u] = 'x' } } return 'passed' end,
  in_info_of_function = function(call, u) call:permission { value = function() return u end } return 'passed' end,
  stored = function(call, u) call:permission {} core.set(call.dest, 'property', 'spec', u) return 'stored' end,
  stored_as_name = function(call, u) call:permission {} core.set(call.dest, 'property', u, 'x') return 'stored' end,
  feature = function(call, u) call:permission {} call.dest.features.spec = u return 'stored' end,
  feature_name = function(call, u) call:permission {} call.dest.features[u] = '1' return 'stored' end,
  tag = function(call, u) call:permission {} call.dest.tags[u] = true return 'stored' end,
  property = function(call, u) call:permission {} call.dest.label = u return 'stored' end,
  qube = function(call, u) call:permission {} return tostring(call:qube(u)) end,
  core_qube = function(call, u) call:permission {} return tostring(core.qube(u)) end,
  added = function(call, u) call:permission {} core.add_qube { name = u, class = 'AppVM' } return 'added' end,
  sent = function(call, u) call:permission {} call:send_event(app, 'spec-event', { value = u }) end,
  sent_as_event = function(call, u) call:permission {} call:send_event(app, u, {}) end,
  fired = function(call, u) call:permission {} call.dest:fire('spec-event', { value = u }) return 'fired' end,
  formatted = function(call, u) call:permission {} return core.format(core.qubes(), u) end,
  cached = function(call, u) call:permission {} return core.cached('spec', 1, function() return u end) end,
  slept = function(call, u) call:permission {} core.sleep(u) return 'slept' end,
  metatable = function(_, u) return tostring(getmetatable(u).__index.ascii(u)) end,
  replaced_metatable = function(_, u) return tostring(setmetatable(u, { __tostring = function() return 'x' end })) end,
  kept = function(call, u) kept[1] = u call:permission {} return 'kept' end,
  kept_as_key = function(call, u) kept[u] = true call:permission {} return 'kept' end,
  used_later = function(call) call:permission {} return (kept[1]:ascii()) end,
  measured_later = function(call) call:permission {} return tostring(kept[1]:length()) end,
}

for name, attack in pairs(attacks) do
  method('admin.spec.' .. name, {
    dest = 'any', arg = 'none', payload = 'required', scope = 'local', read = true, write = true, doc = 'An attack.',
  }, attack)
end
method('admin.spec.fine', {
  dest = 'any', arg = 'none', payload = 'required', scope = 'local', read = true, doc = 'Validates.',
}, function(call, u)
  local text = u:printable_ascii()
  call:permission { text = text }
  return text
end)
]]

-- What reaches a hook is told in the denial: nothing of this may ever be seen.
local RULES = [[
on('admin-permission:admin.spec.in_info*', function(src, event, info)
  local value = info.value
  deny('a hook saw it: ' .. type(value))
end)
]]

local ATTACKS = {}
for name in METHODS:gmatch('\n  ([%w_]+) = function') do ATTACKS[#ATTACKS + 1] = name end

describe('an untrusted value', function()
  local d, events

  setup(function()
    d = daemon.start { extra_scripts = { ['api/spec_untrusted.lua'] = METHODS }, acl = { ['10-info.lua'] = RULES } }
    d:estate { 'guest', 'target' }
    events = d:subscribe()
  end)

  teardown(function()
    events:close()
    d:stop()
  end)

  local PAYLOAD = 'MARK-of-the-payload'

  -- Those that only keep the value do no harm as long as the call lasts; what they kept is dead afterwards.
  local harmless = { kept = true, kept_as_key = true }

  for _, name in ipairs(ATTACKS) do
    if not harmless[name] then
      it('stays closed: ' .. name, function()
        if name:find('later', 1, true) then assert.equal('kept', d:call('guest', 'admin.spec.kept', 'target', '', PAYLOAD).body) end
        local before = #d.log
        local bytes = d:raw(daemon.request('guest', 'admin.spec.' .. name, 'target', '', PAYLOAD))
        assert.equal('', bytes)
        assert.is_true(d:logged('admin.spec.' .. name .. '+'))
        assert.is_nil(d.log:sub(before + 1):find('MARK', 1, true))
        assert.is_nil(d:ok('admin.vm.feature.List', 'target'):find('MARK', 1, true))
        assert.is_nil(d:ok('admin.vm.tag.List', 'target'):find('MARK', 1, true))
        assert.is_nil(d:ok('admin.vm.List'):find('MARK', 1, true))
      end)
    end
  end

  it('shows in no event either', function()
    local seen = 0
    d:ok('admin.vm.tag.Set', 'target', 'last')
    assert.truthy(events:wait('domain-tag-add:last'))
    for _, event in ipairs(events:take()) do seen = seen + 1 assert.is_nil(event.name:find('MARK', 1, true)) end
    assert.is_nil(events.buffer:find('MARK', 1, true))
    assert.is_nil(d.log:find('MARK', 1, true), 'the log has the payload')
    assert.equal(0, seen)
  end)

  it('passes where a validator made it plain', function()
    assert.equal(PAYLOAD, d:call('guest', 'admin.spec.fine', 'target', '', PAYLOAD).body)
    local refused = d:call('guest', 'admin.spec.fine', 'target', '', PAYLOAD .. '\1')
    assert.equal('ProtocolError', refused.class)
    assert.is_nil(refused.message:find('MARK', 1, true))
  end)
end)
