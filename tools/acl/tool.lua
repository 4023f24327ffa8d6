-- SPDX-License-Identifier: GPL-2.0-or-later
-- What the commands of qubesd-acl share: options, a call of a daemon, and a daemon of their own to ask without touching the one that serves.

local uv = require 'luv'

local tool = { OK = 0, FOUND = 1, USAGE = 2, FAILED = 3 } -- exit statuses; FOUND: what was asked for is not as it should be

local CONSOLE = 'qubesd.console.sock'
local START_SECONDS, CALL_SECONDS = 30, 30

-- Ends a command with an error of the user's (`tool.USAGE`) or of the system's (`tool.FAILED`). main() prints it.
function tool.fail(status, format, ...)
  error(setmetatable({ status = status, message = format:format(...) }, { __tostring = function(e) return e.message end }), 0)
end

-- Runs a command, { help = text, run = function(arguments) … return status end }, and exits.
function tool.main(command, arguments)
  for _, argument in ipairs(arguments) do
    if argument == '--help' then
      io.stdout:write(command.help)
      os.exit(tool.OK)
    end
  end
  local good, status = xpcall(command.run, function(problem)
    return type(problem) == 'table' and problem or debug.traceback(problem, 2)
  end, arguments)
  tool.stop_daemons()
  io.stdout:flush()
  if good then os.exit(status or tool.OK, true) end
  io.stderr:write('qubesd-acl: ', tostring(status), '\n')
  os.exit(type(status) == 'table' and status.status or tool.FAILED, true)
end

