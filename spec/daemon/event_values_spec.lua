-- SPDX-License-Identifier: GPL-2.0-or-later
-- The values in events, whatever their length: they come whole, and the stream stays in step.

local daemon = require('spec.support.daemon')

describe('an event', function()
  it('carries values of any length', function()
    local d = daemon.start()
    finally(function() d:kill() end)
    d:estate { 'work' }
    local stream = d:subscribe()
    local old
    for _, length in ipairs { 0, 1, 100, 1000, 1023, 1024, 1025, 2048, 4096, 16384, 40000, 65000, 3 } do
      local value = ('v'):rep(length)
      d:ok('admin.vm.feature.Set', 'work', 'f', value)
      local event = stream:wait('domain-feature-set:f')
      assert.truthy(event, 'no event for ' .. length .. ' bytes')
      assert.equal('work', event.subject)
      assert.is_true(event.info.value == value, length .. ' bytes came as ' .. #event.info.value)
      if old then assert.is_true(event.info.oldvalue == old) end
      old = value
    end
    stream:close()
    d:stop()
  end)
end)
