-- SPDX-License-Identifier: GPL-2.0-or-later
-- Registers console.Explain: what the rules would make of a call, without making it.

local json = import('json')
local json_fields = import('json_fields')

local FIELDS = {
  source = true, method = true, dest = true, arg = true, payload = true, payload_hex = true, subject = true, event = true, time = true,
}

local function from_hex(call, text)
  call:enforce(text:match('^%x*$') and #text % 2 == 0, '"payload_hex" has two hexadecimal digits for each byte')
  return (text:gsub('%x%x', function(digits) return string.char(tonumber(digits, 16)) end))
end

local function parse(call, text)
  local request, problem = json_fields(text)
  call:enforce(request, 'the payload is ' .. (problem or ''))
  for name in pairs(request) do call:enforce(FIELDS[name], ('there is no field "%s"'):format(name)) end
  call:enforce(request.source and request.method, '"source" and "method" are needed')
  call:enforce(not request.time or request.time:match('^%d+$') and #request.time <= 12, '"time" is in seconds since 1970')
  call:enforce(not (request.payload and request.payload_hex), 'there is one payload')
  return request
end

-- The bytes that a client would send.
local function bytes_of(call, request)
  local payload = request.payload_hex and from_hex(call, request.payload_hex) or request.payload or ''
  return ('%s+%s %s name %s\0'):format(request.method, request.arg or '', request.source, request.dest or 'dom0') .. payload
end

-- What an admin may want to know besides, in a sentence, or nil.
local function note(request, result)
  local dest = core.qube(request.dest or 'dom0')
  if result.verdict == 'closed' then return 'the connection would be closed without an answer: ' .. (result.problem or 'no memory') end
  if result.verdict == 'undecided' then return 'the method waits for something before it asks the rules' end
  if result.class == 'ProtocolError' and request.method:match('^console%.') then
    return 'methods of the console are served on its socket only, and no rule is asked about them'
  end
  if result.place and #result.questions == 0 then return 'this limit refuses it for now' end
  if result.class ~= 'QubesVMNotFoundError' or #result.questions > 0 then return nil end
  if not core.qube(request.source) then return ('there is no qube %s, so it can\'t call anybody'):format(request.source) end
  if not dest then return ('there is no qube %s'):format(request.dest) end
  return ('there is a qube %s, but %s may not know of it'):format(core.name(dest), request.source)
end

local function place_of(entry)
  return entry.file and ('%s:%d'):format(entry.file, entry.line)
end

-- Arrays are marked, so that empty ones are arrays in JSON too.
local function mark_arrays(result)
  json.array(result.questions)
  json.array(result.hidden)
  for _, question in ipairs(result.questions) do
    json.array(question.rules)
    json.array(question.items)
    for _, rule in ipairs(question.rules) do rule.place = place_of(rule) end
  end
  for _, hidden in ipairs(result.hidden) do hidden.place = place_of(hidden) end
end

method('console.Explain', {
  dest = 'adminvm', arg = 'none', payload = 'required', scope = 'none', read = true,
  doc = 'What would become of a call, as JSON; nothing is done. Payload: a JSON object of strings: source, method, perhaps dest, arg, payload or '
    .. 'payload_hex, and subject and event: a qube that is judged too, with one event of it for admin.Events; time, in seconds since 1970: when '
    .. 'grants are judged. Answer: verdict (permitted, denied, failed, exception, closed, undecided), permitted (by the rules, whatever came of it), '
    .. 'class and message of the exception, body, place and reason of the rule that decided, the questions with each rule asked and each item filtered, '
    .. 'hidden qubes and who hides them, timed (whether a grant was judged), payload (none, optional, required: what the method takes), generation, digest.',
}, function(call, untrusted_payload)
  local request = parse(call, untrusted_payload:utf8())
  local bytes = bytes_of(call, request)
  call:permission()
  local subject
  if request.subject then
    subject = core.qube(request.subject) or raise('QubesVMNotFoundError', ('there is no qube %s'):format(request.subject))
  end
  local result = core.explain(bytes, subject, request.event or 'domain-start', request.time and tonumber(request.time))
  result.note = note(request, result)
  mark_arrays(result)
  return json.encode(result) .. '\n'
end)