-- Takes a command line apart. `spec` maps options to 'flag' or 'value' ('--json' → 'flag'); returns their values (by name without
-- dashes) and the words that are no options. '--' ends the options.
function tool.options(arguments, spec)
  local options, words, index, only_words = {}, {}, 1, false
  while index <= #arguments do
    local word = arguments[index]
    local name, value = word:match('^(%-%-[^=]+)=(.*)$')
    local kind = spec[name or word]
    if only_words or word:sub(1, 2) ~= '--' then
      words[#words + 1] = word
    elseif word == '--' then
      only_words = true
    elseif not kind then
      tool.fail(tool.USAGE, 'there is no option %s', name or word)
    elseif kind == 'flag' then
      if value then tool.fail(tool.USAGE, '%s takes no value', name) end
      options[word:sub(3)] = true
    else
      if not name then
        index = index + 1
        name, value = word, arguments[index]
      end
      if not value then tool.fail(tool.USAGE, '%s wants a value', name) end
      options[name:sub(3)] = value
    end
    index = index + 1
  end
  return options, words
end

-- The options of a command that takes no words.
function tool.only_options(name, arguments, spec)
  local options, words = tool.options(arguments, spec)
  if #words > 0 then tool.fail(tool.USAGE, '%s takes options only', name) end
  return options
end

-- The text of a file. When there is none to be had, the command ends with `status`.
function tool.read_file(path, status)
  local file, problem = io.open(path, 'rb')
  if not file then tool.fail(status, '%s', problem) end
  local text = file:read('a')
  file:close()
  return text
end

-- Two hexadecimal digits for each byte, as console.Explain takes a payload.
function tool.hex(bytes)
  return (bytes:gsub('.', function(byte) return ('%02x'):format(byte:byte()) end))
end

-- Lets libuv run until the condition holds; false when it did not within the seconds.
local function wait_for(condition, seconds)
  local timer, late = uv.new_timer(), false
  timer:start(math.floor(seconds * 1000), 50, function() late = true end) -- again and again: 'once' waits after it has fired before polling
  while not condition() and not late do uv.run('once') end
  timer:close()
  return not late
end
tool.wait_for = wait_for

-- Sends a request to the daemon whose sockets are in `directory` (to the console's, when `request.socket` is not given) and returns all bytes that come
-- back, or those that are `enough` (a function of them; without it only the end is).
function tool.exchange(directory, request, enough)
  local pipe, parts, ended, problem = uv.new_pipe(), {}, false, nil
  local path = directory .. '/' .. (request.socket or CONSOLE)
  pipe:connect(path, function(failure)
    if failure then
      problem, ended = failure, true
      return
    end
    pipe:read_start(function(_, data)
      parts[#parts + 1] = data
      ended = not data or enough and enough(table.concat(parts))
    end)
    pipe:write(('%s+%s %s name %s\0%s'):format(request.method, request.arg or '', request.src or 'dom0', request.dest or 'dom0',
      request.payload or ''))
    pipe:shutdown()
  end)
  local finished = wait_for(function() return ended end, request.seconds or CALL_SECONDS)
  pipe:close()
  if problem then tool.fail(tool.FAILED, '%s: %s (does qubesd run, and are you root?)', path, problem) end
  if not finished then tool.fail(tool.FAILED, '%s: no answer within %d seconds', path, request.seconds or CALL_SECONDS) end
  return table.concat(parts)
end

-- What an answer says: the body, or nil, the exception's class and its message; a class of nil means that the connection was closed without an answer.
function tool.parse(answer)
  if answer:sub(1, 2) == '0\0' then return answer:sub(3) end
  return nil, answer:match('^2%z([^%z]*)%z[^%z]*%z([^%z]*)%z')
end

-- One call: what tool.parse gives.
function tool.call(directory, request)
  return tool.parse(tool.exchange(directory, request))
end

-- The same, for calls that must succeed.
function tool.ask(directory, request)
  local body, class, message = tool.call(directory, request)
  if body then return body end
  tool.fail(tool.FAILED, '%s: %s', request.method, class and class .. ': ' .. message or 'no answer')
end

local CHANGE_SECONDS = 120 -- with acl-tests the tests come before the answer

-- A command that has another generation serve: tells which one, or why not.
function tool.change_generation(name, arguments, method)
  local options = tool.only_options(name, arguments, { ['--socket-dir'] = 'value' })
  local body, class, message = tool.call(options['socket-dir'] or '/run', { method = method, seconds = CHANGE_SECONDS })
  if body then
    local number, digest = body:match('generation=(%d+) digest=(%x+)')
    print(('generation %s serves, digest %s'):format(number, digest:sub(1, 12)))
    return tool.OK
  end
  io.stderr:write(class and message or 'no answer', '\n')
  return tool.FOUND
end

-- Prints rows of cells, indented, each column as wide as it needs; `right` is a set of columns to be aligned on their right.
function tool.print_rows(rows, right)
  local widths = {}
  local function width(cell) return utf8.len(cell) or #cell end
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, width(cell)) end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      local space = (' '):rep(widths[i] - width(cell))
      cells[i] = right and right[i] and space .. cell or cell .. space
    end
    print('  ' .. (table.concat(cells, '  '):gsub(' +$', '')))
  end
end

-- ---- a daemon of one's own ----

local running = {}

-- The source tree, when the tool is called in one.
local function tree()
  return arg[0]:match('^(.*)/tools/[^/]*$') or (arg[0]:match('^tools/') and '.')
end

local function program()
  local build = os.getenv('QD_BUILD_DIR') or (tree() and tree() .. '/build')
  return build and uv.fs_stat(build .. '/qubesd') and build .. '/qubesd' or 'qubesd'
end

local function scripts_folder()
  return tree() and uv.fs_stat(tree() .. '/scripts') and tree() .. '/scripts' or '/usr/share/qubesd/scripts'
end

tool.program = program

-- Adds the option for the scripts to those of a qubesd that is run once: installed, it knows by itself where they are.
function tool.add_scripts(arguments)
  if tree() then table.move({ '--scripts-dir', scripts_folder() }, 1, 2, #arguments + 1, arguments) end
end

-- Runs a program to its end. Its exit status, what it printed, and what it said on standard error; fails when it can't be run.
function tool.run(path, arguments, seconds)
  local out, err, open, status = uv.new_pipe(), uv.new_pipe(), 2, nil
  local texts = { [out] = '', [err] = '' }
  local process, problem = uv.spawn(path, { args = arguments, stdio = { nil, out, err } }, function(code, signal) status = signal ~= 0 and -signal or code end)
  if not process then
    out:close()
    err:close()
    tool.fail(tool.FAILED, '%s: %s', path, problem)
  end
  for pipe in pairs(texts) do
    pipe:read_start(function(_, data)
      if data then texts[pipe] = texts[pipe] .. data else open = open - 1 end
    end)
  end
  local ended = wait_for(function() return status and open == 0 end, seconds)
  if not ended then process:kill('sigkill') end
  wait_for(function() return status end, 10)
  out:close()
  err:close()
  process:close()
  if not ended then tool.fail(tool.FAILED, '%s: not done after %d seconds', path, seconds) end
  return status, texts[out], texts[err]
end

local function make_directory()
  return assert(uv.fs_mkdtemp((os.getenv('TMPDIR') or '/tmp') .. '/qubesd-acl.XXXXXX'))
end

-- Starts a daemon in a directory of its own, on libvirt's test driver, with the rules of `acl`. Options: `scripts`, `ext`, `policy`
-- (directories; without them the packaged scripts, no extensions, no policy), `state` (an existing store's directory), `program` (another qubesd),
-- `arguments` (more of them). Returns { directory =, log = … }; fails with the daemon's own words. main() stops it.
function tool.start_daemon(options)
  local directory = make_directory()
  local self = { directory = directory, log = '' }
  local err = uv.new_pipe()
  local pid
  local arguments = {
    '--socket-dir', directory, '--state-dir', options.state or directory, '--acl-dir', options.acl,
    '--scripts-dir', options.scripts or scripts_folder(), '--ext-dir', options.ext or directory .. '/ext.d',
    '--policy-dir', options.policy or directory .. '/policy.d', '--qubesdb-dir', directory, '--kernels-dir', directory .. '/kernels',
    '--libvirt-uri', 'test:///default', '--group', '', '--acl-tests', 'no', '--audit-file', '',
  }
  for _, argument in ipairs(options.arguments or {}) do arguments[#arguments + 1] = argument end
  running[#running + 1] = self
  self.process, pid = uv.spawn(options.program or program(), {
    args = arguments,
    stdio = { nil, nil, err },
  }, function(code) self.ended = code end)
  if not self.process then
    err:close()
    tool.fail(tool.FAILED, 'qubesd does not start: %s', pid)
  end
  self.pid = pid
  err:read_start(function(_, data) if data then self.log = self.log .. data end end)
  self.err = err
  wait_for(function() return self.log:find(' ready: ', 1, true) or self.ended end, START_SECONDS)
  if self.ended or not self.log:find(' ready: ', 1, true) then tool.fail(tool.FAILED, 'qubesd does not start:\n%s', self.log) end
  return self
end

local function remove_tree(path)
  local scan = uv.fs_scandir(path)
  while scan do
    local name, kind = uv.fs_scandir_next(scan)
    if not name then break end
    if kind == 'directory' then remove_tree(path .. '/' .. name) else uv.fs_unlink(path .. '/' .. name) end
  end
  uv.fs_rmdir(path)
end
tool.remove_tree = remove_tree

-- A directory that goes with the tool.
function tool.temporary_directory()
  local directory = make_directory()
  running[#running + 1] = { directory = directory }
  return directory
end

-- A copy of the store in the directory `state`, which a daemon may be using: a directory for start_daemon's `state`. It goes with the tool.
function tool.copy_store(state)
  local directory = tool.temporary_directory()
  local status, _, said = tool.run(program(), { '--copy-store', directory .. '/qubesd.db', '--state-dir', state }, START_SECONDS)
  if status ~= 0 then tool.fail(tool.FAILED, 'the store is not copied: %s', said) end
  return directory
end

local function stop(self)
  if self.process then
    if not self.ended then
      uv.kill(self.pid, 'sigterm')
      wait_for(function() return self.ended end, 10)
    end
    self.err:close()
    self.process:close()
    self.process = nil
  end
end

-- Stops a daemon of one's own now; `take(directory)` is called before its directory goes.
function tool.stop_daemon(self, take)
  stop(self)
  if take then take(self.directory) end
  remove_tree(self.directory)
  for i, each in ipairs(running) do
    if each == self then table.remove(running, i) end
  end
end

function tool.stop_daemons()
  for _, self in ipairs(running) do
    stop(self)
    remove_tree(self.directory)
  end
  running = {}
  uv.run('nowait')
end

return tool
