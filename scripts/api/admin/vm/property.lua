-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.vm.property.*: List, Get, GetAll, GetDefault, Set, Reset, Help. The properties of a qube.

import('api/property').declare('admin.vm.property.', 'any', 'local', function(call)
  return call.dest
end)
