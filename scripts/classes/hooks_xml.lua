-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers core_hooks.import_xml and core_hooks.export_xml: the way from and to the Python daemon. The core calls them for its options, at the
-- first start with a qubes.xml in the state directory, and at a clean stop.

local import_xml = import('qubes_xml_import')
local export_xml = import('qubes_xml_export')
local xml = import('qubes_xml')

-- Reads the text of a qubes.xml into the empty model; with `mark`, a clean stop is to write it again.
function core_hooks.import_xml(text, mark)
  import_xml(text, mark)
end

-- The model as a qubes.xml. With `if_marked`: nil unless a former import said that a clean stop writes it.
function core_hooks.export_xml(if_marked)
  if if_marked and not core.get(core.app(), xml.MARK_KIND, xml.MARK) then return nil end
  return export_xml()
end
