-- SPDX-License-Identifier: GPL-2.0-or-later
-- Law 9: what a method's declaration demands is checked before its handler runs, for each method there is.

local daemon = require('spec.support.daemon')
local declared = require('spec.support.declared')

describe('for each declared method', function()
  local d
  local methods
  local CONSOLE = { socket = 'qubesd.console.sock' }

  setup(function()
    d = daemon.start { extra_scripts = { ['api/spec_declarations.lua'] = declared.SCRIPT } }
    d:estate { 'guest', 'target' }
    methods = declared.list(d)
  end)

  teardown(function() d:stop() end)

  local function socket(method) return { socket = declared.socket_of(method.name) } end

  local function state()
    return d:ok('admin.vm.List', 'dom0', '', '', CONSOLE) .. d:ok('admin.vm.property.GetAll', 'target', '', '', CONSOLE)
      .. d:ok('admin.property.GetAll', 'dom0', '', '', CONSOLE) .. d:ok('admin.vm.feature.List', 'target', '', '', CONSOLE)
      .. d:ok('admin.vm.tag.List', 'target', '', '', CONSOLE) .. d:ok('admin.label.List', 'dom0', '', '', CONSOLE)
  end

  -- A request as the declaration wants it; `change` spoils it.
  local function refused(method, change)
    local dest = method.dest == 'adminvm' and 'dom0' or 'target'
    local request = { dest = dest, arg = method.arg == 'required' and 'x' or '', payload = method.payload == 'required' and 'x' or '' }
    change(request)
    local answer = d:call('guest', method.name, request.dest, request.arg, request.payload, socket(method))
    assert.equal('ProtocolError', answer.class, method.name .. ': ' .. tostring(answer.body or answer.class or answer.kind))
    return answer.message
  end

  local function each(field, value, change)
    local before, count = state(), 0
    for _, method in ipairs(methods) do
      if method[field] == value then
        refused(method, change)
        count = count + 1
      end
    end
    assert.is_true(count > 0)
    assert.equal(before, state())
  end

  it('there is a documentation', function()
    assert.is_true(#methods > 50)
    for _, method in ipairs(methods) do assert.not_equal('', method.doc, method.name) end
  end)

  it('an argument is refused where none is taken', function()
    each('arg', 'none', function(request) request.arg = 'argument' end)
  end)

  it('an argument is demanded where it is required', function()
    each('arg', 'required', function(request) request.arg = '' end)
  end)

  it('a payload is refused where none is taken', function()
    each('payload', 'none', function(request) request.payload = 'payload' end)
    each('payload', 'none', function(request) request.payload = '\0' end)
  end)

  it('a payload is demanded where it is required', function()
    each('payload', 'required', function(request) request.payload = '' end)
  end)

  it('another destination than dom0 is refused where it must be dom0', function()
    each('dest', 'adminvm', function(request) request.dest = 'target' end)
  end)

  it('bytes that are not ASCII are refused in the argument', function()
    for _, arg in ipairs { 'required', 'optional' } do
      each('arg', arg, function(request) request.arg = 'a\xc3\xa4' end)
    end
  end)

  it('the other sockets have no such method', function()
    local names = { 'qubesd.sock', 'qubesd.internal.sock', 'qubesd.misc.sock' }
    for _, method in ipairs(methods) do
      local own = socket(method).socket
      for _, name in ipairs(names) do
        if name ~= own then
          local answer = d:call('dom0', method.name, 'dom0', method.arg == 'required' and 'x' or '', method.payload == 'required' and 'x' or '',
            { socket = name })
          assert.equal('ProtocolError', answer.class, method.name .. ' on ' .. name)
          assert.truthy(answer.message:find('no such method', 1, true), answer.message)
        end
      end
    end
  end)

  it('no rule is asked about what the declaration refuses', function()
    d:set_rule('10-deny.lua', "on('*', function() deny('asked') end)")
    each('arg', 'none', function(request) request.arg = 'argument' end)
    d:remove_rule('10-deny.lua')
    d:reload()
  end)
end)

describe('a declaration', function()
  local GOOD = "dest = 'any', arg = 'none', payload = 'none', scope = 'local', read = true, doc = 'x'"

  for title, text in pairs {
    ['without a destination'] = "method('admin.spec.X', { arg = 'none', payload = 'none', scope = 'local', read = true, doc = 'x' }, function() end)",
    ['with an unknown word'] = "method('admin.spec.X', { dest = '?', arg = 'none', payload = 'none', scope = 'local', read = true, doc = '' }, function() end)",
    ['that neither reads nor writes'] = "method('admin.spec.X', { dest = 'any', arg = 'none', payload = 'none', scope = 'local', doc = 'x' }, function() end)",
    ['without documentation'] = "method('admin.spec.X', { dest = 'any', arg = 'none', payload = 'none', scope = 'local', read = true }, function() end)",
    ['without a handler'] = "method('admin.spec.X', { " .. GOOD .. ' })',
    ['of a name of mgmt.'] = "method('mgmt.spec.X', { " .. GOOD .. ' }, function() end)',
    ['of a name without a dot'] = "method('spec', { " .. GOOD .. ' }, function() end)',
    ['made twice'] = "method('admin.spec.X', { " .. GOOD .. " }, function() end) method('admin.spec.X', { " .. GOOD .. ' }, function() end)',
  } do
    it('does not load ' .. title, function()
      local ok, problem = pcall(daemon.start, { extra_scripts = { ['api/spec_bad.lua'] = '\n' .. text } })
      assert.is_false(ok)
      assert.truthy(problem:find('scripts/api/spec_bad.lua:2:', 1, true), problem)
    end)
  end
end)
