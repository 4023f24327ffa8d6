-- SPDX-License-Identifier: GPL-2.0-or-later
-- What the methods that create qubes have in common: reading the request, checking it, making the qube. Registers nothing.

local label = import('api/label')
local classes = import('class')

local create = {}

-- The classes that a qube can be of, sorted.
create.classes = classes.creatable()

local options = {
  name = function(request, text)
    request.name = core.validate.qube_name(text)
  end,
  label = function(request, text)
    request.label = label.find(core.validate.new_label_name(text))
  end,
}

local function parse_options(call, request, text)
  local seen = {}
  for option in (text .. ' '):gmatch('([^ ]*) ') do
    local key, value = option:match('^([^=]*)=(.*)$')
    call:enforce(key and options[key], 'the payload is "name=NAME label=LABEL"')
    call:enforce(not seen[key], 'an option is given once')
    seen[key] = true
    options[key](request, value)
  end
end

-- The request as a table: class, name, label, and template or template_missing. Nothing that it says of other qubes may be told before permission.
function create.parse(call, class_name, untrusted_payload)
  local request = { class = class_name }
  if call.arg ~= '' then
    call:enforce(classes.resolved[class_name].properties.template, 'a qube of this class has no template')
    request.template = call:qube(call.arg)
    request.template_missing = not request.template
  end
  parse_options(call, request, untrusted_payload:ascii())
  call:enforce(request.name, 'a qube needs a name')
  call:enforce(request.label, 'a qube needs a label, one that exists')
  return request
end

-- What stands against the request, told with permission only. A name that a hidden qube has is refused as a rule would refuse it.
function create.check(call, request)
  local other = core.qube(request.name)
  if other and not call:visible(other) then
    core.refuse_caller('a qube that the caller may not know of has this name')
  elseif other then
    raise('QubesVMAlreadyExistsError', ('there is a qube named "%s" already'):format(request.name))
  end
  if request.template_missing then
    raise('QubesVMNotFoundError', ('there is no qube named "%s"'):format(call.arg))
  end
end

-- Makes the qube, with its files. Where that fails half-way, it is gone again.
function create.make(call, request)
  local qube = app:add_new_vm { class = request.class, name = request.name, label = request.label, template = request.template }
  qube.tags['created-by-' .. call.src.name] = true
  if not qube.create_on_disk then return qube end -- a RemoteVM has no files here
  local made, problem = pcall(qube.create_on_disk, qube)
  if not made then
    app:remove_vm(qube)
    core.commit()
    error(problem, 0)
  end
  return qube
end

return create
