-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers AdminVM: dom0, the qube that manages the others. There is one, with qid 0.

local raise = import('exceptions').raise
local setters = import('setters')
local inherit = import('inherit')
local preload = import('preload')

local AdminVM = class('AdminVM', { parents = { 'LocalVM' }, creatable = true, doc = 'dom0: manages the other qubes.' })

local MAXMEM = 4096 -- MiB. Only xenstore knows a value that an admin has changed in Xen's boot options.

AdminVM:property('name', { read_only = true, computed = true, default = 'dom0', doc = 'Always dom0.' })
AdminVM:property('qid', { type = 'int', read_only = true, computed = true, default = 0, doc = 'Always 0.' })
AdminVM:property('uuid', { read_only = true, computed = true, default = '00000000-0000-0000-0000-000000000000', doc = 'Always zeros.' })

AdminVM:property('icon', { computed = true, default = 'adminvm-black', doc = 'The name of the icon that stands for dom0.' })

AdminVM:property('default_dispvm', { type = 'vm', stage = 4, allow_none = true, default = inherit.from_app('default_dispvm'),
  set = setters.disposable_template, doc = 'The template of disposables that dom0 starts for service calls.' })

AdminVM:property('include_in_backups', { type = 'bool', default = true, doc = 'Whether dom0 is part of a backup by default.' })

AdminVM:property('updateable', { type = 'bool', read_only = true, computed = true, default = true,
  doc = 'Whether updates may be installed here: always.' })

AdminVM:property('devices_denied', { default = '', set = setters.interfaces,
  doc = 'Codes of the device interfaces that may not be attached here: a letter of the device class and six hexadecimal digits each.' })

AdminVM:property('keyboard_layout', { default = 'us++', set = setters.keyboard_layout,
  doc = 'The keyboard as layout+variant+options.' })

AdminVM:property('maxmem', { type = 'int', read_only = true, computed = true, default = MAXMEM,
  doc = 'The most memory that dom0 may have, in MiB: what Qubes boots it with.' })

function AdminVM.methods:start() raise('QubesVMNotHaltedError', self.name .. ' runs always') end
for _, action in ipairs { 'shutdown', 'kill', 'suspend', 'resume', 'pause', 'unpause' } do
  AdminVM.methods[action] = function(self) raise('QubesVMError', self.name .. ' is always there: it can not do this') end
end

-- Preloading of disposables can be set for the whole system, by features of dom0; the global default_dispvm follows them.

AdminVM:on('domain-feature-pre-set:preload-dispvm-threshold', function(_, _, info)
  if info.value ~= '' and not info.value:find('^%d+$') then raise('QubesValueError', info.feature .. ': digits were expected') end
end)

AdminVM:on('domain-feature-pre-set:preload-dispvm-delay', function(_, _, info)
  if info.value ~= info.oldvalue then preload.check_delay(info.value) end
end)

AdminVM:on('domain-feature-pre-set:preload-dispvm-max', function(_, event, info)
  local template = app.default_dispvm
  if info.value == info.oldvalue or not template then return end
  template:fire(event, { feature = info.feature, value = info.value, oldvalue = info.oldvalue or none }, true)
end)

AdminVM:on('domain-feature-set:preload-dispvm-max', function(_, _, info)
  if info.value == info.oldvalue then return end
  preload.later(app.default_dispvm, ("global feature was set to '%s'"):format(info.value))
end)

AdminVM:on('domain-feature-delete:preload-dispvm-max', function() preload.later(app.default_dispvm, 'global feature was deleted') end)
