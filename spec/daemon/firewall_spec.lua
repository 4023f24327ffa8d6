-- SPDX-License-Identifier: GPL-2.0-or-later
-- admin.vm.firewall.*: what is taken, in which form it comes back, what is refused, expiry, and who sees what.

local daemon = require('spec.support.daemon')

local RULES = [[
on('admin-permission:admin.vm.List', function(src)
  if src.name == 'guest' then return function(qube) return qube.name ~= 'secret' end end
end)
on('admin-permission:admin.vm.firewall.Set', function(src, event, info)
  if src.name ~= 'guest' then return end
  for _, rule in ipairs(info.rules) do
    if rule:find('^action=accept$') then deny('a guest opens nothing') end
  end
end)
]]

describe('the firewall', function()
  local d

  setup(function()
    d = daemon.start { acl = { ['10-guest.lua'] = RULES } }
    d:estate { 'work', 'guest', 'secret', 'base' }
  end)

  teardown(function() d:stop() end)

  local function get(dest) return d:ok('admin.vm.firewall.Get', dest or 'work') end

  local function set(payload, dest) return d:ok('admin.vm.firewall.Set', dest or 'work', '', payload) end

  local function refused(payload)
    local answer = d:call('dom0', 'admin.vm.firewall.Set', 'work', '', payload)
    assert.equal('ProtocolError', answer.class, payload)
    return answer.message
  end

  it('accepts everything by default', function()
    assert.equal('action=accept\n', get())
  end)

  it('writes rules in canonical form', function()
    local cases = {
      ['action=drop'] = 'action=drop',
      ['proto=tcp action=accept dstports=80'] = 'action=accept proto=tcp dstports=80-80',
      ['action=accept dstports=0080-65535 proto=udp'] = 'action=accept proto=udp dstports=80-65535',
      ['action=accept icmptype=008 proto=icmp'] = 'action=accept proto=icmp icmptype=8',
      ['action=accept dsthost=10.1.2.3'] = 'action=accept dst4=10.1.2.3/32',
      ['action=accept dst4=10.0.0.0/8'] = 'action=accept dst4=10.0.0.0/8',
      ['action=accept dst4=fd00::/8'] = 'action=accept dst6=fd00::/8',
      ['action=accept dsthost=FD00::1'] = 'action=accept dst6=FD00::1/128',
      ['action=accept dsthost=::ffff:1.2.3.4'] = 'action=accept dst6=::ffff:1.2.3.4/128',
      ['action=accept dstname=www.example.com'] = 'action=accept dsthost=www.example.com',
      ['action=accept dsthost=1.2.3'] = 'action=accept dsthost=1.2.3',
      ['action=accept specialtarget=dns'] = 'action=accept specialtarget=dns',
      ['action=drop proto=udp expire=4099450306'] = 'action=drop expire=4099450306 proto=udp',
      [' action=accept comment=a [b], c=d'] = false,
      [' action=accept comment=a [b], c comment'] = 'action=accept comment=a [b], c comment',
      ['action=accept comment='] = 'action=accept',
      ['comment=first action'] = false,
      ['specialtarget=dns dstports=53 proto=tcp dst4=1.1.1.1 expire=4099450306 action=accept comment=all of it'] =
        'action=accept expire=4099450306 dst4=1.1.1.1/32 proto=tcp specialtarget=dns dstports=53-53 comment=all of it',
    }
    for line, canonical in pairs(cases) do
      if canonical then
        set(line)
        assert.equal(canonical .. '\n', get())
        set(get())
        assert.equal(canonical .. '\n', get())
      else
        refused(line)
      end
    end
  end)

  it('takes lines as any system ends them', function()
    for _, text in ipairs { 'action=drop\naction=accept', 'action=drop\r\naction=accept\r\n', 'action=drop\raction=accept\n' } do
      set(text)
      assert.equal('action=drop\naction=accept\n', get())
    end
  end)

  it('refuses what is no rule, and says where', function()
    set('action=drop proto=icmp')
    local bad = {
      '', '\n', ' ', 'action', 'action=', 'action=ACCEPT', 'action=reject', 'drop', 'action=accept  proto=tcp', 'action=accept\tproto=tcp',
      'proto=tcp', 'proto=tcp dstports=1', 'action=accept action=accept', 'action=accept proto=sctp', 'action=accept nonsense=1', 'action=accept =1',
      'action=accept dstports=1', 'action=accept proto=icmp dstports=1', 'action=accept icmptype=1', 'action=accept proto=tcp icmptype=1',
      'action=accept proto=tcp dstports=', 'action=accept proto=tcp dstports=-1',
      'action=accept proto=tcp dstports=1-', 'action=accept proto=tcp dstports=65536',
      'action=accept proto=tcp dstports=2-1', 'action=accept proto=tcp dstports=1-2-3', 'action=accept proto=tcp dstports=http',
      'action=accept proto=tcp dstports=1_0', 'action=accept proto=tcp dstports=0x10', 'action=accept proto=tcp dstports=' .. ('9'):rep(400),
      'action=accept proto=icmp icmptype=256', 'action=accept proto=icmp icmptype=-1', 'action=accept proto=icmp icmptype=0001',
      'action=accept dsthost=', 'action=accept dsthost=Example.com', 'action=accept dsthost=a b',
      'action=accept dsthost=a/24', 'action=accept dsthost=1.2.3.4/33',
      'action=accept dsthost=1.2.3.4/', 'action=accept dsthost=1.2.3.4/+8', 'action=accept dsthost=1.2.3.4/8/8', 'action=accept dsthost=fd00::/129',
      'action=accept dsthost=fe80::1%eth0', 'action=accept dsthost=' .. ('a'):rep(254), 'action=accept dst4=1.1.1.1 dsthost=1.1.1.1',
      'action=accept dsthost=1.2.3.4/99999999999999999999', 'action=accept specialtarget=ntp', 'action=accept expire=', 'action=accept expire=-1',
      'action=accept expire=1e9', 'action=accept expire=253402300800', 'action=accept expire=' .. ('9'):rep(30),
      'action=accept comment=a=b', 'action=accept comment=<b>',
      'action=accept comment=tab\there', 'action=accept comment=za\xc5\xbc', 'action=accept\0', 'action=accept\n\naction=drop', 'comment=only',
    }
    for _, payload in ipairs(bad) do refused(payload) end
    assert.equal('action=drop proto=icmp\n', get())
    assert.truthy(refused('action=accept\naction=accept\naction=maybe\n'):find('line 3', 1, true))
  end)

  it('is bounded by the size of a request only', function()
    local many = ('action=accept proto=tcp dstports=1\n'):rep(1800)
    set(many)
    assert.equal(1800, select(2, get():gsub('\n', '')))
    set('action=accept')
  end)

  it('tells of a change once, and of a reload', function()
    local events = d:subscribe('dom0', 'work')
    events:take()
    local function names()
      local list = {}
      for i, event in ipairs(events:take()) do list[i] = event.subject .. ' ' .. event.name .. (next(event.info) and ' with info' or '') end
      return list
    end
    set('action=drop')
    assert.same({ 'work firewall-changed' }, names())
    d:ok('admin.vm.firewall.Reload', 'work')
    assert.same({ 'work firewall-changed' }, names())
    get()
    refused('action=never')
    assert.same({}, names())
    events:close()
  end)

  it('lets rules expire', function()
    local now = os.time()
    set(('action=accept expire=1\naction=accept expire=%d\naction=drop expire=4099450306\n'):format(now + 1))
    assert.equal(('action=accept expire=%d\naction=drop expire=4099450306\n'):format(now + 1), get())
    local events = d:subscribe('dom0', 'work')
    assert.truthy(events:wait('firewall-changed', 5))
    events:close()
    assert.equal('action=drop expire=4099450306\n', get())
    set('action=drop expire=1')
    assert.equal('', get())
  end)

  it('belongs to qubes that can have a network', function()
    d:ok('admin.vm.Create.RemoteVM', 'dom0', '', 'name=far label=red')
    for _, method in ipairs { 'Get', 'Set', 'Reload' } do
      local payload = method == 'Set' and 'action=drop' or ''
      assert.equal('ProtocolError', d:call('dom0', 'admin.vm.firewall.' .. method, 'dom0', '', payload).class)
      assert.equal('ProtocolError', d:call('dom0', 'admin.vm.firewall.' .. method, 'work', 'argument', payload).class)
      assert.equal('QubesException', d:call('dom0', 'admin.vm.firewall.' .. method, 'far', '', payload).class)
    end
    assert.equal('ProtocolError', d:call('dom0', 'admin.vm.firewall.Get', 'work', '', 'payload').class)
  end)

  it('goes from a template to its disposables', function()
    d:ok('admin.vm.property.Set', 'base', 'template_for_dispvms', 'True')
    set('action=accept dsthost=example.com', 'base')
    local disposable = d:ok('admin.vm.CreateDisposable', 'base')
    assert.equal('action=accept dsthost=example.com\n', get(disposable))
    set('action=drop', 'base')
    assert.equal('action=accept dsthost=example.com\n', get(disposable))
  end)

  it('is subject to the rules of the ACL, and looks no host up', function()
    local function guest(method, dest, payload)
      local answer = d:call('guest', 'admin.vm.firewall.' .. method, dest, '', payload)
      return answer.class or answer.body
    end
    assert.equal('PermissionDenied', guest('Set', 'work', 'action=drop\naction=accept\n'))
    assert.equal('', guest('Set', 'work', 'action=drop'))
    assert.equal('action=drop\n', guest('Get', 'work'))
    assert.equal(guest('Get', 'nobody'), guest('Get', 'secret'))
    -- a host is text, and not looked up: the name of a hidden qube is treated as any other
    for _, name in ipairs { 'secret', 'nobody' } do
      assert.equal('', guest('Set', 'work', 'action=drop dsthost=' .. name))
      assert.equal(('action=drop dsthost=%s\n'):format(name), guest('Get', 'work'))
    end
  end)

  it('stays over a restart', function()
    set('action=accept dst4=1.1.1.1\naction=drop comment=the rest')
    d:kill_only()
    d = daemon.start { directory = d.directory }
    assert.equal('action=accept dst4=1.1.1.1/32\naction=drop comment=the rest\n', get())
  end)
end)
