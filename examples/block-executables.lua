-- Refuse mail that carries a program, whatever its name and wherever it is hidden: the content decides the type, and
-- attached messages, encoded ones too, are searched, as are uuencoded files in text and winmail.dat. Mail in which one
-- mail reader may find a part that another does not see is refused, too: no software writes it by accident. The body is
-- never kept: memory stays small.
local mime = require "moonmilter.mime"

function on_eoh(ctx)
  local walker = mime.walker {
    on_end = function(part)
      if mime.executable_kinds[part.kind] then
        ctx.message.program = part.filename or part.kind
      end
      for defect in pairs(part.defects) do
        if mime.ambiguous_defects[defect] or mime.hiding_defects[defect] then
          ctx.message.hiding = defect
        end
      end
    end,
    on_embedded = function(_, file)
      if mime.executable_kinds[file.kind] then
        ctx.message.program = file.name or file.kind
      end
    end,
  }
  walker:headers(ctx.headers)
  walker:eoh()
  ctx.message.walker = walker
end

function on_body(ctx, chunk)
  ctx.message.walker:body(chunk)
end

function on_eom(ctx)
  local root, why = ctx.message.walker:eom()
  if not root then -- nested too deeply, too many parts: never an accident
    return ctx:reject(554, "5.6.0", "message structure refused: " .. why)
  end
  if ctx.message.program then
    local shown = ctx.message.program:gsub("[^\32-\126]", "?")
    return ctx:reject(554, "5.7.1", "programs are not accepted by mail: " .. shown)
  end
  if ctx.message.hiding then -- a mail reader may find a program where we do not see one
    return ctx:reject(554, "5.6.0", "message structure refused: " .. ctx.message.hiding)
  end
end
