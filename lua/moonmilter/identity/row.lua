--- One message as a flat row, for logs and for reports: all that an aggregate report says of it (RFC 9990). Values are
--- texts, booleans and numbers; what there are several of is joined by ",", in the same order in all columns.
local author = require "moonmilter.identity.author"

local row = {}

local COUNT_MAX = 20 -- of what there are several of

local function joined(list, read)
  local out = {}
  for i = 1, math.min(#list, COUNT_MAX) do
    out[i] = read(list[i]) or ""
  end
  return table.concat(out, ",")
end

local function domain_of(mailbox)
  return author.name_of((mailbox or ""):match "@([^@]*)$")
end

-- Domains of recipients, each once.
local function recipient_domains(recipients)
  local list, seen = {}, {}
  for _, recipient in ipairs(recipients) do
    local domain = not recipient.refused and domain_of(recipient.address)
    if domain and not seen[domain] then
      seen[domain] = true
      list[#list + 1] = domain
    end
  end
  return joined(list, function(domain) return domain end)
end

-- A text of the network, without what would break a line or a column: printable ASCII but blanks and commas.
local function word(text)
  return text and (text:sub(1, 255):gsub("[^!-+--~]", "?")) or nil
end

local function add_policy(out, dmarc)
  local record = dmarc.record
  if not record then
    return
  end
  out.policy_domain, out.policy_discovery = dmarc.policy_domain, "treewalk"
  out.p, out.sp, out.np = record.p, record.sp or record.p, record.np or record.sp or record.p
  out.adkim, out.aspf, out.testing = record.adkim, record.aspf, record.t
  out.fo = word(record.fo)
  out.rua = joined(record.rua, word)
end

local function add_dmarc(out, dmarc)
  if not dmarc then
    return
  end
  out.header_from, out.organization = dmarc.domain, dmarc.organization
  out.dmarc, out.dmarc_reason, out.disposition = dmarc.result, dmarc.reason, dmarc.disposition
  local aligned = dmarc.aligned or {}
  out.dmarc_dkim, out.dmarc_spf = aligned.dkim and "pass" or "fail", aligned.spf and "pass" or "fail"
  add_policy(out, dmarc)
end

local function add_spf(out, spf)
  if not spf then
    return
  end
  out.spf, out.spf_domain = spf.result, word(spf.domain)
  out.spf_scope = spf.trace and spf.trace.identity == "helo" and "helo" or "mfrom"
end

--- The row of a message.
---@param ctx moonmilter.ctx
---@param r moonmilter.AuthCheck
---@return table<string, string|number|boolean>
function row.of(ctx, r)
  local signatures = r.dkim or {}
  local out = {
    source_ip = ctx.client.ip, queue_id = ctx.queue_id, helo = word(ctx.helo),
    envelope_from = domain_of(ctx.sender), envelope_to = recipient_domains(ctx.recipients),
    is_list = r.is_list,
    dkim = joined(signatures, function(s) return s.result end),
    dkim_domain = joined(signatures, function(s) return word(s.domain) end),
    dkim_selector = joined(signatures, function(s) return word(s.selector) end),
    helo_spf = r.helo and r.helo.result,
    arc = r.arc and r.arc.result,
  }
  add_spf(out, r.spf)
  add_dmarc(out, r.dmarc)
  return out
end

return row
