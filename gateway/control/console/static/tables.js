// A table's region is a stop for the Tab key only while there is something to scroll; search fields that are emptied search at once.

function update(region) {
  const fits = region.querySelector("table").offsetWidth <= region.clientWidth + 1;
  region.toggleAttribute("data-fits", fits);
  if (fits) region.removeAttribute("tabindex");
  else region.tabIndex = 0;
}

export function start() {
  const sizes = new ResizeObserver((entries) => {
    for (const region of new Set(entries.map(({ target }) => target.closest("[data-scrolls]")))) update(region);
  });
  for (const region of document.querySelectorAll("[data-scrolls]")) {
    sizes.observe(region);
    sizes.observe(region.querySelector("table"));
  }
  document.addEventListener("search", (event) => {
    const input = event.target;
    if (input.value === "" && input.defaultValue !== "" && "clears" in input.dataset) input.form?.requestSubmit();
  }, true);
}
