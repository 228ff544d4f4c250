--- Makes docs/embedding-reference.md from host/moonmilter.h (make reference), on standard output.
--- What stands before a declaration, or behind it, is its description; a blank line ends it. Sections of the header are
--- sections of the page.
local reference = {}

local HEAD = [[
# moonmilter.h: reference

Made from the header by `make reference`; change the header instead. [embedding.md](embedding.md) is the way in.
]]

local function trim(text) return (text:gsub("^%s+", ""):gsub("%s+$", "")) end

-- The text of comments, without their frame.
local function words_of(comment)
  return (trim((comment:gsub("/%*", " "):gsub("%*/", " "):gsub("\n[ \t]*%*", " "):gsub("%s+", " "))))
end

local function wrap(text)
  local lines, line = {}, ""
  for word in text:gmatch "%S+" do
    if line ~= "" and #line + 1 + #word > 120 then
      lines[#lines + 1], line = line, ""
    end
    line = line == "" and word or line .. " " .. word
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n")
end

-- Parts of the header between blank lines, outside of braces.
local function parts_of(text)
  local list, part, depth = {}, {}, 0
  for line in (text .. "\n\n"):gmatch "([^\n]*)\n" do
    local code = line:gsub("/%*.-%*/", ""):gsub('"[^"]*"', "")
    depth = depth + select(2, code:gsub("{", "")) - select(2, code:gsub("}", ""))
    if line == "" and depth == 0 then
      if #part > 0 then list[#list + 1] = table.concat(part, "\n") end
      part = {}
    else
      part[#part + 1] = line
    end
  end
  return list
end

local function body_of(header)
  local from = header:find("\n#define MM_VERSION_MAJOR", 1, true)
  return header:sub(1, header:find("%*/")), header:sub(from + 1, header:find("\n#ifdef __cplusplus\n}", 1, true) - 1)
end

--- A part as a page shows it: the words before the first declaration, then the code with all other comments.
local function shown(part)
  local comment, rest = part:match "^(/%*.-%*/)\n?(.*)$"
  local section = comment and rest == "" and comment:match "^/%* %-%-%-%- (.-) %-%-%-%-%s*"
  if section then
    local more = trim((words_of(comment):gsub("^%-%-%-%- .- %-%-%-%-%s*", "")))
    local heading = "## " .. section:sub(1, 1):upper() .. section:sub(2) .. "\n"
    return more ~= "" and heading .. "\n" .. wrap(more) .. "\n" or heading
  end
  return "```c\n" .. part:gsub("MM_API ", "") .. "\n```\n"
end

--- The page for the text of a header.
function reference.page(header)
  local out = { HEAD }
  local _, body = body_of(header)
  for _, part in ipairs(parts_of(body)) do out[#out + 1] = shown(part) end
  return table.concat(out, "\n")
end

if arg and arg[0] and arg[0]:find("reference.lua", 1, true) then
  local file = assert(io.open("host/moonmilter.h"))
  io.write(reference.page(file:read "*a"))
  file:close()
end

return reference
