// Asks for what changed and puts it in place. All of it is written by the server; nothing is made from text here.
"use strict";
const parts = document.getElementById("parts");
const link = document.getElementById("link");
const versions = new Map();
for (const part of parts.children) versions.set(part.id, part.dataset.version);
let failures = 0;
let timer = 0;

function asked() {
  const now = new URLSearchParams(location.search);
  const ask = new URLSearchParams();
  for (const name of ["stage", "at", "find"]) if (now.get(name)) ask.set(name, now.get(name));
  ask.set("have", [...versions].map(([id, version]) => id + ":" + version).join(","));
  return "changes?" + ask;
}

// What a person is doing in a part stays: the focus, what was typed, where a log was scrolled to.
function place(id, version, html) {
  let part = document.getElementById(id);
  const log = part && part.querySelector("pre");
  const wasAtEnd = !log || log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  const scrolled = log ? log.scrollTop : 0;
  const active = part && part.contains(document.activeElement) ? document.activeElement : null;
  const address = active && active.getAttribute("href");
  if (!part) {
    part = document.createElement("section");
    part.id = id;
  }
  const wide = [...part.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
  part.dataset.version = version;
  part.innerHTML = html;
  part.querySelectorAll(".scroll").forEach((box, at) => (box.scrollLeft = wide[at] || 0));
  const fresh = part.querySelector("pre");
  if (fresh) fresh.scrollTop = wasAtEnd ? fresh.scrollHeight : scrolled;
  if (address) {
    const same = [...part.querySelectorAll("a")].find((a) => a.getAttribute("href") === address);
    if (same) same.focus({ preventScroll: true });
  }
  versions.set(id, version);
  return part;
}

async function update() {
  try {
    const answer = await fetch(asked(), { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status);
    const news = await answer.json();
    for (const [id, [version, html]] of Object.entries(news.changed)) place(id, version, html);
    const wanted = new Set(news.order);
    for (const part of [...parts.children]) {
      if (!wanted.has(part.id)) {
        part.remove();
        versions.delete(part.id);
      }
    }
    news.order.forEach((id, at) => {
      const part = document.getElementById(id);
      if (part && parts.children[at] !== part) parts.insertBefore(part, parts.children[at] || null);
    });
    document.title = news.title;
    failures = 0;
    link.className = "";
    link.textContent = "Live: looks for news every " + (news.next_ms / 1000) + " s.";
    again(news.next_ms);
  } catch {
    failures += 1;
    link.className = "lost";
    link.textContent = "No answer from `pipeline serve`: what is shown is old. Trying again.";
    again(Math.min(30000, 1000 * 2 ** failures));
  }
}

function again(milliseconds) {
  clearTimeout(timer);
  timer = setTimeout(() => (document.hidden ? again(1000) : update()), milliseconds);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) again(0);
});

// A square of a grid is a stage; the search does the same for those who use no pointer.
parts.addEventListener("click", (event) => {
  const grid = event.target.closest("svg.grid");
  if (!grid) return;
  const box = grid.getBoundingClientRect();
  const columns = Number(grid.dataset.columns);
  const size = box.width / columns;
  const column = Math.floor((event.clientX - box.left) / size);
  const at = Math.floor((event.clientY - box.top) / size) * columns + column;
  if (column < columns && at < Number(grid.dataset.count)) {
    location.assign("?at=" + grid.dataset.group + "." + at + "#stage");
  }
});

// A graph wider than the window begins where the work is.
const node = parts.querySelector(".node.s-failed, .node.s-running");
const box = node && node.closest(".scroll");
if (box) {
  const from = node.getBoundingClientRect().left - box.getBoundingClientRect().left;
  box.scrollLeft = Math.max(0, from - box.clientWidth / 3);
}
for (const log of parts.querySelectorAll("pre")) log.scrollTop = log.scrollHeight;
again(Math.min(1000, Number(parts.dataset.next)));
