-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers RemoteVM: a qube of another machine, reached through a local one.

local raise = import('exceptions').raise

local RemoteVM = class('RemoteVM', { parents = { 'BaseVM' }, creatable = true, doc = 'Stands for a qube of another machine.' })

RemoteVM:property('include_in_backups', { type = 'bool', default = false, doc = 'Whether the qube is part of a backup by default.' })

RemoteVM:property('relayvm', { type = 'vm', stage = 4, allow_none = true, default = none,
  doc = 'The local qube that passes calls on to the other machine.' })

RemoteVM:property('transport_rpc', { default = none, doc = 'The service that the relay uses to reach the other machine.' })

RemoteVM:property('remote_name', { default = none, doc = 'The name that the qube has on its own machine.' })

-- Its power is the other machine's business.
function RemoteVM.methods:start() raise('QubesVMNotHaltedError', self.name .. ' is remote and can not be started from here') end
for _, action in ipairs { 'shutdown', 'kill', 'suspend', 'resume', 'pause', 'unpause' } do
  RemoteVM.methods[action] = function(self) raise('QubesVMError', self.name .. ' is remote: its power is not managed from here') end
end
