--- The DNS Tree Walk of DMARC (RFC 9989 4.10): which records stand above a domain, and which of its parents is its
--- Organizational Domain.
local policy = require "moonmilter.identity.policy"

local tree = {}

local Tree = {}
Tree.__index = Tree

-- A walk asks at most eight questions (RFC 9989 4.10): the name itself, then at most its last seven labels.
local LABELS_MAX = 8

local function labels_of(name)
  return select(2, name:gsub("%.", "")) + 1
end

local function without_labels(name, count)
  local at = 1
  for _ = 1, count do
    local dot = name:find(".", at, true)
    if not dot then
      return nil
    end
    at = dot + 1
  end
  return name:sub(at)
end

--- The names that a walk from `domain` asks about, in order.
---@param domain string
---@return string[]
function tree.names(domain)
  local names, count = { domain }, labels_of(domain)
  local name = without_labels(domain, count < LABELS_MAX and 1 or count - LABELS_MAX + 1)
  while name do
    names[#names + 1] = name
    name = name:match "^[^.]*%.(.*)$"
  end
  return names
end

-- "badname": such a name cannot exist, so it has no record.
local IS_ANSWER = { nxdomain = true, nodata = true, badname = true }

-- What is known about a name: { record =, code = } or { why = }, when nobody answers.
local function judge(texts, text, code)
  if texts then
    return { record = policy.only(texts) }
  elseif IS_ANSWER[code] then
    return { code = code }
  end
  return { why = text or "DNS does not answer" }
end

--- A tree that remembers its answers for one message.
---@param ask fun(name: string, kind: string): string[]?, string?, string?  as moonmilter.dns answers
---@param all (fun(questions: table): table, table)?  milter.all: asks the questions of a walk at once
function tree.new(ask, all)
  return setmetatable({ ask = ask, all = all, known = {}, walks = {} }, Tree)
end

local function question(self, name)
  return function()
    return self.ask("_dmarc." .. name, "txt")
  end
end

--- Asks all names of the walks from these domains at once, if the caller gave a way to do so.
---@param domains string[]
function Tree:fetch(domains)
  local questions = {}
  for _, domain in ipairs(domains) do
    for _, name in ipairs(self.all and tree.names(domain) or {}) do
      questions[name] = not self.known[name] and question(self, name) or nil
    end
  end
  if not next(questions) then
    return
  end
  local answers, failures = self.all(questions)
  for name in pairs(questions) do
    local failure = failures[name] or {}
    self.known[name] = judge(answers[name], failure.text, failure.code)
  end
end

--- What is known about one name; asks when nothing is.
---@param name string
---@return { record: moonmilter.DmarcRecord?, code: string?, why: string? }
function Tree:at(name)
  local known = self.known[name]
  if not known then
    known = judge(self.ask("_dmarc." .. name, "txt"))
    self.known[name] = known
  end
  return known
end

-- The records of a walk, { name =, record = }, longest name first. `why` is set when a question had no answer: what
-- stands above is unknown then.
function Tree:walk(domain)
  local walk = self.walks[domain]
  if walk then
    return walk
  end
  walk = {}
  self.walks[domain] = walk
  for _, name in ipairs(tree.names(domain)) do
    local known = self:at(name)
    walk.why = known.why
    if known.why then
      break
    elseif known.record then
      walk[#walk + 1] = { name = name, record = known.record }
      if known.record.psd ~= "u" then
        break
      end
    end
  end
  return walk
end

-- The name one label below `parent` on the way to `domain`; a walk may have skipped it.
local function one_below(domain, parent)
  return without_labels(domain, labels_of(domain) - labels_of(parent) - 1)
end

--- The Organizational Domain of a name (RFC 9989 4.10.2).
---@param domain string
---@return string? name  nil: unknown
---@return string? why
function Tree:organization(domain)
  local walk = self:walk(domain)
  if walk.why then
    return nil, walk.why
  end
  for _, found in ipairs(walk) do
    if found.record.psd == "n" then
      return found.name
    elseif found.record.psd == "y" and found.name ~= domain then
      return one_below(domain, found.name)
    end
  end
  local shortest = walk[#walk]
  return shortest and shortest.name or domain
end

--- The record that applies to messages of a domain (RFC 9989 4.10.1): its own, else its organization's, else that of
--- the public suffix.
---@param domain string
---@return { name: string, record: moonmilter.DmarcRecord }? found  nil without `why`: there is none
---@return string? why
function Tree:policy(domain)
  local own = self:at(domain)
  if own.record then
    return { name = domain, record = own.record }
  elseif own.why then
    return nil, own.why
  end
  local organization, why = self:organization(domain)
  if not organization then
    return nil, why
  end
  local walk = self:walk(domain)
  for _, found in ipairs(walk) do
    if found.name == organization then
      return found
    end
  end
  return walk[#walk] -- the public suffix ended the walk, and the organization one label below it has no record
end

return tree
