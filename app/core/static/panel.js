// Asks for the panel every second, and takes over each part that the server draws in another way.
const SECOND = 1000;
const PATIENCE = 5 * SECOND;
const panel = document.getElementById("panel");
const stale = document.getElementById("stale");

// As the server drew them, but for the times: these are rewritten here.
let drawn = partsOf(panel);
let answeredAt = Date.now();
let shownAt = answeredAt;
let isAsking = false;
// When the database told what is shown: one pod may be slower than the other.
let readAt = readAtOf(panel);
// The database's clock, as seen from this one.
let offset = readAt ? readAt - Date.now() : 0;

function partsOf(root) {
  const parts = [...root.querySelectorAll("[data-part]")];
  const text = (part) => part.innerHTML.replace(/<time [^]*?<\/time>/g, "<time>");
  return new Map(parts.map((part) => [part.id, text(part)]));
}

async function ask() {
  if (isAsking) return;
  isAsking = true;
  try {
    const response = await fetch(panel.dataset.url, { signal: AbortSignal.timeout(8 * SECOND) });
    if (response.ok) {
      show(await response.text());
      tellTimes();
      answeredAt = Date.now();
    }
  } catch {
    // a pod that ends, or a laptop that was asleep: the next one may answer
  } finally {
    isAsking = false;
  }
}

function readAtOf(root) {
  return Number(root.querySelector("#now").dataset.readAt ?? 0) * SECOND;
}

function show(html) {
  const coming = new DOMParser().parseFromString(html, "text/html");
  const isOlder = readAtOf(coming) < readAt;
  if (isOlder && Date.now() - shownAt < PATIENCE) return;
  readAt = readAtOf(coming);
  shownAt = Date.now();
  if (readAt) offset = readAt - shownAt;
  const next = partsOf(coming);
  for (const [id, text] of next) {
    const [old, part] = [document.getElementById(id), coming.getElementById(id)];
    if (text === drawn.get(id)) takeTimes(old, part);
    else if (id === "events") showEvents(old, part);
    else old.replaceChildren(...part.childNodes);
  }
  drawn = next;
}

// Where nothing else has changed: what somebody reads or selects stays where it is.
function takeTimes(old, part) {
  const times = part.querySelectorAll("time");
  old.querySelectorAll("time").forEach((time, place) => (time.dateTime = times[place].dateTime));
}

// One by one: a screen reader tells the new ones alone, and the list stays where it was scrolled.
function showEvents(list, coming) {
  const keys = (parent) => new Set([...parent.children].map((event) => event.dataset.key));
  const staying = keys(coming);
  for (const event of [...list.children]) {
    if (!staying.has(event.dataset.key)) event.remove();
  }
  const known = keys(list);
  [...coming.children].forEach((event, place) => {
    if (!known.has(event.dataset.key)) list.insertBefore(event, list.children[place] ?? null);
  });
}

function tellTimes() {
  const now = Date.now() + offset;
  for (const time of panel.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    const text = "ago" in time.dataset ? ago(now - at) : clock(at, new Date(now));
    if (time.textContent !== text) time.textContent = text;
  }
  const silent = Date.now() - answeredAt;
  const problem = silent > PATIENCE ? "No answer: this is how it was." : "";
  if (stale.textContent !== problem) stale.textContent = problem;
}

function clock(at, now) {
  const time = at.toTimeString().slice(0, 8);
  return at.toDateString() === now.toDateString() ? time : `${at.toLocaleDateString()} ${time}`;
}

function ago(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / SECOND));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

document.addEventListener("visibilitychange", () => {
  answeredAt = Date.now();
  ask();
});
setInterval(() => {
  if (document.hidden) return;
  ask();
  tellTimes();
}, SECOND);
tellTimes();
