-- SPDX-License-Identifier: GPL-2.0-or-later
-- Which lines of a rule file could run, and which did. The lines are those of the compiled file's instructions, of functions that were never made
-- too, so they are read from the compiled file itself (string.dump of Lua 5.4).

local coverage = {}

local HEADER = '\27Lua\x54\0\x19\x93\r\n\x1a\n' -- then three sizes, an integer and a float
local CONSTANTS = { [0x00] = 0, [0x01] = 0, [0x11] = 0, [0x03] = 8, [0x13] = 8 } -- bytes of a constant by its tag; others are strings
local ABSOLUTE = -128 -- in lineinfo: the line stands in a list of its own

local Reader = {}
Reader.__index = Reader

function Reader:byte()
  self.at = self.at + 1
  return self.text:byte(self.at - 1)
end

function Reader:number()
  local number = 0
  while true do
    local byte = self:byte()
    number = number << 7 | byte & 0x7f
    if byte >= 0x80 then return number end
  end
end

function Reader:skip(bytes) self.at = self.at + bytes end

function Reader:skip_string()
  local size = self:number()
  if size > 0 then self:skip(size - 1) end
end

function Reader:skip_constants()
  for _ = 1, self:number() do
    local bytes = CONSTANTS[self:byte()]
    if bytes then self:skip(bytes) else self:skip_string() end
  end
end

-- The line of each instruction of a function that begins at `line`, in order.
function Reader:lines(line)
  local deltas, absolute, list = {}, {}, {}
  for i = 1, self:number() do
    deltas[i] = string.unpack('b', self.text, self.at)
    self:skip(1)
  end
  for _ = 1, self:number() do
    local pc = self:number()
    absolute[pc + 1] = self:number()
  end
  for i, delta in ipairs(deltas) do
    line = delta == ABSOLUTE and absolute[i] or line + delta
    list[i] = line
  end
  return list
end

-- Adds the lines of a function and of those in it.
function Reader:add_function(found)
  self:skip_string()
  local line = self:number()
  self:number()
  self:skip(1)
  local is_vararg = self:byte() ~= 0
  self:skip(1)
  self:skip(4 * self:number())
  self:skip_constants()
  self:skip(3 * self:number())
  for _ = 1, self:number() do self:add_function(found) end
  local lines = self:lines(line)
  -- What only prepares arguments never shows, and the last is the return that stands in every function's `end`.
  for i = is_vararg and 2 or 1, #lines - 1 do found[lines[i]] = true end
  for _ = 1, self:number() do
    self:skip_string()
    self:number()
    self:number()
  end
  for _ = 1, self:number() do self:skip_string() end
end

-- The set of lines of a text that could run.
function coverage.lines(text)
  local dump = string.dump(assert(load(text, '=rules', 't', {})))
  local reader, found = setmetatable({ text = dump, at = 1 }, Reader), {}
  assert(dump:sub(1, #HEADER) == HEADER, 'this is not Lua 5.4')
  reader:skip(#HEADER + 3 + 8 + 8 + 1)
  reader:add_function(found)
  return found
end

-- Takes the lines "FILE:LINE" that a daemon has written into `ran`: file → set of lines.
function coverage.take(ran, text)
  for file, line in text:gmatch('([^\n]+):(%d+)\n') do
    ran[file] = ran[file] or {}
    ran[file][math.tointeger(line)] = true
  end
end

local function ranges(lines)
  local parts, i = {}, 1
  while i <= #lines do
    local last = i
    while lines[last + 1] == lines[last] + 1 do last = last + 1 end
    parts[#parts + 1] = i == last and ('%d'):format(lines[i]) or ('%d-%d'):format(lines[i], lines[last])
    i = last + 1
  end
  return table.concat(parts, ', ')
end

-- How many lines could run, how many did, and the others as text ("3, 7-9").
function coverage.summary(could, did)
  local all, run, never = 0, 0, {}
  for line in pairs(could) do
    all = all + 1
    if did[line] then run = run + 1 else never[#never + 1] = line end
  end
  table.sort(never)
  return all, run, ranges(never)
end

return coverage
