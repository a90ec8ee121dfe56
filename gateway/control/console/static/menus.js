// Menus of rows: popovers beside their button, walked with the arrows.

const GAP = 4;

function place(menu, button) {
  const box = button.getBoundingClientRect();
  const width = menu.offsetWidth;
  const height = menu.offsetHeight;
  const below = box.bottom + GAP + height <= innerHeight || box.top < height + GAP;
  menu.style.left = `${Math.max(GAP, Math.min(box.right - width, innerWidth - width - GAP))}px`;
  menu.style.top = `${below ? box.bottom + GAP : box.top - height - GAP}px`;
}

function walk(menu, event) {
  const items = [...menu.querySelectorAll('[role="menuitem"]:not(:disabled)')];
  const at = items.indexOf(document.activeElement);
  const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
  if (next !== undefined && items.length) {
    event.preventDefault();
    items.at(next % items.length).focus();
  } else if (event.key === "Tab") {
    menu.hidePopover();
  }
}

function close() {
  document.querySelector("[data-menu]:popover-open")?.hidePopover();
}

export function start() {
  document.addEventListener(
    "toggle",
    (event) => {
      const menu = event.target;
      if (!menu.matches?.("[data-menu]") || event.newState !== "open") return;
      const button = document.querySelector(`[popovertarget="${CSS.escape(menu.id)}"]`);
      if (button) place(menu, button);
      menu.querySelector('[role="menuitem"]')?.focus();
    },
    true,
  );
  document.addEventListener("keydown", (event) => {
    const menu = event.target.closest?.("[data-menu]");
    if (menu) walk(menu, event);
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("[data-menu] [role=menuitem]")) close();
  });
  window.addEventListener("resize", close);
  document.addEventListener("scroll", close, { passive: true, capture: true });
}
