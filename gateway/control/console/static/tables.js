// A table's region is a stop for the Tab key only while there is something to scroll; search fields that are emptied search at once.

function update(region) {
  if (region.scrollWidth > region.clientWidth + 1) region.tabIndex = 0;
  else region.removeAttribute("tabindex");
}

export function start() {
  const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => update(target)));
  for (const region of document.querySelectorAll("[data-scrolls]")) sizes.observe(region);
  document.addEventListener("search", (event) => {
    const input = event.target;
    if (input.value === "" && input.defaultValue !== "" && "clears" in input.dataset) input.form?.requestSubmit();
  }, true);
}
