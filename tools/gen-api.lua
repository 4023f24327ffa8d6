-- SPDX-License-Identifier: GPL-2.0-or-later
-- Writes what follows from the methods' declarations (law 9): docs/api.md, and packaging/qrexec/90-admin-default.policy, which gives each method of the
-- admin socket to the include file of its scope. `lua5.4 tools/gen-api.lua --check` only says whether they are up to date.

package.path = './?.lua;' .. package.path

local world = require('spec.support.fake_core').new { scripts = 'scripts' }
world:load(true)

local methods = {}
for name, method in pairs(world.methods) do methods[#methods + 1] = { name = name, declaration = method.declaration or method } end
table.sort(methods, function(a, b) return a.name < b.name end)

local SOCKETS = { internal = 'qubesd.internal.sock', qubes = 'qubesd.misc.sock', console = 'qubesd.console.sock' }
local DEST = { any = 'any qube', adminvm = 'dom0', qube = 'any qube but dom0' }

local function socket_of(name)
  return SOCKETS[name:match('^[^.]+')] or 'qubesd.sock'
end

local function rights(declaration)
  local words = {}
  for _, word in ipairs { 'read', 'write', 'execute' } do
    if declaration[word] then words[#words + 1] = word end
  end
  return table.concat(words, ', ')
end

local function escape(text)
  return (text:gsub('|', '\\|'))
end

local function info_of(declaration)
  local fields = {}
  for field, doc in pairs(declaration.info or {}) do fields[#fields + 1] = ('`%s`: %s'):format(field, escape(doc)) end
  table.sort(fields)
  return #fields > 0 and table.concat(fields, '; ') or '–'
end

local function api_page()
  local lines = {
    '# Methods', '',
    '<!-- Written by tools/gen-api.lua from the declarations in scripts/api: change those, then run `./dev docs`. -->', '',
    'Every method that the daemon serves. A rule judges a call under the event `admin-permission:METHOD`; its `info` has `dest`, `arg` and the fields that are',
    'listed here. *Filters* are what filter functions of a rule are given one by one (or, by `filter_list`, all at once).', '',
  }
  for _, method in ipairs(methods) do
    local declaration = method.declaration
    lines[#lines + 1] = '## ' .. method.name
    lines[#lines + 1] = ''
    lines[#lines + 1] = declaration.doc
    lines[#lines + 1] = ''
    lines[#lines + 1] = ('| socket | destination | argument | payload | scope | rights | filters | fields of info |')
    lines[#lines + 1] = '| --- | --- | --- | --- | --- | --- | --- | --- |'
    local row = '| %s | %s | %s | %s | %s | %s | %s | %s |'
    lines[#lines + 1] = row:format(socket_of(method.name), DEST[declaration.dest], declaration.arg, declaration.payload,
      declaration.scope, rights(declaration), declaration.filters or '–', info_of(declaration))
    lines[#lines + 1] = ''
  end
  return table.concat(lines, '\n')
end

local function policy_file()
  local lines = {
    '# Written by tools/gen-api.lua from the declarations in scripts/api. Do not edit: put rules of your own into a file with a lower number,',
    '# such as /etc/qubes/policy.d/30-admin.policy.', '#',
    '# Which qubes may make which calls at all is decided in the four files that are included; what they may do and see then, in /etc/qubes/acl.d.', '',
  }
  for _, method in ipairs(methods) do
    local declaration = method.declaration
    if socket_of(method.name) == 'qubesd.sock' and method.name:find('^admin%.') then
      local writes = (declaration.write or declaration.execute) and 'rwx' or 'ro'
      lines[#lines + 1] = ('!include-service %-40s * include/admin-%s-%s'):format(method.name, declaration.scope, writes)
    end
  end
  return table.concat(lines, '\n') .. '\n'
end

local function read(path)
  local file = io.open(path)
  local text = file and file:read('a')
  if file then file:close() end
  return text
end

local stale = false
for path, text in pairs { ['docs/api.md'] = api_page(), ['packaging/qrexec/90-admin-default.policy'] = policy_file() } do
  if arg[1] ~= '--check' then
    local file = assert(io.open(path, 'w'))
    file:write(text)
    file:close()
  elseif read(path) ~= text then
    stale = true
    print(path .. ' is not what the declarations say: run ./dev docs')
  end
end
os.exit(stale and 1 or 0)
