-- Looks at every byte of the body, keeps none.
function on_mail(ctx)
  ctx.message.seen = 0
end

function on_body(ctx, chunk)
  ctx.message.seen = ctx.message.seen + #chunk
end

function on_eom(ctx)
  ctx:add_header("X-Body-Size", ctx.message.seen)
end
