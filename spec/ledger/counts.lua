--- The ledger's sums: every message takes from a limit and counts in a store that all workers share, and both are
--- compared with the mail that was delivered. Messages come in blocks, each of which has a bucket and a counter.
---
--- What is exact needs no worker that dies. A session that ends with its worker may keep one unit that it took, or have
--- counted a message that the MTA never got; so `lost` sessions explain so much, and nothing explains more.
local counts = {}

local LIMIT, BLOCK, CHURN = 10, 8, 3000 -- units of a block, its messages of each client, takes at each end of message
local CLIENTS = 4
local UNIT = 86400 -- seconds until a unit has flowed back: none does while a fault is played

--- What filter.lua needs to know, as source.
counts.SOURCE = ("{ limit = %d, block = %d, churn = %d }"):format(LIMIT, BLOCK, CHURN)

-- Units that are taken, by key, as "ctl limit show" prints how long their buckets need to be full.
local function read_units(text, used)
  for key, seconds in text:gmatch "key=%w+:(%w+) full_in=(%d+)" do used[key] = math.ceil(tonumber(seconds) / UNIT) end
  return used
end

local function read_tally(text)
  local sums = {}
  for key, sum in text:gmatch "key=(%w+) ttl=never value=(%d+)" do sums[key] = tonumber(sum) end
  return sums
end

-- Each worker counts its takes below its process id.
local function sum_of_workers(counted)
  local sum = 0
  for key, count in pairs(counted) do
    if key:find "^worker" then sum = sum + count end
  end
  return sum
end

--- How many workers died in the middle of their takes. text: "ctl store dump tally"; alive: process ids.
function counts.torn(text, alive)
  local torn, is_alive = 0, {}
  for _, pid in ipairs(alive) do is_alive["worker" .. pid] = true end
  for key, count in pairs(read_tally(text)) do
    if key:find "^worker" and not is_alive[key] and count % CHURN ~= 0 then torn = torn + 1 end
  end
  return torn
end

-- The blocks: messages that were delivered, the lines of those that passed, the first line of one that was above.
local function read_blocks(sources)
  local blocks, ends = {}, 0
  local function block_of(id)
    local key = "block" .. math.floor((tonumber(id.token:match "%d+$") - 1) / BLOCK)
    blocks[key] = blocks[key] or { delivered = 0, lines = {}, above = 0 }
    return blocks[key]
  end
  for _, attempt in ipairs(sources.attempts) do
    local block = block_of(attempt.id)
    block.delivered = block.delivered + #attempt.copies
    for _, line in ipairs(attempt.lines) do
      local is_above = line.verdict == "reject" and (line.reply or ""):find("above the limit", 1, true)
      if line.verdict ~= "none" and attempt.id.kind ~= "rcpt" then ends = ends + 1 end
      if line.verdict == "continue" then table.insert(block.lines, line.number) end
      if is_above then
        block.above = block.above + 1
        block.first_above = math.min(block.first_above or math.huge, line.number)
      end
    end
  end
  return blocks, ends
end

-- How many had passed when the first one was refused.
local function passed_before(block)
  local passed = 0
  for _, number in ipairs(block.lines) do
    if number < block.first_above then passed = passed + 1 end
  end
  return passed
end

-- -> the units that no delivered message explains, and the counts
local function judge_block(key, block, used, counted, say)
  if block.delivered > LIMIT then say("%s: %d passed, the limit is %d", key, block.delivered, LIMIT) end
  if used > LIMIT then say("%s: %d units are taken, the limit is %d", key, used, LIMIT) end
  if used < block.delivered then say("%s: %d passed, but %d units are taken", key, block.delivered, used) end
  if counted < block.delivered then say("%s: %d passed, but the store counted %d", key, block.delivered, counted) end
  local kept = used - block.delivered
  if block.first_above and passed_before(block) + kept + CLIENTS - 1 < LIMIT then
    say("%s: a message was refused when %d had passed, %d units are kept, the limit is %d", key, passed_before(block),
      kept, LIMIT)
  end
  return math.max(kept, 0), math.max(counted - block.delivered, 0)
end

-- Each end of message takes and counts so often, one after the other; one that dies within does less.
local function judge_churn(taken, counted, ends, rules, say)
  if taken < ends * CHURN then say("%d of %d takes are missing", ends * CHURN - taken, ends * CHURN) end
  if taken > (ends + rules.lost) * CHURN then
    say("%d takes, but %d ends of message and %d lost sessions explain less", taken, ends, rules.lost)
  end
  if taken < counted or taken - counted > rules.deaths then
    say("%d takes and %d counts, one after the other, with %d deaths", taken, counted, rules.deaths)
  end
end

--- Appends what is wrong to a list. sources: those of the ledger after its audit, with limits and tally, the texts of
--- "ctl". rules: lost (sessions that ended with a worker), deaths (of workers).
---@return table sums  blocks, above (refused messages), full (blocks whose last unit is taken), kept (units)
function counts.audit(sources, rules, wrong)
  local function say(...) wrong[#wrong + 1] = (...):format(select(2, ...)) end
  local used = read_units(sources.limits[2], read_units(sources.limits[1], {}))
  local counted = read_tally(sources.tally)
  local blocks, ends = read_blocks(sources)
  local sums = { blocks = 0, above = 0, full = 0, kept = 0 }
  local overcounted = 0
  for key, block in pairs(blocks) do
    local kept, more = judge_block(key, block, used[key] or 0, counted[key] or 0, say)
    sums.blocks, sums.above, sums.kept = sums.blocks + 1, sums.above + block.above, sums.kept + kept
    overcounted = overcounted + more
    if used[key] == LIMIT then sums.full = sums.full + 1 end
  end
  if sums.kept > rules.lost then say("%d units were not given back, %d lost sessions explain less", sums.kept,
    rules.lost) end
  if overcounted > rules.lost then say("the store counted %d that did not pass, %d lost sessions explain less",
    overcounted, rules.lost) end
  if sums.above > 0 and sums.full == 0 then say "messages were refused, but no bucket was ever empty" end
  judge_churn(used.all or 0, sum_of_workers(counted), ends, rules, say)
  return sums
end

return counts
