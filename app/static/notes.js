// Adds and deletes notes through the API; the server draws the list.
const problem = document.getElementById("problem");

async function send(url, options) {
  problem.textContent = "";
  try {
    const response = await fetch(url, options);
    if (response.ok) {
      location.reload();
      return;
    }
    problem.textContent = (await response.json()).error;
  } catch {
    problem.textContent = "The service does not answer. Try again.";
  }
}

document.getElementById("new-note").addEventListener("submit", (event) => {
  event.preventDefault();
  send(event.target.dataset.url, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ text: document.getElementById("text").value }),
  });
});

document.getElementById("notes").addEventListener("click", (event) => {
  const url = event.target.dataset.delete;
  if (url) send(url, { method: "DELETE" });
});
