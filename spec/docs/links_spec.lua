-- A reader who follows a link arrives: every link of the README, docs/ and examples/ leads to a file and, after "#", to
-- a heading of it. The indexes are whole: docs/README.md lists every page, examples/README.md every example.
local read_file = require("spec.support.process").read_file

local function names(command)
  local list = {}
  local pipe = io.popen(command)
  for name in pipe:lines() do
    list[#list + 1] = name
  end
  pipe:close()
  return list
end

-- The text without code, in which brackets mean other things. A code block keeps its line ends.
local function prose(text)
  text = ("\n" .. text):gsub("\n```.-\n```", function(block) return (block:gsub("[^\n]", "")) end)
  return (text:gsub("\n    [^\n]*", "\n"):gsub("`[^`\n]*`", ""))
end

-- The anchors of a page, as GitHub makes them: letters of any script, digits, "_" and "-" stay, blanks become "-", and
-- what is there already gets a number.
local function anchors_of(text)
  local anchors, seen = {}, {}
  for heading in ("\n" .. text:gsub("\n```.-\n```", "")):gmatch "\n#+ ([^\n]+)" do
    heading = heading:gsub("%[([^%]]*)%]%([^)]*%)", "%1") -- a link's text
    local anchor = heading:lower():gsub("[^%w_%- \128-\255]", ""):gsub("…", ""):gsub(" ", "-")
    local nth = seen[anchor]
    seen[anchor] = (nth or 0) + 1
    anchors[nth and anchor .. "-" .. nth or anchor] = true
  end
  return anchors
end

-- "docs/../examples/x" -> "examples/x"
local function joined(directory, target)
  local path = directory .. target
  local before
  repeat
    before = path
    path = path:gsub("[^/]+/%.%./", "", 1)
  until path == before
  return path
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

local pages = names "ls *.md docs/*.md examples/*.md"

describe("a link", function()
  for _, page in ipairs(pages) do
    it("leads somewhere: " .. page, function()
      local directory = page:match "^(.*/)" or ""
      for target in prose(read_file(page)):gmatch "%]%(([^)%s]+)%)" do
        if not target:find "^%a+:" then
          local path, anchor = target:match "^([^#]*)#?(.*)$"
          local file = path == "" and page or joined(directory, path)
          assert.truthy(exists(file), ("%s: %s leads nowhere"):format(page, target))
          if anchor ~= "" then
            local said = ("%s: %s has no heading for #%s"):format(page, file, anchor)
            assert.truthy(anchors_of(read_file(file))[anchor], said)
          end
        end
      end
    end)
  end

  it("is found in pages, and headings become anchors", function()
    local count = 0
    for _, page in ipairs(pages) do
      count = count + select(2, prose(read_file(page)):gsub("%]%(", ""))
    end
    assert.is_true(count > 200)
    local anchors = anchors_of "# A b\n## `ctx:body([options])`\n## A b\n## C++, [d](x.md) & e_f\n```\n# no\n```\n"
    for _, anchor in ipairs { "a-b", "ctxbodyoptions", "a-b-1", "c-d--e_f" } do
      assert.truthy(anchors[anchor], anchor)
    end
    assert.is_nil(anchors.no)
    assert.equal("\na  b\n\nc", prose "a `[x](y)` b\n    [x](y)\nc")
  end)
end)

describe("an index", function()
  it("lists every page of docs/", function()
    local index = read_file "docs/README.md"
    for _, path in ipairs(names "ls docs/*.md docs/*.8") do
      local name = path:match "[^/]+$"
      if name ~= "README.md" then
        assert.truthy(index:find("](" .. name .. ")", 1, true), "docs/README.md does not list " .. name)
      end
    end
  end)

  it("lists every example", function()
    local index = read_file "examples/README.md"
    for _, path in ipairs(names "ls examples/*.lua examples/*.c") do
      local name = path:match "[^/]+$"
      assert.truthy(index:find("](" .. name .. ")", 1, true), "examples/README.md does not list " .. name)
    end
  end)

  it("is what the README leads to", function()
    local readme = read_file "README.md"
    for _, path in ipairs { "docs/README.md", "docs/tutorial.md", "docs/cookbook.md", "examples/README.md" } do
      assert.truthy(readme:find("](" .. path .. ")", 1, true), "README.md does not link " .. path)
    end
  end)
end)
