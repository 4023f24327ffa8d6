-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.vm.tag.*: List, Get, Set, Remove.

local lines = import('api/lines')
local hidden = import('api/hidden')

method('admin.vm.tag.List', {
  dest = 'any', arg = 'none', payload = 'none', scope = 'local', read = true,
  filters = 'tags',
  doc = 'The tags of the qube, sorted, one a line.',
}, function(call)
  local tags = {}
  for tag in pairs(call.dest.tags) do
    if hidden.shows_tag(call, tag) then tags[#tags + 1] = tag end
  end
  table.sort(tags)
  return lines(call:filter(tags, {}))
end)

method('admin.vm.tag.Get', {
  dest = 'any', arg = 'required', payload = 'none', scope = 'local', read = true,
  doc = 'Whether the qube has the tag: 1 or 0.',
}, function(call)
  core.validate.tag(call.arg)
  call:permission()
  return call.dest.tags[call.arg] and hidden.shows_tag(call, call.arg) and '1' or '0'
end)

method('admin.vm.tag.Set', {
  dest = 'any', arg = 'required', payload = 'none', scope = 'local', write = true,
  doc = 'Gives the qube the tag. It may have it already.',
}, function(call)
  core.validate.tag(call.arg)
  call:permission()
  call.dest.tags[call.arg] = true
end)

method('admin.vm.tag.Remove', {
  dest = 'any', arg = 'required', payload = 'none', scope = 'local', write = true,
  doc = 'Takes the tag from the qube, which must have it.',
}, function(call)
  core.validate.tag(call.arg)
  call:permission()
  if not call.dest.tags[call.arg] or not hidden.shows_tag(call, call.arg) then
    raise('QubesTagNotFoundError', ('the qube has no tag "%s"'):format(call.arg))
  end
  call.dest.tags[call.arg] = nil
end)
