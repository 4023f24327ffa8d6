-- SPDX-License-Identifier: GPL-2.0-or-later
-- A daemon of one test: an estate under rules, real calls and events, and who decided what.

local json = require 'cjson'
local uv = require 'luv'
local make_estate = require 'estate'
local tool = require 'tool'

local SOCKETS = { internal = 'qubesd.internal.sock', qubes = 'qubesd.misc.sock' }
local EVENTS_SECONDS = 5 -- for events that are expected
local QUIET_MS = 30 -- for such as are not

local Session = {}
Session.__index = Session

-- Options: those of tool.start_daemon, and `estate`, `system` (see estate.lua), `coverage` (a function that gets what the daemon has written),
-- `digest` (what status says of the files that are loaded has to be this). Raises a text when the rules do not load or the estate is not accepted.
function Session.start(options)
  local self = setmetatable({ options = options }, Session)
  local arguments = {}
  if options.coverage then
    self.coverage = tool.temporary_directory() .. '/coverage'
    arguments = { '--acl-coverage', self.coverage }
  end
  self.daemon = tool.start_daemon {
    acl = options.acl, ext = options.ext, scripts = options.scripts, state = options.state, program = options.program, arguments = arguments,
  }
  self.directory = self.daemon.directory
  local status = json.decode(tool.ask(self.directory, { method = 'console.Status' })).generation
  if status.locked then error('the rules do not load: ' .. status.locked, 0) end
  if options.digest and status.code_digest ~= options.digest then tool.fail(tool.FAILED, 'the files are not the ones that are to be tested any more') end
  if options.estate then make_estate(self.directory, options.estate, options.system) end
  return self
end

function Session:stop()
  for _, pipe in ipairs(self.pipes or {}) do pipe:close() end
  tool.stop_daemon(self.daemon)
  if not self.coverage then return end
  local file = io.open(self.coverage)
  if not file then tool.fail(tool.FAILED, 'the daemon has not written which lines have run: %s', self.daemon.log) end
  self.options.coverage(file:read('a'))
  file:close()
end

local function socket_of(method)
  return SOCKETS[method:match('^[^.]*')] or 'qubesd.sock'
end

local function has_event(bytes) return bytes:sub(1, 1) == '1' and bytes:find('\0\0$') ~= nil end

-- The place of the rule that refused the last call, and whether it failed instead of deciding; from the line in the daemon's log.
function Session:refusal(mark)
  for _ = 1, 3 do uv.run('nowait') end -- the line was written before the answer
  local place, failure
  for by, reason in self.daemon.log:sub(mark):gmatch(': denied [^\n]- by (%S+): ([^\n]*) %[generation') do
    place, failure = by, reason:match('^the rule failed: (.*)$')
  end
  return place, failure
end

-- A call through the socket that its method belongs to: { kind = 'ok', 'events', 'exception' or 'closed', body =, class =, message =, place =, failure = }.
function Session:call(request)
  local mark = #self.daemon.log + 1
  local answer = tool.exchange(self.directory, {
    src = request.src, method = request.method, dest = request.dest, arg = request.arg, payload = request.payload, socket = socket_of(request.method),
  }, has_event)
  if has_event(answer) then return { kind = 'events', bytes = answer } end
  local result = { bytes = answer }
  result.body, result.class, result.message = tool.parse(answer)
  result.kind = result.body and 'ok' or result.class and 'exception' or 'closed'
  result.place, result.failure = self:refusal(mark)
  return result
end

-- As dom0 on the console, where no rule is asked; raises what is answered instead of the body.
function Session:console(method, dest, arg, payload)
  local body, class, message = tool.call(self.directory, { method = method, dest = dest, arg = arg, payload = payload })
  if body then return body end
  error(('%s%s of %s: %s'):format(method, arg and '+' .. arg or '', dest or 'dom0', class and class .. ': ' .. message or 'no answer'), 0)
end

-- What console.Explain says of a call, or nil.
function Session:explain(request)
  local hex = (request.payload or ''):gsub('.', function(byte) return ('%02x'):format(byte:byte()) end)
  local body = tool.call(self.directory, { method = 'console.Explain', payload = json.encode {
    source = request.src, method = request.method, dest = request.dest or 'dom0', arg = request.arg or '', payload_hex = hex,
  } })
  return body and json.decode(body)
end

-- ---- events ----

local Events = {}
Events.__index = Events

-- Subscribes to events as a qube: an Events object. `refused` is set to the call's result when the subscription was.
function Session:subscribe(src, dest)
  local events = setmetatable({ session = self, buffer = '', bytes = '', list = {} }, Events)
  local mark = #self.daemon.log + 1
  local pipe = uv.new_pipe()
  self.pipes = self.pipes or {}
  table.insert(self.pipes, pipe)
  pipe:connect(self.directory .. '/qubesd.sock', function(failure)
    if failure then tool.fail(tool.FAILED, 'qubesd.sock: %s', failure) end
    pipe:read_start(function(_, data)
      events.buffer, events.bytes = events.buffer .. (data or ''), events.bytes .. (data or '')
      events.ended = not data
    end)
    pipe:write(('admin.Events+ %s name %s\0'):format(src, dest or 'dom0'))
    pipe:shutdown()
  end)
  tool.wait_for(function() return events.ended or has_event(events.buffer) end, EVENTS_SECONDS)
  if not has_event(events.buffer) then
    local body, class, message = tool.parse(events.buffer)
    local place, failure = self:refusal(mark)
    events.refused = { kind = class and 'exception' or 'closed', body = body, class = class, message = message, place = place, failure = failure }
  end
  return events
end

-- Takes whole events off the buffer: "SUBJECT EVENT", or "EVENT" for those of the system.
function Events:parse()
  while true do
    local subject, name, at = self.buffer:match('^1%z([^%z]*)%z([^%z]*)%z()')
    while at and self.buffer:sub(at, at) ~= '\0' do at = self.buffer:match('^[^%z]*%z[^%z]*%z()', at) end
    if not at then return end
    self.buffer = self.buffer:sub(at + 1)
    if name ~= 'connection-established' then self.list[#self.list + 1] = (subject ~= '' and subject .. ' ' or '') .. name end
  end
end

local function pause(milliseconds)
  local ended = false
  local timer = uv.new_timer()
  timer:start(milliseconds, 0, function() ended = true end)
  while not ended do uv.run('once') end
  timer:close()
end

-- What has come so far; waits for it when fewer than `expected` have, and a little for such as nobody expects.
function Events:take(expected)
  self.session:console('admin.vmclass.List') -- what was told before this is answered has been sent
  pause(QUIET_MS)
  tool.wait_for(function()
    self:parse()
    return self.ended or #self.list >= expected
  end, EVENTS_SECONDS)
  return self.list
end

return Session
