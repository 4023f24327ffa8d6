-- SPDX-License-Identifier: GPL-2.0-or-later
-- Drives the built qubesd-query against a server that answers as each spec wants.

local uv = require 'luv'
local here = debug.getinfo(1, 'S').source:match '^@(.*/)' or './'
local fake = dofile(here .. 'fake_server.lua')

local program = (os.getenv 'QD_BUILD_DIR' or 'build') .. '/qubesd-query'

describe('qubesd-query', function()
  local directory, path, server

  before_each(function()
    directory = fake.directory()
    path = directory .. '/socket'
  end)

  after_each(function()
    if server then server:close() end
    server = nil
    uv.fs_unlink(path)
    assert(uv.fs_rmdir(directory))
  end)

  local function answering(answer) server = fake.answering(path, answer) end

  -- Starts qubesd-query on our socket: start('--fail', 'dom0', 'method', 'dom0')
  local function start(...) return fake.spawn(program, { '-c', path, ... }) end

  -- The same, with this as the whole standard input, to the end.
  local function query(input, ...)
    local run = start(...)
    if input ~= '' then run:input(input) end
    run:input(nil)
    return run:finish()
  end

  -- A shell command in which "$@" is qubesd-query on our socket with these words.
  local function shell(command, input, ...)
    local run = fake.spawn('sh', { '-c', command, 'sh', program, '-c', path, ... })
    if input ~= '' then run:input(input) end
    run:input(nil)
    return run:finish()
  end

  local function request(index) return server.connections[index or 1].request end

  local function assert_usage_error(run, message)
    assert.equal(2, run.code)
    assert.equal('', run.out)
    assert.matches(message, run.err, 1, true)
    assert.equal(0, server and #server.connections or 0)
  end

  describe('request', function()
    before_each(function() answering '0\0' end)

    it('is METHOD+ARG SRC name DEST, NUL, payload', function()
      local run = query('text', 'work', 'admin.vm.feature.Set', 'vault', 'gui')
      assert.equal('admin.vm.feature.Set+gui work name vault\0text', request())
      assert.equal(0, run.code)
      assert.equal('', run.err)
    end)

    it('keeps the plus without an argument, and with an empty one', function()
      query('', 'dom0', 'admin.vm.List', 'dom0')
      query('', 'dom0', 'admin.vm.List', 'dom0', '')
      assert.equal('admin.vm.List+ dom0 name dom0\0', request(1))
      assert.equal('admin.vm.List+ dom0 name dom0\0', request(2))
    end)

    it('passes words on as they are', function()
      query('', '', 'a+b', 'uuid:x y', 'c+d')
      assert.equal('a+b+c+d  name uuid:x y\0', request())
    end)

    it('carries any bytes', function()
      local bytes = {}
      for i = 0, 255 do
        bytes[#bytes + 1] = string.char(i)
      end
      local payload = table.concat(bytes):rep(3)
      query(payload, 'a', 'm', 'b')
      assert.equal('m+ a name b\0' .. payload, request())
    end)

    it('joins a payload that comes in pieces', function()
      local run = start('a', 'm', 'b')
      for piece in ('one two three'):gmatch '%S+' do
        run:input(piece)
        fake.pause(20)
      end
      assert.equal(0, #server.connections)
      run:input(nil)
      run:finish()
      assert.equal('m+ a name b\0onetwothree', request())
    end)

    it('takes 65536 bytes, and no more', function()
      local payload = ('x'):rep(65536)
      assert.equal(0, query(payload, 'a', 'm', 'b').code)
      assert.equal('m+ a name b\0' .. payload, request())
      server:close()
      uv.fs_unlink(path)
      answering '0\0'
      assert_usage_error(query(payload .. 'x', 'a', 'm', 'b'), 'longer than 65536 bytes')
    end)

    it('is refused when a word cannot be sent', function()
      local words = { 'src', 'method', 'dest', 'arg' }
      for i = 1, 4 do
        local bad = { table.unpack(words) }
        bad[i] = 'caf\xc3\xa9'
        local run = query('', table.unpack(bad))
        assert.equal(1, run.code)
        assert.matches('not ASCII', run.err, 1, true)
      end
      for _, i in ipairs { 1, 2, 4 } do
        local bad = { table.unpack(words) }
        bad[i] = 'x dom0 name'
        local run = query('', table.unpack(bad))
        assert.equal(1, run.code)
        assert.matches('holds a space', run.err, 1, true)
      end
      assert.equal(0, #server.connections)
    end)

    it('leaves standard output free of anything but the answer', function()
      assert.equal('0\0', query('', 'a', 'm', 'b').out)
    end)
  end)

  describe('command line', function()
    it('takes options in any place, spelled in full, short or abbreviated', function()
      answering '2\0'
      for _, args in ipairs {
        { '--connect', path, '--empty', '--fail', 'a', 'm', 'b', 'c' },
        { '--connect=' .. path, '-e', 'a', '--fail', 'm', 'b', 'c' },
        { 'a', 'm', 'b', 'c', '-ec', path, '--fai' },
        { '-e', '-c' .. path, '--fail', '--', 'a', 'm', 'b', 'c' },
      } do
        local run = fake.spawn(program, args):finish()
        assert.equal(2, run.code)
        assert.equal('2\0', run.out)
      end
      assert.equal(4, #server.connections)
      for i = 1, 4 do
        assert.equal('m+c a name b\0', request(i))
      end
    end)

    it('takes options after words even where POSIXLY_CORRECT is set', function()
      answering '0\0'
      local run = fake.spawn(program, { 'a', 'm', 'b', '-e', '-c', path }, { 'POSIXLY_CORRECT=1' }):finish()
      assert.equal(0, run.code)
      assert.equal('m+ a name b\0', request())
    end)

    it('takes words that look like options after --', function()
      answering '0\0'
      assert.equal(0, query('', '-e', '--', 'a', 'm', 'b', '--fail').code)
      assert.equal('m+--fail a name b\0', request())
    end)

    it('takes the last of several sockets', function()
      answering '0\0'
      assert.equal(0, fake.spawn(program, { '-e', '-c', 'nowhere', '-c', path, 'a', 'm', 'b' }):finish().code)
    end)

    it('must be complete', function()
      answering '0\0'
      assert_usage_error(query('', 'a', 'm'), 'needed')
      assert_usage_error(query(''), 'needed')
      assert_usage_error(query('', 'a', 'm', 'b', 'c', 'surplus', 'more'), "from 'surplus' on")
      assert_usage_error(query('', '--', 'a', 'm', 'b', 'c', 'surplus', 'more'), "from 'surplus' on")
      assert_usage_error(query('', '--unheard-of', 'a', 'm', 'b'), 'usage:')
      assert_usage_error(query('', 'a', 'm', 'b', '--max-bytes'), 'usage:')
      assert_usage_error(query('', 'a', 'm', 'b', '--fail=yes'), 'usage:')
    end)

    it('explains itself', function()
      for _, option in ipairs { '-h', '--help' } do
        local run = fake.spawn(program, { option }):finish()
        assert.equal(0, run.code)
        assert.equal('', run.err)
        for _, name in ipairs { 'connect', 'empty', 'fail', 'max-bytes', 'single-line', 'null', 'help' } do
          assert.matches('--' .. name, run.out, 1, true)
        end
      end
    end)
  end)

  describe('--empty', function()
    it('does not wait for standard input', function()
      answering '0\0'
      for _, option in ipairs { '-e', '--empty' } do
        local run = start(option, 'a', 'm', 'b'):finish() -- its standard input was open to the end
        assert.equal(0, run.code)
      end
      assert.equal('m+ a name b\0', request(1))
      assert.equal('m+ a name b\0', request(2))
    end)

    it('leaves standard input to the next program', function()
      answering '0\0'
      assert.equal('0\0rest', shell('"$@"; cat', 'rest', '-e', 'a', 'm', 'b').out)
      assert.equal('0\0rest', shell('"$@"; cat', 'rest', '-e', '--single-line', 'a', 'm', 'b').out)
      assert.equal('m+ a name b\0', request(2))
    end)
  end)

  describe('--max-bytes', function()
    before_each(function() answering '0\0' end)

    it('allows as many', function()
      assert.equal(0, query('12345', '--max-bytes', '5', 'a', 'm', 'b').code)
      assert.equal('m+ a name b\00012345', request())
    end)

    it('refuses one more', function()
      assert_usage_error(query('123456', '--max-bytes=5', 'a', 'm', 'b'), 'longer than 5 bytes')
    end)

    it('refuses as soon as it is too much', function()
      local run = start('--max-bytes=5', 'a', 'm', 'b')
      run:input '123456'
      assert_usage_error(run:finish(), 'longer than 5 bytes') -- its standard input was open to the end
    end)

    it('may be zero', function()
      assert.equal(0, query('', '--max-bytes', '0', 'a', 'm', 'b').code)
      server.connections = {}
      assert_usage_error(query('1', '--max-bytes', '0', 'a', 'm', 'b'), 'longer than 0 bytes')
    end)

    it('is a number up to 65536', function()
      assert.equal(0, query('', '--max-bytes', '65536', 'a', 'm', 'b').code)
      server.connections = {}
      for _, value in ipairs { '65537', '99999999999999999999999' } do
        assert_usage_error(query('', '-e', '--max-bytes', value, 'a', 'm', 'b'), 'more than 65536')
      end
      for _, value in ipairs { 'x', '', '1k', '0x10', '-1', '-99999999999999999999999' } do
        local run = query('', '-e', '--max-bytes=' .. value, 'a', 'm', 'b')
        assert_usage_error(run, '--max-bytes')
      end
    end)
  end)

  describe('--single-line', function()
    before_each(function() answering '0\0' end)

    it('sends one line without its end', function()
      assert.equal(0, query('one line ~\n', '--single-line', 'a', 'm', 'b').code)
      assert.equal('m+ a name b\0one line ~', request())
    end)

    it('may be empty', function()
      assert.equal(0, query('\n', '--single-line', 'a', 'm', 'b').code)
      assert.equal('m+ a name b\0', request())
    end)

    it('reads not a byte more', function()
      local run = shell('"$@"; cat', 'one\ntwo\n\0', '--single-line', 'a', 'm', 'b')
      assert.equal('0\0two\n\0', run.out)
      assert.equal('m+ a name b\0one', request())
    end)

    it('does not wait for the end of input', function()
      local run = start('--single-line', 'a', 'm', 'b')
      run:input 'one\n'
      assert.equal(0, run:finish().code)
    end)

    it('needs the end of the line', function()
      assert_usage_error(query('one', '--single-line', 'a', 'm', 'b'), 'before the line did')
      assert_usage_error(query('', '--single-line', 'a', 'm', 'b'), 'before the line did')
    end)

    it('allows printable ASCII only', function()
      for _, byte in ipairs { '\0', '\t', '\r', '\x1f', '\x7f', '\x80', '\xff' } do
        local run = query('ab' .. byte .. 'c\n', '--single-line', 'a', 'm', 'b')
        assert_usage_error(run, ('byte 0x%02x'):format(byte:byte()))
      end
    end)

    it('ends within 1024 bytes, its end included', function()
      local line = ('x'):rep(1023)
      assert.equal(0, query(line .. '\n', '--single-line', 'a', 'm', 'b').code)
      assert.equal('m+ a name b\0' .. line, request())
      server.connections = {}
      assert_usage_error(query(line .. 'x\n', '--single-line', 'a', 'm', 'b'), 'within 1024 bytes')
    end)

    it('ends within --max-bytes, up or down', function()
      assert.equal(0, query('12\n', '--single-line', '--max-bytes=3', 'a', 'm', 'b').code)
      assert.equal('m+ a name b\00012', request(1))
      local line = ('x'):rep(2047)
      assert.equal(0, query(line .. '\n', '--max-bytes=2048', '--single-line', 'a', 'm', 'b').code)
      assert.equal('m+ a name b\0' .. line, request(2))
      server.connections = {}
      assert_usage_error(query('123\n', '--single-line', '--max-bytes=3', 'a', 'm', 'b'), 'within 3 bytes')
      assert_usage_error(query('\n', '--single-line', '--max-bytes=0', 'a', 'm', 'b'), 'within 0 bytes')
    end)
  end)

  describe('exit status', function()
    local ok, events = '0\0data', '1\0\0connection-established\0\0'
    local failure = '2\0QubesVMNotFoundError\0\0no such qube\0'

    for name, case in pairs {
      ['OK'] = { answer = ok, fail = 0 },
      ['no data'] = { answer = '0\0', fail = 0 },
      ['events'] = { answer = events, fail = 1 },
      ['an error'] = { answer = failure, fail = 2 },
      ['another digit'] = { answer = '7\0odd', fail = 7 },
      ['a digit only'] = { answer = '2', fail = 2 },
      ['no answer'] = { answer = '', fail = 1, message = 'without an answer' },
      ['no answer of qubesd'] = { answer = 'HTTP/1.1 400', fail = 1, out = '', message = 'not an answer' },
      ['a strange byte'] = { answer = '\xff\0', fail = 1, out = '', message = '0xff' },
    } do
      it('tells of ' .. name .. ' with --fail only', function()
        answering(case.answer)
        for _, option in ipairs { '--empty', '--fail' } do
          local run = query('', option, 'a', 'm', 'b')
          assert.equal(option == '--fail' and case.fail or 0, run.code)
          assert.equal(case.out or case.answer, run.out)
          if case.message then
            assert.matches(case.message, run.err, 1, true)
            assert.equal(1, select(2, run.err:gsub('\n', '')))
          else
            assert.equal('', run.err)
          end
        end
      end)
    end

    it('tells of a socket that is not there, or dead', function()
      local run = query('', '-e', 'a', 'm', 'b')
      assert.equal(1, run.code)
      assert.equal('', run.out)
      assert.matches(path, run.err, 1, true)
      assert.matches('No such file', run.err, 1, true)

      assert(shell('exec >&2; : > "$3"', '').code == 0)
      assert.matches('refused', query('', '-e', 'a', 'm', 'b').err, 1, true)
      assert.equal(1, query('', '-e', '--null', 'a', 'm', 'b').code)
    end)

    it('tells of a path that cannot be a socket', function()
      for bad, message in pairs {
        [('x'):rep(108)] = 'name too long',
        [('x'):rep(5000)] = 'name too long',
        [''] = 'no such file',
      } do
        local run = fake.spawn(program, { '-e', '-c', bad, 'a', 'm', 'b' }):finish()
        assert.equal(1, run.code)
        assert.equal('', run.out)
        assert.matches(message, run.err:lower(), 1, true)
      end
    end)

    it('tells of a daemon that drops the connection', function()
      for _, option in ipairs { '--null', '--fail' } do
        server = fake.listen(path, function(connection) connection:close() end, { early = true })
        local run = query(('x'):rep(65536), option, 'a', 'm', 'b')
        assert.equal(1, run.code)
        assert.equal('', run.out)
        assert.not_equal('', run.err)
        server:close()
        uv.fs_unlink(path)
      end
    end)

    it('tells of a connection that breaks within an answer, after its beginning', function()
      server = fake.listen(path, function(connection)
        connection:send '0\0begin'
        connection:close(50) -- the request is in the socket by then, unread
      end, { early = true })
      local run = query('payload', 'a', 'm', 'b')
      assert.equal(1, run.code)
      assert.equal('0\0begin', run.out)
      assert.matches('reading the answer', run.err, 1, true)
    end)
  end)

  describe('--null', function()
    it('ends the output with a NUL', function()
      answering '0\0data'
      assert.equal('0\0data\0', query('', '--null', 'a', 'm', 'b').out)
    end)

    it('does so after errors and without an answer, too', function()
      answering '2\0Type\0\0why\0'
      assert.equal('2\0Type\0\0why\0\0', query('', '--null', 'a', 'm', 'b').out)
      server:close()
      uv.fs_unlink(path)
      answering ''
      local run = query('', '--null', 'a', 'm', 'b')
      assert.equal('\0', run.out)
      assert.equal(0, run.code)
    end)

    it('does nothing with --fail', function()
      answering '0\0data'
      assert.equal('0\0data', query('', '--null', '--fail', 'a', 'm', 'b').out)
    end)
  end)

  describe('answer', function()
    it('may be large, and its reader slow', function()
      local lines = {}
      for i = 1, 700000 do
        lines[i] = ('qube%d class=AppVM state=Halted\n'):format(i)
      end
      local answer = '0\0' .. table.concat(lines)
      answering(answer)
      assert.is_true(#answer > 20000000)
      local copy = directory .. '/copy'
      local run = shell('"$@" | { sleep 0.2; cat > "$3.copy"; }; cat "$3.copy"; rm "$3.copy"', '', '-e', 'a', 'm', 'b')
      assert.equal(0, run.code)
      assert.is_nil(uv.fs_stat(copy))
      assert.is_true(run.out == answer)
    end)

    it('may come byte by byte', function()
      server = fake.listen(path)
      local run = start('-e', '--fail', 'a', 'm', 'b')
      fake.wait_until('the request', function() return server.connections[1] and server.connections[1].ended end)
      local answer = '2\0Type\0\0why\0'
      for i = 1, #answer do
        server.connections[1]:send(answer:sub(i, i))
        fake.wait_until('byte ' .. i, function() return run.out == answer:sub(1, i) end)
      end
      server.connections[1]:close()
      assert.equal(2, run:finish().code)
    end)

    it('is awaited after the request was half-closed', function()
      server = fake.listen(path)
      local run = start('-e', 'a', 'm', 'b')
      fake.wait_until('the request', function() return server.connections[1] and server.connections[1].ended end)
      fake.pause(100)
      assert.is_nil(run.code)
      server.connections[1]:send '0\0late'
      server.connections[1]:close()
      assert.equal('0\0late', run:finish().out)
    end)

    it('is passed on when the daemon gives it before it has the whole request', function()
      server = fake.listen(path, function(connection)
        connection:send '2\0ProtocolError\0\0too long\0'
        connection:close()
      end, { early = true })
      local run = start('--fail', 'a', 'm', 'b')
      run:input(nil)
      run:finish()
      assert.equal('2\0ProtocolError\0\0too long\0', run.out)
    end)
  end)

  describe('event stream', function()
    local function begin(...)
      server = fake.listen(path)
      local run = start('-e', ...)
      fake.wait_until('the request', function() return server.connections[1] and server.connections[1].ended end)
      return run, server.connections[1]
    end

    it('is written event by event', function()
      local run, connection = begin('dom0', 'admin.Events', 'dom0')
      local sent = ''
      for i = 1, 20 do
        local event = ('1\0qube%d\0domain-start\0start_guid\0None\0\0'):format(i)
        sent = sent .. event
        connection:send(event)
        fake.wait_until('event ' .. i, function() return run.out == sent end)
        assert.is_nil(run.code)
      end
      connection:close()
      run:finish()
      assert.equal(0, run.code)
      assert.equal(sent, run.out)
      assert.equal('admin.Events+ dom0 name dom0\0', connection.request)
    end)

    it('survives being stopped and continued', function()
      local run, connection = begin('dom0', 'admin.Events', 'dom0')
      connection:send '1\0\0first\0\0'
      fake.wait_until('the event', function() return run.out ~= '' end)
      for _ = 1, 3 do
        run:kill 'sigstop'
        fake.pause(20)
        run:kill 'sigcont'
        fake.pause(20)
      end
      connection:send '1\0\0second\0\0'
      connection:close()
      run:finish()
      assert.equal('1\0\0first\0\0001\0\0second\0\0', run.out)
      assert.equal(0, run.code)
    end)

    for _, signal in ipairs { 'sigint', 'sigterm' } do
      it('ends with status 1 on ' .. signal, function()
        local run, connection = begin('dom0', 'admin.Events', 'dom0')
        connection:send '1\0\0first\0\0'
        fake.wait_until('the event', function() return run.out ~= '' end)
        run:kill(signal)
        run:finish()
        assert.equal(1, run.code)
        assert.equal(0, run.signal)
        assert.equal('1\0\0first\0\0', run.out)
        assert.matches('signal', run.err, 1, true)
        fake.wait_until('the end of the connection', function() return server:client_left(1) end)
      end)
    end

    it('does not outlive its reader, even if no event comes', function()
      local run, connection = begin('dom0', 'admin.Events', 'dom0')
      connection:send '1\0\0first\0\0'
      fake.wait_until('the event', function() return run.out ~= '' end)
      run:stop_reading()
      run:finish()
      assert.equal(1, run.code)
      assert.equal(0, run.signal)
      assert.matches('Broken pipe', run.err, 1, true)
    end)

    it('does not outlive the reader of a pipe either', function()
      server = fake.listen(path)
      local command = '"$@" | head -c 2; echo over'
      local run = fake.spawn('sh', { '-c', command, 'sh', program, '-c', path, '-e', 'a', 'm', 'b' })
      fake.wait_until('the request', function() return server.connections[1] and server.connections[1].ended end)
      server.connections[1]:send '1\0\0first\0\0'
      run:finish()
      assert.equal('1\0over\n', run.out)
    end)
  end)

  describe('standard streams', function()
    before_each(function() answering('0\0' .. ('x'):rep(1000000)) end)

    it('are needed before a call is made', function()
      local run = shell('"$@" >&-', '', '-e', 'a', 'm', 'b')
      assert.equal(1, run.code)
      assert.matches('standard output', run.err, 1, true)
      run = shell('"$@" <&-', '', 'a', 'm', 'b')
      assert.equal(1, run.code)
      assert.matches('standard input', run.err, 1, true)
      assert.equal(0, #server.connections)
    end)

    it('may be closed where they are not needed', function()
      local run = shell('"$@" <&- 2>&-', '', '-e', 'a', 'm', 'b')
      assert.equal(0, run.code)
      assert.equal(1000002, #run.out)
      assert.equal('m+ a name b\0', request())
    end)

    it('may be non-blocking', function()
      -- Both would be made blocking by luv as 0 and 1, so they arrive as 3 and 4.
      local input = uv.pipe({ nonblock = true }, {})
      local output = uv.pipe({ nonblock = true }, { nonblock = true })
      local reader, received, over = uv.new_pipe(false), {}, false
      local run = fake.spawn('sh', { '-c', 'exec "$@" <&3 >&4', 'sh', program, '-c', path, 'a', 'm', 'b' }, nil,
        { input.read, output.write })
      fake.pause(50) -- it finds nothing to read
      assert(uv.fs_write(input.write, 'payload'))
      assert(uv.fs_close(input.write))
      fake.wait_until('the request', function() return server.connections[1] and server.connections[1].ended end)
      fake.pause(50) -- it finds the pipe full
      assert(reader:open(output.read))
      reader:read_start(function(err, data)
        assert(not err, err)
        received[#received + 1] = data
        over = data == nil
      end)
      fake.wait_until('the answer', function() return over end)
      reader:close()
      assert.equal(0, run:finish().code)
      assert.equal('m+ a name b\0payload', request())
      assert.is_true(table.concat(received) == '0\0' .. ('x'):rep(1000000))
    end)

    it('that cannot be written are an error', function()
      local run = shell('"$@" >/dev/full', '', '-e', 'a', 'm', 'b')
      assert.equal(1, run.code)
      assert.matches('No space left', run.err, 1, true)
      run = fake.spawn('sh', { '-c', '"$@" --help >/dev/full', 'sh', program }):finish()
      assert.equal(1, run.code)
    end)

    it('that are closed by their reader are an error, not a death', function()
      local run = shell('{ "$@"; echo "$?" >&2; } | head -c 1', '', '-e', 'a', 'm', 'b')
      assert.equal('0', run.out)
      assert.matches('Broken pipe.*\n1\n$', run.err)
    end)
  end)
end)
