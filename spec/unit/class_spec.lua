-- SPDX-License-Identifier: GPL-2.0-or-later
-- lib/class.lua, lib/glob.lua and lib/events.lua: the order of parents and handlers, wildcards, what subscribers see.

local fake_core = require('spec.support.fake_core')

local function empty_world()
  local world = fake_core.new { scripts = 'scripts' }
  world:import('globals')
  return world, world.environment
end

describe('glob', function()
  local match = empty_world():import('glob').match

  it('matches as a shell does', function()
    for _, case in ipairs {
      { 'abc', 'abc', true }, { 'abc', 'abcd', false }, { '*', '', true }, { 'a*', 'a', true }, { 'a?c', 'abc', true }, { 'a?c', 'ac', false },
      { '*:set', 'x:set', true }, { 'property-*:n*m', 'property-set:netvm', true }, { 'a*b*c', 'a-b-b-c', true }, { 'a*b*c', 'a-c-b', false },
      { 'a.c', 'abc', false }, { '[a]', 'a', false }, { '%a', 'x', false },
    } do
      assert.equal(case[3], match(case[1], case[2]), case[1] .. ' ' .. case[2])
    end
  end)

  it('does not take long on what is hard for a pattern', function()
    assert.is_false(match(('*a'):rep(30), ('a'):rep(29)))
    assert.is_false(match(('a*'):rep(40) .. 'b', ('a'):rep(5000)))
  end)
end)

describe('class', function()
  it('puts parents in the order of C3', function()
    local world, env = empty_world()
    local classes = world:import('class')
    env.class('O', {})
    for name, parents in pairs { A = { 'O' }, B = { 'O' }, C = { 'O' }, D = { 'A', 'B' }, E = { 'B', 'C' }, F = { 'D', 'E' } } do
      env.class(name, { parents = parents })
    end
    assert.same({ 'F', 'D', 'A', 'E', 'B', 'C', 'O' }, classes.resolved.F.order)
  end)

  it('refuses loops, unknown parents and orders that contradict each other', function()
    for _, declare in ipairs {
      function(class) class('X', { parents = { 'X' } }) end,
      function(class) class('X', { parents = { 'Nobody' } }) end,
      function(class)
        class('A', {})
        class('B', { parents = { 'A' } })
        class('X', { parents = { 'A', 'B' } })
      end,
    } do
      local world, env = empty_world()
      env.class('BaseVM', {})
      declare(env.class)
      assert.has_error(function() return world:import('class').resolved.X.name end)
    end
  end)

  it('lists properties by stage, then by name, and the nearest class wins', function()
    local world, env = empty_world()
    env.class('Parent', {}):property('z', { default = 1 })
    env.class('Parent'):property('netvm', { type = 'vm', stage = 4 })
    local child = env.class('Child', { parents = { 'Parent' } })
    child:property('z', { default = 2 })
    child:property('b', {})
    local r = world:import('class').resolved.Child
    assert.same({ 'b', 'z', 'netvm' }, r.names)
    assert.equal(2, r.properties.z.default)
  end)
end)

describe('events', function()
  local function chain()
    local world, env = empty_world()
    local seen = {}
    local function note(name)
      return function(_, event) seen[#seen + 1] = name .. ' ' .. event end
    end
    env.class('BaseVM', {}):on('e', note('base'))
    local middle = env.class('LocalVM', { parents = { 'BaseVM' } })
    env.on('e', note('extension'))
    middle:on('e', note('middle'))
    env.class('QubesVM', { parents = { 'LocalVM' } }):on('*', note('any'))
    local qube = world.core.add_qube { name = 'q', class = 'QubesVM' }
    return qube, seen, world
  end

  it('run from the furthest parent to the class, extensions after the class they hook', function()
    local qube, seen = chain()
    qube:fire('e')
    assert.same({ 'base e', 'middle e', 'extension e', 'any e' }, seen)
  end)

  it('run the other way round when fired with pre', function()
    local qube, seen = chain()
    qube:fire('e', nil, true)
    assert.same({ 'any e', 'middle e', 'extension e', 'base e' }, seen)
  end)

  it('are not resolved anew each time, and the cache of names does not grow without bound', function()
    local qube, _, world = chain()
    for i = 1, 10000 do qube:fire('domain-tag-add:' .. i) end
    assert.is_true(world:import('class').resolved.QubesVM.cached <= 4096)
  end)

  it('are not told of a removed qube, nor when they are questions inside the daemon', function()
    local qube, _, world = chain()
    world.outbox = {}
    qube:fire('domain-is-fully-usable')
    qube:fire('e')
    world.core.delete_qube(qube)
    qube:fire('e')
    assert.equal(1, #world.outbox)
  end)

  it('run what is to be done after them when everybody was told', function()
    local world, env = empty_world()
    local told
    env.class('QubesVM', {}):after('e', function() told = #world.outbox end)
    world.core.add_qube { name = 'q', class = 'QubesVM' }:fire('e')
    assert.equal(1, told)
  end)

  it('answer what the handlers returned', function()
    local world, env = empty_world()
    env.class('BaseVM', {}):on('ask', function() return 'first' end)
    env.class('QubesVM', { parents = { 'BaseVM' } }):on('a?k', function() return 'second' end)
    local qube = world.core.add_qube { name = 'q', class = 'QubesVM' }
    assert.same({ 'first', 'second' }, qube:fire('ask'))
    assert.is_nil(qube:fire('nothing'))
  end)
end)
