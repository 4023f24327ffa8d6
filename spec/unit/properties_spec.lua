-- SPDX-License-Identifier: GPL-2.0-or-later
-- The declared properties are those of the reference (properties_facts.lua), and the page about them says what is declared.

local facts = require('spec.unit.properties_facts')
local fake_core = require('spec.support.fake_core')

describe('the properties', function()
  local classes

  setup(function()
    local world = fake_core.new { scripts = 'scripts' }
    world:load(true)
    classes = world:import('class')
  end)

  local function set_of(def)
    if def.read_only or def.computed then return 'no' end
    return def.write_once and 'once' or 'yes'
  end

  local function declared(class_name)
    local list = {}
    for name, def in pairs(classes.resolved[class_name].properties) do list[name] = { type = def.word, set = set_of(def) } end
    return list
  end

  it('are those of the reference, in every class', function()
    local creatable = { Qubes = true, AdminVM = true }
    for _, class_name in ipairs(classes.creatable()) do creatable[class_name] = true end
    for class_name in pairs(creatable) do
      assert.is_table(facts.classes[class_name], class_name .. ' is not in the facts')
      assert.same(facts.classes[class_name], declared(class_name), class_name)
    end
    for class_name in pairs(facts.classes) do assert.truthy(creatable[class_name], class_name) end
  end)

  it('refer to qubes of the same classes, or to none', function()
    for class_name in pairs(facts.classes) do
      for name, def in pairs(classes.resolved[class_name].properties) do
        if def.type == 'vm' then
          local where = class_name .. ' ' .. name
          assert.equal((facts.wanted_class[class_name] or {})[name] or 'LocalVM', def.wanted_class, where)
          assert.equal(not (facts.not_none[class_name] or {})[name], def.allow_none or false, where)
        end
      end
    end
  end)

  it('are each documented in words of some length', function()
    for class_name in pairs(facts.classes) do
      for name, def in pairs(classes.resolved[class_name].properties) do
        assert.truthy(#def.doc > 8 and def.doc:sub(-1) == '.', class_name .. ' ' .. name)
      end
    end
  end)

  it('stand in docs/properties.md as they are declared', function()
    local pipe = assert(io.popen('lua5.4 tools/gen-properties.lua --check 2>&1'))
    local told = pipe:read('a')
    assert.equal('', told)
    assert.truthy(pipe:close())
  end)
end)
