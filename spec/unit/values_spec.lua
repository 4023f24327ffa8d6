-- SPDX-License-Identifier: GPL-2.0-or-later
-- lib/types.lua, lib/addresses.lua and lib/names.lua: which texts are values.

local fake_core = require('spec.support.fake_core')

local world = fake_core.new { scripts = 'scripts' }
world:import('globals')

describe('values', function()
  local parse = world:import('types').parse
  local sanitize = world:import('types').sanitize_text

  it('reads whole numbers as the reference does', function()
    for text, value in pairs { ['7'] = 7, [' 7\n'] = 7, ['007'] = 7, ['+5'] = 5, ['-0'] = 0, ['1_000'] = 1000, ['-12'] = -12 } do
      assert.equal(value, parse.int(text), text)
    end
    for _, text in ipairs { '', ' ', '1.5', '1e3', '0x10', '1__0', '_1', '1_', '--1', '1 0', ('9'):rep(40) } do assert.is_nil(parse.int(text), text) end
  end)

  it('reads truth values in any case', function()
    for _, text in ipairs { '1', 'yes', 'TRUE', 'On' } do assert.is_true(parse.bool(text)) end
    for _, text in ipairs { '0', 'No', 'false', 'OFF' } do assert.is_false(parse.bool(text)) end
    for _, text in ipairs { '', '2', 'maybe', ' true' } do assert.is_nil(parse.bool(text)) end
  end)

  it('reads addresses, and writes IPv6 in its shortest form', function()
    assert.equal('10.137.0.5', parse.ipv4('10.137.0.5'))
    for _, text in ipairs { '', '10.0.0.300', '1.2.3', '1.2.3.4.5', '01.2.3.4', 'a.b.c.d', '1.2.3.4 ' } do assert.is_nil(parse.ipv4(text), text) end
    for text, value in pairs {
      ['fd09::1'] = 'fd09::1', ['::'] = '::', ['1:0:0:0:0:0:0:8'] = '1::8', ['1::2:0:0:3'] = '1::2:0:0:3',
      ['FD09:24EF:4179:0000::A89:5'] = 'fd09:24ef:4179::a89:5',
      ['1:2:3:4:5:6:7:8'] = '1:2:3:4:5:6:7:8', ['1:0:2:3:4:5:6:7'] = '1:0:2:3:4:5:6:7',
      ['::ffff:1.2.3.4'] = '::ffff:102:304', ['fe80::1%eth0'] = 'fe80::1%eth0',
    } do
      assert.equal(value, parse.ipv6(text), text)
    end
    for _, text in ipairs { '', ':', ':::', '1::2::3', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', '12345::', 'g::', '1.2.3.4', 'fe80::1%' } do
      assert.is_nil(parse.ipv6(text), text)
    end
  end)

  it('gives addresses by number that end neither in 0 nor in 255', function()
    local addresses = world:import('addresses')
    assert.equal('10.137.0.5', addresses.for_number('10.137', 5))
    assert.equal('10.138.0.254', addresses.for_number('10.138', 254))
    for number = 255, 10000 do
      local last = tonumber(addresses.for_number('10.138', number):match('%d+$'))
      assert.is_true(last > 0 and last < 255)
    end
  end)

  it('reads uuids in any of their forms', function()
    local uuid = '11111111-2222-3333-4444-5555555555ab'
    for _, text in ipairs { uuid, uuid:upper(), '{' .. uuid .. '}', 'urn:uuid:' .. uuid, (uuid:gsub('-', '')) } do assert.equal(uuid, parse.uuid(text)) end
    for _, text in ipairs { '', 'xyz', uuid .. '0' } do assert.is_nil(parse.uuid(text)) end
  end)

  it('knows what can be the name of a qube', function()
    local fault = world:import('names').qube_fault
    for _, name in ipairs { 'a', 'Work_2', 'sys-net', 'dev.box', ('x'):rep(31) } do assert.is_nil(fault(name), name) end
    for _, name in ipairs { '', '1a', '-a', '.a', 'a b', 'a+b', 'none', 'default', 'Domain-0', 'foo-dm', ('x'):rep(32), 'a\n', 'é' } do
      assert.is_string(fault(name), name)
    end
  end)

  it('refuses bytes and control characters in untrusted values', function()
    local str = { name = 'p', type = 'str' }
    assert.equal('a\tb\n', sanitize(str, 'a\tb\n'))
    for _, text in ipairs { 'ż', 'a\0b', '\27[31m', '\127' } do
      local ok, err = pcall(sanitize, str, text)
      assert.is_false(ok)
      assert.equal('QubesValueError', err.class)
    end
    assert.equal('', sanitize({ name = 'p', type = 'vm' }, ''))
    assert.has_error(function() sanitize({ name = 'p', type = 'vm' }, '@default') end)
    assert.equal(7, sanitize({ name = 'p', type = 'int' }, '7'))
  end)
end)
