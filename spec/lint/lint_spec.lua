--- Each lint reports a fault with file and line: shown with a fault planted in a tree of a few files.
local planted = require "spec.lint.planted"

local write = planted.write

local finds = planted.finds
local function passes(name) finds("", name) end

before_each(function()
  planted.make()
  write("docs/protocol.md", "# Protocol\n\n## 3. Replies\n\n### 3.7 Headers\n\n### 3.12 Sender\n")
  write("host/base/box.h", "/* box.h -- a box; `mm_box_open` and mm_box_open() open it. */\nint mm_box_open(int);\n")
  write("host/base/box.c", "#include \"base/box.h\"\n\nint mm_box_open(int n)\n{\n\treturn n;\n}\n")
  write("host/io/use.c", "/* protocol 3.7, 3.12 */\nstatic int use(void)\n{\n\treturn mm_box_open(1);\n}\n")
  write("lua/moonmilter/inner/box.lua", "local box = {}\n\nfunction box.open() end\n\nreturn box\n")
  write("lua/moonmilter/box.lua", "local box = require \"moonmilter.inner.box\"\nbox.open()\nreturn {}\n")
  write("spec/box_spec.lua", "describe(\"a box\", function() end)\n")
end)

after_each(planted.remove)

describe("a tree without faults", function()
  for _, name in ipairs { "width", "dead", "words", "sections" } do
    it("passes " .. name, function() passes(name) end)
  end
end)

describe("width", function()
  it("reports a line of more than 120 columns, a tab counting 8", function()
    write("host/io/wide.c", ("/* %s */\n"):format(("x"):rep(114)) .. "\t/* " .. ("x"):rep(107) .. " */\n")
    finds("host/io/wide.c:2: is 121 columns wide; 120 is the most\n", "width")
  end)

  it("counts characters, not bytes", function()
    write("lua/moonmilter/wide.lua", "-- " .. ("ü"):rep(117) .. "\n-- " .. ("ü"):rep(118) .. "\n")
    finds("lua/moonmilter/wide.lua:2: is 121 columns wide; 120 is the most\n", "width")
  end)

  it("reports prose of documents, and ignores tables and code", function()
    local wide = ("word "):rep(30) .. "\n"
    write("docs/wide.md", "| " .. wide .. "```\n" .. wide .. "```\n    " .. wide .. wide)
    finds("docs/wide.md:6: is 150 columns wide; 120 is the most\n", "width")
  end)

  it("ignores the text in a long string and a long literal of a spec", function()
    local wide = ("z"):rep(130)
    write("spec/wide_spec.lua", ("x = [[\n%s\n]]\ny = \"%s\"\n-- %s\n"):format(wide, wide, wide))
    finds("spec/wide_spec.lua:5: is 133 columns wide; 120 is the most\n", "width")
  end)
end)

describe("dead", function()
  it("reports a C function without a caller", function()
    write("host/base/dead.h", "void mm_dead(const char *name);\n")
    write("host/base/dead.c", "/* mm_dead() */\n\nvoid mm_dead(const char *name)\n{\n\tputs(\"mm_dead\");\n}\n")
    finds("host/base/dead.c:3: mm_dead() has no caller in host/; delete it, or declare it below /* for "
      .. "specs */\n", "dead")
  end)

  it("reports a C function that only specs call, unless its header says so", function()
    write("host/base/dead.c", "void mm_dead(void)\n{\n}\n")
    write("spec/dead_spec.lua", "C.mm_dead()\n")
    write("host/base/dead.h", "void mm_dead(void);\n")
    finds("host/base/dead.c:1: mm_dead() has no caller in host/; delete it, or declare it below /* for "
      .. "specs */\n", "dead")
    write("host/base/dead.h", "/* for specs */\nvoid mm_dead(void);\n\n")
    passes "dead"
  end)

  it("treats a function of the public header as called", function()
    write("host/moonmilter.h", "\nMM_API void mm_dead(void);\n")
    write("host/base/dead.c", "void mm_dead(void)\n{\n}\n")
    passes "dead"
  end)

  it("reports a function of an internal Lua module without a caller", function()
    write("lua/moonmilter/inner/dead.lua", "local dead = {}\n\nfunction dead.buried() end\n\nreturn dead\n")
    finds("lua/moonmilter/inner/dead.lua:3: buried has no caller in lua/ and is not documented\n", "dead")
  end)
end)

describe("words", function()
  it("reports a name in backticks that is not in the tree", function()
    write("host/io/false.c", "/* fine: `mm_box_open`, `box.h`\n * `mm_box_shut`\n * and `box_shut()`, `shut.c` */\n")
    finds("host/io/false.c:2: mm_box_shut is not in the tree\n"
      .. "host/io/false.c:3: box_shut() is not in the tree\n"
      .. "host/io/false.c:3: shut.c is not in the tree\n", "words")
  end)

  it("reports a function of ours and a file that comments name without backticks", function()
    write("lua/moonmilter/false.lua", "-- mm_box_shut() see\n-- lua/moonmilter/shut.lua\n")
    write("host/io/false.c", "/* see shut.h */\n")
    finds("host/io/false.c:1: shut.h is not in the tree\n"
      .. "lua/moonmilter/false.lua:1: mm_box_shut() is not in the tree\n"
      .. "lua/moonmilter/false.lua:2: lua/moonmilter/shut.lua is not in the tree\n", "words")
  end)
end)

describe("sections", function()
  it("reports a section that is not in docs/protocol.md", function()
    write("host/io/false.c", "/* One (protocol 3.7, 3.9) and two (proto" .. "col\n * 9.9). */\n")
    finds("host/io/false.c:1: protocol 3.9 is not a section of docs/protocol.md\n"
      .. "host/io/false.c:1: proto" .. "col 9.9 is not a section of docs/protocol.md\n", "sections")
  end)

  it("reports citations of documents that are not in the tree", function()
    write("host/io/false.c", "\n/* As designed (" .. "design 2, reference " .. "D12). */\n")
    finds("host/io/false.c:2: cites \"design 2\", which is not in the tree; write the reason\n"
      .. "host/io/false.c:2: cites \"reference D12\", which is not in the tree; write the reason\n", "sections")
  end)

  it("reports that docs/protocol.md is missing", function()
    os.remove(planted.root .. "/docs/protocol.md")
    write("host/io/use.c", "")
    finds("docs/protocol.md:1: is missing or has no numbered headings, which comments cite\n", "sections")
  end)
end)
