--- A question about where servers are: asked by one task however many wait for the answer, and not too often.
local core = require "moonmilter.core"
local tasks = require "moonmilter.runtime.tasks"

local question = {}

local now = core.now

local SHORT = 0.1 -- seconds that a caller waits after a question without an answer

local Question = {}
Question.__index = Question

--- ask(): returns true, or nil and why. pause, longest: seconds between two questions, doubled while ask fails.
function question.new(ask, pause, longest)
  return setmetatable({ ask = ask, first = pause, pause = pause, longest = longest, not_before = 0 }, Question)
end

local function put(self)
  local ok, done, why = pcall(self.ask)
  self.task = nil
  self.why = not ok and tostring(done) or not done and why or nil
  self.pause = ok and done and self.first or math.min(2 * self.pause, self.longest)
  self.not_before = now() + self.pause * (0.75 + core.random() / 2)
  if not ok then
    error(done, 0)
  end
end

-- The task outlives who asks: another one may wait for it, too.
local function begin(self)
  if self.task or now() < self.not_before then
    return
  end
  self.begun = now()
  local ok, task = pcall(tasks.detach, "generation", put, self)
  if ok then
    self.task = task
  else -- too many tasks
    self.why, self.not_before = tostring(task), now() + self.pause
  end
end

--- Begins to ask, unless that is under way or was done just now. Does not wait.
Question.begin = begin

--- Asks, and waits until so many seconds after the question began. While questions fail, callers hardly wait.
---@return true? answered, string? why
function Question:put(seconds)
  begin(self)
  local task = self.task
  seconds = self.why and math.min(seconds, SHORT) or seconds
  if task then
    task:wait(math.max(self.begun + seconds - now(), 0))
    if self.task == task then
      return nil, self.why or "no answer yet"
    end
  end
  if self.why then
    return nil, self.why
  end
  return true
end

return question
