-- SPDX-License-Identifier: GPL-2.0-or-later
-- The helpers of methods that need no core: json, date, displayable.

local function lib(name)
  return dofile('scripts/lib/' .. name .. '.lua')
end

describe('json', function()
  local json = lib('json')

  it('writes objects with sorted keys, and arrays that stay arrays when empty', function()
    assert.equal('{"a": [], "b": [1, 2], "c": {}, "d": null, "e": true}',
      json.encode { e = true, d = json.null, c = {}, b = json.array { 1, 2 }, a = json.array {} })
  end)

  it('escapes what JSON does not allow in strings', function()
    assert.equal('"\\"\\\\\\n\\r\\t\\u0000\\u001f\\u007fż"', json.encode('"\\\n\r\t\0\31\127ż'))
  end)

  it('refuses what has no JSON', function()
    assert.has_error(function() json.encode(print) end)
    assert.has_error(function() json.encode { key = io.stdout } end)
  end)
end)

describe('date', function()
  local date = lib('date')

  it('agrees with the C library', function()
    for _, seconds in ipairs { 0, 951782400, 951868800, 1709164800, 1735689599, 1785585600, 4102444800, 68169600 } do
      assert.equal(os.date('!%Y-%m-%d %H:%M:%S', seconds), date.text(seconds))
    end
  end)

  it('drops fractions of seconds', function()
    assert.equal('1970-01-01 00:00:01', date.text(1.9))
  end)
end)

describe('displayable', function()
  local displayable = lib('displayable')

  it('keeps plain text of the usual scripts, tabs and line ends', function()
    local text = 'Zażółć\tgęślą\nжук 日本語 한국어 ÀÉ €'
    assert.equal(text, displayable.clean(text))
  end)

  it('replaces what could deceive', function()
    local deceiving = {
      'a\27[2Jb', 'a\u{202e}b', 'a\u{200b}b', 'a\u{00ad}b', 'a\u{0301}b', 'a\u{e000}b', 'a\u{1f600}b', 'a\rb', 'a\0b', 'a\127b', 'a\u{5d0}b', 'a\u{10ffff}b',
    }
    for _, text in ipairs(deceiving) do
      assert.matches('^a_[^\27]*b$', displayable.clean(text))
    end
  end)
end)
