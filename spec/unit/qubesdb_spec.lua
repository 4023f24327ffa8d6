-- SPDX-License-Identifier: GPL-2.0-or-later
-- scripts/lib/qubesdb.lua on the implementation in memory, and base64.

local fake_core = require('spec.support.fake_core')
local fake = require('spec.support.fake_qubesdb')

describe('lib/qubesdb', function()
  local qubesdb, memory
  local running = { name = 'work', is_running = function() return true end }
  local halted = { name = 'off', is_running = function() return false end }

  before_each(function()
    qubesdb = fake_core.new({ scripts = 'scripts' }):import('qubesdb')
    memory = fake.memory(function(value) return { untrusted = value } end)
    for name, value in pairs(memory) do qubesdb.backend[name] = value end
  end)

  it('writes text, removes entries and folders, and lists', function()
    qubesdb.write(running, '/a/number', 3)
    qubesdb.write(running, '/a/text', 'x')
    qubesdb.write(running, '/b', 'y')
    assert.same({ ['/a/number'] = { untrusted = '3' }, ['/a/text'] = { untrusted = 'x' } }, qubesdb.list(running, '/a/'))
    qubesdb.remove(running, '/a/')
    qubesdb.remove(running, '/b')
    assert.same({}, memory.stores.work.entries)
  end)

  it('is nothing for a qube that does not run, or without QubesDB', function()
    qubesdb.write(halted, '/a', 'x')
    qubesdb.sync(halted)
    assert.is_nil(memory.stores.off)
    assert.is_nil(qubesdb.list(halted, '/'))
    qubesdb.backend.change, qubesdb.backend.list, qubesdb.backend.sync = nil, nil, nil
    qubesdb.write(running, '/a', 'x')
    qubesdb.sync(running)
    assert.is_nil(qubesdb.list(running, '/'))
  end)
end)

describe('base64', function()
  it('is as RFC 4648 has it', function()
    local base64 = fake_core.new({ scripts = 'scripts' }):import('base64')
    for bytes, text in pairs { [''] = '', f = 'Zg==', fo = 'Zm8=', foo = 'Zm9v', foob = 'Zm9vYg==', ['\255\254\0'] = '//4A' } do
      assert.equal(text, base64(bytes))
    end
  end)
end)
