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
  run = function(arguments) return tool.change_generation('reload', arguments, 'internal.Reload') end,
}
