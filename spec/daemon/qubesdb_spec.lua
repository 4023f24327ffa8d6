-- SPDX-License-Identifier: GPL-2.0-or-later
-- QubesDB: what a qube's daemon is told, in which order, and what happens when it is absent, slow or talks nonsense; and the requests that qubes make
-- through it.

local daemon = require('spec.support.daemon')
local fake = require('spec.support.fake_qubesdb')

local METHODS = [[
local function declare(name, handler)
  method('admin.spec.' .. name, { dest = 'any', arg = 'optional', payload = 'optional', scope = 'local', write = true, doc = 'x' }, function(call, payload)
    call:permission {}
    return handler(call, payload)
  end)
end
declare('Write', function(call, payload) core.qubesdb(call.dest, 'write', payload:printable_ascii(), call.arg) end)
declare('Many', function(call) for i = 1, 200 do core.qubesdb(call.dest, 'write', '/many', tostring(i)) end end)
declare('Long', function(call) for i = 1, 400 do core.qubesdb(call.dest, 'write', '/long', ('x'):rep(3071)) end end)
declare('Sync', function(call)
  core.qubesdb(call.dest, 'write', '/sync', 'x')
  return tostring(core.qubesdb_sync(call.dest))
end)
local kept
declare('List', function(call)
  local entries, why = core.qubesdb_list(call.dest, '/' .. call.arg)
  if not entries then return why end
  local list = {}
  for path, value in pairs(entries) do
    list[#list + 1] = path .. '=' .. value:ascii() .. (pcall(function() return value .. '' end) and 'plain' or '')
    kept = value
  end
  table.sort(list)
  return table.concat(list, '\n')
end)
declare('Kept', function() return tostring(pcall(function() return kept:ascii() end)) end)
]]

describe('QubesDB', function()
  local d, db

  setup(function()
    d = daemon.start { extra_scripts = { ['api/spec_qubesdb.lua'] = METHODS } }
    d:estate { 'work', 'guest' }
  end)

  teardown(function() d:stop() end)

  local function listen(options, qube)
    db = fake.listen(('%s/qubesdb.%s.sock'):format(d.directory, qube or 'work'), options)
    return db.store
  end

  after_each(function()
    d:call('dom0', 'admin.vm.Kill', 'work')
    if db then db.close() end
    db = nil
  end)

  local function spec(name, arg, payload) return d:ok('admin.spec.' .. name, 'work', arg or '', payload or '') end

  it('has the entries of a qube before the qube runs', function()
    local store = listen()
    d:ok('admin.vm.feature.Set', 'work', 'service.cups', '1')
    d:ok('admin.vm.feature.Set', 'work', 'vm-config.colour', 'blue')
    d:ok('admin.vm.Start', 'work')
    local entries = store.entries
    for path, value in pairs {
      ['/name'] = 'work', ['/type'] = 'AppVM', ['/default-user'] = 'user', ['/qubes-vm-updateable'] = 'False', ['/qubes-vm-persistence'] = 'rw-only',
      ['/qubes-debug-mode'] = '0', ['/qubes-base-template'] = 'fedora', ['/qubes-block-devices'] = '', ['/qubes-usb-devices'] = '',
      ['/qubes-service/cups'] = '1', ['/vm-config/colour'] = 'blue', ['/qubes-vm-type'] = 'AppVM',
      ['/qubes-iptables-error'] = '',
    } do
      assert.equal(value, entries[path], path)
    end
    assert.truthy(entries['/qubes-random-seed']:find('^[%w+/]+==$'))
    assert.equal(88, #entries['/qubes-random-seed'])
  end)

  it('is told of changes while the qube runs', function()
    local store = listen()
    d:ok('admin.vm.Start', 'work')
    d:ok('admin.vm.feature.Set', 'work', 'service.new', '')
    assert.truthy(daemon.run_until(function() return store.entries['/qubes-service/new'] == '0' end, 5))
    d:ok('admin.vm.feature.Remove', 'work', 'service.new')
    local hashed = '/hash-app-dispvm/1PAuqv0anp3n0Qlyyo5H-nqYWCXDycHiSccmg8s-Txk'
    d:ok('admin.vm.feature.Set', 'work', 'service.app-dispvm.spec', '1')
    d:ok('admin.vm.feature.Set', 'work', 'service.last', '1')
    assert.truthy(daemon.run_until(function() return store.entries['/qubes-service/last'] end, 5))
    assert.equal('spec', store.entries[hashed])
    assert.truthy(daemon.run_until(function() return store.entries['/qubes-service/new'] == nil end, 5))
  end)

  it('keeps the order, and closes an idle connection', function()
    local store = listen()
    spec('Many')
    spec('Sync')
    local log = {}
    for i = 1, 200 do log[i] = 'write /many=' .. i end
    log[201] = 'write /sync=x'
    assert.same(log, store.log)
    assert.equal(1, db.connections)
    daemon.sleep(1.5)
    spec('Sync')
    assert.equal(2, db.connections)
  end)

  it('lists untrusted values that live as long as the call', function()
    listen { entries = { ['/a/one'] = '1', ['/a/two'] = '2', ['/b'] = '3' } }
    assert.equal('/a/one=1\n/a/two=2', spec('List', 'a/'))
    assert.equal('', spec('List', 'none/'))
    assert.equal('false', spec('Kept'))
  end)

  it('is silently nothing where there is no daemon', function()
    local before = #d.log
    assert.equal('false', spec('Sync'))
    assert.equal('the qube has no QubesDB', spec('List', 'a'))
    d:ok('admin.vm.Start', 'work')
    assert.is_nil(d.log:find('QubesDB of', before + 1, true), d.log)
  end)

  it('logs what QubesDB does not take, and goes on', function()
    local store = listen()
    for _, path in ipairs { 'relative', '/slash/', '/sp ace', '/' .. ('x'):rep(63) } do
      spec('Write', 'v', path)
      assert.truthy(d.log:find('QubesDB of work: ' .. path .. ' is not written', 1, true))
    end
    spec('Sync')
    assert.same({ 'write /sync=x' }, store.log)
  end)

  it('gives up a daemon that does not answer, without stopping anybody', function()
    listen { respond = function() return false end }
    local begun = os.time()
    local pending = d:begin('dom0', 'admin.spec.Sync', 'work')
    spec('Long')
    assert.truthy(d:logged('its daemon is too slow', 5))
    assert.is_true(os.time() - begun < 3)
    assert.truthy(daemon.run_until(pending.result, 10))
    assert.equal('false', pending.result().body)
    assert.truthy(d.log:find('does not answer', 1, true), d.log)
  end)

  it('does not fall for a daemon that talks nonsense', function()
    local nonsense = {
      ('\255'):rep(72), ('x'):rep(10000), fake.message(11, '/elsewhere', 'x'), fake.message(7, '') .. fake.message(7, ''), fake.message(11, '/a sp', 'x'),
      ('<B c64 xxx I4'):pack(11, '/a', 0xffffffff),
    }
    for i, bytes in ipairs(nonsense) do
      listen { respond = function() return bytes end }
      assert.truthy(d:call('dom0', 'admin.spec.List', 'work', 'a').body, i)
      assert.is_true(d:is_alive())
      db.close()
    end
    listen { respond = function(kind) return kind == 2 and fake.message(11, '/a', 'x'):rep(2000) or nil end }
    assert.truthy(d:call('dom0', 'admin.spec.List', 'work', 'a').body)
    assert.truthy(d:logged('too many entries', 1))
  end)

  describe('carries requests', function()
    local function request(method, entries)
      listen({ entries = entries }, 'fedora')
      d:ok('admin.vm.Start', 'fedora')
      local answer = d:call('fedora', method, 'dom0', '', '', { socket = 'qubesd.misc.sock' })
      d:ok('admin.vm.Kill', 'fedora')
      db.close()
      return answer
    end

    it('of features', function()
      assert.equal('ok', request('qubes.FeaturesRequest', { ['/features-request/supported-service.spec'] = '1', ['/other'] = 'x' }).kind)
      assert.equal('1', d:ok('admin.vm.feature.Get', 'fedora', 'supported-service.spec'))
      assert.equal('ok', request('qubes.FeaturesRequest', {}).kind) -- of which nothing comes
      assert.equal('1', d:ok('admin.vm.feature.Get', 'fedora', 'supported-service.spec'))
      assert.equal('ok', request('qubes.FeaturesRequest', { ['/features-request/supported-service.other'] = '1' }).kind)
      assert.equal('QubesFeatureNotFoundError', d:call('dom0', 'admin.vm.feature.Get', 'fedora', 'supported-service.spec').class)
    end)

    it('but no bytes that are not allowed', function()
      assert.equal('ProtocolError', request('qubes.FeaturesRequest', { ['/features-request/os'] = 'Linux\n' }).class)
      assert.equal('ProtocolError', request('qubes.FeaturesRequest', { ['/features-request/os'] = 'Lin\195\188x' }).class)
    end)

    it('of Windows tools, of which only the known ones are looked at', function()
      local entries = { ['/qubes-tools/os'] = 'Windows', ['/qubes-tools/qrexec'] = '', ['/qubes-tools/unknown'] = '!!' }
      assert.equal('ok', request('qubes.NotifyTools', entries).kind)
      assert.equal('ProtocolError', request('qubes.NotifyTools', { ['/qubes-tools/os'] = 'Win dows' }).class)
    end)

    it('and refuses when there are none to be had', function()
      d:ok('admin.vm.Start', 'work')
      assert.equal('QubesException', d:call('work', 'qubes.FeaturesRequest', 'dom0', '', '', { socket = 'qubesd.misc.sock' }).class)
    end)
  end)
end)
