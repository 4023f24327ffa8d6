-- SPDX-License-Identifier: GPL-2.0-or-later
-- qubesd --copy-store: the store as it is at one moment, also while a daemon serves and writes.

local uv = require('luv')
local daemons = require('spec.support.daemon')

describe('a copy of the store', function()
  local d, directory

  before_each(function()
    d = daemons.start()
    d:estate { 'work' }
    directory = daemons.temporary_directory()
  end)

  after_each(function()
    d:stop()
    daemons.remove_tree(directory)
  end)

  -- Whether it succeeds, and what it says.
  local function copy(target, state)
    local pipe = assert(io.popen(("%s/qubesd --copy-store '%s' --state-dir '%s' 2>&1; echo $?"):format(daemons.build_dir, target, state or d.directory)))
    local text = pipe:read('a')
    pipe:close()
    return text:match('(%d+)\n$') == '0', text
  end

  it('is a store with the same qubes, for its owner only', function()
    local pending = {}
    for i = 1, 30 do pending[i] = d:begin('dom0', 'admin.vm.feature.Set', 'work', 'f' .. i, 'x') end
    assert.is_true(copy(directory .. '/qubesd.db'))
    for i = 1, 30 do assert.truthy(daemons.run_until(function() return pending[i].result() end, 10)) end
    assert.are.equal(384, uv.fs_stat(directory .. '/qubesd.db').mode & 511)
    local other = daemons.start { directory = directory }
    assert.are.equal(d:ok('admin.vm.List'), other:ok('admin.vm.List'))
    uv.kill(other.pid, 'sigterm')
    daemons.run_until(function() return other.exit_code end, 20)
    other:kill_only()
    assert.are.equal(0, other.exit_code)
  end)

  it('replaces no file, and is made of a store only', function()
    local path = directory .. '/taken'
    assert(io.open(path, 'w')):close()
    local good, words = copy(path)
    assert.is_false(good)
    assert.truthy(words:find('File exists', 1, true))
    good, words = copy(directory .. '/copy', directory)
    assert.is_false(good)
    assert.truthy(words:find('No such file', 1, true))
    assert(io.open(directory .. '/qubesd.db', 'w')):close()
    good, words = copy(directory .. '/copy', directory)
    assert.is_false(good)
    assert.truthy(words:find('no store of qubesd', 1, true))
    assert.is_nil(uv.fs_stat(directory .. '/copy'))
  end)
end)
