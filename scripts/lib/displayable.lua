-- SPDX-License-Identifier: GPL-2.0-or-later
-- Which characters of a text from a qube may be shown to people: those that can't be mistaken for what they are not, move the cursor, turn the
-- direction of writing, or be combined with others. Registers nothing.
--
-- The table has, of Unicode 14: ASCII; letters and digits of the Latin, Greek, Cyrillic, Han, Hangul, Kana and Bopomofo scripts; punctuation and the
-- symbols of mathematics and currencies. No spaces but " ", no marks, nothing that is written from right to left.

local displayable = {}

local ranges = [[
20-7e a1-a5 a7 aa-ac b1-b3 b5-b7 b9-2c1 2c6 2c8-2d1 2e0-2e4 2ec 2ee 370-374 376-377 37a-37f 386-38a 38c 38e-3a1 3a3-3e1 3f0-481 48a-52f 1100-11ff
1c80-1c88 1d00-1dbf 1e00-1f15 1f18-1f1d 1f20-1f45 1f48-1f4d 1f50-1f57 1f59 1f5b 1f5d 1f5f-1f7d 1f80-1fb4 1fb6-1fbc 1fbe 1fc2-1fc4 1fc6-1fcc 1fd0-1fd3
1fd6-1fdb 1fe0-1fec 1ff2-1ff4 1ff6-1ffc 2010-2027 2030-205e 2070 2074-207e 2080-208e 2090-209c 20a0-20c0 2118 2126 212a-212b 2140-2144 214b 2150-215f
2184 2189 2190-2194 219a-219b 21a0 21a3 21a6 21ae 21ce-21cf 21d2 21d4 21f4-22ff 2308-230b 2320-2321 2329-232a 237c 239b-23b3 23dc-23e1 2460-249b
24ea-24ff 25b7 25c1 25f8-25ff 266f 2768-2793 27c0-27ff 2900-2aff 2b30-2b44 2b47-2b4c 2c60-2c7f 2e00-2e2e 2e30-2e4f 2e52-2e5d 3001-3003 3005-3011
3014-301f 3030-3035 303c-303d 3041-3096 309d-30ff 3105-312f 3131-318e 3192-3195 31a0-31bf 31f0-31ff 3220-3229 3248-324f 3251-325f 3280-3289 32b1-32bf
3400-4dbf 4e00-9fff a640-a66e a67f-a69d a717-a71f a722-a788 a78b-a7ca a7d0-a7d1 a7d3 a7d5-a7d9 a7f2-a7ff a960-a97c ab30-ab5a ab5c-ab69 ac00-d7a3
d7b0-d7c6 d7cb-d7fb f900-fa6d fa70-fad9 fb00-fb06 fe10-fe19 fe30-fe52 fe54-fe66 fe68-fe6b ff01-ff3d ff3f ff41-ffbe ffc2-ffc7 ffca-ffcf ffd2-ffd7 ffda-
ffdc ffe0-ffe2 ffe5-ffe6 ffe9-ffec 10140-10174 10780-10785 10787-107b0 107b2-107ba 1aff0-1aff3 1aff5-1affb 1affd-1affe 1b000-1b122 1b150-1b152
1b164-1b167 1d6c1 1d6db 1d6fb 1d715 1d735 1d74f 1d76f 1d789 1d7a9 1d7c3 1d7ce-1d7ff 1df00-1df1e 20000-2a6df 2a700-2b738 2b740-2b81d 2b820-2cea1
2ceb0-2ebe0 2f800-2fa1d 30000-3134a
]]

local first, last = {}, {}
for from, to in ranges:gmatch('(%x+)%-?(%x*)') do
  first[#first + 1] = tonumber(from, 16)
  last[#last + 1] = tonumber(to ~= '' and to or from, 16)
end

function displayable.is_safe(code_point)
  local low, high = 1, #first
  while low <= high do
    local middle = (low + high) // 2
    if code_point < first[middle] then
      high = middle - 1
    elseif code_point > last[middle] then
      low = middle + 1
    else
      return true
    end
  end
  return false
end

local function clean_one(character)
  return displayable.is_safe(utf8.codepoint(character)) and character or '_'
end

-- The text, which is valid UTF-8, with "_" for each character that is not safe to show. Tabs and line ends stay.
function displayable.clean(text)
  return (text:gsub('[^\t\n\x20-\x7e][\x80-\xbf]*', clean_one))
end

return displayable
