-- SPDX-License-Identifier: GPL-2.0-or-later
-- What reading and writing qubes.xml have in common: elements as tables, and the forms in which the model keeps what the daemon itself does not
-- use yet. Registers nothing.
--
-- An element is what core.xml_parse gives: { name =, line =, text =, tail =, attributes = { { name, value }, …, NAME = value }, children = {} }.
--
-- What is not understood stands in attributes of the kind `kept`, on the qube that it belongs to or on the app. The value is an element that holds
-- only that: the unknown attributes, texts and children of the element that the name tells: `.` (of the object itself), `SECTION`, `SECTION/ITEM`.

local xml = {}

xml.KEPT = 'kept'

-- Kinds that are of this daemon and this moment: they are not exported.
xml.PRIVATE = { transient = true, suspend = true, xml = true, kept = true, kernel = true }

-- An attribute of the app: a clean stop writes qubes.xml again. Its value is the digest of the file that was imported; core/transfer.c looks at it.
xml.MARK_KIND, xml.MARK = 'xml', 'export-at-stop'

-- The first attribute of the root of an export: by it core/transfer.c knows the file again.
xml.WRITER = 'qubesd-lua'

function xml.element(name, attributes, text)
  return { name = name, attributes = attributes or {}, text = text, children = {} }
end

function xml.is_blank(text)
  return text == nil or not text:find('[^ \t\r\n]')
end

-- Whether a text can stand in XML.
function xml.is_writable(text)
  return utf8.len(text) ~= nil and not text:find('[\0-\8\11\12\14-\31]') and not text:find('\u{FFFE}', 1, true) and not text:find('\u{FFFF}', 1, true)
end

-- Pools, volumes and device assignments are kept as a line `key=value` each. Nil when a key or value does not fit into that.
function xml.format_fields(pairs_list)
  local lines = {}
  for i, pair in ipairs(pairs_list) do
    if pair[1] == '' or pair[1]:find('[=\n]') or pair[2]:find('\n', 1, true) then return nil end
    lines[i] = pair[1] .. '=' .. pair[2] .. '\n'
  end
  return table.concat(lines)
end

function xml.parse_fields(text)
  local list = {}
  for key, value in text:gmatch('([^=\n]+)=([^\n]*)') do list[#list + 1] = { key, value } end
  return list
end

-- The assignment of a device is an attribute of the qube that gets it, kind `device.CLASS`, under this name, as the Admin API writes devices.
function xml.device_name(backend, port, identity)
  return ('%s+%s:%s'):format(backend, port, identity)
end

function xml.parse_device_name(name)
  return name:match('^([^+]*)%+([^:]*):(.*)$')
end

return xml
