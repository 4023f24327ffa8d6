-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers BaseVM, the parent of every class of qubes, and LocalVM, of those that live on this machine.

local labels = import('labels')
local classes = import('class')
local property = import('property')

local BaseVM = class('BaseVM', { doc = 'What every qube has.' })

BaseVM:property('name', { identity = core.name, write_once = true, no_clone = true, doc = 'The name of the qube, which it keeps for life.' })

BaseVM:property('qid', { type = 'int', identity = core.qid, write_once = true, no_clone = true,
  doc = 'A number that identifies the qube inside this system. It is not the number that the hypervisor gives to a running domain.' })

BaseVM:property('uuid', { type = 'uuid', identity = core.uuid, write_once = true, no_clone = true,
  doc = 'The identifier of the qube, the same as in libvirt.' })

BaseVM:property('label', { type = 'label',
  set = function(_, value)
    if type(value) == 'string' then return labels.find(value) end
    return value
  end,
  doc = 'The label of the qube, whose colour is drawn around its windows. A label is given by name or by index.' })

BaseVM:property('klass', { computed = true, default = core.class, doc = 'The class of the qube.' })

-- The prefix of an icon for each class that has one of its own.
local ICONS = { DispVM = 'dispvm-', StandaloneVM = 'standalonevm-', RemoteVM = 'remotevm-' }

local function icon(self)
  local _, label = core.get(self, 'property', 'label')
  if not label then return nil, true end
  label = labels.name_of(label)
  local class_name = core.class(self)
  if class_name == 'TemplateVM' then return 'templatevm-' .. label end
  local _, service = core.get(self, 'feature', 'servicevm')
  if service and service ~= '' then return 'servicevm-' .. label end
  return (ICONS[class_name] or 'appvm-') .. label
end

BaseVM:property('icon', { computed = true, default = icon, doc = 'The name of the icon that stands for the qube, by its class and label.' })

BaseVM.methods.base_icon = icon

-- Overridden where a qube has a power state of its own.
function BaseVM.methods.is_running() return true end
function BaseVM.methods.is_halted() return false end
function BaseVM.methods.is_paused() return false end
function BaseVM.methods.has_pci_devices() return false end

-- Takes over the explicit values of another qube: of the named properties, or of all that may be cloned.
function BaseVM.methods:clone_properties(from, names)
  if not names then
    names = {}
    for _, name in ipairs(self:property_names()) do
      if not self:property_def(name).no_clone then names[#names + 1] = name end
    end
  end
  property.clone(self, from, names)
  self:fire('clone-properties', { src = from, proplist = table.concat(names, ' ') })
end

class('LocalVM', { parents = { 'BaseVM' }, doc = 'What every qube on this machine has.' })

-- Whether a class of qubes is created from a template.
function BaseVM.methods:is_template_based()
  return classes.resolved[core.class(self)].properties.template ~= nil
end
