-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers on the app: creation and removal of qubes.

local classes = import('class')
local dependencies = import('dependencies')
local dispids = import('dispids')
local events = import('events')
local exceptions = import('exceptions')
local firewall = import('firewall')
local names = import('names')
local preloading = import('preload')
local property = import('property')

local raise = exceptions.raise

local methods = class('Qubes').methods

-- The template of a new qube, from the request or the global default.
local function template_of(self, request, is_disposable)
  local template = request.template
  if type(template) == 'string' then template = core.qube(template) or raise('QubesVMNotFoundError', 'there is no such template') end
  if template == nil then
    template = self[is_disposable and 'default_dispvm' or 'default_template']
    if not template or not core.caller_sees(template) then raise('QubesValueError', 'no template was given, and there is no default one') end
  end
  if is_disposable and not template.template_for_dispvms then
    raise('QubesValueError', 'the template is none for disposables')
  end
  if is_disposable and select(2, template:get('kernel')) then
    raise('QubesValueError', 'the template has no kernel, and there is no default one')
  end
  return template
end

-- The request with everything in it that it left out.
local function complete(self, request)
  local class_name = request.class
  local declared = classes.find(class_name or '')
  if not declared or not declared.creatable then raise('QubesException', 'there is no such class of qubes') end
  if class_name == 'AdminVM' then raise('QubesPropertyValueError', 'there is one AdminVM already') end
  local full = {}
  for key, value in pairs(request) do full[key] = value end
  if classes.resolved[class_name].properties.template then
    full.template = template_of(self, request, class_name == 'DispVM')
  elseif full.template then
    raise('QubesValueError', 'a qube of this class has no template')
  end
  if class_name == 'DispVM' then
    full.dispid = full.dispid or dispids.choose()
    full.name = full.name or ('disp%d'):format(full.dispid)
  end
  names.check_qube(full.name or '')
  return full
end

local LAST_QID, ATTEMPTS = 65000, 100

-- The lowest free number would tell, who knows some of the others, of those that it can't see (law 1). So where rules may hide qubes, one is drawn.
local function draw_qid()
  if not core.rules_may_hide() then return nil end
  for _ = 1, ATTEMPTS do
    local qid = core.random(LAST_QID) + 1
    if not core.qube(qid) then return qid end
  end
  return nil
end

local IDENTITY = { class = true, name = true, qid = true, uuid = true }

local function set_properties(qube, request)
  local properties = classes.resolved[request.class].properties
  for key, value in pairs(request) do
    if not IDENTITY[key] then
      if not properties[key] then raise('QubesNoSuchPropertyError', ('a %s has no property %s'):format(request.class, key)) end
      property.set_quietly(qube, properties[key], value)
    end
  end
end

-- A disposable begins as its template is: with its explicit properties, its firewall, its features and its tags.
local function inherit(qube, template)
  local inherited = {}
  for _, name in ipairs(template:property_names()) do
    local def = template:property_def(name)
    if not def.no_clone and name ~= 'template' and qube:property_def(name) and qube:is_default(name) then inherited[#inherited + 1] = name end
  end
  qube:clone_properties(template, inherited)
  firewall.clone(qube, template)
  for name, value in pairs(template.features) do
    if name:sub(1, 14) ~= 'preload-dispvm' then qube.features[name] = value end
  end
  for tag in pairs(template.tags) do qube.tags[tag] = true end
end

local function initialise(self, qube, request)
  set_properties(qube, request)
  if qube:is_a('QubesVM') and not self.check_updates_vm then core.set(qube, 'feature', 'check-updates', '') end
  events.creation(core.qid(qube), false)
  qube:fire('domain-init')
  if request.class == 'DispVM' then inherit(qube, request.template) end
end

-- Adds a qube: `class`, `name`, `label`, perhaps `template`, `qid`, `uuid`, and any properties. Nobody is told of it before it is whole.
function methods:add_new_vm(request)
  request = complete(self, request)
  local qube = core.add_qube { name = request.name, class = request.class, qid = request.qid or draw_qid(), uuid = request.uuid }
  events.creation(core.qid(qube), true)
  local ok, err = pcall(initialise, self, qube, request)
  events.creation(nil)
  if not ok then
    core.delete_qube(qube)
    error(err, 0)
  end
  if not qube:is_a('QubesVM') then core.set_power(qube, 'Running', -1) end
  self:fire('domain-add', { vm = qube })
  return qube
end

-- A disposable that is based on the template: a preloaded one if there is one, else a new one. With `preload`: one more preloaded one, or nil
-- when there are enough.
function methods:create_disposable(template, preload)
  if not template.template_for_dispvms then raise('QubesException', 'the template is none for disposables') end
  if preload and not preloading.has_room(template) then return nil end
  local ready = not preload and template:request_preload()
  if ready and ready:get_preload() then return ready end
  local qube = self:add_new_vm { class = 'DispVM', template = template, auto_cleanup = true }
  if preload then qube:mark_preload() end
  qube:create_on_disk()
  if preload then qube:start() end
  return qube
end

class('DVMTemplateMixin').methods.create_disposable = function(self, preload)
  return app:create_disposable(self, preload)
end

-- Removes a qube and what belongs to it, if it is halted and nobody needs it.
function methods:remove_vm(qube)
  if core.removed(qube) then raise('QubesVMNotFoundError', 'the qube was removed already') end
  if qube.klass == 'AdminVM' then raise('QubesVMInUseError', qube.name .. ' can not be removed') end
  local local_qube = qube:is_a('QubesVM')
  if local_qube and not qube:is_halted() then raise('QubesVMNotHaltedError', qube.name .. ' runs') end
  if qube.release_preloaded then qube:release_preloaded() end -- takes a while, so it comes before the check of who needs the qube
  self:fire('domain-pre-delete', { vm = qube }, true)
  if local_qube then pcall(core.virt, qube, 'undefine') end
  dependencies.refuse_if_needed(qube) -- somebody may have chosen it while libvirt and sites' extensions were waited for
  local dispid = qube.dispid
  local on_disk = qube.remove_from_disk
  core.delete_qube(qube)
  self:fire('domain-delete', { vm = qube })
  if dispid then dispids.release(dispid) end
  if not on_disk then return end
  local ok, err = pcall(on_disk, qube)
  if not ok then core.log('error', ('%s: its files are not all removed: %s'):format(qube.name, exceptions.message(err))) end
end
