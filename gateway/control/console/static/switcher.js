// The workspace switcher: filter by typing, walk with the arrows, go with Enter. Opening is the popover's own.

function links(list) {
  return [...list.querySelectorAll("li:not([hidden]) > a")];
}

function plain(text) {
  return text.normalize("NFKC").toLocaleLowerCase().trim();
}

function filter(list, search) {
  const words = plain(search.value).split(/\s+/).filter(Boolean);
  for (const row of list.querySelectorAll("li")) {
    const text = plain(row.dataset.find);
    row.hidden = !words.every((word) => text.includes(word));
  }
  const found = links(list).length;
  list.querySelector(".switcher-none").hidden = found > 0;
  list.querySelector("[data-switcher-count]").textContent = words.length ? `${found} ${found === 1 ? "workspace" : "workspaces"}` : "";
}

function walk(list, search, event) {
  const all = links(list);
  const at = all.indexOf(document.activeElement);
  const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
  if (event.target === search && (event.key === "Home" || event.key === "End")) return;
  if (next !== undefined) {
    event.preventDefault();
    if (next < 0 && search) search.focus();
    else all[Math.min(Math.max(next, 0), all.length - 1)]?.focus();
  } else if (event.key === "Escape") {
    // A search field would take the first Escape to empty itself, and inside another popover the focus would not come back.
    event.preventDefault();
    list.hidePopover();
    document.querySelector(`[popovertarget="${list.id}"]`)?.focus();
  } else if (event.target === search && event.key === "Enter") {
    event.preventDefault();
    all[0]?.click();
  } else if (search && event.target !== search && event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey && !event.altKey) {
    search.focus();
  }
}

export function start() {
  const list = document.querySelector("[data-switcher]");
  if (!list) return;
  const search = list.querySelector("input");
  search?.addEventListener("input", () => filter(list, search));
  list.addEventListener("keydown", (event) => walk(list, search, event));
  list.addEventListener("toggle", (event) => {
    if (event.newState !== "open") return;
    if (search) {
      search.value = "";
      filter(list, search);
    }
    const current = list.querySelector("a[aria-current]");
    current?.scrollIntoView({ block: "nearest" });
    (search ?? current ?? list.querySelector("a"))?.focus();
  });
}
