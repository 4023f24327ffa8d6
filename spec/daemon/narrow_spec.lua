-- SPDX-License-Identifier: GPL-2.0-or-later
-- narrow() of rules: the rules of a less trusted admin can only take away, only for the qubes with their tag, and whatever they do is felt there only.

local uv = require('luv')
local daemon = require('spec.support.daemon')
local new_clock = require('spec.support.clock')

local CONSOLE = { socket = 'qubesd.console.sock' }
local GENERIC = 'the rules do not permit this call'
local MAIN = "narrow('narrow.d/alice', { tag = 'alice' })\n"

describe('narrow rules', function()
  local d, clock, directory

  setup(function()
    clock = new_clock()
    d = daemon.start { binary = 'qubesd-testing', env = clock.env }
    d:estate { 'hers', 'hers-too', 'mine', 'caller', 'friend' }
    for _, qube in ipairs { 'hers', 'hers-too' } do d:ok('admin.vm.tag.Set', qube, 'alice') end
    d:ok('admin.vm.tag.Set', 'friend', 'friend')
    directory = d.acl_dir .. '/narrow.d/alice'
    assert(uv.fs_mkdir(d.acl_dir .. '/narrow.d', 448))
  end)

  teardown(function()
    d:stop()
    clock:remove()
  end)

  local function put(name, text)
    local file = assert(io.open(directory .. '/.new', 'w'))
    file:write(text)
    file:close()
    assert(os.rename(directory .. '/.new', directory .. '/' .. name))
  end

  -- Main rules and rules of alice, in force.
  local function serve(text, main)
    put('10-hers.lua', text)
    d:set_rule('10-main.lua', main or MAIN)
  end

  before_each(function()
    clock:advance(3600) -- what earlier specs have used up of the time is earned again
    daemon.remove_tree(directory)
    assert(uv.fs_mkdir(directory, 448))
    d:remove_rule('10-main.lua')
    assert.equal('ok', d:reload().kind)
  end)

  local function listed(src, dest)
    local names, answer = {}, d:call(src, 'admin.vm.List', dest or 'dom0')
    assert.equal('ok', answer.kind, answer.message)
    for name in answer.body:gmatch('([^\n ]+) class=') do names[#names + 1] = name end
    return table.concat(names, ' ')
  end

  local ALL, WITHOUT = 'caller dom0 fedora friend hers hers-too mine', 'caller dom0 fedora friend mine'

  local function refused(method, dest, arg, src, words)
    local answer = d:call(src or 'caller', method, dest, arg)
    assert.equal('PermissionDenied', answer.class, ('%s %s: %s'):format(method, dest, tostring(answer.message)))
    assert.equal(words or GENERIC, answer.message)
  end

  local function permitted(method, dest, arg, src, options)
    local answer = d:call(src or 'caller', method, dest, arg, '', options)
    assert.equal('ok', answer.kind, ('%s %s: %s'):format(method, dest, tostring(answer.message)))
    return answer.body
  end

  it('refuse calls of qubes with the tag, and of no others', function()
    serve("on('admin-permission:*', function(src, event, info) deny('by ' .. src.name .. ' to ' .. info.dest.name) end)")
    refused('admin.vm.tag.List', 'hers')
    refused('mgmt.vm.tag.List', 'hers')
    permitted('admin.vm.tag.List', 'mine')
    permitted('admin.label.List', 'dom0')
    permitted('admin.property.List', 'dom0')
    assert.is_true(d:logged('by acl.d/narrow.d/alice/10-hers.lua:1: by caller to hers'))
    d:ok('admin.vm.tag.Set', 'mine', 'alice')
    refused('admin.vm.tag.List', 'mine')
    d:ok('admin.vm.tag.Remove', 'mine', 'alice')
    permitted('admin.vm.tag.List', 'mine')
  end)

  it('take away, and give nothing back', function()
    serve("on('admin-permission:admin.vm.tag.List', function() end)",
      MAIN .. "on('admin-permission:admin.vm.tag.List', function(src) if src.name == 'caller' then deny('said the main rule') end end)")
    refused('admin.vm.tag.List', 'hers', '', 'caller', 'said the main rule')
    permitted('admin.vm.tag.List', 'hers', '', 'friend')
  end)

  it('never hold dom0 or the console', function()
    serve("on('admin-permission:*', function() deny() end)")
    permitted('admin.vm.tag.List', 'hers', '', 'dom0')
    assert.equal(ALL, listed('dom0'))
    permitted('admin.vm.tag.List', 'hers', '', 'caller', CONSOLE)
    d:ok('admin.vm.tag.Set', 'dom0', 'alice')
    assert.equal(WITHOUT, listed('caller'))
    permitted('admin.label.List', 'dom0')
    d:ok('admin.vm.tag.Remove', 'dom0', 'alice')
  end)

  it('hold only the sources that the main rules say', function()
    serve("on('admin-permission:*', function() deny() end)", "narrow('narrow.d/alice', { tag = 'alice', src = 'tag:friend' })")
    permitted('admin.vm.tag.List', 'hers')
    refused('admin.vm.tag.List', 'hers', '', 'friend')
  end)

  for name, rule in pairs {
    filter = 'return function(item) return %s end',
    whole = 'return filter_list(function(items) local kept = {} for _, item in ipairs(items) do if %s then kept[#kept + 1] = item end end return kept end)',
  } do
    it('hide their own qubes and no others: ' .. name, function()
      serve(("on('admin-permission:admin.vm.List', function() %s end)"):format(rule:format('false')))
      assert.equal(WITHOUT, listed('caller'))
      assert.equal('QubesVMNotFoundError', d:call('caller', 'admin.vm.tag.List', 'hers').class)
      permitted('admin.vm.tag.List', 'mine')
      assert.equal('hers', listed('hers', 'hers') .. (listed('hers', 'hers') == '' and 'hers' or '')) -- itself a qube may know
      serve(("on('admin-permission:admin.vm.List', function() %s end)"):format(rule:format("item.name ~= 'hers-too'")))
      assert.equal('caller dom0 fedora friend hers mine', listed('caller'))
      permitted('admin.vm.tag.List', 'hers')
      assert.equal('QubesVMNotFoundError', d:call('caller', 'admin.vm.tag.List', 'hers-too').class)
    end)
  end

  it('see none but their own qubes in lists', function()
    serve([[on('admin-permission:admin.vm.List', function()
      return filter_list(function(items)
        for _, item in ipairs(items) do if not item.tags.alice then error('there is ' .. item.name) end end
        return items
      end)
    end)]])
    assert.equal(ALL, listed('caller'))
    permitted('admin.vm.tag.List', 'hers')
  end)

  -- Each goes wrong when it is asked for a list; what is theirs goes, the rest stays.
  for name, rule in pairs {
    error = "error('no')", denial = "deny('no')", loop = 'while true do end', pcall_loop = 'while true do pcall(function() while true do end end) end',
    memory = 'local t = {} while true do t[#t + 1] = {} end', wrong_result = 'return 5', no_filter = "return { 'x' }",
    filter_error = "return function() error('no') end", filter_loop = 'return function() while true do end end',
    filter_text = "return function() return 'x' end",
    list_adds = 'return filter_list(function(items) items[#items + 1] = src return items end)', list_none = 'return filter_list(function() end)',
    list_loop = 'return filter_list(function() while true do end end)',
  } do
    it('that go wrong in a list lose their own items: ' .. name, function()
      serve(("on('admin-permission:admin.vm.List', function(src, event, info) %s end)"):format(rule))
      assert.equal(WITHOUT, listed('caller'))
      assert.equal(ALL, listed('dom0'))
      permitted('admin.vm.tag.List', 'mine')
      if name == 'denial' then
        permitted('admin.vm.tag.List', 'hers') -- a denial of the list hides nothing
        refused('admin.vm.List', 'hers')
      else
        assert.equal('QubesVMNotFoundError', d:call('caller', 'admin.vm.tag.List', 'hers').class)
      end
      assert.equal('caller', listed('caller', 'caller'))
    end)
  end

  it('filter other lists only of their own qubes', function()
    d:ok('admin.vm.feature.Set', 'hers', 'x', '1')
    d:ok('admin.vm.feature.Set', 'mine', 'x', '1')
    serve([[
      on('admin-permission:admin.vm.feature.List', function() return function() return false end end)
      on('admin-permission:admin.vm.property.Get', function(src, event, info) if info.arg ~= 'label' then deny() end end)
      on('admin-permission:admin.label.List', function() return function() return false end end)]])
    assert.equal('', permitted('admin.vm.feature.List', 'hers'))
    assert.equal('x\n', permitted('admin.vm.feature.List', 'mine'))
    assert.truthy(permitted('admin.vm.property.GetAll', 'hers'):find('^label [^\n]*\n$'))
    assert.is_true(#permitted('admin.vm.property.GetAll', 'mine') > 100)
    assert.is_true(#permitted('admin.label.List', 'dom0') > 10)
  end)

  it('filter events of their own qubes only', function()
    serve([[on('admin-permission:admin.Events', function()
      return function(subject, name, info) return name:sub(1, 10) ~= 'domain-tag' end
    end)]])
    local all, of_hers, of_mine = d:subscribe('caller'), d:subscribe('caller', 'hers'), d:subscribe('caller', 'mine')
    local full = d:subscribe('dom0')
    for _, stream in ipairs { all, of_hers, of_mine, full } do assert.truthy(stream:wait('connection-established')) end
    for _, qube in ipairs { 'hers', 'mine' } do
      d:ok('admin.vm.tag.Set', qube, 'news')
      d:ok('admin.vm.tag.Remove', qube, 'news')
      d:ok('admin.vm.feature.Set', qube, 'end', '1')
    end
    local function told(stream)
      local got = {}
      for _, event in ipairs(stream:take(0.2)) do got[#got + 1] = event.subject .. ' ' .. event.name end
      return table.concat(got, ',')
    end
    local seen = told(all)
    assert.falsy(seen:find('hers domain-tag', 1, true))
    assert.truthy(seen:find('hers domain-feature-set:end', 1, true))
    assert.truthy(seen:find('mine domain-tag-add:news', 1, true))
    assert.falsy(told(of_hers):find('domain-tag', 1, true))
    assert.truthy(told(of_mine):find('domain-tag-add:news', 1, true))
    assert.truthy(told(full):find('hers domain-tag-add:news', 1, true))
    for _, stream in ipairs { all, of_hers, of_mine, full } do stream:close() end
    for _, qube in ipairs { 'hers', 'mine' } do d:ok('admin.vm.feature.Remove', qube, 'end') end
  end)

  for name, rule in pairs {
    error = "error('no')", denial = "deny('no')", filter_error = "return function() error('no') end", loop = 'while true do end',
    filter_loop = 'return function() while true do end end', list_filter = 'return filter_list(function(items) return items end)',
  } do
    it('that go wrong in a stream lose their own events: ' .. name, function()
      serve(("on('admin-permission:admin.Events', function() %s end)"):format(rule))
      local all, of_mine = d:subscribe('caller'), d:subscribe('caller', 'mine')
      assert.truthy(all:wait('connection-established'))
      assert.truthy(of_mine:wait('connection-established'))
      for _, qube in ipairs { 'hers', 'mine' } do d:ok('admin.vm.tag.Set', qube, 'news') end
      assert.truthy(daemon.run_until(function() return all.buffer:find('mine\0domain-tag-add:news', 1, true) end, 5))
      assert.truthy(daemon.run_until(function() return of_mine.buffer:find('mine\0domain-tag-add:news', 1, true) end, 5))
      assert.falsy(all.buffer:find('hers', 1, true))
      for _, qube in ipairs { 'hers', 'mine' } do d:ok('admin.vm.tag.Remove', qube, 'news') end
      all:close()
      of_mine:close()
    end)
  end

  it('decide on events of a qube that has got the tag since', function()
    serve("on('admin-permission:admin.Events', function() return function() return false end end)")
    local of_mine = d:subscribe('caller', 'mine')
    assert.truthy(of_mine:wait('connection-established'))
    d:ok('admin.vm.tag.Set', 'mine', 'before')
    d:ok('admin.vm.tag.Set', 'mine', 'alice')
    d:ok('admin.vm.tag.Set', 'mine', 'after')
    d:ok('admin.vm.tag.Remove', 'mine', 'alice')
    d:ok('admin.vm.tag.Set', 'mine', 'again')
    assert.truthy(daemon.run_until(function() return of_mine.buffer:find('domain-tag-add:again', 1, true) end, 5))
    assert.truthy(of_mine.buffer:find('domain-tag-add:before', 1, true))
    assert.falsy(of_mine.buffer:find('domain-tag-add:after', 1, true))
    of_mine:close()
    for _, tag in ipairs { 'before', 'after', 'again' } do d:ok('admin.vm.tag.Remove', 'mine', tag) end
  end)

  it('that loop are stopped soon, and not asked again for a while', function()
    serve("on('admin-permission:admin.vm.tag.*', function(src) if src.name == 'caller' then while true do end end end)")
    refused('admin.vm.tag.List', 'hers')
    assert.is_true(d:logged('acl.d/narrow.d/alice: the narrow rules have used up their share of the time: too '))
    local from = #d.log
    for _ = 1, 50 do refused('admin.vm.tag.List', 'hers') end
    refused('admin.vm.tag.List', 'hers', '', 'friend') -- nor for others
    for _ = 1, 50 do permitted('admin.vm.tag.List', 'mine') end
    assert.falsy(d.log:find('used up their share of the time: ', from, true))
    assert.truthy(d.log:find('the share of the time is used up', from, true))
    clock:advance(11)
    permitted('admin.vm.tag.List', 'hers', '', 'friend')
  end)

  it('that keep what they are given are refused in the end, and the daemon goes on', function()
    serve("local kept = {} on('admin-permission:admin.vm.tag.List', function() kept[#kept + 1] = ('x'):rep(1000000 + #kept) end)")
    local calls = 0
    repeat
      calls = calls + 1
      clock:advance(60)
      local answer = d:call('caller', 'admin.vm.tag.List', 'hers')
    until answer.kind ~= 'ok' or calls == 400
    assert.is_true(d:logged('acl.d/narrow.d/alice: the narrow rules keep too much memory: refused until the next reload'))
    assert.equal(WITHOUT, listed('caller'))
    permitted('admin.vm.tag.List', 'mine')
    assert.equal('ok', d:reload().kind)
    permitted('admin.vm.tag.List', 'hers')
  end)

  -- What keeps a set from loading: the main rules go on, qubes with the tag are dom0's only.
  local function closed(words)
    d:set_rule('10-main.lua', MAIN .. "on('admin-permission:admin.vm.tag.Get', function(src) if src.name == 'caller' then deny('main') end end)")
    assert.is_true(d:logged(words), d.log:sub(-600))
    assert.equal(WITHOUT, listed('caller'))
    assert.equal(ALL, listed('dom0'))
    assert.equal('QubesVMNotFoundError', d:call('caller', 'admin.vm.Start', 'hers').class)
    refused('admin.vm.tag.List', 'hers', '', 'hers')
    permitted('admin.vm.tag.List', 'hers', '', 'dom0')
    permitted('admin.vm.tag.List', 'mine')
    refused('admin.vm.tag.Get', 'mine', 'x', 'caller', 'main')
    local stream = d:subscribe('caller')
    assert.truthy(stream:wait('connection-established'))
    for _, qube in ipairs { 'hers', 'mine' } do d:ok('admin.vm.tag.Set', qube, 'news') end
    assert.truthy(stream:wait('domain-tag-add:news').subject == 'mine')
    stream:close()
    for _, qube in ipairs { 'hers', 'mine' } do d:ok('admin.vm.tag.Remove', qube, 'news') end
  end

  for text, words in pairs {
    ['on('] = 'acl.d/narrow.d/alice/10-hers.lua:1: ',
    ["error('no')"] = 'acl.d/narrow.d/alice/10-hers.lua:1: no',
    ['while true do end'] = 'acl.d/narrow.d/alice/10-hers.lua: too ',
    ["on('domain-start', function() end)"] = 'acl.d/narrow.d/alice/10-hers.lua:1: on(',
    ["narrow('narrow.d/alice', { tag = 'mine' })"] = "10-hers.lua:1: attempt to call a nil value (global 'narrow')",
    ["limit { src = 'caller', method = '*', rate = 1 }"] = "10-hers.lua:1: attempt to call a nil value (global 'limit')",
    ["grant { src = 'caller', method = '*', dest = 'hers' }"] = "10-hers.lua:1: attempt to call a nil value (global 'grant')",
    ["for _ = 1, 300 do on('admin-permission:*', function() end) end"] = 'more than 256 rules',
  } do
    it('that do not load close what is theirs: ' .. text, function()
      put('10-hers.lua', text)
      closed(words)
    end)
  end

  it('that are too large close what is theirs', function()
    put('10-hers.lua', '--' .. ('x'):rep(600000))
    put('20-hers.lua', '--' .. ('x'):rep(600000))
    closed('20-hers.lua: with it the files have more than 1048576 bytes')
  end)

  it('that are too many close what is theirs', function()
    for i = 1, 65 do put(i .. '.lua', '') end
    closed('acl.d/narrow.d/alice: more than 64 files')
  end)

  it('whose files are not plain close what is theirs', function()
    put('real', '-- nothing')
    assert(uv.fs_symlink('real', directory .. '/10-link.lua'))
    closed('acl.d/narrow.d/alice/10-link.lua: cannot be read, or is a link')
    os.remove(directory .. '/10-link.lua')
    assert(uv.fs_symlink('/etc/hostname', directory .. '/10-link.lua'))
    closed('acl.d/narrow.d/alice/10-link.lua: cannot be read, or is a link')
    os.remove(directory .. '/10-link.lua')
    assert(os.execute(("mkfifo '%s/10-fifo.lua'"):format(directory)))
    closed('acl.d/narrow.d/alice/10-fifo.lua: is no regular file')
    os.remove(directory .. '/10-fifo.lua')
    assert(uv.fs_mkdir(directory .. '/10-folder.lua', 448))
    closed('acl.d/narrow.d/alice/10-folder.lua: is no regular file')
    assert(uv.fs_rmdir(directory .. '/10-folder.lua'))
  end)

  it('that others may write close what is theirs', function()
    put('10-hers.lua', '-- nothing')
    for _, mode in ipairs { 436, 402 } do -- 0664, 0622
      assert(uv.fs_chmod(directory .. '/10-hers.lua', mode))
      closed('acl.d/narrow.d/alice/10-hers.lua: others than its owner may write to it')
    end
    assert(uv.fs_chmod(directory .. '/10-hers.lua', 420))
    for _, mode in ipairs { 504, 451 } do -- 0770, 0703
      assert(uv.fs_chmod(directory, mode))
      closed('acl.d/narrow.d/alice: others than its owner may write to it')
    end
    assert(uv.fs_chmod(directory, 448))
    assert.equal('ok', d:reload().kind)
    assert.equal(ALL, listed('caller'))
  end)

  -- Owners can be told apart only by who may change them.
  if uv.getuid() == 0 then
    it('of another owner than their directory close what is theirs', function()
      put('10-hers.lua', '-- nothing')
      assert(uv.fs_chown(directory, 12345, 12345))
      d:set_rule('10-main.lua', MAIN) -- root's file in her directory
      assert.equal(ALL, listed('caller'))
      assert(uv.fs_chown(directory .. '/10-hers.lua', 12345, 12345))
      assert.equal('ok', d:reload().kind)
      assert.equal(ALL, listed('caller'))
      assert(uv.fs_chown(directory .. '/10-hers.lua', 54321, 12345))
      closed('acl.d/narrow.d/alice/10-hers.lua: belongs neither to the directory\'s owner nor to root')
      assert(uv.fs_chown(directory, 0, 0))
    end)
  end

  it('whose directory is none, or behind a link, close what is theirs', function()
    daemon.remove_tree(directory)
    closed('acl.d/narrow.d/alice: is no directory that can be read without following links')
    assert(uv.fs_mkdir(d.acl_dir .. '/narrow.d/other', 448))
    assert(uv.fs_symlink('other', directory))
    closed('acl.d/narrow.d/alice: is no directory that can be read without following links')
    os.remove(directory)
    assert(uv.fs_mkdir(directory, 448))
    assert(uv.fs_symlink('narrow.d', d.acl_dir .. '/linked'))
    d:set_rule('10-main.lua', "narrow('linked/alice', { tag = 'alice' })")
    assert.equal(WITHOUT, listed('caller'))
    os.remove(d.acl_dir .. '/linked')
    d:set_rule('10-main.lua', "narrow('narrow.d/../narrow.d/alice', { tag = 'alice' })")
    assert.equal(WITHOUT, listed('caller'))
    d:set_rule('10-main.lua', MAIN)
    assert.equal(ALL, listed('caller'))
    daemon.remove_tree(d.acl_dir .. '/narrow.d/other')
  end)

  it('can be anywhere, by a path from the root', function()
    local elsewhere = daemon.temporary_directory()
    local file = assert(io.open(elsewhere .. '/a.lua', 'w'))
    file:write("on('admin-permission:admin.vm.tag.List', function() deny() end)")
    file:close()
    d:set_rule('10-main.lua', ("narrow('%s', { tag = 'alice' })"):format(elsewhere))
    refused('admin.vm.tag.List', 'hers')
    permitted('admin.vm.tag.List', 'mine')
    daemon.remove_tree(elsewhere)
  end)

  it('of several sets do not touch each other', function()
    assert(uv.fs_mkdir(d.acl_dir .. '/narrow.d/bob', 448))
    local file = assert(io.open(d.acl_dir .. '/narrow.d/bob/a.lua', 'w'))
    file:write("on('admin-permission:admin.vm.List', function() return function() error('bob') end end)")
    file:close()
    d:ok('admin.vm.tag.Set', 'mine', 'bob')
    d:ok('admin.vm.tag.Set', 'hers', 'bob')
    serve("on('admin-permission:admin.vm.List', function() return function(qube) return qube.name ~= 'hers-too' end end)",
      MAIN .. "narrow('narrow.d/bob', { tag = 'bob' })")
    assert.equal('caller dom0 fedora friend', listed('caller'))
    d:ok('admin.vm.tag.Remove', 'hers', 'bob')
    assert.equal('caller dom0 fedora friend hers', listed('caller'))
    d:ok('admin.vm.tag.Remove', 'mine', 'bob')
    assert.equal('caller dom0 fedora friend hers mine', listed('caller'))
    daemon.remove_tree(d.acl_dir .. '/narrow.d/bob')
  end)

  it('change nothing, and share nothing with the main rules', function()
    serve([[
      leaked = 1
      string.rep, ipairs = nil, nil
      on('admin-permission:admin.vm.tag.List', function(src, event, info) info.dest.tags.gone = true end)]],
      MAIN .. [[on('admin-permission:admin.vm.tag.Get', function(src)
        if src.name == 'caller' then deny(tostring(leaked) .. ('x'):rep(2) .. type(string.rep) .. type(ipairs)) end
      end)]])
    refused('admin.vm.tag.Get', 'mine', 'x', 'caller', 'nilxxfunctionfunction')
    refused('admin.vm.tag.List', 'hers')
    assert.falsy(d:ok('admin.vm.tag.List', 'hers'):find('gone', 1, true))
  end)

  it('are loaded when they change, and count for the digest', function()
    serve("on('admin-permission:admin.vm.tag.List', function() end)")
    local digest = d:reload().body:match('digest=(%x+)')
    permitted('admin.vm.tag.List', 'hers')
    put('10-hers.lua', "on('admin-permission:admin.vm.tag.List', function() deny() end)")
    assert.is_true(daemon.run_until(function() return d:call('caller', 'admin.vm.tag.List', 'hers').kind == 'exception' end, 10))
    assert.not_equal(digest, d:reload().body:match('digest=(%x+)'))
    -- A directory of the same name takes its place.
    assert(os.rename(directory, directory .. '.old'))
    assert(uv.fs_mkdir(directory, 448))
    assert.is_true(daemon.run_until(function() return d:call('caller', 'admin.vm.tag.List', 'hers').kind == 'ok' end, 10))
    put('20-new.lua', "on('admin-permission:admin.vm.tag.List', function() deny() end)")
    assert.is_true(daemon.run_until(function() return d:call('caller', 'admin.vm.tag.List', 'hers').kind == 'exception' end, 10))
    daemon.remove_tree(directory .. '.old')
  end)

  for text, words in pairs {
    ['narrow()'] = 'bad argument #1',
    ["narrow('narrow.d/alice')"] = 'narrow takes a table',
    ["narrow('narrow.d/alice', {})"] = "narrow: 'tag' has to be a string",
    ["narrow('narrow.d/alice', { tag = 'a b' })"] = "narrow: 'tag' is the name of a qube",
    ["narrow('narrow.d/alice', { tag = 'alice', src = 'no name' })"] = "narrow: 'src' is the name of a qube",
    ["narrow('narrow.d/alice', { tag = 'alice', tags = 'x' })"] = "narrow has no field 'tags'",
    ["narrow('', { tag = 'alice' })"] = 'narrow: the path has 1 to 200 bytes',
    ["narrow('a\\0b', { tag = 'alice' })"] = 'narrow: the path has 1 to 200 bytes',
    ["for i = 1, 33 do narrow('narrow.d/alice', { tag = 'a' .. i }) end"] = 'narrow: too many of them',
  } do
    it('that are declared wrong do not load: ' .. text, function()
      d:write_rule('10-main.lua', '\n' .. text)
      local answer = d:reload()
      assert.equal('QubesException', answer.class)
      assert.truthy(answer.message:find('acl.d/10-main.lua:2: ' .. words, 1, true), answer.message)
    end)
  end
end)
