-- SPDX-License-Identifier: GPL-2.0-or-later
-- Provides the parser of qrexec policies: files of /etc/qubes/policy.d (format 5.0) and of the older format become a list of rules.
-- It opens no file itself: the caller's `loader` does. Judging requests is lib/qrexec_policy.lua. Registers nothing.
--
-- A loader is a table of two functions:
--   read(path)   the text of a file, or nil when there is no such file
--   list(path)   the names of the files in a directory, without sub-directories, or nil when there is no such directory
--
-- A rule has the fields
--   service, argument          strings; nil for "any". The argument begins with '+'
--   source, target             tokens: see parser.token
--   action                     'allow', 'ask' or 'deny'
--   redirect, default_target   tokens of target= and default_target=, or nil
--   user                       a string or nil
--   autostart, notify          booleans
--   file, line                 where it stands; `line` is nil for a rule that !compat-4.0 implies

local parser = {}

-- What a policy may have at most; parser.parse takes others in options.limits. A real policy has a tenth of it. Files count each time they
-- are included, so that files that include each other twice end here and not in years.
parser.limits = {
  depth = 16,         -- files that include each other, the first one counted
  files = 4096,
  lines = 200000,     -- comments counted, files that are included twice counted twice
  line_length = 8192, -- bytes
  rules = 20000,
}

local LEGACY_PATH = '/etc/qubes-rpc/policy'

-- Python's idea of white space, since it is how the reference separates words: a space that was pasted from a web page is one too.
local wide_spaces = {}
for _, code in ipairs { 0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000 } do
  wide_spaces[utf8.char(code)] = ' '
end
for code = 0x2000, 0x200a do
  wide_spaces[utf8.char(code)] = ' '
end

-- Tokens: what stands for qubes in a rule and in a request. `places` says where each may stand.

local everywhere = { source = true, target = true, redirect = true, request = true }
local exact_tokens = {
  ['*'] = { kind = 'any', places = { source = true, target = true } },
  ['@adminvm'] = { kind = 'adminvm', places = everywhere },
  ['@anyvm'] = { kind = 'anyvm', places = { source = true, target = true } },
  ['@default'] = { kind = 'default', places = { target = true, request = true } },
  ['@dispvm'] = { kind = 'dispvm', places = { target = true, redirect = true, request = true } },
}
local prefix_tokens = {
  { prefix = '@type:', kind = 'type', places = { source = true, target = true } },
  { prefix = '@tag:', kind = 'tag', places = { source = true, target = true } },
  { prefix = '@dispvm:@tag:', kind = 'dispvm_tag', places = { source = true, target = true } },
  { prefix = '@dispvm:', kind = 'dispvm_template', places = everywhere },
}

