// Short messages at the foot of the page, read out by screen readers; also across a reload.

import { icon } from "./icons.js";

const KEPT = "gateway.toast";
const SHOWN_MS = 5000;

/** Says something; `kind` is ok or danger. */
export function toast(message, kind = "ok") {
  const region = document.getElementById("toasts");
  if (!region) return;
  // Above an open dialog: the region is a popover, and the last one shown lies on top.
  if (region.popover) {
    if (region.matches(":popover-open")) region.hidePopover();
    region.showPopover();
  }
  const line = document.createElement("div");
  line.className = `toast toast-${kind}`;
  const text = document.createElement("span");
  text.textContent = message;
  line.append(icon(kind === "danger" ? "warning" : "check"), text);
  region.append(line);
  const end = () => {
    line.remove();
    if (!region.childElementCount && region.popover && region.matches(":popover-open")) region.hidePopover();
  };
  line.addEventListener("click", end);
  setTimeout(end, kind === "danger" ? 2 * SHOWN_MS : SHOWN_MS);
}

/** Tells screen readers something that others see at `near`. The place is inside an open dialog, outside of which nothing is read. */
export function announce(message, near) {
  const home = near.closest("dialog") ?? document.body;
  let place = home.querySelector(":scope > [data-announcer]");
  if (!place) {
    place = document.createElement("p");
    place.className = "visually-hidden";
    place.setAttribute("role", "status");
    place.dataset.announcer = "";
    home.append(place);
  }
  place.textContent = "";
  setTimeout(() => {
    place.textContent = message;
  }, 50);
}

/** Says it on the page that is loaded next in this tab. */
export function toastLater(message) {
  try {
    sessionStorage.setItem(KEPT, message);
  } catch {
    // Storage may be switched off; the page shows the change by itself.
  }
}

export function start() {
  let message = null;
  try {
    message = sessionStorage.getItem(KEPT);
    sessionStorage.removeItem(KEPT);
  } catch {
    return;
  }
  if (message) setTimeout(() => toast(message), 50);
}
