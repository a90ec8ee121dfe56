// Native dialogs: opened by a button that names them, closed by theirs, by Escape or by a click outside.
//
//   <button data-opens="edit-key" data-fill='{"id": "…", "description": "…", "etag": "…"}'>
// On opening, the dialog's forms are reset and their errors taken away; then each value of `data-fill` goes
//   into the field of that name, into every [data-text="name"] as text, into `{name}` parts of the form's data-action and data-goto,
//   into [data-confirm-from="name"] as the text to be typed, and as `etag` into the form's data-etag.
// The dialog then dispatches `opened` with detail {fill, opener}.
// <dialog data-persistent> shows something that cannot be seen again: only its own buttons close it.

import { clearErrors } from "./forms.js";
import { updateConfirmations } from "./confirm.js";

const HELD = "dialog[open]:is([data-persistent], :has(form[data-busy]))";

function fillField(form, name, value) {
  const input = form.elements.namedItem(name);
  if (!input) return;
  if (input instanceof HTMLInputElement && input.type === "checkbox") {
    input.checked = Boolean(value);
  } else if (Array.isArray(value)) {
    input.value = value.join("\n");
  } else if (input.dataset?.type === "int" && typeof value === "number") {
    input.value = value.toLocaleString("en");
  } else {
    input.value = value ?? "";
  }
}

/** Puts values into a dialog's forms and texts. */
export function fillDialog(dialog, fill) {
  for (const slot of dialog.querySelectorAll("[data-text]")) {
    if (slot.dataset.text in fill) slot.textContent = fill[slot.dataset.text] ?? "";
  }
  for (const input of dialog.querySelectorAll("[data-confirm-from]")) {
    input.dataset.confirmText = fill[input.dataset.confirmFrom] ?? "";
  }
  for (const form of dialog.querySelectorAll("form")) {
    form.values = fill;
    if ("etag" in fill) form.dataset.etag = fill.etag ?? "";
    for (const [name, value] of Object.entries(fill)) fillField(form, name, value);
    updateConfirmations(form);
  }
}

function firstFocus(dialog) {
  return (
    dialog.querySelector("[data-focus]") ??
    dialog.querySelector(".dialog-body :is(input:not([type=hidden], :disabled), select, textarea)") ??
    dialog.querySelector(".form-foot .button:not(:disabled)")
  );
}

/** Opens a dialog by its ID, afresh. */
export function openDialog(id, { fill = {}, opener = null } = {}) {
  const dialog = document.getElementById(id);
  if (!(dialog instanceof HTMLDialogElement) || dialog.open) return null;
  for (const form of dialog.querySelectorAll("form")) {
    form.reset();
    clearErrors(form);
  }
  fillDialog(dialog, fill);
  // A menu closes first and gives the focus back to its button, so that the dialog returns it there in the end.
  const menu = opener?.closest("[popover]");
  if (menu?.matches(":popover-open")) menu.hidePopover();
  dialog.showModal();
  firstFocus(dialog)?.focus();
  dialog.dispatchEvent(new CustomEvent("opened", { bubbles: true, detail: { fill, opener } }));
  return dialog;
}

function busy(dialog) {
  return dialog.querySelector("form[data-busy]") !== null;
}

function outside(dialog, event) {
  const box = dialog.getBoundingClientRect();
  return event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom;
}

export function start() {
  let pressedOutside = false;
  document.addEventListener("pointerdown", (event) => {
    pressedOutside = event.target instanceof HTMLDialogElement && outside(event.target, event);
  });
  document.addEventListener("click", (event) => {
    const { target } = event;
    const opener = target.closest?.("[data-opens]");
    if (opener) {
      openDialog(opener.dataset.opens, { fill: JSON.parse(opener.dataset.fill ?? "{}"), opener });
      return;
    }
    const dialog = target.closest?.("dialog");
    if (!dialog || busy(dialog)) return;
    if (target.closest("[data-closes]")) dialog.close();
    else if (target === dialog && pressedOutside && outside(dialog, event) && !("persistent" in dialog.dataset)) dialog.close();
  });
  document.addEventListener(
    "cancel",
    (event) => {
      const dialog = event.target;
      if (dialog instanceof HTMLDialogElement && dialog.matches(HELD)) event.preventDefault();
    },
    true,
  );
  // A browser closes at the second Escape whatever `cancel` says, so a persistent dialog never hears the key.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && document.querySelector(HELD)) event.preventDefault();
  });
}
