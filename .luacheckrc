std = "luajit"
max_line_length = false -- spec/lint/width.lua rules: it counts tabs, and knows which lines cannot be broken
files["spec"] = { std = "luajit+busted" }
files["examples"].globals = {
  "on_negotiate", "on_connect", "on_helo", "on_mail", "on_rcpt", "on_data", "on_header", "on_eoh", "on_body", "on_eom",
  "on_unknown", "on_abort", "on_done", "on_close", "on_load", "on_unload", "options",
}
files["examples"].unused_args = false
files["scripts"] = files["examples"]
files["spec/bench/scripts"] = files["examples"]
files["spec/examples/rate.lua"] = files["examples"]
exclude_files = { "lua/meta" } -- declarations for editors
