--- Where a HTML text ends for its reader: the place for markup that has to follow everything displayed.
---
--- The tokens are those of the WHATWG standard (HTML 13.2.5), as far as they decide what is text: a "</body>" inside a
--- comment, a script, a style or an attribute is no end. Reads a stream; memory is one token's name, whatever the
--- input.
local html_end = {}

local NAME_MAX = 16 -- bytes of a tag's name that are looked at
local CDATA = "<![cdata["

-- Elements whose content is not read as markup: everything up to their own end tag. (No script runs in mail, so
-- noscript is markup.) Content of a template is not displayed; nothing ends plaintext.
local raw = {
  script = true, style = true, title = true, textarea = true, xmp = true, iframe = true, noembed = true,
  noframes = true, template = true, plaintext = true,
}

-- The states. Each reads the buffer from `at` on -> the next position, or nil and the position from which on bytes must
-- wait for more: never more than a few. self.token is the offset at which an unfinished construct began.
local states = {}

-- Text that follows an end tag is displayed, too: it was not the end.
local function see(self)
  self.body, self.html = nil, nil
end

local function enter(self, state, at)
  self.state = states[state]
  return at
end

-- A "<" that begins markup at `open`: which state reads it, from where; nil: it is text.
local function construct(buffer, open)
  local window = buffer:sub(open, open + 2 + NAME_MAX):lower()
  if window:find "^<!%-%-%-?>" then
    return "text", open + window:find(">", 1, true)
  elseif window:sub(1, 4) == "<!--" then
    return "comment", open + 4
  elseif window:sub(1, #CDATA) == CDATA then
    return "cdata", open + #CDATA
  elseif window:find "^<[!?]" or window:find "^</[^%a]" then
    return "bogus", open + 2
  end
  local slash, name = window:match "^<(/?)(%a[^%s/>]*)"
  if name then
    return "attributes", open + 1 + #slash + #name, slash == "/", name
  end
end

function states.text(self, buffer, at, is_last)
  local open = buffer:find("<", at, true)
  if buffer:find("[^%s]", at) ~= open then
    see(self)
  end
  if not open then
    return #buffer + 1
  elseif not is_last and open + 2 + NAME_MAX > #buffer then
    return nil, open
  end
  local state, following, is_end, name = construct(buffer, open)
  if buffer:find("^</?$", open) then -- text as it stands, but what is put behind it would become part of a tag
    state, following = "attributes", #buffer + 1
  end
  if not state then
    see(self)
    return open + 1
  end
  self.token, self.is_end, self.name = self.base + open - 1, is_end, name
  return enter(self, state, following)
end

function states.bogus(self, buffer, at)
  local stop = buffer:find(">", at, true)
  if not stop then
    return nil, #buffer + 1
  end
  return enter(self, "text", stop + 1)
end

-- In SVG and XHTML it ends at "]]>". In HTML it is a comment that ends at the first ">": what follows is displayed.
function states.cdata(self, buffer, at)
  local stop = buffer:find(">", at, true)
  if not stop then
    return nil, math.max(at, #buffer - 1)
  elseif stop >= at + 2 and buffer:sub(stop - 2, stop) == "]]>" then
    return enter(self, "text", stop + 1)
  end
  see(self)
  return stop + 1
end

-- Up to "-->" or "--!>".
function states.comment(self, buffer, at)
  local stop = buffer:find("--", at, true)
  while stop do
    local close = buffer:match("^%-*!?()>", stop + 2)
    if close then
      return enter(self, "text", close + 1)
    end
    local dashes_end = buffer:match("^%-*()", stop)
    if dashes_end > #buffer or (buffer:byte(dashes_end) == 33 and dashes_end == #buffer) then
      return nil, math.max(at, dashes_end - 2) -- two dashes are enough to remember
    end
    stop = buffer:find("--", dashes_end, true)
  end
  return nil, buffer:byte(-1) == 45 and math.max(at, #buffer) or #buffer + 1
end

-- A tag is complete, its ">" before `at`.
local function tag(self, at)
  local name = self.name
  if self.is_end and (name == "body" or name == "html") then
    self[name] = self[name] or self.token
  elseif not self.is_end and raw[name] then
    self.level = 0
    return enter(self, "raw", at)
  end
  return enter(self, "text", at)
end

-- Between two attributes: "=" begins a name here.
function states.attributes(self, buffer, at)
  at = buffer:find("[^%s/]", at)
  if not at then
    return nil, #buffer + 1
  elseif buffer:byte(at) == 62 then
    return tag(self, at + 1)
  end
  return enter(self, "attribute", at + 1)
end

function states.attribute(self, buffer, at)
  at = buffer:find("[%s/>=]", at)
  if not at then
    return nil, #buffer + 1
  end
  return enter(self, "after_attribute", at)
end

function states.after_attribute(self, buffer, at)
  at = buffer:find("%S", at)
  if not at then
    return nil, #buffer + 1
  elseif buffer:byte(at) == 61 then
    return enter(self, "value", at + 1)
  end
  return enter(self, "attributes", at)
end

local quoted = { ['"'] = "double", ["'"] = "single" }

function states.value(self, buffer, at)
  at = buffer:find("%S", at)
  if not at then
    return nil, #buffer + 1
  end
  local state = quoted[buffer:sub(at, at)]
  return enter(self, state or "bare", state and at + 1 or at)
end

local function quoted_up_to(quote)
  return function(self, buffer, at)
    local stop = buffer:find(quote, at, true)
    if not stop then
      return nil, #buffer + 1
    end
    return enter(self, "attributes", stop + 1)
  end
end

states.double, states.single = quoted_up_to '"', quoted_up_to "'"

function states.bare(self, buffer, at)
  at = buffer:find("[%s>]", at)
  if not at then
    return nil, #buffer + 1
  end
  return enter(self, "attributes", at)
end

-- Inside "<script><!-- <script>", an end tag ends only the inner one (HTML 13.2.5.26): self.level counts.
local function script_level(self, buffer, at)
  if self.name ~= "script" then
    return self.level
  elseif self.level == 0 and buffer:sub(at, at + 3) == "<!--" then
    return 1
  elseif self.level > 0 and buffer:sub(at, at + 2) == "-->" then
    return 0
  elseif self.level == 1 and buffer:sub(at, at + 7):lower():find "^<script[%s/>]" then
    return 2
  end
  return self.level
end

-- Content that is no markup: up to the end tag of self.name.
function states.raw(self, buffer, at, is_last)
  local stop
  if self.level > 0 then
    stop = buffer:find("[<-]", at)
  else
    stop = buffer:find("<", at, true)
  end
  if not stop then
    return nil, #buffer + 1
  elseif not is_last and stop + 2 + NAME_MAX > #buffer then
    return nil, stop
  end
  local slash = buffer:sub(stop, stop + 2 + #self.name):lower()
  if self.name ~= "plaintext" and slash:find("</" .. self.name, 1, true) == 1 and slash:find "[%s/>]$" then
    if self.level == 2 then
      self.level = 1
      return stop + 1
    end
    self.is_end = true
    return enter(self, "attributes", stop + 2 + #self.name)
  end
  local level = script_level(self, buffer, stop)
  local is_opening = level == 1 and self.level == 0
  self.level = level
  return stop + (is_opening and 2 or 1) -- the dashes of "<!--" may be those of "-->"
end

--- The offset before which markup belongs so that it is displayed last; nil: at the end of the text.
---@param source fun(): string|nil  the text, in pieces
---@return integer|nil offset
function html_end.find(source)
  local self = { state = states.text, base = 0 }
  local held = ""
  repeat
    local chunk = source()
    local buffer = held .. (chunk or "")
    local at, size = 1, #buffer
    while at and at <= size do
      local following, rest = self.state(self, buffer, at, not chunk)
      held = following and "" or buffer:sub(rest)
      self.base = following and self.base or self.base + rest - 1
      at = following
    end
    self.base = at and self.base + size or self.base
  until not chunk
  if self.state ~= states.text then -- what begins there never ends
    return self.body or self.html or self.token
  end
  return self.body or self.html
end

return html_end
