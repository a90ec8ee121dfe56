// Copy buttons: [data-copy="text"] or [data-copy-from="#id"]. Works without a secure context, too: many gateways are plain HTTP inside.
// A button that has copied dispatches a bubbling `copied` event.

import { icon } from "./icons.js";
import { announce, toast } from "./toasts.js";

const SHOWN_MS = 1600;

async function byClipboard(text) {
  if (!navigator.clipboard) return false;
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

function bySelection(text, near) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  area.setAttribute("readonly", "");
  // Outside an open dialog nothing can be selected.
  (near.closest("dialog") ?? document.body).append(area);
  const before = document.activeElement;
  area.select();
  const worked = document.execCommand("copy");
  area.remove();
  before?.focus();
  return worked;
}

/** Copies a text; answers whether it worked. `near` is the element that asked. */
export async function copy(text, near = document.body) {
  return (await byClipboard(text)) || bySelection(text, near);
}

const restoring = new WeakMap();

function showCopied(button) {
  restoring.get(button)?.();
  const shown = [...button.childNodes];
  const label = button.getAttribute("aria-label");
  const wordy = button.querySelector("span");
  const said = document.createElement("span");
  said.textContent = "Copied";
  said.className = wordy ? "" : "visually-hidden";
  button.replaceChildren(icon("check"), said);
  button.removeAttribute("aria-label");
  button.classList.add("copied");
  const restore = () => {
    clearTimeout(timer);
    button.replaceChildren(...shown);
    if (label !== null) button.setAttribute("aria-label", label);
    button.classList.remove("copied");
    restoring.delete(button);
  };
  const timer = setTimeout(restore, SHOWN_MS);
  restoring.set(button, restore);
}

export function start() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy], [data-copy-from]");
    if (!button) return;
    const source = button.dataset.copyFrom ? document.querySelector(button.dataset.copyFrom) : null;
    const text = source ? (source.value ?? source.textContent) : (button.dataset.copy ?? "");
    if (await copy(text, button)) {
      showCopied(button);
      announce("Copied", button);
      button.dispatchEvent(new CustomEvent("copied", { bubbles: true }));
    } else {
      toast("Copying is not allowed here; select the text and copy it by hand.", "danger");
    }
  });
}
