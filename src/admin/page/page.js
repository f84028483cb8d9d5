// Keeps the page up to date: asks for it again and puts the new sections in the place of the old.
"use strict";

const EVERY_MS = 500; // Between an answer and the next question.
const TIMEOUT_MS = 4000;
const live = document.getElementById("live");
const dialog = document.getElementById("dialog");
const tip = document.getElementById("tip");
let lastAnswer = new Date();

// Without the credentials that the address of the page may have held.
const here = () => location.origin + location.pathname + location.search;
const ask = (url) => fetch(url, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });

function say(state, text) {
  if (live.dataset.state === state && live.textContent === text) return;
  live.dataset.state = state;
  live.textContent = text;
  document.body.classList.toggle("stale", state === "gone");
}

function replace(page) {
  for (const old of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(old.id);
    if (!fresh || fresh.innerHTML === old.innerHTML) continue;
    if (old.contains(document.activeElement) && document.activeElement.tagName === "A") {
      const id = document.activeElement.getAttribute("href");
      queueMicrotask(() => fresh.querySelector(`a[href="${CSS.escape(id)}"]`)?.focus());
    }
    for (const open of old.querySelectorAll("details[open]")) {
      const same = open.id && fresh.querySelector("#" + CSS.escape(open.id));
      if (same) same.open = true;
    }
    old.replaceWith(document.adoptNode(fresh));
  }
}

async function refresh() {
  try {
    const answer = await ask(here());
    if (!answer.ok) throw new Error(`it answers ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!getSelection().toString()) replace(page);
    lastAnswer = new Date();
    say("live", "live");
  } catch (error) {
    const since = lastAnswer.toLocaleTimeString();
    say("gone", `The daemon does not answer since ${since}: what is below is as of then.`);
  }
  // A hidden page asks nothing.
  if (document.hidden) await new Promise((seen) => document.addEventListener("visibilitychange", seen, { once: true }));
  setTimeout(refresh, EVERY_MS);
}

// The figures of a bar, by pointer or by tap.
function show(event) {
  const title = event.target.closest?.("rect")?.querySelector("title");
  tip.hidden = !title;
  if (!title) return;
  tip.textContent = title.textContent;
  const left = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8);
  tip.style.left = Math.max(8, left) + "px";
  tip.style.top = Math.max(8, event.clientY - tip.offsetHeight - 12) + "px";
}
document.addEventListener("pointermove", show);
document.addEventListener("pointerdown", show);

// One click on a row: the walk through its handshake.
document.addEventListener("click", async (event) => {
  if (event.target === dialog || event.target.closest("#close")) return dialog.close();
  const row = event.target.closest("tr[data-id]");
  const link = event.target.closest('a[href^="/handshakes/"]') ?? row?.querySelector("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  try {
    const answer = await ask(location.origin + link.getAttribute("href"));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const close = Object.assign(document.createElement("button"), { id: "close", textContent: "Close" });
    dialog.replaceChildren(close, document.adoptNode(page.querySelector("article")));
    if (!dialog.open) dialog.showModal();
  } catch {
    location.href = link.getAttribute("href");
  }
});

// A page of one handshake has nothing that changes.
if (live) refresh();
