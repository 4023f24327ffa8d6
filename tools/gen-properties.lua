-- SPDX-License-Identifier: GPL-2.0-or-later
-- Writes docs/properties.md from the declarations of the classes. `lua5.4 tools/gen-properties.lua --check` only says whether it is up to date.

package.path = './?.lua;' .. package.path

local world = require('spec.support.fake_core').new { scripts = 'scripts' }
world:load(true)

local classes = world:import('class')

local PATH = 'docs/properties.md'
local CLASSES = { 'AdminVM', 'AppVM', 'DispVM', 'RemoteVM', 'StandaloneVM', 'TemplateVM' }

local function escape(text)
  return (text:gsub('%s+', ' '):gsub('|', '\\|'))
end

-- By name; lists in answers have those last that refer to other qubes, but a reader looks a name up.
local function sorted_names(resolved)
  local names = table.move(resolved.names, 1, #resolved.names, 1, {})
  table.sort(names)
  return names
end

local function default_of(def)
  if def.identity then return '–' end
  if def.computed then return 'computed' end
  if not def.has_default then return 'unset' end
  if def.default_function then return 'depends' end
  if def.default == nil then return 'none' end
  if type(def.default) == 'boolean' then return def.default and '`True`' or '`False`' end
  if def.default == '' then return 'empty' end
  return ('`%s`'):format(tostring(def.default))
end

local function writing_of(def)
  if def.read_only or def.computed then return 'no' end
  if def.write_once then return 'once' end
  return 'yes'
end

local function type_of(def)
  if def.type ~= 'vm' then return def.word end
  local wanted = def.wanted_class ~= 'LocalVM' and (' (%s)'):format(def.wanted_class) or ''
  return 'vm' .. wanted .. (def.allow_none and ' or none' or '')
end

local function row(def, classes_text)
  local cells = { ('`%s`'):format(def.name), type_of(def), default_of(def), writing_of(def), escape(def.doc) }
  if classes_text then table.insert(cells, 2, classes_text) end
  return '| ' .. table.concat(cells, ' | ') .. ' |'
end

-- One row for each declaration: classes that share it stand in one.
local function qube_rows()
  local names, by_name = {}, {}
  for _, class_name in ipairs(CLASSES) do
    local resolved = classes.resolved[class_name]
    for _, name in ipairs(sorted_names(resolved)) do
      local list = by_name[name]
      if not list then
        list = {}
        by_name[name], names[#names + 1] = list, name
      end
      local def, entry = resolved.properties[name], nil
      for _, each in ipairs(list) do
        if each.def == def then entry = each end
      end
      if not entry then
        entry = { def = def }
        list[#list + 1] = entry
      end
      entry[#entry + 1] = class_name
    end
  end
  table.sort(names)
  local lines = {}
  for _, name in ipairs(names) do
    for _, entry in ipairs(by_name[name]) do
      lines[#lines + 1] = row(entry.def, #entry == #CLASSES and 'all' or table.concat(entry, ', '))
    end
  end
  return lines
end

local function app_rows()
  local resolved, lines = classes.resolved.Qubes, {}
  for _, name in ipairs(sorted_names(resolved)) do lines[#lines + 1] = row(resolved.properties[name]) end
  return lines
end

local function class_rows()
  local lines = {}
  for _, class_name in ipairs(CLASSES) do
    local class = classes.find(class_name)
    lines[#lines + 1] = ('| `%s` | %s |'):format(class_name, escape(class.doc))
  end
  return lines
end

local function page()
  local lines = {
    '# Properties', '',
    '<!-- Written by tools/gen-properties.lua from the declarations in scripts/classes: change those, then run `./dev docs`. -->', '',
    'What `admin.vm.property.*` and `admin.property.*` (`qvm-prefs`, `qubes-prefs`) read and set. A property that was not set has its *default*: the value',
    'given here; *depends*, one that follows other settings, as its description says; *unset*, none at all. A *computed* one is a value of the moment and is',
    'never stored. *Set* says whether it can be set: `once` means only when the qube is created.', '',
    '## Classes of qubes', '', '| class | |', '| --- | --- |',
  }
  local function add(rows)
    table.move(rows, 1, #rows, #lines + 1, lines)
    lines[#lines + 1] = ''
  end
  add(class_rows())
  add { '## Of qubes', '', '| property | classes | type | default | set | |', '| --- | --- | --- | --- | --- | --- |', table.unpack(qube_rows()) }
  add { '## Of the system', '', '| property | type | default | set | |', '| --- | --- | --- | --- | --- |', table.unpack(app_rows()) }
  lines[#lines] = nil
  return table.concat(lines, '\n') .. '\n'
end

local function read(path)
  local file = io.open(path)
  local text = file and file:read('a')
  if file then file:close() end
  return text
end

if arg[1] == '--check' then
  if read(PATH) ~= page() then
    print(PATH .. ' is not what the declarations say: run ./dev docs')
    os.exit(1)
  end
else
  local file = assert(io.open(PATH, 'w'))
  file:write(page())
  file:close()
end
