-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.label.*: List, Get, Index, Create, Remove.

local lines = import('api/lines')
local hidden = import('api/hidden')
local label = import('api/label')
local labels = import('labels')

-- The label that the argument names. Rules see it as info.label where it exists, and a caller learns that it doesn't only with permission.
local function permitted(call)
  local found = label.find(core.validate.label_name(call.arg))
  call:permission { label = found or none }
  if not found then
    raise('QubesLabelNotFoundError', 'there is no such label')
  end
  return found
end

method('admin.label.List', {
  dest = 'adminvm', arg = 'none', payload = 'none', scope = 'global', read = true,
  filters = 'label names',
  doc = 'The names of the labels, in the order of their indexes, one a line.',
}, function(call)
  local names = {}
  for i, each in ipairs(labels.all()) do
    names[i] = each.name
  end
  return lines(call:filter(names, {}))
end)

method('admin.label.Get', {
  dest = 'adminvm', arg = 'required', payload = 'none', scope = 'global', read = true,
  info = { label = 'the label, none when there is no such' },
  doc = 'The color of the label: "0x" and six hexadecimal digits.',
}, function(call)
  return permitted(call).color
end)

method('admin.label.Index', {
  dest = 'adminvm', arg = 'required', payload = 'none', scope = 'global', read = true,
  info = { label = 'the label, none when there is no such' },
  doc = 'The index of the label.',
}, function(call)
  return tostring(permitted(call).index)
end)

method('admin.label.Create', {
  dest = 'adminvm', arg = 'required', payload = 'required', scope = 'global', write = true,
  info = { color = '"0x" and six hexadecimal digits' },
  doc = 'Creates a label named like the argument, of the color in the payload: "0x" and six hexadecimal digits.',
}, function(call, untrusted_payload)
  core.validate.new_label_name(call.arg)
  local color = untrusted_payload:label_value()
  call:permission { color = color }
  labels.add(call.arg, color)
end)

-- Whether a hidden qube has the label is not to be told, so who may not know of all qubes can remove none at all.
local function check_unused(call, found)
  for qube in app.domains:each() do
    if qube.label == found and call:visible(qube) then raise('QubesLabelInUseError', 'a qube has this label') end
  end
  hidden.refuse_restricted()
end

method('admin.label.Remove', {
  dest = 'adminvm', arg = 'required', payload = 'none', scope = 'global', write = true,
  info = { label = 'the label, none when there is no such' },
  doc = 'Removes a label that is not built in and that no qube has.',
}, function(call)
  local found = permitted(call)
  if not labels.is_built_in(found) then check_unused(call, found) end
  labels.remove(found) -- refuses one that is built in
end)
