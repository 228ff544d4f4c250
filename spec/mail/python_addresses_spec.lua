-- Address lists, most of them broken by one or two bytes, against Python: email.utils.getaddresses in strict mode (the
-- answer to CVE-2023-27043) and email.headerregistry. The seed is fixed.
local address = require "moonmilter.address"
local codec = require "moonmilter.codec"

local TEXTS = 6000

-- ---- texts ----

local shapes = { "%s", "Ann <%s>", '"Doe, J" <%s>', "=?utf-8?q?J=C3=B6rg?= <%s>", "%s (Bob)", "A. B <%s>", "(c) <%s>",
  '"q \\" r" <%s>', "Team: %s;", "Ann Maria <%s> (x (y))" }
local marks = { '"', "<", ">", "(", ")", "[", "]", ",", ";", ":", "@", "\\", " ", ".", "=?", "?=" }

local function broken(text)
  local at = math.random(#text)
  if math.random(2) == 1 then
    return text:sub(1, at) .. marks[math.random(#marks)] .. text:sub(at + 1)
  end
  at = text:find('["<>()%[%],;:@\\]', at) or at
  return text:sub(1, at - 1) .. text:sub(at + 1)
end

local function a_text()
  local elements = {}
  for i = 1, math.random(3) do
    elements[i] = shapes[math.random(#shapes)]:format(("u%d@h%d.example"):format(i, i))
  end
  local text = table.concat(elements, ", ")
  for _ = 1, math.random(0, 2) do
    text = broken(text)
  end
  return text
end

-- ---- Python ----

local function python_with_strict()
  for _, name in ipairs { "python3", "/usr/bin/python3" } do
    if os.execute(name .. " -c 'import email.utils as u; assert u.supports_strict_parsing' 2>/dev/null") == 0 then
      return name
    end
  end
end

local function ask(python, texts)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  for _, text in ipairs(texts) do
    file:write(codec.base64_encode(text), "\n")
  end
  file:close()
  local pipe = assert(io.popen(python .. " spec/mail/python_addresses.py < " .. path))
  local answer = pipe:read "*a"
  pipe:close()
  os.remove(path)
  return assert(loadstring(answer))()
end

-- ---- comparison ----

local function bare(text)
  return (text:gsub('[%s"\\]', ""):gsub("%.$", ""))
end

-- Python also gives the rest of a text for an address, where a quote has no partner.
local function is_address(text)
  return text:find(".@.") ~= nil and not text:find '[^%w"\\@.=?\128-\255-]'
end

local function joined(list)
  local out = {}
  for _, text in ipairs(list) do
    out[#out + 1] = is_address(text) and bare(text) or nil
  end
  return table.concat(out, " ")
end

local function ours(text)
  local list = assert(address.mailboxes(text))
  local seen = { errors = list.errors, one = address.parse(text), text = text }
  local names = {}
  for i, m in ipairs(list) do
    seen[i], names[i] = m.address, m.name or ""
    seen.is_unbalanced = seen.is_unbalanced or m.is_unbalanced
    seen.has_address_in_name = seen.has_address_in_name or m.has_address_in_name
  end
  seen.names = table.concat(names, "\n")
  return seen
end

-- An address of Python's that we neither have nor name in an error, nor show in a name that is marked.
local function lost(mine, theirs)
  for _, text in ipairs(theirs) do
    local is_known = not is_address(text) or mine.has_address_in_name ~= nil
      and mine.names:find(bare(text:match "^[^@]*"), 1, true)
    for _, address_text in ipairs(mine) do
      is_known = is_known or bare(address_text) == bare(text)
    end
    for _, err in ipairs(mine.errors) do
      is_known = is_known or bare(err.source):find(bare(text:match "^[^@]*"), 1, true) ~= nil
    end
    if not is_known then
      return text
    end
  end
end

-- An encoded word that holds what ends words for Python, which decodes later.
local function has_special_word(text)
  local inner = text:match "=%?(.*)%?="
  return inner ~= nil and inner:find '[()<>@,;:"\\%[%]]' ~= nil
end

-- Why the lists differ although nothing is lost: the first that applies.
local reasons = {
  { "Python gives up on the whole list; ours names the element in errors, or what has no partner in is_unbalanced",
    function(mine, theirs)
      return theirs[1] == "" and #theirs == 1 and (mine.errors[1] or mine.is_unbalanced) ~= nil
    end },
  { "Python gives up where a comment, a group or an empty element disturbs its count of commas",
    function(mine, theirs)
      return theirs[1] == "" and #theirs == 1 and mine.text:find "[();,]" ~= nil
    end },
  { "Python reads an address that is broken; ours names the element in errors", function(mine)
    return mine.errors[1] ~= nil
  end },
  { "\"@\" in a display name: ours reads the address in brackets and sets has_address_in_name", function(mine)
    return mine.has_address_in_name ~= nil
  end },
  { "an encoded word with a special character is one word for ours, as for every mail reader", function(mine)
    return has_special_word(mine.text)
  end },
  { "ours reads doubled angle brackets as one", function(mine)
    return mine.text:find "<%s*<" ~= nil
  end },
  { "Python drops what follows a quote, parenthesis or bracket without its partner; ours reads on", function(mine)
    return mine.is_unbalanced ~= nil
  end },
}

local function reason_for(mine, theirs)
  for number, reason in ipairs(reasons) do
    if reason[2](mine, theirs) then
      return number
    end
  end
end

describe("Python's strict address parser", function()
  local python = python_with_strict()
  if not python then
    pending("agrees on address lists (no Python with strict=True is installed)")
    return
  end

  local texts, seen = {}, {}
  setup(function()
    math.randomseed(27043)
    for i = 1, TEXTS do
      texts[i] = a_text()
    end
    for i, answer in ipairs(ask(python, texts)) do
      seen[i] = { mine = ours(texts[i]), strict = answer.strict, registry = answer.registry }
    end
  end)

  it("sees no address that we neither read nor name in an error", function()
    assert.equal(TEXTS, #seen)
    for i, s in ipairs(seen) do
      assert.is_nil(lost(s.mine, s.strict), texts[i])
    end
  end)

  it("never sees two addresses where we give one, unless we mark its name", function()
    local compared = 0
    for i, s in ipairs(seen) do
      if s.mine.one and not s.mine.has_address_in_name then
        compared = compared + 1
        for _, theirs in ipairs { s.strict, s.registry } do
          assert.is_nil(joined(theirs):find " ", texts[i])
        end
      end
    end
    assert.is_true(compared > TEXTS / 10)
  end)

  it("agrees, except for listed disagreements with a reason", function()
    local agreed, used, problems = 0, {}, {}
    for i, s in ipairs(seen) do
      if joined(s.mine) == joined(s.strict) then
        agreed = agreed + 1
      else
        local number = reason_for(s.mine, s.strict)
        used[number or 0] = true
        problems[#problems + 1] = not number and ("%s\n  ours %s, Python %s"):format(texts[i], joined(s.mine),
          joined(s.strict)) or nil
      end
    end
    assert.equal("", table.concat(problems, "\n"))
    assert.is_true(agreed > TEXTS / 2)
    for number, reason in ipairs(reasons) do
      assert.is_true(used[number], "no text needs this reason: " .. reason[1])
    end
  end)
end)
