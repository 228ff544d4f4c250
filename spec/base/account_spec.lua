local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local lib = testlib.load "base/account.h"

local function account(sum)
  local a = ffi.new "struct mm_account"
  a.sum = sum
  return a, ffi.new "size_t[1]"
end

local function sum_of(limit)
  local sum = ffi.new "struct mm_account_sum"
  sum.limit = limit
  return sum
end

describe("an account", function()
  it("holds what its holders declared last", function()
    local sum = sum_of(1000)
    local a, first = account(sum)
    local second = ffi.new "size_t[1]"
    lib.mm_account_redeclare(a, first, 300)
    lib.mm_account_redeclare(a, second, 50)
    lib.mm_account_redeclare(a, first, 100)
    assert.same({ 150, 150, 350, 350 },
      { tonumber(a.held), tonumber(sum.held), tonumber(sum.peak), tonumber(sum.largest) })
    lib.mm_account_redeclare(a, first, 0)
    lib.mm_account_redeclare(a, second, 0)
    assert.same({ 0, 0 }, { tonumber(a.held), tonumber(sum.held) })
  end)

  it("may hold as much as is free, and counts what it must not", function()
    local sum = sum_of(1000)
    local a, declared = account(sum)
    assert.is_true(lib.mm_account_allows(a, 499))
    assert.is_false(lib.mm_account_allows(a, 500))
    assert.equal(1, tonumber(sum.refusals))
    lib.mm_account_redeclare(a, declared, 499)
    assert.is_true(lib.mm_account_allows(a, 0))
    assert.is_false(lib.mm_account_allows(a, 1))
    local small = account(sum)
    assert.is_true(lib.mm_account_allows(small, 250))
  end)

  it("shares with others: n greedy ones get 1/(n+1) each, and the limit is never reached", function()
    for _, n in ipairs { 1, 2, 9, 99 } do
      local sum, list = sum_of(1000000), {}
      for i = 1, n do list[i] = { account(sum) } end
      local is_growing = true
      while is_growing do
        is_growing = false
        for _, one in ipairs(list) do
          local a, declared = one[1], one[2]
          if lib.mm_account_allows(a, 100) then
            lib.mm_account_redeclare(a, declared, declared[0] + 100)
            is_growing = true
          end
        end
      end
      for _, one in ipairs(list) do
        assert.is_true(math.abs(tonumber(one[1].held) - 1000000 / (n + 1)) <= 200)
      end
      assert.is_true(tonumber(sum.peak) < 1000000)
    end
  end)

  it("without a limit, without a sum, or none at all, may hold anything", function()
    local a = account(sum_of(0))
    assert.is_true(lib.mm_account_allows(a, 2 ^ 40))
    local alone, declared = account(nil)
    assert.is_true(lib.mm_account_allows(alone, 2 ^ 40))
    lib.mm_account_redeclare(alone, declared, 10)
    assert.equal(0, tonumber(declared[0]))
    assert.is_true(lib.mm_account_allows(nil, 2 ^ 40))
  end)
end)
