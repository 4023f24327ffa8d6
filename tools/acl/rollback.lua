-- SPDX-License-Identifier: GPL-2.0-or-later
-- qubesd-acl rollback.

local tool = require 'tool'

local HELP = [[
usage: qubesd-acl rollback [--socket-dir DIR]

Has the scripts and rules before the last reload serve again, from memory: the files stay as they are, so mend them. It holds until a file changes or a
reload is asked for. A second rollback leads forward again. Streams of events are asked anew, as after a reload.

  --socket-dir DIR   where the daemon's sockets are (/run)

Exit status: 0 done, 1 not.
]]

return {
  help = HELP,
  run = function(arguments)
    local options, words = tool.options(arguments, { ['--socket-dir'] = 'value' })
    if #words > 0 then tool.fail(tool.USAGE, 'rollback takes options only') end
    local body, class, message = tool.call(options['socket-dir'] or '/run', { method = 'console.Rollback' })
    if body then
      local number, digest = body:match('generation=(%d+) digest=(%x+)')
      print(('generation %s serves, digest %s'):format(number, digest:sub(1, 12)))
      return tool.OK
    end
    io.stderr:write(class and message or 'no answer', '\n')
    return tool.FOUND
  end,
}
