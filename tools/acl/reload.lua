-- SPDX-License-Identifier: GPL-2.0-or-later
-- qubesd-acl reload.

local tool = require 'tool'

local HELP = [[
usage: qubesd-acl reload [--socket-dir DIR]

Loads scripts and rules anew. What does not load leaves the present ones serving, and the message says why.

  --socket-dir DIR   where the daemon's sockets are (/run)

Exit status: 0 done, 1 not.
]]

return {
  help = HELP,
  run = function(arguments)
    local options, words = tool.options(arguments, { ['--socket-dir'] = 'value' })
    if #words > 0 then tool.fail(tool.USAGE, 'reload takes options only') end
    local body, class, message = tool.call(options['socket-dir'] or '/run', { method = 'internal.Reload' })
    if body then
      local number, digest = body:match('generation=(%d+) digest=(%x+)')
      print(('generation %s serves, digest %s'):format(number, digest:sub(1, 12)))
      return tool.OK
    end
    io.stderr:write(class and message or 'no answer', '\n')
    return tool.FOUND
  end,
}
