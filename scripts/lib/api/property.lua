-- SPDX-License-Identifier: GPL-2.0-or-later
-- The methods of properties, the same for qubes (admin.vm.property.*) and for the system (admin.property.*). Registers what its caller names.

local lines = import('api/lines')
local hidden = import('api/hidden')
local as_seen = import('property').as_seen

local property = {}

-- What the name of a qube is set to. One that the caller can't see fails like one that nobody has.
local function qube_or_none(call, name)
  if name == '' then return none end
  return call:qube(name)
    or raise('QubesPropertyValueError', ('there is no qube named "%s"'):format(name))
end

-- Declares the seven methods under `prefix`. `holder_of(call)` is the object that has the properties.
function property.declare(prefix, dest, scope, holder_of)
  -- The object, the property's name and its declaration.
  local function asked_for(call)
    local holder, name = holder_of(call), call.arg
    local definition = holder:property_def(name)
    if not definition then
      raise('QubesNoSuchPropertyError', ('there is no property "%s" here'):format(name))
    end
    return holder, name, definition
  end

  local function one(name, declaration, handler)
    declaration.dest, declaration.scope, declaration.arg = dest, scope, declaration.arg or 'required'
    declaration.payload = declaration.payload or 'none'
    method(prefix .. name, declaration, handler)
  end

  one('List', {
    arg = 'none', read = true, filters = 'property names',
    doc = 'The names of the properties, one a line.',
  }, function(call)
    return lines(call:filter(holder_of(call):property_names(), {}))
  end)

  one('Get', {
    read = true,
    doc = 'The value of the property: "default=True|False type=str|int|bool|vm|label VALUE".',
  }, function(call)
    local holder, name = asked_for(call)
    call:permission()
    return as_seen(holder.property_text, holder, name, hidden.writer(call))
  end)

  one('GetAll', {
    arg = 'none', read = true, filters = 'property names',
    doc = 'All properties that the caller may get, a line each: the name, a space, and what Get answers, where \\ and line ends are written \\\\ and \\n.',
  }, function(call)
    local holder = holder_of(call)
    local every = holder:property_names()
    local names = call:filter_as(prefix .. 'Get', call:filter(every, {}), {})
    if not call:may_hide() and #names == #every then return holder:all_property_values() end
    return as_seen(holder.property_values, holder, names, hidden.writer(call))
  end)

  one('GetDefault', {
    read = true,
    doc = 'What the property would be after a reset: "type=TYPE VALUE"; nothing when it has no default.',
  }, function(call)
    local holder, name = asked_for(call)
    call:permission()
    return as_seen(holder.default_text, holder, name, hidden.writer(call))
  end)

  one('Set', {
    payload = 'optional', write = true,
    info = { newvalue = 'the new value: a string, an integer or a boolean; the name of a qube or label, "" for no qube' },
    doc = 'Sets the property to the payload. The name of a qube may be empty, which stands for none.',
  }, function(call, untrusted_payload)
    local holder, name, definition = asked_for(call)
    local newvalue = holder:sanitize(name, untrusted_payload)
    call:permission { newvalue = newvalue }
    if definition.type == 'vm' then
      newvalue = qube_or_none(call, newvalue)
    end
    holder[name] = newvalue
  end)

  one('Reset', {
    write = true,
    doc = 'Makes the property follow its default again.',
  }, function(call)
    local holder, name = asked_for(call)
    call:permission()
    holder:reset(name)
  end)

  one('Help', {
    read = true,
    doc = 'What the property means, a paragraph of plain text.',
  }, function(call)
    local _, _, definition = asked_for(call)
    call:permission()
    return ((definition.doc or ''):gsub('%s+', ' '))
  end)
end

return property
