--- A host with scripts, without sockets, in this process; its log, its clock, and the fakes for its scripts.
local ffi = require "ffi"
local blame = require "moonmilter.testing.blame"
local fakes = require "moonmilter.testing.fakes"
local library = require "moonmilter.testing.library"
local value = require "moonmilter.testing.value"

local host = {}

local Host = {}
Host.__index = Host

local WARN = 2 -- level of the log

-- Callbacks from C are few and never freed, and busted reloads modules for every spec file: so the whole process has
-- one set of them, which finds its hosts through this table.
local shared = debug.getregistry()["moonmilter.testing"]
if not shared then
  shared = { hosts = setmetatable({}, { __mode = "v" }), count = 0 }
  debug.getregistry()["moonmilter.testing"] = shared
  shared.on_log = ffi.cast("void (*)(void *, int, const char *, size_t)", function(self, level, line, size)
    local owner = shared.hosts[tonumber(ffi.cast("intptr_t", self))]
    if owner then
      local text = ffi.string(line, size)
      owner.lines[#owner.lines + 1] = { level = tonumber(level), text = text }
      if level >= WARN and not owner.is_closing then
        shared.note(text)
      end
    end
  end)
  -- C calls them as functions that return int, but LuaJIT's interpreter reads the whole register, of which a callback
  -- that returns int sets only one half.
  shared.on_ask = ffi.cast("int (*)(void *)", ffi.cast("intptr_t (*)(void *)", function(L)
    return shared.answer(L)
  end))
  shared.on_open = ffi.cast("int (*)(void *)", ffi.cast("intptr_t (*)(void *)", function(L)
    return shared.open(L)
  end))
end

shared.note = blame.note

local function argument(L, index)
  local size = ffi.new "size_t[1]"
  local bytes = library.tolstring(L, index, size)
  return bytes ~= nil and ffi.string(bytes, size[0]) or nil
end

--- A script asks a fake. No error may pass through C: the test learns of it afterwards.
function shared.answer(L)
  local owner = shared.current
  local ok, text = pcall(function()
    return owner.fakes:answer(value.read(argument(L, 1)))
  end)
  if not ok then
    owner.trouble = owner.trouble or text
    text = value.write(false, tostring(text))
  end
  library.pushlstring(L, text, #text)
  return 1
end

--- require of a fake module inside the scripts' state: runs its source there.
function shared.open(L)
  local owner = shared.current
  local name = argument(L, 1) or "?"
  local source = owner.fakes:source(name)
  local failed = library.loadbuffer(L, source, #source, "=(fake " .. name .. ")") ~= 0
  if not failed then
    library.pushcclosure(L, shared.on_ask, 0)
    failed = library.pcall(L, 1, 1, 0) ~= 0
  end
  if failed then
    owner.trouble = owner.trouble or ("fake %s: %s"):format(name, argument(L, -1) or "?")
  end
  return 1
end

-- ---- making one ----

local OPTIONS = {
  script = "string", scripts = "string or table", files = "table", config = "string", set = "table", settings = "table",
  milter = "string", clock = "string", now = "number",
}

local function remove_tree(path)
  os.execute("rm -rf '" .. path .. "'")
end

local function write_files(files)
  local directory = os.tmpname()
  os.remove(directory)
  for name, source in pairs(files) do
    local path = directory .. "/" .. name
    os.execute("mkdir -p '" .. path:match "^(.*)/" .. "'")
    local file = assert(io.open(path, "wb"))
    file:write(source)
    file:close()
  end
  return directory
end

local function script_paths(self, options)
  local paths = {}
  if options.script or options.files then
    local files = {}
    for name, source in pairs(options.files or {}) do
      files[name] = source
    end
    if options.script then
      files["script.lua"] = options.script
    end
    self.directory = write_files(files)
    paths[1] = options.files and self.directory or self.directory .. "/script.lua"
  end
  local given = options.scripts
  for _, path in ipairs(type(given) == "string" and { given } or given or {}) do
    paths[#paths + 1] = path
  end
  return paths
end

local function pairs_of(options)
  local set = {}
  for key, v in pairs(options.set or {}) do
    set[#set + 1] = type(key) == "number" and v or ("%s=%s"):format(key, tostring(v))
  end
  if options.settings then
    set[#set + 1] = "settings=" .. value.write(options.settings)
  end
  return set
end

local function module_array(self)
  local names = self.fakes:names()
  local array = ffi.new("struct moonmilter_test_module[?]", #names + 1)
  for i, name in ipairs(names) do
    array[i - 1].name, array[i - 1].open = name, shared.on_open
  end
  return array, names
end

--- For options see testing.start(). Returns nil and the error when the scripts do not load.
function host.new(options)
  shared.count = shared.count + 1
  local self = setmetatable({ id = shared.count, lines = {}, fakes = fakes.new(options),
    is_virtual = options.clock ~= "real" }, Host)
  shared.hosts[self.id] = self
  local paths, set = script_paths(self, options), pairs_of(options)
  local modules, names = module_array(self)
  local o = ffi.new "struct moonmilter_test_options"
  self.anchors = { paths, set, library.strings(paths), library.strings(set), modules, names }
  o.size = ffi.sizeof(o)
  o.config_file = options.config
  if #paths > 0 then
    o.scripts = self.anchors[3]
  end
  o.set, o.modules = self.anchors[4], modules
  o.no_sockets = true
  o.log, o.log_self = shared.on_log, ffi.cast("void *", ffi.cast("intptr_t", self.id))
  local err = library.new_error()
  self.pointer = self.is_virtual and self:call(library.testing_host_new, o, options.now or os.time(), err)
    or not self.is_virtual and self:call(library.host_new, o, err)
  local ok = self.pointer ~= nil and self:call(library.host_start, self.pointer, err)
  if ok then
    return self
  end
  local text = library.text(err)
  self:close()
  return nil, text
end

--- Every call into the library goes through here: scripts may run in the call, and their fakes must find this host.
function Host:call(fn, ...)
  local before = shared.current
  shared.current = self
  local result = fn(...)
  shared.current = before
  if self.trouble then
    local text = self.trouble
    self.trouble = nil
    blame.raise(text)
  end
  return result
end

--- Lets time pass: at once on a virtual clock, in real time on a real one.
function Host:turn(seconds)
  self:call(library.host_turn, self.pointer, seconds)
end

--- Lets so many seconds pass, whatever happens meanwhile.
function Host:pass(seconds)
  local ends = library.testing_now() + seconds
  local left = seconds
  repeat
    self:turn(left) -- may return at any timer of the host
    left = ends - library.testing_now()
  until left <= 1e-6
end

--- Reloads the scripts, as SIGHUP does. True, or nil and the log's text about the failure.
function Host:reload()
  local before, from = tonumber(library.host_generation(self.pointer)), #self.lines
  self:call(library.host_reload, self.pointer, nil, nil)
  for _ = 1, 200 do
    if tonumber(library.host_generation(self.pointer)) > before then
      return true
    end
    self:turn(0.01)
  end
  local said = {}
  for i = from + 1, #self.lines do
    said[#said + 1] = self.lines[i].text
  end
  return nil, table.concat(said, "\n")
end

--- All metrics, by name and labels: ['mails_total{milter="default"}'] = 2.
function Host:metrics()
  local size, samples = ffi.new "size_t[1]", {}
  local bytes = self:call(library.testing_metrics, self.pointer, size)
  for line in (bytes ~= nil and ffi.string(bytes, size[0]) or ""):gmatch "[^\n]+" do
    local name, number = line:match "^([^#].*) (%S+)$"
    if name then
      samples[name] = tonumber(number)
    end
  end
  return samples
end

function Host:close()
  self.is_closing = true
  if self.pointer ~= nil then
    self:call(library.host_free, self.pointer)
    self.pointer = nil
  end
  if self.directory then
    remove_tree(self.directory)
    self.directory = nil
  end
end

host.OPTIONS = OPTIONS

-- Calls into the library run Lua in another state and call back: keep them out of compiled traces.
for _, fn in ipairs { host.new, Host.call, Host.turn, Host.reload, Host.close, shared.answer, shared.open } do
  jit.off(fn, true)
end

return host
