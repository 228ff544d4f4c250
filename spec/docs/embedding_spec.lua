-- The tables from other libraries: what they name exists, and nothing of those libraries is left out. The reference of
-- moonmilter.h is that of the header.
local read_file = require("spec.support.process").read_file
local reference = require "spec.docs.reference"

local header = read_file "host/moonmilter.h"
local page = read_file "docs/embedding-tables.md"

local function exists(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

local function keys()
  local set = {}
  local pipe = io.popen((os.getenv "MOONMILTER" or "build/moonmilter") .. " help config")
  for key in pipe:read "*a":gmatch "\n%-%- ([a-z_]+) = " do set[key] = true end
  pipe:close()
  return set
end

-- "`a`, `b()`" -> the words in backticks
local function words(cell)
  local list = {}
  for word in cell:gmatch "`([^`]+)`" do list[#list + 1] = (word:gsub("%(%)$", "")) end
  return list
end

local rows = {}
for theirs, ours, specs in page:gmatch "\n| ([^|\n]-) | ([^|\n]-) | ([^|\n]-) |%f[\n]" do
  if not theirs:find "^%-" and specs ~= "shown by" then
    rows[#rows + 1] = { theirs = theirs, ours = ours, specs = specs }
  end
end

-- What a spec runs: its text, that of the programs in C that it names, and of the modules that it requires.
local function text_run_by(path, seen)
  if seen[path] or not exists(path) then return "" end
  seen[path] = true
  local parts = { read_file(path) }
  local function add(file) parts[#parts + 1] = text_run_by(file, seen) end
  for file in parts[1]:gmatch "[%w_/-]+%.c%f[^%w_]" do add(file) end
  if path:find "%.lua$" then
    for module in parts[1]:gmatch 'require[ (]*"(spec%.[%w_.]+)"' do add(module:gsub("%.", "/") .. ".lua") end
    for name in parts[1]:gmatch '"(embed%-%l+)"' do add("examples/" .. name .. ".c") end
  end
  return table.concat(parts, "\n")
end

-- Is the call, decision, member or key in the text? Options of the program are spelled with "-".
local function is_used(word, text)
  local pattern = word:gsub("%p", function(c) return c == "_" and "[_-]" or "%" .. c end)
  return text:find("%f[%w_]" .. pattern .. "%f[^%w_]") ~= nil
end

describe("the tables from other libraries", function()
  it("have rows, each with a spec that exists", function()
    assert.is_true(#rows > 60)
    for _, row in ipairs(rows) do
      local count = 0
      for path in row.specs:gmatch "[^%s,]+" do
        count = count + 1
        assert.is_true(exists(path), path .. " of " .. row.theirs)
      end
      assert.is_true(count > 0, row.theirs)
    end
  end)

  it("name what moonmilter.h declares, and keys that the configuration has", function()
    local known = keys()
    assert.is_true(known.backlog)
    for _, row in ipairs(rows) do
      for _, word in ipairs(words(row.ours)) do
        local plain = word:gsub("^struct ", ""):gsub("^enum ", "")
        local declared = header:find("%f[%w_]" .. plain:gsub("%p", "%%%0") .. "%f[^%w_]") ~= nil
        assert.is_true(declared or known[plain] or plain:find "^fd:" ~= nil, word .. " of " .. row.theirs)
      end
    end
  end)

  it("name specs that use what stands in the row", function()
    local unused = {}
    for _, row in ipairs(rows) do
      local parts = {}
      for path in row.specs:gmatch "[^%s,]+" do parts[#parts + 1] = text_run_by(path, {}) end
      local text = table.concat(parts, "\n")
      for _, word in ipairs(words(row.ours)) do
        -- types are used by what takes them
        local is_call = not word:find "^struct " and not word:find "^enum "
        if is_call and not is_used(word:gsub("^fd:N$", "fd"), text) then
          unused[#unused + 1] = ("%s: not in %s"):format(word, row.specs)
        end
      end
    end
    assert.same({}, unused)
  end)

  it("leave out no call of libmilter's header", function()
    local named = {}
    for word in page:gmatch "[sx][mx]fi_[a-z_]+" do named[word] = true end
    local mfapi = assert(read_file "/usr/include/libmilter/mfapi.h")
    -- a field of its struct, a type of its own, and a signal that it says it ignores
    local others = { smfi_str = true, smfi_state = true, xxfi_signal = true }
    for word in mfapi:gmatch "%f[%w_][sx][mx]fi_[a-z_]+" do
      if not others[word] and not word:find "^smfi_settimeou$" then assert.is_true(named[word], word) end
    end
  end)

  it("leave out no function for filters, but those that no other library has", function()
    local ours = { mm_event_self = true, mm_event_id = true, mm_event_helo = true, mm_event_sender = true,
      mm_event_recipient = true, mm_event_recipient_count = true, mm_event_message_number = true }
    for name in header:gmatch "MM_API [^\n]-(mm_event_[a-z_]+)%(" do
      assert.is_true(ours[name] or page:find(name .. "()", 1, true) ~= nil, name)
    end
  end)
end)

describe("the reference of moonmilter.h", function()
  it("is made from the header as it is (make reference)", function()
    assert.equal(reference.page(header), read_file "docs/embedding-reference.md")
  end)

  it("has every function and struct", function()
    local text = reference.page(header)
    for name in header:gmatch "MM_API [^\n]-(mm_[a-z_]+)%(" do
      assert.is_truthy(text:find(name .. "(", 1, true), name)
    end
    for name in header:gmatch "\nstruct (mm_[a-z_]+) {" do
      assert.is_truthy(text:find("struct " .. name .. " {", 1, true), name)
    end
  end)
end)
