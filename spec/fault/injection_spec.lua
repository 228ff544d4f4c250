-- Scripts pass on strings from mail: every hostile string through every edit and every word of a reply, towards both
-- MTAs. Either the call raises, and the message gets a temporary failure without edits, or exactly one well-formed
-- packet leaves: the oracle in fake_mta judges every byte, and the string arrives complete or not at all.
local fake_mta = require "spec.support.fake_mta"

local STRINGS = [[
  "a\rb", "a\nb", "a\r\nb", "a\r\n b", "a\r\n\tb", "a\n b", "a\r b", "\r\n", "\r", "\n", " \r\n ", "a\r\n", "a\n", "a\r\n\r\nbody", "a\n\nbody",
  "\r.\r", "\r\n.\r\n", ".\r\n", "a\r\n.\r\nMAIL FROM:<x@y>\r\n", "x\r\nBcc: eve@example.org", "x\nBcc: eve@example.org", "x\rBcc: eve@example.org",
  "a\0b", "\0", "a\0", "\0\0\0\5h", "a\0b\0c", "%", "%%", "%s%n%d", "100%", "%\r\n", "a%\0", "\127", "\1\2\3", "\27[2J", "\8",
  "gr\195\188n", "\255\254", "\128", "\195", "\226\128\168", "\239\187\191x", "", " ", "\t", "  a  ", "a:b", ":", "a b", "a\tb",
  "<a@example.org>", "a@example.org", "a@example.org, b@example.org", "<a@example.org>,<b@example.org>", "<a@example.org> <b@example.org>",
  "<a@example.org", "a@example.org>", "<<a@example.org>>", "<>", "@", "a@", "@b", "<a b@example.org>", "<\"a b\"@example.org>",
  "<\"a\\\"@x>,<b\"@example.org>", "<a@example.org>\0<b@example.org>", "<a@example.org> SIZE=1", "a@[192.0.2.1]", "<@r:a@example.org>",
  "(a@example.org)", "SIZE=1", "BODY=8BITMIME SIZE=1", "RET=FULL\r\nRCPT TO:<x@y>", "ORCPT=rfc822;a+0Ab", "NOTIFY=NEVER", "SIZE", "=1", "SMTPUTF8",
  "550", "5.7.1", "4.7.1", "2.0.0", "-1", "0", "Subject", "From", "X Y", "X:", ("x"):rep(980), ("x"):rep(981), ("x"):rep(998), ("x"):rep(1000),
  ("%"):rep(500), ("y"):rep(70000), ("y "):rep(40000), ("a\r\n b"):rep(300), "<" .. ("a"):rep(300) .. "@example.org>", ("\0"):rep(100),
]]

-- s is the string. A call adds its own packet to the list of edits, or for recipients and headers several of one kind.
local CALLS = {
  "ctx:add_header(s, 'value')", "ctx:add_header('X-A', s)", "ctx:insert_header(1, s, 'value')",
  "ctx:insert_header(2, 'X-A', s)",
  "ctx:change_header(s, 1, 'value')", "ctx:change_header('Subject', 1, s)", "ctx:change_header('X-New', 3, s)",
  "ctx:delete_header(s)",
  "ctx:delete_header(s, 1)", "ctx.headers[1]:set(s)", "ctx:change_from(s)", "ctx:change_from('a@example.org', s)",
  "ctx:change_from('a@example.org', { SIZE = s })", "ctx:change_from('a@example.org', { [s] = true })",
  "ctx:add_recipient(s)",
  "ctx:add_recipient('e@example.org', s)", "ctx:add_recipient('e@example.org', { NOTIFY = s })",
  "ctx:delete_recipient(s)",
  "ctx:replace_body(s)", "local n = 0 ctx:replace_body(function() n = n + 1 return n < 4 and s or nil end)",
  "ctx:quarantine(s)",
  "ctx:reject(s)", "ctx:reject(550, s)", "ctx:reject(550, '5.7.1', s)", "ctx:reject(s, s)", "ctx:reject(s, s, s)",
  "ctx:reject('a', s, 'b')",
  "ctx:tempfail(s)", "ctx:tempfail(451, s, s)", "ctx:disconnect(s)", "return s", "error(s)", "error { s }",
}

local function script()
  local lines = { "local strings = {", STRINGS, "}", "local calls = {" }
  for _, call in ipairs(CALLS) do
    lines[#lines + 1] = ("function(ctx, s) %s end,"):format(call)
  end
  lines[#lines + 1] = [[}
    function on_eom(ctx)
      local call, s = ctx.sender:match "^c(%d+)%-(%d+)@"
      ctx:add_header("X-Before", "yes")
      return calls[tonumber(call)](ctx, strings[tonumber(s)])
    end
    function on_mail(ctx) local _ = ctx.recipients end
    function on_header(ctx, name, value) end
  ]]
  return table.concat(lines, "\n")
end

-- X-Before occurs once; a body may take several packets, any other call takes one.
local function count_kinds(edits)
  local kinds, has_body = { ours = 0, others = 0 }, false
  for _, edit in ipairs(edits) do
    local is_body = edit[1] == "replace_body"
    if edit[2] == "X-Before" or edit[3] == "X-Before" then
      kinds.ours = kinds.ours + 1
    elseif not (is_body and has_body) then
      kinds.others = kinds.others + 1
    end
    has_body = has_body or is_body
  end
  return kinds
end

local strings = assert(loadstring("return {" .. STRINGS .. "}"))()

for _, kind in ipairs { "postfix", "sendmail" } do
  describe("hostile strings, towards " .. kind, function()
    local mta
    setup(function()
      mta = fake_mta.start(script())
      mta:introduce(kind)
      mta:connect()
      mta:helo()
    end)
    teardown(function() mta:close() end)

    for c, call in ipairs(CALLS) do
      it("never produce malformed packets: " .. call, function()
        local taken, refused = 0, 0
        for n = 1, #strings do
          mta:mail(("<c%d-%d@example.org>"):format(c, n))
          mta:rcpt "<bob@example.com>"
          mta:data()
          mta:header("Subject", "one")
          mta:eoh()
          local reply = mta:eom()
          local what = ("%s with %q"):format(call, strings[n]:sub(1, 60))
          if reply.kind == "continue" or reply.kind == "accept" then
            taken = taken + 1
            local kinds = count_kinds(reply.edits)
            assert.equal(1, kinds.ours, what)
            assert.is_true(kinds.others <= 1, what)
          else
            refused = refused + 1
            assert.same({}, reply.edits, what)
          end
        end
        assert.equal(#strings, taken + refused)
        assert.is_true(refused > 0 or call:find "replace_body" ~= nil, call .. " takes anything")
      end)
    end
  end)
end
