-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.vm.feature.*: List, Get, Set, Remove, CheckWithTemplate, CheckWithNetvm, CheckWithAdminVM, CheckWithTemplateAndAdminVM.

local lines = import('api/lines')
local hidden = import('api/hidden')

local function answer(call, value)
  if not value or not hidden.shows_feature(call.arg) then
    raise('QubesFeatureNotFoundError', ('the feature "%s" is not set'):format(call.arg))
  end
  return hidden.feature_text(call, call.arg, value)
end

-- The feature of the qube, else of the qube that its property `link` names, and so on. The way ends at a qube that the caller can't see.
local function along(call, link)
  local qube = call.dest
  repeat
    local value = qube.features[call.arg]
    if value then return value end
    local next_qube = qube[link]
    qube = call:visible(next_qube) and next_qube or nil
  until not qube
end

local function of_adminvm(call)
  local adminvm = core.qube(0)
  return call:visible(adminvm) and adminvm.features[call.arg] or nil
end

method('admin.vm.feature.List', {
  dest = 'any', arg = 'none', payload = 'none', scope = 'local', read = true,
  filters = 'feature names',
  doc = 'The names of the features of the qube, one a line.',
}, function(call)
  local features = {}
  for feature in pairs(call.dest.features) do
    if hidden.shows_feature(feature) then features[#features + 1] = feature end
  end
  return lines(call:filter(features, {}))
end)

method('admin.vm.feature.Get', {
  dest = 'any', arg = 'required', payload = 'none', scope = 'local', read = true,
  doc = 'The value of the feature.',
}, function(call)
  call:permission()
  return answer(call, call.dest.features[call.arg])
end)

method('admin.vm.feature.CheckWithTemplate', {
  dest = 'any', arg = 'required', payload = 'none', scope = 'local', read = true,
  doc = 'The value of the feature; where the qube has none, that of its template, and of the template\'s template.',
}, function(call)
  call:permission()
  return answer(call, along(call, 'template'))
end)

method('admin.vm.feature.CheckWithNetvm', {
  dest = 'any', arg = 'required', payload = 'none', scope = 'local', read = true,
  doc = 'The value of the feature; where the qube has none, that of its netvm, and of that one\'s netvm.',
}, function(call)
  call:permission()
  return answer(call, along(call, 'netvm'))
end)

method('admin.vm.feature.CheckWithAdminVM', {
  dest = 'any', arg = 'required', payload = 'none', scope = 'local', read = true,
  doc = 'The value of the feature; where the qube has none, that of dom0.',
}, function(call)
  call:permission()
  return answer(call, call.dest.features[call.arg] or of_adminvm(call))
end)

method('admin.vm.feature.CheckWithTemplateAndAdminVM', {
  dest = 'any', arg = 'required', payload = 'none', scope = 'local', read = true,
  doc = 'The value of the feature; where neither the qube nor its template has one, that of dom0.',
}, function(call)
  call:permission()
  return answer(call, along(call, 'template') or of_adminvm(call))
end)

method('admin.vm.feature.Set', {
  dest = 'any', arg = 'required', payload = 'optional', scope = 'local', write = true,
  info = { value = 'the new value, a string' },
  doc = 'Sets the feature to the payload: printable ASCII, or nothing, which stands for "no".',
}, function(call, untrusted_payload)
  core.validate.feature_name(call.arg)
  local value = untrusted_payload:feature_value()
  call:permission { value = value }
  hidden.check_feature(call)
  call.dest.features[call.arg] = value
end)

method('admin.vm.feature.Remove', {
  dest = 'any', arg = 'required', payload = 'none', scope = 'local', write = true,
  doc = 'Removes the feature, which must be set.',
}, function(call)
  call:permission()
  hidden.check_feature(call)
  call.dest.features[call.arg] = nil
end)
