-- SPDX-License-Identifier: GPL-2.0-or-later
-- The shifted clock of a daemon of the testing build: daemon.start { binary = 'qubesd-testing', env = clock.env }, then clock:shift(seconds).

local daemon = require('spec.support.daemon')

local Clock = {}
Clock.__index = Clock

-- The seconds by which the daemon's clocks are ahead from now on.
function Clock:shift(seconds)
  local file = assert(io.open(self.path .. '.new', 'w'))
  file:write(('%d\n'):format(seconds))
  file:close()
  assert(os.rename(self.path .. '.new', self.path))
  self.offset = seconds
end

-- Shifts on, so that the daemon's wall clock shows this time (of os.time).
function Clock:set(time)
  self:shift(time - os.time())
end

-- Moves on by some seconds.
function Clock:advance(seconds)
  self:shift(self.offset + seconds)
end

function Clock:remove()
  daemon.remove_tree(self.directory)
end

return function()
  local directory = daemon.temporary_directory()
  local clock = setmetatable({ directory = directory, path = directory .. '/offset', offset = 0 }, Clock)
  clock.env = { QD_TEST_CLOCK_OFFSET = clock.path }
  clock:shift(0)
  return clock
end
