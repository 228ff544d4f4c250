--- The next hop of the specs' MTAs: Postfix's smtp-sink, which keeps every message in a file.
---
--- smtp-sink opens the file at DATA, removes it when the client gives up and closes it before it answers the final
--- dot; so a file that smtp-sink no longer has open contains a whole message. It undoes the dots, turns CRLF into LF,
--- drops any other CR, and adds an empty line at the end.
local lfs = require "lfs"

local process = require "spec.support.process"

local sink = {}
local methods = {}
methods.__index = methods

--- Starts a sink; its files are in `directory`, which must exist.
function sink.start(directory)
  local self = setmetatable({ directory = directory .. "/sink", port = process.free_port(), seen = {}, pending = {} },
    methods)
  assert(lfs.mkdir(self.directory))
  process.run("chown postfix " .. self.directory)
  self.child = process.start({
    assert(process.which "smtp-sink", "smtp-sink is missing: run spec/mta/install"), "-u", "postfix",
    "-d", self.directory .. "/m.", "-h", "sink.example", ("127.0.0.1:%d"):format(self.port), "64",
  }, { output = directory .. "/sink.log" })
  assert(process.wait_port(self.port, 5, true))
  return self
end

local function addresses(line)
  local address, params = line:match "^<(.-)>%s*(.*)$"
  return address or line, params or ""
end

--- Header fields in order. Folded lines keep their "\n".
local function parse_headers(text)
  local list = {}
  for line in text:gmatch "([^\n]*)\n" do
    local name, value = line:match "^([^%s:]+):(.*)$"
    if name then
      list[#list + 1] = { name = name, value = value:gsub("^ ", "", 1) }
    elseif #list > 0 and line:match "^%s" then
      list[#list].value = list[#list].value .. "\n" .. line
    elseif line ~= "" then
      list[#list + 1] = { name = "", value = line } -- not a header field: keep it visible
    end
  end
  return list
end

local message = {}
message.__index = message

--- Values of all fields of a name, in order.
function message:all(name)
  local list = {}
  for _, field in ipairs(self.headers) do
    if field.name:lower() == name:lower() then list[#list + 1] = field.value end
  end
  return list
end

--- Value of the n-th field of a name (default the first), or nil.
function message:get(name, n)
  return self:all(name)[n or 1]
end

--- Position of the first field of a name among all fields, or nil.
function message:position(name)
  for i, field in ipairs(self.headers) do
    if field.name:lower() == name:lower() then return i end
  end
end

--- Names of the header fields in order, only those that match `pattern`.
function message:names(pattern)
  local list = {}
  for _, field in ipairs(self.headers) do
    if not pattern or field.name:match(pattern) then list[#list + 1] = field.name end
  end
  return list
end

--- Reads a dump file into a message.
---@return table  sender, sender_params, recipients (list), recipient_params (list), data, headers (list of name and
---  value, in order), body
function sink.parse(text)
  local self = setmetatable({ recipients = {}, recipient_params = {} }, message)
  local at = 1
  while true do -- smtp-sink's own lines, up to its three-line Received
    local line, after = text:match("^([^\n]*)\n()", at)
    if not line then error("not a file of smtp-sink:\n" .. text:sub(1, 400)) end
    at = after
    local name, value = line:match "^([%w-]+): (.*)$"
    if name == "X-Mail-Args" then self.sender, self.sender_params = addresses(value) end
    if name == "X-Rcpt-Args" then
      self.recipients[#self.recipients + 1], self.recipient_params[#self.recipients + 1] = addresses(value)
    end
    if name == "Received" then
      at = text:match("^%s[^\n]*\n%s[^\n]*\n()", at)
      break
    end
  end
  self.data = text:sub(at, -2)
  local headers, body = self.data:match "^(.-\n)\n(.*)$"
  if self.data:sub(1, 1) == "\n" then headers, body = "", self.data:sub(2) end
  self.headers = parse_headers(headers or self.data)
  self.body = body or ""
  return self
end

function methods:open_files()
  local open = {}
  local directory = ("/proc/%d/fd"):format(self.child:pid())
  for name in lfs.dir(directory) do
    local target = lfs.symlinkattributes(directory .. "/" .. name, "target")
    if target then open[target] = true end
  end
  return open
end

-- Moves messages that have become complete to `pending`.
function methods:collect()
  local names = {}
  for name in lfs.dir(self.directory) do
    if name:match "^m%." and not self.seen[name] then names[#names + 1] = name end
  end
  if #names == 0 then return end
  local open = self:open_files()
  for _, name in ipairs(names) do
    local path = self.directory .. "/" .. name
    local text = not open[path] and process.read_file(path)
    if text then
      self.seen[name] = true
      self.pending[#self.pending + 1] = sink.parse(text)
      os.remove(path)
    end
  end
end

--- Waits for n messages that no call has taken yet and takes all of them; the order of messages that arrive together is
--- undefined.
---@return table[]
function methods:wait(n, seconds)
  process.wait_until(seconds or 10, function()
    self:collect()
    return #self.pending >= n
  end, function() return ("%d messages at the sink, there are %d"):format(n, #self.pending) end)
  local list = self.pending
  self.pending = {}
  return list
end

--- Takes the message with `text` anywhere in its data, if it is there now.
---@return table? message
function methods:take(text)
  self:collect()
  for i, candidate in ipairs(self.pending) do
    if candidate.data:find(text, 1, true) then return table.remove(self.pending, i) end
  end
end

--- Waits for a message with `text` anywhere in its data and takes only that one.
function methods:wait_for(text, seconds)
  return process.wait_until(seconds or 10, function() return self:take(text) end,
    ("a message with %q at the sink"):format(text))
end

function methods:stop()
  self.child:stop()
end

return sink
