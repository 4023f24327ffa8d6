-- SPDX-License-Identifier: GPL-2.0-or-later
-- status(): what core.status() says of the daemon, for JSON. Registers nothing.

local json = import('json')

return function()
  local status = core.status()
  json.array(status.limits) -- also when there are none
  return status
end
