-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers admin.property.*: List, Get, GetAll, GetDefault, Set, Reset, Help. The properties of the system as a whole.

import('api/property').declare('admin.property.', 'adminvm', 'global', function(call)
  return call.app
end)
