--- The web page in a real Chromium: what a person sees, with and without scripts, by keyboard alone.
--- SCREENSHOTS=DIRECTORY keeps a picture of every screen: light and dark, on a desk, a tablet and a phone.
local lfs = require "lfs"

local browser = require "spec.page.browser"
local host = require "spec.support.host"
local page = require "spec.page.page"
local process = require "spec.support.process"

local WIDTHS = { { "phone", 390, 844, true }, { "tablet", 768, 1024 }, { "desk", 1280, 900 } }
local EVIL = '"><script>document.title="owned"</script><img src=x onerror="document.title=1">'

-- Ratio of contrast (WCAG 2.2, 1.4.3) of every text that is seen; those below 4.5.
local CONTRAST = [[
  const channel = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const parse = text => (text.match(/[\d.]+/g) || []).map(Number);
  const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement, box = e.getBoundingClientRect();
    if (!walker.currentNode.data.trim() || box.width < 2 || box.right < 0) continue;
    const a = light(parse(getComputedStyle(e).color)), b = light(ground(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(ratio.toFixed(2) + " " + walker.currentNode.data.trim().slice(0, 30));
  }
  return bad.join("\n");]]

-- What an assistive reader needs: names of fields and links, heads of tables, one h1, a language.
local NAMED = [[
  const bad = [];
  for (const e of document.querySelectorAll("input, select, button, a, summary")) {
    const label = e.labels && e.labels.length ? e.labels[0].textContent : e.textContent || e.getAttribute("aria-label");
    if (!label || !label.trim()) bad.push(e.outerHTML.slice(0, 80));
  }
  for (const t of document.querySelectorAll("table"))
    for (const h of t.tHead ? t.tHead.querySelectorAll("th") : [])
      if (h.scope !== "col" || !h.textContent.trim()) bad.push("head: " + h.outerHTML);
  for (const t of document.querySelectorAll("table")) if (!t.tHead) bad.push("no head: " + t.className);
  if (document.querySelectorAll("h1").length !== 1) bad.push("h1");
  if (!document.documentElement.lang || !document.querySelector("main")) bad.push("lang, main");
  return bad.join("\n");]]

describe("the page in Chromium", function()
  local p, b
  setup(function()
    p = page.start { workers = 1, life = 240 }
    for i = 1, 6 do
      p:mail { id = ("4f9K%dZxyz"):format(i), from = ("ann%d@one.example"):format(i), subject = "Invoice " .. i }
    end
    p:mail { id = "QSPAM", from = "spam@bad.example", subject = "win" }
    p:mail { id = "QLATER", from = "later@grey.example", subject = "Your parcel" }
    p:mail { id = "QBOX", to = "refused@two.example" }
    p:mail { id = "QRAISES", from = "raises@x.example", subject = "without words" }
    p:mail { id = "QEVIL", from = EVIL:gsub("%s", "/") .. "@evil.example", helo = EVIL, subject =
      "\226\128\174gpj.exe " .. EVIL }
    p:mail { id = "QLONG", from = ("a-very-long-local-part-"):rep(2) .. "@" .. ("long-domain-"):rep(3) .. ".example",
      subject = ("unbreakable"):rep(7) }
    local mta = p.host:connect()
    mta:greet()
    mta:helo()
    mta:send("M", "<slow@one.example>\0")
    p.waits = mta
    p:wait("/messages?json&id=QLONG", function(_, status) return status == 200 end)
    p:wait("/", function(text) return text:find("<b>sleep</b>", 1, true) end)
    b = browser.start()
  end)
  teardown(function()
    if b then b:stop() end
    if p then
      if p.waits then p.waits:close() end
      p:stop()
    end
  end)

  local SCREENS = { now = "/", messages = "/messages", filtered = "/messages?verdict=reject&since=2h",
    message = "/message?id=QSPAM", hostile = "/message?id=QEVIL", long = "/message?id=QLONG", error =
      "/message?id=QRAISES",
    scripts = "/scripts", state = "/state", none = "/messages?from=nobody", unknown = "/message?id=NOSUCH",
    wrong = "/messages?ip=banana" }

  it("fits each width in light and dark, is readable, and names what it has", function()
    local directory = os.getenv "SCREENSHOTS"
    if directory then lfs.mkdir(directory) end
    b:requests()
    for name, path in pairs(SCREENS) do
      for _, width in ipairs(WIDTHS) do
        for _, dark in ipairs { false, true } do
          local what = ("%s-%s-%s"):format(name, width[1], dark and "dark" or "light")
          b:look_as(width[2], width[3], width[4], dark)
          b:open(p:url(path))
          assert.equal(0, b:run "return document.documentElement.scrollWidth - document.documentElement.clientWidth",
            what)
          assert.equal("", b:run(CONTRAST), what)
          assert.equal(dark, b:run "return getComputedStyle(document.body).backgroundColor === 'rgb(17, 20, 22)'", what)
          if directory then b:screenshot(("%s/%s.png"):format(directory, what), width[2], width[4]) end
        end
      end
      assert.equal("", b:run(NAMED), name)
    end
    local own = p:url ""
    for _, url in ipairs(b:requests()) do
      if url:find "^https?:" then assert.equal(own, url:sub(1, #own), url) end
    end
  end)

  it("runs nothing that mail has brought, and breaks no rule of its own policy", function()
    b:console()
    b:look_as(1280, 900)
    for _, path in ipairs { "/", "/messages", "/message?id=QEVIL" } do
      b:open(p:url(path))
      assert.truthy(b:run("return document.title"):find "moonmilter on", path)
      assert.equal(0, b:run "return document.images.length + document.scripts.length - 1")
    end
    assert.truthy(b:run("return document.body.textContent"):find("\\u{202e}gpj.exe", 1, true))
    for _, line in ipairs(b:console()) do
      assert.is_nil(line:find("Content Security Policy", 1, true) or line:find("Error", 1, true), line)
    end
  end)

  it("refuses scripts, styles and requests that are not its own", function()
    b:open(p:url "/")
    assert.equal(0, b:run [[
      const e = document.createElement("div");
      e.innerHTML = "<p id=styled style='color: rgb(1, 2, 3)'>x</p>";
      document.body.append(e);
      const s = document.createElement("script");
      s.textContent = "window.ran = 1";
      document.body.append(s);
      return (window.ran || 0) + (getComputedStyle(document.getElementById("styled")).color === "rgb(1, 2, 3)" ? 2 :
        0);]])
    assert.equal("refused", b:run [[
      return fetch("http://127.0.0.1:1/").then(() => "reached", e => "refused");]])
  end)

  it("shows new messages by itself, with the filter that was asked for", function()
    b:look_as(1280, 900)
    b:open(p:url "/messages?verdict=reject")
    assert(host.wait_until(10, function() return b:run "return document.documentElement.dataset.stream" == "open" end))
    p:mail { id = "QFRESH", from = "spam@bad.example" }
    p:mail { id = "QPASSES" }
    assert(host.wait_until(20, function()
      return b:run "return document.querySelector('#rows tr a').textContent" == "QFRESH"
    end, "the new row"))
    assert.is_false(b:run "return document.body.textContent.includes('QPASSES')")
    b:run "[...document.querySelectorAll('button')].find(x => x.textContent === 'Live').click()"
    assert.equal("closed", b:run "return document.documentElement.dataset.stream")
    b:open(p:url "/")
    p:mail { id = "QNOW" }
    assert(host.wait_until(20, function()
      return b:run "return document.querySelector('#rows tr a').textContent" == "QNOW"
    end, "the new row on the first screen"))
  end)

  it("does not move what is being read", function()
    b:look_as(1280, 900)
    b:open(p:url "/messages")
    assert(host.wait_until(10, function() return b:run "return document.documentElement.dataset.stream" == "open" end))
    b:run "document.querySelector('#rows tr a').focus()"
    local first = b:run "return document.querySelector('#rows tr a').textContent"
    p:mail { id = "QHELD" }
    assert(host.wait_until(20, function()
      return b:run "const a = document.querySelector('.arrived'); return a !== null && a.isConnected && !a.hidden"
    end, "the button"))
    assert.equal(first, b:run "return document.querySelector('#rows tr a').textContent")
    assert.equal("1 new message", b:run "return document.querySelector('.arrived').textContent")
    b:run "document.querySelector('.arrived').click()"
    assert.equal("QHELD", b:run "return document.querySelector('#rows tr a').textContent")
  end)

  it("is used by keyboard alone, and shows where the keyboard is", function()
    b:look_as(1280, 900)
    b:open(p:url "/messages")
    b:keys(browser.TAB)
    assert.equal("Skip to the content", b:run "return document.activeElement.textContent")
    assert.is_true(b:run "return document.activeElement.getBoundingClientRect().left >= 0")
    b:keys(browser.ENTER)
    assert.equal("main", b:run "return document.activeElement.id")
    for _ = 1, 60 do
      b:keys(browser.TAB)
      assert.equal("solid", b:run "return getComputedStyle(document.activeElement).outlineStyle",
        b:run "return document.activeElement.outerHTML")
      if b:run "return document.activeElement.className === 'row'" then break end
    end
    local id = b:run "return document.activeElement.textContent"
    b:keys(browser.ENTER)
    assert(host.wait_until(10, function() return b:run "return location.pathname" == "/message" end, "the message"))
    assert.truthy(b:run("return document.querySelector('h2').textContent"):find(id, 1, true))
    -- the filter, opened and sent
    b:open(p:url "/messages")
    b:run "document.querySelector('summary').focus()"
    b:keys(browser.ENTER)
    b:keys(browser.TAB)
    assert.equal("from", b:run "return document.activeElement.name")
    b:keys("l", "a", "t", "e", "r", browser.ENTER)
    assert(host.wait_until(10, function() return b:run "return location.search":find("from=later", 1, true) end,
      "the filter"))
    assert.equal(1, b:run "return document.querySelectorAll('#rows tr').length")
  end)

  it("opens a message by touching anywhere on its card", function()
    b:look_as(390, 844, true)
    b:open(p:url "/messages?id=QSPAM")
    assert.is_true(b:run [[
      document.querySelector("#rows tr").scrollIntoView({ block: "center" });
      const box = document.querySelector("#rows tr").getBoundingClientRect();
      const hit = document.elementFromPoint(box.left + box.width / 2, box.top + 12);
      return hit.closest("a") !== null && box.height >= 44;]])
    assert.equal(0, b:run [[
      return [...document.querySelectorAll("header nav a, .quick a, button, select, input")]
        .filter(e => e.offsetParent && e.getBoundingClientRect().height < 36).length;]])
  end)

  it("says all of it without scripts", function()
    b:devtools("Emulation.setScriptExecutionDisabled", { value = true })
    b:look_as(390, 844, true)
    b:open(p:url "/messages?verdict=reject")
    assert.equal("Messages", b:command("GET", "/element/" .. select(2, next(b:command("POST", "/element",
      { using = "css selector", value = "h1" }))) .. "/text"))
    assert.is_true(#b:command("POST", "/elements", { using = "css selector", value = "#rows tr" }) >= 2)
    b:devtools("Emulation.setScriptExecutionDisabled", { value = false })
  end)

  it("tells that the host is down, and comes back with it", function()
    b:look_as(390, 844, true, true)
    b:open(p:url "/")
    p.host:signal "SIGSTOP"
    local ok, why = pcall(function()
      assert(host.wait_until(30, function()
        return b:run "return document.body.textContent.includes('The host does not answer')"
      end, "the alert"))
      local directory = os.getenv "SCREENSHOTS"
      if directory then b:screenshot(directory .. "/down-phone-dark.png", 390, true) end
    end)
    p.host:signal "SIGCONT"
    assert(ok, why)
    assert(host.wait_until(30, function()
      return not b:run "return document.body.textContent.includes('The host does not answer')"
    end, "the page without the alert"))
  end)

  if not process.which "chromium" then
    it("needs the packages chromium and chromium-driver", function() error "apt-get install chromium chromium-driver"
      end)
  end
end)
