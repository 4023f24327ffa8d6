-- SPDX-License-Identifier: GPL-2.0-or-later
-- Single calls of the daemon, for setting up and for learning what the right answer is. Load comes from bench-load.

local process = require 'process'
local uv = require 'luv'

local api = {}

local CALL_SECONDS = 120

-- Makes a call and goes on. call: method, arg, src, dest, payload. ended(problem, bytes) is called once, later. Returns a function that ends the wait.
function api.begin(socket, call, ended)
  local chunks, done = {}, false
  local pipe = uv.new_pipe(false)
  local function finish(problem)
    if not done then
      done = true
      pipe:close()
      ended(problem, table.concat(chunks))
    end
  end
  pipe:connect(socket, function(failed)
    if failed then
      return finish(failed)
    end
    pipe:write(('%s%s %s name %s\0%s'):format(call.method, call.arg and '+' .. call.arg or '', call.src or 'dom0',
      call.dest or 'dom0', call.payload or ''))
    pipe:shutdown()
    pipe:read_start(function(read_failed, data)
      if data then
        chunks[#chunks + 1] = data
      else
        finish(read_failed)
      end
    end)
  end)
  return finish
end

-- The bytes of the answer.
function api.call(socket, call)
  local done, problem, answer = false, nil, nil
  local finish = api.begin(socket, call, function(failed, bytes) done, problem, answer = true, failed, bytes end)
  if not process.wait_until(function() return done end, CALL_SECONDS) then
    finish('no answer in time')
  end
  if problem then
    error(('%s: %s: %s'):format(socket, call.method, problem), 0)
  end
  return answer
end

-- What an answer that isn't OK says, for a human; its class, when it is an exception.
function api.describe(answer)
  local class, _, message = answer:match('^2%z([^%z]*)%z([^%z]*)%z([^%z]*)')
  if class then
    return class .. ': ' .. message, class
  end
  return answer == '' and 'closed without an answer' or ('%q'):format(answer:sub(1, 80))
end

-- The content of an answer that must be OK, and its bytes.
function api.ok(socket, call)
  local answer = api.call(socket, call)
  if answer:sub(1, 2) ~= '0\0' then
    error(('%s%s on %s: %s'):format(call.method, call.arg and '+' .. call.arg or '', call.dest or 'dom0',
      (api.describe(answer))), 0)
  end
  return answer:sub(3), answer
end

return api
