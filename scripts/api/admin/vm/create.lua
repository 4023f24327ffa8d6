-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.vm.Create.CLASS for each class of qubes.

local create = import('api/create')

for _, class_name in ipairs(create.classes) do
  method('admin.vm.Create.' .. class_name, {
    dest = 'adminvm', arg = 'optional', payload = 'required', scope = 'global', write = true,
    info = {
      name = 'the name of the new qube',
      label = 'its label',
      template = 'its template; none when the caller names none, or one that does not exist',
    },
    doc = ('Creates a qube of the class %s. Argument: its template, where the class has one. Payload: "name=NAME label=LABEL".'):format(class_name),
  }, function(call, untrusted_payload)
    local request = create.parse(call, class_name, untrusted_payload)
    call:permission { name = request.name, label = request.label, template = request.template or none }
    create.check(call, request)
    create.make(call, request)
  end)
end
