--- The effect of header edits on Postfix and Sendmail (protocol 3.7): each keeps its own list of fields, with fields
--- that the filter never sees, and counts in its own way. Written from the protocol reference alone.
local header_list = {}

local function field(name, value, more)
  local f = { name = name, value = value, key = name:lower() }
  for k, v in pairs(more or {}) do
    f[k] = v
  end
  return f
end

-- ---- Postfix ----
-- Its Received on top, hidden from the filter; positions count it, numbers do not; deleted fields are gone.

local Postfix = {}
Postfix.__index = Postfix

function Postfix:apply(edit)
  local kind, list = edit[1], self.list
  if kind == "add_header" then
    list[#list + 1] = field(edit[2], edit[3])
  elseif kind == "insert_header" then
    table.insert(list, math.min(edit[2], #list) + 1, field(edit[3], edit[4]))
  elseif kind == "change_header" then
    local left = math.max(edit[2], 1)
    for i, f in ipairs(list) do
      if f.key == edit[3]:lower() and not f.own then
        left = left - 1
        if left == 0 then
          if edit[4] == "" then
            table.remove(list, i)
          else
            list[i] = field(edit[3], edit[4])
          end
          return
        end
      end
    end
    if edit[4] ~= "" then
      list[#list + 1] = field(edit[3], edit[4])
    end
  end
end

-- ---- Sendmail: its own nine fields first; positions count elements, deleted fields stay in their place ----

local Sendmail = {}
Sendmail.__index = Sendmail

function Sendmail:apply(edit)
  local kind, list = edit[1], self.list
  if kind == "add_header" then
    for _, f in ipairs(list) do -- Sendmail's own default takes the value
      if f.key == edit[2]:lower() and f.own and not f.trace then
        f.value, f.own = edit[3], nil
        return
      end
    end
    for i, f in ipairs(list) do
      if f.key == edit[2]:lower() then
        table.insert(list, i, field(edit[2], edit[3]))
        return
      end
    end
    list[#list + 1] = field(edit[2], edit[3])
  elseif kind == "insert_header" then
    table.insert(list, math.min(edit[2] + 1, #list) + 1, field(edit[3], edit[4]))
  elseif kind == "change_header" then
    local left = math.max(edit[2], 1)
    for _, f in ipairs(list) do
      if f.key == edit[3]:lower() and not f.own then
        left = left - 1
        if left == 0 then
          f.value = edit[4] ~= "" and edit[4] or nil
          return
        end
      end
    end
    if edit[4] ~= "" then
      self:apply { "add_header", edit[3], edit[4] }
    end
  end
end

--- The lists before any edit. fields: pairs of name and value as the client sent them.
function header_list.postfix(fields)
  local list = { field("Received", "(mta)", { own = true }) }
  for _, pair in ipairs(fields) do
    list[#list + 1] = field(pair[1], pair[2])
  end
  return setmetatable({ list = list }, Postfix)
end

function header_list.sendmail(fields)
  local list = { field("Return-Path", nil, { own = true }), field("Received", "(mta)", { own = true, trace = true }) }
  for _, name in ipairs { "Resent-Date", "Date", "Resent-From", "From", "Full-Name", "Resent-Message-Id",
    "Message-Id" } do
    list[#list + 1] = field(name, nil, { own = true })
  end
  for _, pair in ipairs(fields) do
    list[#list + 1] = field(pair[1], pair[2])
  end
  return setmetatable({ list = list }, Sendmail)
end

--- The header as delivered, "Name: value" each; the MTA's own Received as "Received: (mta)".
function header_list.text(self)
  local lines = {}
  for _, f in ipairs(self.list) do
    if f.value then
      lines[#lines + 1] = f.name .. ": " .. f.value
    end
  end
  return table.concat(lines, "|")
end

Postfix.text, Sendmail.text = header_list.text, header_list.text

return header_list
