-- SPDX-License-Identifier: GPL-2.0-or-later
-- A rule file taken apart by luacheck, the linter (Debian: lua-check, Fedora: luacheck): its tree with each name resolved, and what luacheck
-- itself says of it. Where luacheck is not installed, or is another one than we know, syntax.problem says so.
--
-- The tree is luacheck's own: a node has `tag`, `line`, `offset` (a number of characters) and its parts as an array. resolve() adds `var` to each
-- Id that is a local variable: { name =, reassigned = whether it is set a second time, uses = how often it is read, func = the function that it
-- was made with }.

for _, version in ipairs { '5.4', '5.1' } do -- Debian has it under 5.1; it is plain Lua
  package.path = ('%s;/usr/share/lua/%s/?.lua;/usr/share/lua/%s/?/init.lua'):format(package.path, version, version)
end

local syntax = {}

local loaded, luacheck = pcall(require, 'luacheck')
local parser_loaded, parser = pcall(require, 'luacheck.parser')
local decoder_loaded, decoder = pcall(require, 'luacheck.decoder')
if not (loaded and parser_loaded and decoder_loaded) then
  syntax.problem = 'luacheck is not installed (Debian: lua-check, Fedora: luacheck)'
end

-- ---- scopes ----

local function new_scope(parent)
  return { vars = {}, parent = parent }
end

local function declare(scope, id, func)
  local var = { name = id[1], uses = 0, func = func }
  scope.vars[id[1]] = var
  id.var = var
end

local function find(scope, name)
  while scope do
    if scope.vars[name] then return scope.vars[name] end
    scope = scope.parent
  end
end

local visit

local function visit_all(list, scope)
  for _, node in ipairs(list) do visit(node, scope) end
end

local function declare_all(scope, ids, values)
  for i, id in ipairs(ids) do
    if id.tag == 'Id' then
      local value = values and values[i]
      declare(scope, id, value and value.tag == 'Function' and value or nil)
    end
  end
end

local function block(list, scope)
  visit_all(list, new_scope(scope))
end

local visitors = {}

function visitors.Id(node, scope)
  node.var = find(scope, node[1])
  if node.var then node.var.uses = node.var.uses + 1 end
end

function visitors.Function(node, scope)
  local inner = new_scope(scope)
  declare_all(inner, node[1])
  visit_all(node[2], inner)
end

function visitors.Local(node, scope)
  visit_all(node[2] or {}, scope)
  declare_all(scope, node[1], node[2])
end

function visitors.Localrec(node, scope)
  declare_all(scope, node[1], node[2])
  visit_all(node[2], scope)
end

local function assign(node, scope)
  for _, target in ipairs(node[1]) do
    if target.tag == 'Id' then
      target.var = find(scope, target[1])
      if target.var then target.var.reassigned = true end
    else
      visit(target, scope)
    end
  end
  visit_all(node[#node], scope)
end

visitors.Set, visitors.OpSet = assign, assign

function visitors.Fornum(node, scope)
  for i = 2, #node - 1 do visit(node[i], scope) end
  local inner = new_scope(scope)
  declare_all(inner, { node[1] })
  visit_all(node[#node], inner)
end

function visitors.Forin(node, scope)
  visit_all(node[2], scope)
  local inner = new_scope(scope)
  declare_all(inner, node[1])
  visit_all(node[3], inner)
end

function visitors.Do(node, scope) block(node, scope) end

function visitors.While(node, scope)
  visit(node[1], scope)
  block(node[2], scope)
end

function visitors.Repeat(node, scope)
  local inner = new_scope(scope)
  visit_all(node[1], inner)
  visit(node[2], inner)
end

function visitors.If(node, scope)
  for _, part in ipairs(node) do
    if part.tag then visit(part, scope) else block(part, scope) end
  end
end

function visit(node, scope)
  if type(node) ~= 'table' then return end
  local visitor = visitors[node.tag]
  if visitor then return visitor(node, scope) end
  visit_all(node, scope)
end

-- ---- for others ----

-- The tree of a text, resolved, and a function that gives the column of a node; nil when its syntax is wrong.
function syntax.parse(text)
  local results = table.pack(pcall(parser.parse, decoder.decode(text)))
  if not results[1] then return nil end
  local tree, line_offsets = results[2], results[7]
  block(tree, nil)
  return tree, function(node) return node.offset - line_offsets[node.line] + 1 end
end

-- What luacheck says of a text, where `globals` are those that there are (name → true, or an array of the fields): an array of
-- { code =, line =, column =, name =, field =, message = }.
function syntax.lint(text, globals)
  local known = {}
  for name, fields in pairs(globals) do
    if fields == true then known[#known + 1] = name else known[name] = { fields = fields } end
  end
  local report = luacheck.check_strings({ text }, { { std = { read_globals = known } } })[1]
  local list = {}
  for i, warning in ipairs(report) do
    list[i] = {
      code = warning.code, line = warning.line, column = warning.column, name = warning.name, field = warning.field,
      message = luacheck.get_message(warning),
    }
  end
  return list
end

return syntax
