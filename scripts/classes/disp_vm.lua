-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers DispVM: a disposable. Handing out preloaded ones is in disp_vm_preload.lua.

local exceptions = import('exceptions')
local preload = import('preload')
local property = import('property')
local setters = import('setters')

local raise = exceptions.raise
local core_get = core.get

local DispVM = class('DispVM', { parents = { 'QubesVM' }, creatable = true, doc = 'Based on all volumes of its template, and keeps none of them.' })
local methods = DispVM.methods

DispVM:property('template', { type = 'vm', stage = 4,
  set = function(self, template, def)
    if not template.template_for_dispvms then property.refuse(self, def, template.name .. ' is no template for disposables') end
    return template
  end,
  doc = 'The qube whose volumes the disposable starts from.' })

DispVM:property('dispid', { type = 'int', write_once = true, no_clone = true,
  doc = 'A number that identifies the disposable; its name and addresses are made of it.' })

DispVM:property('auto_cleanup', { type = 'bool', default = false, doc = 'Whether the disposable is removed when it has shut down.' })

DispVM:property('include_in_backups', { type = 'bool', default = function(self) return not self.auto_cleanup end,
  doc = 'Whether the qube is part of a backup by default: not when it is removed after shutdown.' })

DispVM:property('default_dispvm', { type = 'vm', stage = 4, allow_none = true, default = function(self) return self.template end,
  set = setters.disposable_template,
  doc = 'The template of the disposables that this one may ask for: by default its own, so that it gets no way out that it does not have itself.' })

-- Kept apart from properties and features: lost on purpose when the daemon ends.
function methods:preload_requested() return core_get(self, 'transient', 'preload-requested') == true end

function methods:set_preload_requested(value)
  if value then core.set(self, 'transient', 'preload-requested', true) else core.unset(self, 'transient', 'preload-requested') end
  self:fire('property-reset:is_preload', { name = 'is_preload' })
end

DispVM:property('is_preload', { type = 'bool', computed = true,
  default = function(self)
    local template = self.template
    return template ~= nil and (preload.is_listed(template, self.name) or core_get(self, 'transient', 'preload-requested') == true)
  end,
  doc = 'Whether the disposable was started in advance and waits to be used.' })

DispVM:on('property-pre-reset:template', function() raise('QubesValueError', 'the template of a disposable can not be unset') end)

DispVM:on('property-pre-set:template', function(self)
  if not self:is_halted() then raise('QubesVMNotHaltedError', self.name .. ' runs: its template can not be changed now') end
end)

DispVM:on('domain-load', function(self)
  if self:preload_requested() then core.unset(self, 'transient', 'preload-requested') end
end)

local function forget_preload(self)
  local template = self.template
  if template and preload.is_listed(template, self.name) then template:remove_preload_from_list({ self.name }, 'it is removed') end
end

local function remove(self)
  forget_preload(self)
  if not core.removed(self) then app:remove_vm(self) end
end

DispVM:after('domain-shutdown', function(self)
  if self.auto_cleanup then remove(self) end
end)

DispVM:on('domain-remove-from-disk', forget_preload)

-- Stops the disposable and removes it. `force`: also one that is halted already, which nothing else would remove.
function methods:cleanup(force)
  if core.removed(self) then return end
  local ok, err = pcall(self.kill, self)
  if not ok and not exceptions.is(err, 'QubesVMNotStartedError') then error(err, 0) end
  if core.removed(self) then return end
  if ok and self.auto_cleanup then return end -- domain-shutdown does it
  if force then remove(self) end
end

-- A disposable that can not be started is of no use.
function methods:start(options)
  local ok, err = pcall(function()
    if not self.template.template_for_dispvms then
      raise('QubesException', 'its template is none for disposables any more')
    end
    self:start_qube(options)
  end)
  if not ok then
    self:cleanup(true)
    error(err, 0)
  end
  return self
end
