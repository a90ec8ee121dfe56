// Counts the characters of a field beside its label: <input data-counter="200">. Characters as the API counts them, not UTF-16 units.

function show(input) {
  const field = input.closest("[data-field]");
  let counter = field.querySelector(".counter");
  if (!counter) {
    counter = document.createElement("span");
    counter.className = "counter";
    // The hint says the same once; read out at each key it would be in the way.
    counter.setAttribute("aria-hidden", "true");
    field.querySelector(".label").append(counter);
  }
  const length = [...input.value].length;
  counter.textContent = `${length}/${input.dataset.counter}`;
  counter.toggleAttribute("data-over", length > Number(input.dataset.counter));
}

let started = false;

/** Shows the counters of a page, and keeps them right when fields are typed in, filled or emptied. Every page has called it. */
export function startCounters() {
  if (started) return;
  started = true;
  const all = (root) => root.querySelectorAll("[data-counter]").forEach(show);
  all(document);
  document.addEventListener("input", (event) => {
    if ("counter" in event.target.dataset) show(event.target);
  });
  document.addEventListener("opened", (event) => all(event.target));
}
