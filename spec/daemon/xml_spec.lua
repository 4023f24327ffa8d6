-- SPDX-License-Identifier: GPL-2.0-or-later
-- The way from and to the Python daemon: --import-xml, --export-xml, the import at the first start and the export at a clean stop. Nothing is lost on
-- the way, what is broken is named by its line, and a file that can not be read changes nothing. QD_ESTATES chooses the number of random estates.

local uv = require('luv')
local daemon = require('spec.support.daemon')
local writers = require('spec.support.writers')

local ESTATES = tonumber(os.getenv('QD_ESTATES')) or 4

local function read_file(path)
  local file = io.open(path, 'rb')
  if not file then return nil end
  local text = file:read('a')
  file:close()
  return text
end

local directories = {}

local function new_directory()
  local directory = daemon.temporary_directory()
  directories[#directories + 1] = directory
  return directory
end

local function qubesd(directory, ...)
  return writers.run(daemon.build_dir .. '/qubesd', { '--state-dir', directory, '--scripts-dir', 'scripts', '--acl-dir', directory .. '/acl', ... })
end

local function import(directory, text)
  daemon.write_file(directory .. '/given.xml', text)
  return qubesd(directory, '--import-xml', directory .. '/given.xml')
end

-- The text of an export, which must work.
local function export(directory)
  local result = qubesd(directory, '--export-xml', directory .. '/out.xml')
  assert.equal(0, result.code, result.err)
  return read_file(directory .. '/out.xml')
end

-- Imports the text into a fresh store; the directory and what was said.
local function imported(text)
  local directory = new_directory()
  local result = import(directory, text)
  assert.equal(0, result.code, result.err)
  return directory, result.err
end

-- A clean stop that leaves the directory.
local function stop(d)
  uv.kill(d.pid, 'sigterm')
  daemon.run_until(function() return d.exit_code end, 20)
  daemon.sleep(0.02)
  assert.equal(0, d.exit_code, d.log)
  d:kill_only()
end

-- Everything that a caller can ask, as one text.
local function snapshot(d)
  local lines = {}
  local function ask(method, dest, arg)
    local answer = d:call('dom0', method, dest, arg)
    lines[#lines + 1] = ('%s+%s %s: %s %s'):format(method, arg or '', dest, answer.kind, answer.body or answer.class)
    return answer.body or ''
  end
  ask('admin.property.GetAll', 'dom0')
  for label in ask('admin.label.List', 'dom0'):gmatch('[^\n]+') do
    ask('admin.label.Get', 'dom0', label)
    ask('admin.label.Index', 'dom0', label)
  end
  for name in ask('admin.vm.List', 'dom0'):gmatch('([^ \n]+) [^\n]*') do
    ask('admin.vm.property.GetAll', name)
    for feature in ask('admin.vm.feature.List', name):gmatch('[^\n]+') do ask('admin.vm.feature.Get', name, feature) end
    ask('admin.vm.tag.List', name)
    ask('admin.vm.notes.Get', name)
    ask('admin.vm.firewall.Get', name)
  end
  return table.concat(lines, '\n')
end

local function snapshot_of(directory)
  local d = daemon.start { directory = directory }
  local text = snapshot(d)
  stop(d)
  return text
end

-- ---- random estates ----

local COLORS = { 'red', 'orange', 'yellow', 'green', 'gray', 'blue', 'purple', 'black' }
local TEXTS = { '', '1', 'a b', '<&>"\'', 'x=1 y=2', ']]>', '&amp;', ' leading and trailing ', 'a\tb' }

local function pick(list) return list[math.random(#list)] end

-- What may be refused: a random call is right only sometimes.
local function try(d, method, dest, arg, payload)
  d:call('dom0', method, dest, arg, payload)
end

local function create_qubes(d)
  local names = {}
  d:ok('admin.vm.Create.TemplateVM', 'dom0', '', 'name=fedora label=black')
  d:ok('admin.vm.Create.TemplateVM', 'dom0', '', 'name=debian-12.x label=gray')
  d:ok('admin.property.Set', 'dom0', 'default_template', 'fedora')
  for i = 1, 14 do
    local class = pick { 'AppVM', 'AppVM', 'AppVM', 'StandaloneVM', 'RemoteVM' }
    local name = ('q%d-%s'):format(i, class:sub(1, 3))
    d:ok('admin.vm.Create.' .. class, 'dom0', class == 'AppVM' and pick { 'fedora', 'debian-12.x' } or '', ('name=%s label=%s'):format(name, pick(COLORS)))
    names[#names + 1] = name
  end
  return names
end

local PROPERTIES = {
  memory = { '300', '1000' }, maxmem = { '0', '4000' }, debug = { 'True', 'False' }, autostart = { 'True' }, virt_mode = { 'hvm', 'pv', 'pvh' },
  kernelopts = TEXTS, default_user = { 'root', 'user.name+1' }, vcpus = { '1', '7' }, mac = { '00:16:3e:5e:6c:77' }, ip = { '10.1.2.3' },
  qrexec_timeout = { '600' }, include_in_backups = { 'False', 'True' }, label = COLORS, installed_by_rpm = { 'True' }, stubdom_mem = { '144' },
  keyboard_layout = { 'de+neo+', 'us++' }, backup_timestamp = { '1700000000' }, devices_denied = { 'b******', '' },
}

local function change_qubes(d, names)
  local all = { 'dom0', 'fedora', table.unpack(names) }
  for i = 1, 4 do try(d, 'admin.vm.property.Set', names[i], 'provides_network', 'True') end
  for i = 5, 7 do try(d, 'admin.vm.property.Set', names[i], 'template_for_dispvms', 'True') end
  for _ = 1, 120 do
    local name, property = pick(all), pick { 'netvm', 'guivm', 'audiovm', 'default_dispvm', 'management_dispvm' }
    try(d, 'admin.vm.property.Set', name, property, pick { '', pick(names), names[math.random(7)] })
  end
  for property, values in pairs(PROPERTIES) do
    for _ = 1, 4 do try(d, 'admin.vm.property.Set', pick(all), property, pick(values)) end
  end
  for i = 1, 60 do
    try(d, 'admin.vm.feature.Set', pick(all), pick { 'gui', 'service.x', 'os', 'f' .. i }, pick(TEXTS))
    try(d, 'admin.vm.tag.Set', pick(all), 'tag' .. math.random(9))
    try(d, 'admin.vm.feature.Remove', pick(all), 'f' .. math.random(60))
  end
end

local function change_system(d, names)
  d:ok('admin.label.Create', 'dom0', 'teal', '0x008080')
  for _, name in ipairs { 'default_netvm', 'updatevm', 'clockvm', 'default_dispvm', 'management_dispvm', 'default_guivm' } do
    try(d, 'admin.property.Set', 'dom0', name, pick { '', names[math.random(7)], pick(names) })
  end
  try(d, 'admin.property.Set', 'dom0', 'default_qrexec_timeout', '77')
  try(d, 'admin.property.Set', 'dom0', 'check_updates_vm', 'False')
  try(d, 'admin.vm.notes.Set', pick(names), '', 'a note\nwith <two> lines & \u{fc}mlauts')
  try(d, 'admin.vm.firewall.Set', pick(names), '', 'action=drop dst4=1.2.3.0/24 comment=a <b> & c\naction=accept\n')
  try(d, 'admin.vm.CreateDisposable', names[5])
end

-- ---- what is read ----

local HEAD = [[
<qubes>
  <labels><label id="label-1" color="0xcc0000">red</label><label id="label-8" color="0x000000">black</label></labels>
  <pools><pool name="varlibqubes" driver="file" dir_path="/var/lib/qubes"/></pools>
]]

-- The line of a text, for messages.
local function line_of(text, part)
  local at = assert(text:find(part, 1, true), part)
  return select(2, text:sub(1, at):gsub('\n', '')) + 1
end

local function domain(number, name, class, properties, rest)
  return ([[
    <domain id="domain-%d" class="%s">
      <properties>
        <property name="name">%s</property>
        <property name="label" ref="label-1"/>
        %s
      </properties>
      %s
    </domain>
]]):format(number, class, name, properties or '', rest or '')
end

local function file(globals, domains)
  return HEAD .. '  <properties>\n' .. globals .. '\n  </properties>\n  <domains>\n' .. domains .. '  </domains>\n</qubes>\n'
end

local PROVIDES = '<property name="provides_network">True</property>'

describe('qubes.xml', function()
  teardown(function()
    for _, directory in ipairs(directories) do daemon.remove_tree(directory) end
  end)

  describe('import after export', function()
    for number = 1, ESTATES do
      it('is the identity, for random estate ' .. number, function()
        local seed = os.time() * 100 + number
        math.randomseed(seed)
        local first = new_directory()
        local d = daemon.start { directory = first }
        local names = create_qubes(d)
        change_qubes(d, names)
        change_system(d, names)
        local before = snapshot(d)
        stop(d)
        local text = export(first)
        local second, said = imported(text)
        assert.is_nil(said:find('warning', 1, true), 'seed ' .. seed .. ': ' .. said)
        assert.equal(text, export(second), 'seed ' .. seed)
        assert.equal(before, snapshot_of(second), 'seed ' .. seed)
      end)
    end
  end)

  it('is read with labels, pools, properties by value and by reference, features, tags, devices and volumes', function()
    local text = file('<property name="default_netvm" ref="domain-7"/><property name="default_kernel">6.1</property>',
      domain(5, 'fedora', 'TemplateVM') .. domain(7, 'net', 'AppVM', '<property name="template" ref="domain-5"/>' .. PROVIDES
        .. '<property name="netvm"></property>', [[
        <features><feature name="gui"/><feature name="os">Linux</feature></features><tags><tag name="b"/><tag name="a"/></tags>
        <devices class="pci"><device backend-domain="dom0" id="00_1a.0" required="yes"><option name="no-strict-reset">True</option></device></devices>
        <devices class="block"><device backend-domain="work" id="sda" mode="ask-to-attach" identity="u:1:2"/></devices>
        <volume-config><volume name="private" pool="varlibqubes" size="2" rw="True"/><volume name="root" pool="varlibqubes"/></volume-config>]])
      .. domain(9, 'work', 'AppVM', '<property name="qid">42</property><property name="template">fedora</property>'))
    local directory, said = imported(text)
    assert.is_nil(said:find('warning', 1, true), said)
    local d = daemon.start { directory = directory }
    finally(function() if not d.exit_code then d:kill_only() end end)
    assert.equal('default=False type=vm net', d:ok('admin.property.Get', 'dom0', 'default_netvm'))
    assert.equal('default=False type=vm fedora', d:ok('admin.vm.property.Get', 'net', 'template'))
    assert.equal('default=False type=vm ', d:ok('admin.vm.property.Get', 'net', 'netvm'))
    assert.equal('default=True type=vm net', d:ok('admin.vm.property.Get', 'work', 'netvm'))
    assert.equal('default=False type=int 42', d:ok('admin.vm.property.Get', 'work', 'qid'))
    assert.equal('default=False type=int 7', d:ok('admin.vm.property.Get', 'net', 'qid'))
    assert.equal('default=False type=label red', d:ok('admin.vm.property.Get', 'work', 'label'))
    assert.equal('hvm', d:ok('admin.vm.property.Get', 'net', 'virt_mode'):match('%S+$')) -- for it has a PCI device
    assert.equal('gui\nos\n', d:ok('admin.vm.feature.List', 'net'))
    assert.equal('', d:ok('admin.vm.feature.Get', 'net', 'gui'))
    stop(d)
    local out = export(directory)
    for _, part in ipairs {
      '<device backend-domain="dom0" id="00_1a.0" mode="required" identity="*">', '<option name="no-strict-reset">True</option>',
      '<device backend-domain="work" id="sda" mode="ask-to-attach" identity="u:1:2"/>', '<volume name="private" pool="varlibqubes" size="2" rw="True"/>',
      '<pool name="varlibqubes" driver="file" dir_path="/var/lib/qubes"/>', '<property name="netvm"/>', '<domain id="domain-42" class="AppVM">',
    } do
      assert.is_truthy(out:find(part, 1, true), part .. '\n' .. out)
    end
  end)

  it('keeps what is not understood, where it was', function()
    local text = file([[<property name="from_the_future" x="1">v</property>]],
      domain(5, 'fedora', 'TemplateVM', '<property name="unheard_of">&lt;x&gt;</property><property name="debug" since="4">True</property>', [[
        <features era="1"><feature name="gui" by="me">1</feature><note>mixed <b>con</b>tent</note></features>
        <tags><tag name="a">a text</tag></tags>
        <devices class="pci" x="y"><device backend-domain="dom0" id="1" mode="required" color="blue"><thing/></device></devices>
        <volume-config><volume name="root" pool="p"><deep><deeper a="&quot;"/></deep></volume><other/></volume-config>
        <policy xmlns:p="urn:p"><p:rule p:action="allow"> x </p:rule></policy>]]))
      :gsub('<qubes>', '<qubes version="9.9">', 1):gsub('<labels>', '<labels by="z">', 1):gsub('<domains>', '<weather>fine</weather><domains n="1">', 1)
    local first, said = imported(text)
    assert.is_truthy(said:find('not understood', 1, true), said)
    local out = export(first)
    for _, part in ipairs {
      'version="9.9"', '<labels by="z">', '<weather>fine</weather>', '<domains n="1">', '<property name="from_the_future" x="1">v</property>',
      '<property name="unheard_of">&lt;x&gt;</property>', '<property name="debug" since="4">True</property>', '<features era="1">',
      '<feature name="gui" by="me">1</feature>', '<note>mixed <b>con</b>tent</note>', '<tag name="a">a text</tag>', '<devices class="pci" x="y">',
      'color="blue"', '<thing/>', '<deeper a="&quot;"/>', '<other/>', '<policy xmlns:p="urn:p">', '<p:rule p:action="allow"> x </p:rule>',
    } do
      assert.is_truthy(out:find(part, 1, true), part .. '\n' .. out)
    end
    local second = imported(out)
    assert.equal(out, export(second))
  end)

  it('keeps a value that is not allowed, until there is a newer one', function()
    local text = file('', domain(5, 'fedora', 'TemplateVM', '\n<property name="memory">much</property><property name="virt_mode">vr</property>'))
    local directory, said = imported(text)
    assert.is_truthy(said:find(('line %d: <property name="memory">'):format(line_of(text, 'much')), 1, true), said)
    local d = daemon.start { directory = directory }
    assert.equal('default=True', d:ok('admin.vm.property.Get', 'fedora', 'memory'):match('^%S+'))
    d:ok('admin.vm.property.Set', 'fedora', 'memory', '555')
    stop(d)
    local out = export(directory)
    assert.is_nil(out:find('much', 1, true))
    assert.is_truthy(out:find('<property name="memory">555</property>', 1, true))
    assert.is_truthy(out:find('<property name="virt_mode">vr</property>', 1, true))
  end)

  describe('a file that is no qubes.xml', function()
    local GOOD = file('', domain(5, 'fedora', 'TemplateVM'))
    local cases = {
      { 'an element that is not closed', (GOOD:gsub('</properties>', '', 1)), 'line %d: ', '  <domains>' },
      { 'a file that breaks off', GOOD:sub(1, -30), 'expected' },
      { 'an attribute without quotes', (GOOD:gsub('driver="file"', 'driver=file')), 'line 3: .*expected' },
      { 'a document type', '<!DOCTYPE qubes [<!ENTITY a "b">]>\n' .. GOOD, 'line 1: a document type is not allowed' },
      { 'an external entity', '<!DOCTYPE q SYSTEM "file:///etc/passwd">\n' .. GOOD, 'line 1: a document type is not allowed' },
      { 'an unknown entity', (GOOD:gsub('fedora', '&fedora;')), 'line %d: ', '&fedora;' },
      { 'another root', '\n<quebes/>', 'line 2: <qubes> was expected' },
      { 'an empty file', '', 'line 1: .*expected' },
      { 'text', 'hello', 'line 1: .*expected' },
      { 'Latin-1', (GOOD:gsub('fedora', 'f\xe9dora')), 'line %d: expected UTF%-8', 'f\xe9dora' },
      { 'too deep', '<qubes>' .. ('\n<a>'):rep(70), 'line 65: elements may stand inside each other 64 deep' },
      { 'rubbish after its end', GOOD .. '<more/>', 'line %d: .*expected the end of the file', nil },
    }
    for _, case in ipairs(cases) do
      it('changes nothing: ' .. case[1], function()
        local directory = new_directory()
        local result = import(directory, case[2])
        local pattern = case[3]
        if pattern:find('%%d') then
          pattern = pattern:gsub('%%d', case[4] and (case[4] == '  <domains>' and '%%d+' or tostring(line_of(case[2], case[4]))) or '%%d+')
        end
        assert.equal(1, result.code)
        assert.is_truthy(result.err:find(pattern), pattern .. '\n' .. result.err)
        local again = import(directory, GOOD) -- the store is still empty
        assert.equal(0, again.code, again.err)
      end)
    end
  end)

  describe('a fault inside it', function()
    local function faulty(globals, domains, part, what)
      local text = file(globals, domain(5, 'fedora', 'TemplateVM') .. domains)
      local directory, said = imported(text)
      assert.is_truthy(said:find(('line %d: '):format(line_of(text, part)), 1, true), said)
      assert.is_truthy(said:find(what, 1, true), said)
      return directory
    end

    local TEMPLATE = '<property name="template">fedora</property>'

    it('is a reference that leads nowhere: no network rather than another one', function()
      local directory = faulty('<property name="default_netvm">net</property>', domain(7, 'net', 'AppVM', TEMPLATE .. PROVIDES .. '<property name="netvm"/>')
        .. domain(8, 'work', 'AppVM', TEMPLATE .. '\n<property name="netvm">sys-vpn</property>'), 'sys-vpn', 'there is no qube "sys-vpn"; it is set to none')
      local d = daemon.start { directory = directory }
      assert.equal('default=False type=vm ', d:ok('admin.vm.property.Get', 'work', 'netvm'))
      stop(d)
      assert.is_nil(export(directory):find('sys-vpn', 1, true))
    end)

    it('is a global reference that leads nowhere', function()
      faulty('<property name="updatevm">gone</property>', '', 'gone', 'there is no qube "gone"; it is set to none')
    end)

    it('is a qube without its template, which is there all the same', function()
      local directory = faulty('', domain(8, 'work', 'AppVM', '\n<property name="template">gone</property>'), 'gone', 'there is no qube "gone"')
      local d = daemon.start { directory = directory }
      assert.equal('ok', d:call('dom0', 'admin.vm.property.GetAll', 'work').kind)
      d:ok('admin.vm.property.Set', 'work', 'template', 'fedora')
      stop(d)
      assert.is_nil(export(directory):find('gone', 1, true))
    end)

    it('is a netvm that provides none', function()
      faulty('', domain(7, 'a', 'AppVM', TEMPLATE) .. domain(8, 'b', 'AppVM', TEMPLATE .. '\n<property name="netvm">a</property>'),
        'm">a<', 'a does not provide network')
    end)

    it('is a loop of netvms, which is opened at its first qube', function()
      local directory = faulty('', domain(7, 'a', 'AppVM', TEMPLATE .. PROVIDES .. '\n<property name="netvm">b</property>')
        .. domain(8, 'b', 'AppVM', TEMPLATE .. PROVIDES .. '\n<property name="netvm">c</property>')
        .. domain(9, 'c', 'AppVM', TEMPLATE .. PROVIDES .. '\n<property name="netvm">a</property>'), '">b<', 'get their network from each other')
      local d = daemon.start { directory = directory }
      assert.equal('default=False type=vm ', d:ok('admin.vm.property.Get', 'a', 'netvm'))
      assert.equal('default=False type=vm c', d:ok('admin.vm.property.Get', 'b', 'netvm'))
      assert.equal('default=False type=vm a', d:ok('admin.vm.property.Get', 'c', 'netvm'))
      stop(d)
    end)

    it('is a loop through default_netvm, which stays', function()
      local directory = faulty('<property name="default_netvm">b</property>', domain(7, 'a', 'AppVM', TEMPLATE .. PROVIDES)
        .. domain(8, 'b', 'AppVM', TEMPLATE .. PROVIDES .. '<property name="netvm">a</property>'), 'domain-7', 'get their network from each other')
      local d = daemon.start { directory = directory }
      assert.equal('default=False type=vm ', d:ok('admin.vm.property.Get', 'a', 'netvm'))
      assert.equal('default=False type=vm b', d:ok('admin.property.Get', 'dom0', 'default_netvm'))
      stop(d)
    end)

    local uuid = '<property name="uuid">11111111-2222-3333-4444-555555555555</property>'
    local left_out = {
      { 'a name twice', domain(8, 'fedora', 'TemplateVM'), 'there is a qube "fedora" already' },
      { 'a qid twice', domain(8, 'x', 'TemplateVM', '<property name="qid">5</property>'), 'the qid 5 already' },
      { 'a uuid twice', domain(8, 'x', 'TemplateVM', uuid) .. domain(9, 'y', 'TemplateVM', uuid), 'this uuid already', 'domain-9' },
      { 'a wrong uuid', domain(8, 'x', 'TemplateVM', '<property name="uuid">1-2</property>'), 'a uuid was expected' },
      { 'a qid out of range', domain(8, 'x', 'TemplateVM', '<property name="qid">65536</property>'), 'a qid from 1 to 65535' },
      { 'a wrong name', domain(8, '9lives', 'TemplateVM'), 'a qube name begins with a letter' },
      { 'the name of dom0', domain(8, 'dom0', 'TemplateVM'), 'dom0 is the name of the AdminVM' },
      { 'an unknown class', domain(8, 'x', 'CloudVM'), 'there is no class of qubes "CloudVM"' },
      { 'an abstract class', domain(8, 'x', 'BaseVM'), 'there is no class of qubes "BaseVM"' },
      { 'a mixin', domain(8, 'x', 'NetVMMixin'), 'there is no class of qubes "NetVMMixin"' },
    }
    for _, case in ipairs(left_out) do
      it('leaves a qube out, and keeps it: ' .. case[1], function()
        local directory = faulty('', case[2], case[4] or 'domain-8', case[3])
        local out = export(directory)
        assert.is_truthy(out:find(case[4] or 'domain-8', 1, true), out)
        assert.equal(out, export((imported(out))))
      end)
    end

    it('keeps a device whose backend is not there', function()
      local device = '\n<devices class="usb"><device backend-domain="sys-usb" id="1-1" mode="required"/></devices>'
      local directory = faulty('', domain(8, 'x', 'TemplateVM', '', device), 'sys-usb',
        'there is no qube "sys-usb"')
      assert.is_truthy(export(directory):find('<device backend-domain="sys-usb" id="1-1" mode="required"/>', 1, true))
    end)
  end)

  it('is not mixed into a store that is in use', function()
    local directory = imported(file('', domain(5, 'fedora', 'TemplateVM')))
    local result = import(directory, file('', domain(5, 'debian', 'TemplateVM')))
    assert.equal(1, result.code)
    assert.is_truthy(result.err:find('the store is not empty', 1, true), result.err)
    assert.is_nil(export(directory):find('debian', 1, true))
  end)

  it('is refused while a daemon runs on the store', function()
    local d = daemon.start()
    finally(function() d:kill() end)
    assert.equal(1, import(d.directory, file('', '')).code)
    assert.equal(1, qubesd(d.directory, '--export-xml', d.directory .. '/out.xml').code)
    assert.is_nil(read_file(d.directory .. '/out.xml'))
    assert.is_true(d:is_alive())
  end)

  it('is not written from an empty store, nor in a directory that is not there', function()
    local directory = new_directory()
    assert.equal(1, qubesd(directory, '--export-xml', directory .. '/out.xml').code)
    assert.is_nil(read_file(directory .. '/out.xml'))
    assert.equal(1, qubesd(imported(file('', '')), '--export-xml', directory .. '/none/out.xml').code)
    assert.equal(1, qubesd(directory, '--import-xml', directory .. '/none.xml').code)
  end)

  describe('in the state directory', function()
    local TEXT = file('<property name="from_the_future">1</property>', domain(5, 'fedora', 'TemplateVM'))

    local function first_start(text)
      local directory = new_directory()
      daemon.write_file(directory .. '/qubes.xml', text or TEXT)
      return directory, daemon.start { directory = directory }
    end

    it('is imported at the first start, and written again at a clean stop', function()
      local directory, d = first_start()
      assert.is_truthy(d.log:find('importing ' .. directory .. '/qubes.xml', 1, true), d.log)
      d:ok('admin.vm.feature.Set', 'fedora', 'os', 'Linux')
      stop(d)
      local out = read_file(directory .. '/qubes.xml')
      assert.is_truthy(out:find('<feature name="os">Linux</feature>', 1, true))
      assert.is_truthy(out:find('from_the_future', 1, true))
      assert.equal(TEXT, read_file(directory .. '/qubes.xml.imported'))
      d = daemon.start { directory = directory } -- the second one reads the store
      assert.is_nil(d.log:find('importing', 1, true), d.log)
      assert.is_nil(d.log:find('another program', 1, true), d.log)
      d:ok('admin.vm.tag.Set', 'fedora', 'new')
      stop(d)
      assert.is_truthy(read_file(directory .. '/qubes.xml'):find('<tag name="new"/>', 1, true))
      assert.equal(TEXT, read_file(directory .. '/qubes.xml.imported'))
    end)

    it('is not written where none was imported', function()
      local directory = new_directory()
      stop(daemon.start { directory = directory })
      assert.is_nil(read_file(directory .. '/qubes.xml'))
    end)

    it('stays as another program has written it meanwhile', function()
      local directory, d = first_start()
      daemon.write_file(directory .. '/qubes.xml', '<qubes/>')
      stop(d)
      assert.equal('<qubes/>', read_file(directory .. '/qubes.xml'))
      assert.is_truthy(read_file(directory .. '/qubes.xml.exported'):find('fedora', 1, true))
      d = daemon.start { directory = directory }
      assert.is_truthy(d.log:find('another program has written', 1, true), d.log)
      stop(d)
    end)

    it('stops the first start when it is broken, and is read when it was mended', function()
      local directory = new_directory()
      daemon.write_file(directory .. '/qubes.xml', TEXT:sub(1, -12))
      local d = daemon.start { directory = directory, wait = false }
      daemon.run_until(function() return d.exit_code end, 20)
      daemon.sleep(0.05)
      assert.equal(1, d.exit_code)
      assert.is_truthy(d.log:find('is not imported: line', 1, true), d.log)
      d:kill_only()
      assert.equal(TEXT:sub(1, -12), read_file(directory .. '/qubes.xml'))
      daemon.write_file(directory .. '/qubes.xml', TEXT)
      d = daemon.start { directory = directory }
      assert.equal('ok', d:call('dom0', 'admin.vm.property.GetAll', 'fedora').kind)
      stop(d)
    end)

    it('survives a kill -9 of the daemon, as does what came after the import', function()
      local directory, d = first_start()
      d:ok('admin.vm.tag.Set', 'fedora', 'late')
      d:kill_only()
      assert.equal(TEXT, read_file(directory .. '/qubes.xml'))
      d = daemon.start { directory = directory }
      assert.equal('1', d:ok('admin.vm.tag.Get', 'fedora', 'late'))
      stop(d)
      assert.is_truthy(read_file(directory .. '/qubes.xml'):find('<tag name="late"/>', 1, true))
    end)
  end)

  -- An old file by hand: the properties come first, colors as on the web, references to ids, a class that qubes no longer have of their own, a tag with a
  -- text, no pools, no dom0, comments around it.
  local OLD = [[
<?xml version="1.0" encoding="utf-8" ?>
<!-- written by hand -->
<qubes version="3.0">
    <properties>
        <property name="default_netvm" ref="domain-4" />
    </properties>

    <labels>
        <label id="label-1" color="#cc0000">red</label>
        <label id="label-6" color="#3465a4">blue</label>
    </labels>

    <domains>
        <domain class="QubesVM" id="domain-4">
            <properties>
                <property name="qid">4</property>
                <property name="name">gate</property>
                <property name="label" ref="label-1" />
            </properties>
            <features>
                <feature name="service.clocksync"></feature>
                <feature name="qubes-firewall">1</feature>
            </features>
            <devices class="pci">
                <device backend-domain="dom0" id="03_00.0">
                    <option name="permissive">True</option>
                </device>
            </devices>
        </domain>

        <domain class="QubesVM" id="domain-6">
            <properties>
                <property name="qid">6</property>
                <property name="name">desk</property>
                <property name="label" ref="label-6" />
            </properties>
            <tags>
                <tag name="mine">since 2014</tag>
            </tags>
        </domain>
    </domains>
</qubes>

<!--
the end
-->
]]

  it('of an old system, written by hand, imports, serves and exports', function()
    local directory, said = imported(OLD)
    -- Its default_netvm has itself as netvm, by default: that is the one fault.
    assert.is_truthy(said:find('from each other: gate;', 1, true), said)
    assert.is_truthy(said:find('1 faults', 1, true), said)
    local before = export(directory)
    local second, again = imported(before)
    assert.is_nil(again:find('warning', 1, true), again)
    assert.equal(before, export(second))
    for _, part in ipairs { 'version="3.0"', '<tag name="mine">since 2014</tag>', '<option name="permissive">True</option>', 'color="#3465a4"' } do
      assert.is_truthy(before:find(part, 1, true), part)
    end
    assert.equal(snapshot_of(directory), snapshot_of(second))
    local d = daemon.start { directory = second }
    assert.is_truthy(d:ok('admin.vm.List'):find('desk class=QubesVM state=Halted uuid=', 1, true))
    assert.equal('default=True type=vm gate', d:ok('admin.vm.property.Get', 'desk', 'netvm'))
    assert.equal('default=False type=label blue', d:ok('admin.vm.property.Get', 'desk', 'label'))
    stop(d)
  end)

  it('of the recorded conformance runs is the state that a first start makes', function()
    local text = read_file('../shared/conformance/base.xml')
    if not text then
      pending('there is no ../shared/conformance here')
      return
    end
    local directory, said = imported(text)
    assert.is_nil(said:find('warning', 1, true), said)
    local function plain(from) return (from:gsub(' written%-by="[^"]*"', ''):gsub('%s+', '')) end
    local function sorted(from)
      local lines = {}
      for line in from:gmatch('<[^>]*>[^<]*') do lines[#lines + 1] = plain(line) end
      table.sort(lines)
      return table.concat(lines, '\n')
    end
    local out = export(directory)
    assert.equal(sorted(text), sorted(out))
    assert.equal(out, export((imported(out))))
    local fresh = new_directory()
    uv.fs_mkdir(directory .. '/kernels', 448)
    local function without_kernel(from) return (from:gsub('default_kernel [^\n]*', '')) end
    assert.equal(without_kernel(snapshot_of(fresh)), without_kernel(snapshot_of(directory)))
  end)
end)