-- Reads a token for a place: 'source', 'target', 'redirect' (target=, default_target=) or 'request' (the target that a caller asks for).
-- Returns { kind =, text =, value = }: `text` is the whole token, `value` what follows a prefix; kind 'name' is a qube by name or by
-- "uuid:…". On failure nil and what is wrong.
function parser.token(text, place)
  if text == '' then return nil, ('the %s is empty'):format(place) end
  local exact = exact_tokens[text]
  if exact and exact.places[place] then
    return { kind = exact.kind, text = text }
  end
  if not exact and text:sub(1, 1) ~= '@' then
    return { kind = 'name', text = text }
  end
  for _, known in ipairs(prefix_tokens) do
    if text:sub(1, #known.prefix) == known.prefix and known.places[place] then
      local value = text:sub(#known.prefix + 1)
      if value == '' then return nil, ('nothing follows "%s"'):format(text) end
      if value:sub(1, 1) ~= '@' then
        return { kind = known.kind, text = text, value = value }
      end
    end
  end
  return nil, ('"%s" cannot be a %s'):format(text, place)
end

-- Errors travel as tables, so that parser.parse can tell them from mistakes in the code.

local function fail(file, line, message)
  error({ file = file, line = line, message = message, is_policy_error = true }, 0)
end

local function read_token(text, place, file, line)
  local token, message = parser.token(text, place)
  if not token then fail(file, line, message) end
  return token
end

-- Both as they stand in a file, or nil when they are known to be "any" already.
local function read_service(service, argument, file, line)
  if service == '*' then service = nil end
  if argument == '*' then argument = nil end
  if service and service:find('[^A-Za-z0-9._-]') then
    fail(file, line, ('the service "%s" has other characters than A-Z a-z 0-9 - . _'):format(service))
  end
  if argument then
    if argument:find('[^A-Za-z0-9._+-]') then
      fail(file, line, ('the argument "%s" has other characters than A-Z a-z 0-9 - . _ +'):format(argument))
    end
    if argument:sub(1, 1) ~= '+' then
      fail(file, line, ('the argument "%s" must be * or begin with +'):format(argument))
    end
    if not service then fail(file, line, 'where the service is *, the argument must be * too') end
  end
  return service, argument
end

local known_parameters = {
  allow = { target = true, user = true, autostart = true, notify = true },
  ask = { target = true, default_target = true, user = true, autostart = true, notify = true },
  deny = { notify = true },
}

local function read_parameters(action, words, first, file, line)
  local known, values = known_parameters[action], {}
  for i = first, #words do
    local key, value = words[i]:match('^([^=]*)=(.*)$')
    if not key then fail(file, line, ('"%s" is not of the form NAME=VALUE'):format(words[i])) end
    if not known[key] then fail(file, line, ('"%s" has no parameter "%s"'):format(action, key)) end
    if values[key] then fail(file, line, ('"%s=" is there twice'):format(key)) end
    values[key] = value
  end
  for _, key in ipairs { 'autostart', 'notify' } do
    if values[key] and values[key] ~= 'yes' and values[key] ~= 'no' then
      fail(file, line, ('"%s=" must be yes or no'):format(key))
    end
  end
  return values
end

-- `words[first]` is the source of the rule; target, action and parameters follow it.
local function read_rule(service, argument, words, first, file, line)
  if #words < first + 2 then
    fail(file, line, 'a rule needs a source, a target and an action')
  end
  local rule = { file = file, line = line, action = words[first + 2] }
  rule.service, rule.argument = read_service(service, argument, file, line)
  rule.source = read_token(words[first], 'source', file, line)
  rule.target = read_token(words[first + 1], 'target', file, line)
  if not known_parameters[rule.action] then
    fail(file, line, ('"%s" is no action: it must be allow, ask or deny'):format(rule.action))
  end
  local values = read_parameters(rule.action, words, first + 3, file, line)
  rule.redirect = values.target and read_token(values.target, 'redirect', file, line)
  rule.default_target = values.default_target and read_token(values.default_target, 'redirect', file, line)
  rule.user = values.user
  rule.autostart = values.autostart ~= 'no'
  -- Who is denied without being told to keep quiet is told so; other actions are silent unless asked.
  rule.notify = values.notify == 'yes' or (rule.action == 'deny' and values.notify ~= 'no')
  if rule.action == 'allow' and rule.target.kind == 'default' and not rule.redirect then
    fail(file, line, 'a rule that allows @default must say target=')
  end
  return rule
end

-- Byte by byte, whatever the locale: the order of files is the order of rules.
local function byte_less(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- The path of an include. '..' is left to the loader, which knows of symbolic links.
local function resolve_path(base, path)
  local parts = {}
  for part in path:gmatch('[^/]+') do
    if part ~= '.' then parts[#parts + 1] = part end
  end
  return (path:sub(1, 1) == '/' and '/' or base) .. table.concat(parts, '/')
end

local Parse = {}
Parse.__index = Parse

function Parse:add(rule)
  if #self.rules >= self.limits.rules then
    fail(rule.file, rule.line, ('there are more than %d rules'):format(self.limits.rules))
  end
  self.rules[#self.rules + 1] = rule
end

-- Calls handle(line, number) for each line that says something, without the white space around it.
function Parse:each_line(text, file, handle)
  local position, number = 1, 0
  while position <= #text do
    local stop = text:find('[\r\n]', position) or #text + 1
    number = number + 1
    self.lines = self.lines + 1
    if self.lines > self.limits.lines then
      fail(file, number, ('there are more than %d lines'):format(self.limits.lines))
    end
    if stop - position > self.limits.line_length then
      fail(file, number, ('the line is longer than %d bytes'):format(self.limits.line_length))
    end
    local line = text:sub(position, stop - 1)
    if line:find('[\x1c-\x1f\x80-\xff]') then
      line = line:gsub('[\x1c-\x1f]', ' '):gsub('[\xc2\xe1-\xe3][\x80-\xbf]+', wide_spaces)
    end
    local first = line:find('%S')
    if first and line:byte(first) ~= 35 then -- '#'
      handle(line:sub(first), number)
    end
    -- A line ends with \n, \r\n or \r.
    position = stop + (text:sub(stop, stop + 1) == '\r\n' and 2 or 1)
  end
end

-- Reads a file and gives its lines to handle(line, number); `from` and `from_line` say who wants it.
function Parse:read_file(path, from, from_line, handle)
  if self.depth >= self.limits.depth then
    fail(from, from_line, ('files include each other more than %d deep'):format(self.limits.depth))
  end
  if self.files >= self.limits.files then
    fail(from, from_line, ('there are more than %d files'):format(self.limits.files))
  end
  local text = self.texts[path]
  if not text then
    text = self.loader.read(path)
    if type(text) ~= 'string' then fail(from, from_line, ('there is no file %s'):format(path)) end
    if not utf8.len(text) then fail(path, nil, 'the file is not UTF-8') end
    self.texts[path] = text -- a file that is included often is the same for all of its includers
  end
  self.files = self.files + 1
  self.depth = self.depth + 1
  self:each_line(text, path, handle)
  self.depth = self.depth - 1
end

local function split(line)
  local words = {}
  for word in line:gmatch('%S+') do
    words[#words + 1] = word
  end
  return words
end

-- A file of the older format: no service and argument, these come from whoever includes it. `base` is where its includes are looked up.
function Parse:service_file(service, argument, base, path, from, from_line)
  self:read_file(path, from, from_line, function(line, number)
    line = line:gsub('%$include:', '!include '):gsub('%$', '@'):gsub(',', ' ')
    local words = split(line)
    if line:sub(1, 1) ~= '!' then
      self:add(read_rule(service, argument, words, 1, path, number))
    elseif words[1] ~= '!include' then
      fail(path, number, ('"%s" is not known in a file of this format'):format(words[1]))
    elseif #words ~= 2 then
      fail(path, number, '!include takes one path')
    else
      self:service_file(service, argument, base, resolve_path(base, words[2]), path, number)
    end
  end)
end

-- The names in a directory that are part of a policy, in order; a name that looks like one and isn't makes the whole policy invalid, so
-- that a mistyped name never drops a "deny".
function Parse:policy_names(directory, from, from_line)
  local names = {}
  local listed = self.loader.list(directory)
  if type(listed) ~= 'table' then fail(from, from_line, ('there is no directory %s'):format(directory)) end
  for _, name in ipairs(listed) do
    if name:sub(1, 1) ~= '.' and name:sub(-7) == '.policy' then
      if name:find('[^0-9a-z_.-]') then
        fail(directory .. '/' .. name, nil, 'the name has other characters than a-z 0-9 _ . -')
      end
      names[#names + 1] = name
    end
  end
  table.sort(names, byte_less)
  return names
end

local ignored_suffixes = { ['.rpmsave'] = true, ['.rpmnew'] = true, ['.swp'] = true }

-- A directory of the older format: its files are named SERVICE or SERVICE+ARGUMENT.
function Parse:legacy_directory(from, from_line)
  local directory = self.legacy_path
  local listed = self.loader.list(directory)
  if type(listed) ~= 'table' then fail(from, from_line, ('there is no directory %s'):format(directory)) end
  local files = {}
  for _, name in ipairs(listed) do
    local suffix = name:match('.(%.[^.]+)$')
    if not ignored_suffixes[suffix or ''] and name:sub(1, 1) ~= '.' and not name:find('[^A-Za-z0-9._+-]') then
      local service, argument = name:match('^([^+]*)(.*)$')
      files[#files + 1] = { name = name, service = service, argument = argument ~= '' and argument or '*' }
    end
  end
  table.sort(files, function(a, b)
    if a.service ~= b.service then return byte_less(a.service, b.service) end
    if a.argument == '*' or b.argument == '*' then return a.argument ~= '*' end
    return byte_less(a.argument, b.argument)
  end)
  for _, file in ipairs(files) do
    local path = directory .. '/' .. file.name
    local service, argument = read_service(file.service, file.argument, from, from_line)
    self:service_file(service, argument, directory .. '/', path, from, from_line)
    -- A file for one argument used to be the last word on it. A file for all is not: it would hide the rules that follow.
    if argument then
      self:add(read_rule(service, argument, { '@anyvm', '@anyvm', 'deny' }, 1, path, nil))
      self:add(read_rule(service, argument, { '@anyvm', '@adminvm', 'deny' }, 1, path, nil))
    end
  end
end

-- Directives of the present format: name → number of parameters, function.
local directives = {
  ['!include'] = { 1, function(self, words, base, file, line)
    self:policy_file(base, resolve_path(base, words[2]), file, line)
  end },
  ['!include-dir'] = { 1, function(self, words, base, file, line)
    local directory = resolve_path(base, words[2])
    for _, name in ipairs(self:policy_names(directory, file, line)) do
      self:policy_file(base, directory .. '/' .. name, file, line)
    end
  end },
  ['!include-service'] = { 3, function(self, words, base, file, line)
    local service, argument = read_service(words[2], words[3], file, line)
    self:service_file(service, argument, base, resolve_path(base, words[4]), file, line)
  end },
  ['!compat-4.0'] = { 0, function(self, _, _, file, line)
    self:legacy_directory(file, line)
  end },
}

-- A file of the present format. `base` is the directory of the file that the policy begins with, ending in '/': includes of all files are
-- looked up there.
function Parse:policy_file(base, path, from, from_line)
  self:read_file(path, from, from_line, function(line, number)
    local words = split(line)
    if line:sub(1, 1) ~= '!' then
      if #words < 5 then fail(path, number, 'a rule needs a service, an argument, a source, a target and an action') end
      self:add(read_rule(words[1], words[2], words, 3, path, number))
      return
    end
    local directive = directives[words[1]]
    if not directive then fail(path, number, ('"%s" is not known'):format(words[1])) end
    if #words - 1 ~= directive[1] then
      fail(path, number, ('%s takes %d parameters'):format(words[1], directive[1]))
    end
    directive[2](self, words, base, path, number)
  end)
end

local function run(loader, options, body)
  options = options or {}
  local limits = {}
  for name, limit in pairs(parser.limits) do
    limits[name] = options.limits and options.limits[name] or limit
  end
  local parse = setmetatable({
    loader = loader, limits = limits, legacy_path = options.legacy_path or LEGACY_PATH,
    rules = {}, texts = {}, files = 0, lines = 0, depth = 0,
  }, Parse)
  local done, failure = pcall(body, parse)
  if done then return parse.rules end
  if type(failure) ~= 'table' or not failure.is_policy_error then error(failure, 0) end
  return nil, { file = failure.file, line = failure.line, message = failure.message }
end

-- Parses the policy that begins with the file `entry`; its includes are looked up in the directory of `entry`.
-- `options` may have `limits` (some of parser.limits) and `legacy_path` (the directory of !compat-4.0).
-- Returns an array of rules, first things first; or nil and { file =, line =, message = } where `line` may be nil.
function parser.parse(loader, entry, options)
  return run(loader, options, function(parse)
    parse:policy_file(entry:match('^(.*/)[^/]*$') or '', entry, entry, nil)
  end)
end

-- Parses the *.policy files of several directories, in the order of their names, as qrexec does with /run/qubes/policy.d and
-- /etc/qubes/policy.d: a file in an earlier directory stands in for those of the same name in later ones. The rest as in parser.parse.
function parser.parse_directories(loader, directories, options)
  return run(loader, options, function(parse)
    local names, directory_of = {}, {}
    for _, directory in ipairs(directories) do
      for _, name in ipairs(parse:policy_names(directory, directory, nil)) do
        if not directory_of[name] then
          directory_of[name] = directory
          names[#names + 1] = name
        end
      end
    end
    table.sort(names, byte_less)
    for _, name in ipairs(names) do
      local base = directory_of[name] .. '/'
      parse:policy_file(base, base .. name, base .. name, nil)
    end
  end)
end

parser.byte_less = byte_less

return parser
