-- SPDX-License-Identifier: GPL-2.0-or-later
-- What qubesd --check-acl prints: a line with the words that rules may use, then one for each finding of the loader. Sets
-- core_hooks.rule_findings, which the core calls when everything is loaded.

local api_names = import('api_names')
local json = import('json')
local object = import('object')

local LABEL_FIELDS = { 'color', 'index', 'name' }

-- Name → true; a library: an array of the names in it.
local function global_names(environment)
  local names = {}
  for name, value in pairs(environment) do
    names[name] = true
    if type(value) == 'table' then
      local fields = json.array {}
      for field in pairs(value) do fields[#fields + 1] = field end
      table.sort(fields)
      names[name] = fields
    end
  end
  return names
end

local function methods()
  local list = {}
  for name, declaration in pairs(core.declarations()) do
    local info = json.array {}
    for field in pairs(declaration.info or {}) do info[#info + 1] = field end
    table.sort(info)
    list[name] = { filters = declaration.filters or false, info = info }
  end
  return list
end

-- Field → kind; 'plain' where classes do not agree, so that nothing false is said of it.
local function qube_fields()
  local kinds = {}
  object.each_field(function(name, kind)
    kinds[name] = (kinds[name] == nil or kinds[name] == kind) and kind or 'plain'
  end)
  return kinds
end

local function line_of(finding)
  local file, line, message = finding.message:match('^(acl%.d/[^\n]-%.lua):(%d+): (.*)$')
  if not file then file, message = finding.message:match('^(acl%.d/[^\n]-%.lua): (.*)$') end
  return json.encode {
    file = file or json.null, line = line and math.tointeger(line) or 1, severity = finding.error and 'error' or 'warning',
    message = message or finding.message,
  }
end

-- findings: an array of { message =, error = }; environment: what a rule file has. The text for whoever checks.
function core_hooks.rule_findings(findings, environment)
  local lines = { json.encode { vocabulary = {
    methods = methods(), planned = json.array(api_names.planned), qube = qube_fields(), label = json.array(LABEL_FIELDS), globals = global_names(environment),
  } } }
  for _, finding in ipairs(findings) do lines[#lines + 1] = line_of(finding) end
  return table.concat(lines, '\n') .. '\n'
end

return true
