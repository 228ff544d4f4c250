// Rows that come by themselves, and how long ago things were. The page says all of it without this file, too.
"use strict";
(() => {
  const main = document.getElementById("main");
  const offset = Number(main.dataset.now) * 1000 - Date.now(); // of the host's clock

  const ago = seconds => seconds < 1 ? "now"
    : seconds < 60 ? `${Math.floor(seconds)} s ago`
    : seconds < 3600 ? `${Math.floor(seconds / 60)} min ago`
    : seconds < 172800 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86400)} d ago`;
  const showAges = () => {
    const now = (Date.now() + offset) / 1000;
    for (const e of document.querySelectorAll("[data-at]")) {
      const text = ago(now - Number(e.dataset.at));
      if (e.textContent !== text) e.textContent = text;
    }
  };
  setInterval(showAges, 1000);

  // What the host escaped; markup is its own, and the policy lets no script in it run.
  const nodesOf = html => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  };

  if (main.dataset.down) {
    setTimeout(() => location.reload(), 5000);
    return;
  }
  if (!main.dataset.live || !window.EventSource) return;

  // ---- rows ----
  const ROWS_MAX = 200;
  const body = () => document.getElementById("rows");
  let held = [];
  const arrived = document.createElement("button");
  arrived.type = "button";
  arrived.className = "arrived";
  arrived.hidden = true;
  const status = document.createElement("p");
  status.className = "hidden";
  status.setAttribute("role", "status");
  main.append(status);

  const insert = () => {
    const list = body(), count = held.length;
    if (!list || !count) return;
    for (const row of held) {
      row.classList.add("fresh");
      list.prepend(row);
    }
    held = [];
    arrived.hidden = true;
    while (list.rows.length > ROWS_MAX) list.lastElementChild.remove();
    status.textContent = count === 1 ? "1 new message" : `${count} new messages`;
    showAges();
  };
  // Who reads further down, or is on a row with the keyboard, is not moved.
  const isReading = () => scrollY > 160 || (body() && body().contains(document.activeElement));
  const takeRows = html => {
    if (!body()) return location.reload(); // the first message of an empty list
    const rows = [...nodesOf(`<table><tbody>${html}</tbody></table>`).querySelectorAll("tr")].reverse();
    held.push(...rows);
    held = held.slice(-ROWS_MAX);
    if (!isReading()) return insert();
    if (!arrived.isConnected) body().closest("table").before(arrived);
    arrived.textContent = held.length === 1 ? "1 new message" : `${held.length} new messages`;
    arrived.hidden = false;
  };
  arrived.addEventListener("click", () => {
    insert();
    scrollTo({ top: 0 });
    main.focus({ preventScroll: true });
  });

  // ---- parts ----
  const takePart = html => {
    const part = document.getElementById("part"), focused = document.activeElement;
    if (!part || !getSelection().isCollapsed) return;
    const link = part.contains(focused) && focused.getAttribute("href");
    part.replaceChildren(nodesOf(html));
    if (link) for (const a of part.querySelectorAll("a")) if (a.getAttribute("href") === link) {
      a.focus({ preventScroll: true });
      break;
    }
    showAges();
  };

  // ---- the stream ----
  let stream = null, isWanted = true;
  const url = () => {
    const rows = body() && main.dataset.live.startsWith("/live/messages");
    const address = new URL(main.dataset.live, location.href);
    const newest = held.length ? held[held.length - 1] : rows ? body().rows[0] : null;
    if (newest) address.searchParams.set("before", String(Number(newest.dataset.n) + 1));
    return address;
  };
  const open = () => {
    if (stream || !isWanted || document.hidden) return;
    stream = new EventSource(url());
    stream.addEventListener("rows", e => takeRows(e.data));
    stream.addEventListener("part", e => takePart(e.data));
    stream.addEventListener("summary", e => document.getElementById("summary").replaceChildren(nodesOf(e.data)));
    stream.addEventListener("down", () => location.reload());
    stream.addEventListener("error", () => { // a lost connection begins again where it was
      close();
      setTimeout(open, 3000);
    });
    document.documentElement.dataset.stream = "open";
  };
  const close = () => {
    if (stream) stream.close();
    stream = null;
    document.documentElement.dataset.stream = "closed";
  };
  const button = document.createElement("button");
  button.type = "button";
  button.className = "live";
  const showButton = () => {
    button.setAttribute("aria-pressed", String(isWanted));
    button.textContent = isWanted ? "Live" : "Paused";
  };
  button.addEventListener("click", () => {
    isWanted = !isWanted;
    showButton();
    if (isWanted) open(); else close();
  });
  showButton();
  document.getElementById("summary").after(button);
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else open(); });
  open();
})();
