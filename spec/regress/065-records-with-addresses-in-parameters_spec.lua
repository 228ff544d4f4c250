-- record_redact = "all" left ESMTP parameters unchanged, but ORCPT= and AUTH= also contain addresses. Since 0.1.0.
local ffi = require "ffi"
local testlib = require "spec.support.testlib"

local lib = testlib.load "io/recorder.h"

local function masked(letter, data)
  local bytes = ffi.new("uint8_t[?]", #data)
  ffi.copy(bytes, data, #data)
  lib.mm_record_mask("MM_REDACT_ALL", (">"):byte(), letter:byte(), bytes, #data)
  return ffi.string(bytes, #data)
end

it("records hide parameters that contain addresses and keep the others", function()
  assert.equal("<xxx@x.xxxxxxx>\0SIZE=1234\0AUTH=xxx@x.xxxxxxx\0body=8BITMIME\0ENVID=x0\0RET=FULL\0SMTPUTF8\0",
    masked("M", "<ann@a.example>\0SIZE=1234\0AUTH=ann@a.example\0body=8BITMIME\0ENVID=q7\0RET=FULL\0SMTPUTF8\0"))
  assert.equal("<xxx@x.xxxxxxx>\0NOTIFY=NEVER\0ORCPT=xxx000;xxx@x.xxxxxxx\0",
    masked("R", "<ann@a.example>\0NOTIFY=NEVER\0ORCPT=rfc822;ann@a.example\0"))
  assert.equal("<xxx@x>\0SIZE\0XAUTH==xxx\0", masked("M", "<ann@a>\0SIZE\0XAUTH==ann\0"))
  assert.equal("<xxx@x>\0X=\0", masked("R", "<ann@a>\0X=\0"))
  assert.equal("<xxx@x>\0", masked("R", "<ann@a>\0"))
end)
