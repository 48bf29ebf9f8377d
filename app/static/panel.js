// Asks for the panel every second, and takes over each part that the server draws in another way.
const SECOND = 1000;
const PATIENCE = 5 * SECOND;
const panel = document.getElementById("panel");
const stale = document.getElementById("stale");

// As the server drew them: the ages are rewritten here, so what is shown differs from it.
let drawn = partsOf(panel);
let answeredAt = Date.now();
let shownAt = answeredAt;
// The server's clock, as seen from this one.
let offset = 0;
let isAsking = false;
// When the database told what is shown: one pod may be slower than the other.
let readAt = readAtOf(panel);

function partsOf(root) {
  const parts = [...root.querySelectorAll("[data-part]")];
  return new Map(parts.map((part) => [part.id, part.innerHTML]));
}

async function ask() {
  if (document.hidden || isAsking) return;
  isAsking = true;
  try {
    const response = await fetch(panel.dataset.url, { signal: AbortSignal.timeout(8 * SECOND) });
    if (response.ok) {
      offset = Date.parse(response.headers.get("Date")) - Date.now();
      show(await response.text());
      tellAges();
      answeredAt = Date.now();
    }
  } catch {
    // a pod that ends, or a laptop that was asleep: the next one may answer
  } finally {
    isAsking = false;
  }
}

function readAtOf(root) {
  return Number(root.querySelector("#now").dataset.readAt ?? 0);
}

function show(html) {
  const coming = new DOMParser().parseFromString(html, "text/html");
  const isOlder = readAtOf(coming) < readAt;
  if (isOlder && Date.now() - shownAt < PATIENCE) return;
  readAt = readAtOf(coming);
  shownAt = Date.now();
  const next = partsOf(coming);
  for (const [id, text] of next) {
    if (text === drawn.get(id)) continue;
    const [old, part] = [document.getElementById(id), coming.getElementById(id)];
    if (id === "events") showEvents(old, part);
    else old.replaceChildren(...part.childNodes);
  }
  drawn = next;
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

function tellAges() {
  const now = Date.now() + offset;
  for (const time of panel.querySelectorAll("time[data-ago]")) {
    time.textContent = ago(now - Date.parse(time.dateTime));
  }
  const silent = Date.now() - answeredAt;
  const problem = silent > PATIENCE ? "No answer: this is how it was." : "";
  if (stale.textContent !== problem) stale.textContent = problem;
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
  ask();
  tellAges();
}, SECOND);
tellAges();
