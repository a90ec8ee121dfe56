// Forms that send JSON to the admin API. `ui.form` in ui.html writes them; these are the attributes.
//
// On the form:
//   data-method="POST|PUT|PATCH|DELETE"
//   data-action="/admin/v1/…"      `{name}` parts are filled by the dialog's opener (see dialogs.js) or by data-values='{"name": "…"}'
//   data-done="reload|goto|event"  what follows success: load the page again (the default), go to data-goto, or a bubbling `done` event
//                                  on the form with detail {data, status, etag, body}; the page's own module takes it from there
//   data-goto="/console/…/{id}"    with parts of the reply
//   data-toast="Saved."            said after success, also after a reload; `{name}` parts of the reply
//   data-etag="…"                  sent as If-Match; a 412 says that somebody else changed it
//   data-idempotent                sends an Idempotency-Key that stays the same while the same body is tried again
//   data-closes-dialog="false"     keeps the dialog open after a `done` event (it is closed otherwise)
// On fields (every named one that is not disabled goes into the body; checkboxes as booleans):
//   data-type="int"    blank is null; commas and spaces are taken; anything else is an error at the field, and nothing is sent
//   data-type="lines"  one item a line, as a list          data-type="list"  checkboxes of one name, as a list of those checked
//   data-type="time"   a datetime-local input, as RFC 3339 data-type="json"  what a module has put into a hidden field
//   data-omit-empty    a blank field is left out
// A body without any field is not sent at all. Errors go to `[data-field="param"]`; what has no field goes to `[data-form-error]`.
// Before sending, the form dispatches a cancelable `sending` event with detail {body}, which may be changed in place.

import { Refusal, call, fillPath } from "./api.js";
import { icon } from "./icons.js";
import { clearField, gather, showErrors } from "./fields.js";
import { toast, toastLater } from "./toasts.js";

const CHANGED = "Somebody else changed this meanwhile. Load the page again to see how it is now; what you typed here is not saved.";

/** Takes away all errors of a form. */
export function clearErrors(form) {
  for (const field of form.querySelectorAll("[data-field]")) clearField(field);
  const slot = form.querySelector("[data-form-error]");
  if (slot) {
    slot.hidden = true;
    slot.replaceChildren();
  }
}

/** Says at the head of the form what is wrong with the whole of it. */
export function showFormError(form, message, { reload = false } = {}) {
  const slot = form.querySelector("[data-form-error]");
  if (!slot) {
    toast(message, "danger");
    return;
  }
  const text = document.createElement("div");
  text.className = "notice-text";
  const line = document.createElement("p");
  line.textContent = message;
  text.append(line);
  if (reload) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button button-secondary button-small";
    button.textContent = "Load again";
    button.addEventListener("click", () => location.reload());
    text.append(button);
  }
  slot.replaceChildren(icon("warning"), text);
  slot.hidden = false;
}

/** Shows a refusal where it belongs. */
export function showRefusal(form, refusal) {
  if (refusal.status === 412) {
    showFormError(form, CHANGED, { reload: true });
    return;
  }
  const homeless = showErrors(form, refusal.errors);
  if (refusal.errors.length === 0) homeless.push(refusal.detail);
  if (homeless.length) {
    showFormError(form, [...new Set(homeless)].join(" "));
    form.querySelector("[data-form-error]")?.scrollIntoView({ block: "nearest" });
  }
}

function setBusy(form, button, busy) {
  form.toggleAttribute("data-busy", busy);
  const submit = button ?? form.querySelector("[type=submit]");
  if (!submit) return;
  if (busy) submit.setAttribute("aria-busy", "true");
  else submit.removeAttribute("aria-busy");
  submit.disabled = busy;
}

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const attempts = new WeakMap();

function idempotencyKey(form, body) {
  if (!("idempotent" in form.dataset)) return undefined;
  const text = JSON.stringify([form.dataset.action, body]);
  const last = attempts.get(form);
  if (last?.text === text) return last.key;
  const key = newKey();
  attempts.set(form, { text, key });
  return key;
}

function inText(template, values) {
  return template.replace(/\{(\w+)\}/g, (_, name) => values?.[name] ?? "");
}

function finish(form, reply, body) {
  attempts.delete(form);
  const { done = "reload", toast: said, goto } = form.dataset;
  const message = said ? inText(said, { ...form.values, ...reply.data }) : "";
  if (done === "event") {
    if (form.dataset.closesDialog !== "false") form.closest("dialog")?.close();
    if (message) toast(message);
    form.dispatchEvent(new CustomEvent("done", { bubbles: true, detail: { ...reply, body } }));
    return;
  }
  if (message) toastLater(message);
  if (done === "goto" && goto) location.assign(fillPath(goto, { ...form.values, ...reply.data }));
  else location.reload();
}

/** Sends a form. Does nothing while it is being sent already. */
export async function send(form, button) {
  if (form.hasAttribute("data-busy")) return;
  clearErrors(form);
  const { body, problems } = gather(form);
  if (problems.length) {
    showErrors(form, problems);
    return;
  }
  if (!form.dispatchEvent(new CustomEvent("sending", { bubbles: true, cancelable: true, detail: { body } }))) return;
  const { method = "POST", action, etag } = form.dataset;
  const sent = Object.keys(body).length ? body : undefined;
  setBusy(form, button, true);
  let leaving = false;
  try {
    const values = { ...JSON.parse(form.dataset.values ?? "{}"), ...form.values };
    const path = fillPath(action, values);
    const reply = await call(method, path, { body: sent, etag, idempotencyKey: idempotencyKey(form, body) });
    leaving = form.dataset.done !== "event";
    if (!leaving) setBusy(form, button, false);
    finish(form, reply, body);
  } catch (error) {
    leaving = false;
    setBusy(form, button, false);
    if (!(error instanceof Refusal)) {
      showFormError(form, "This page has a fault; load it again.");
      throw error;
    }
    showRefusal(form, error);
  }
}

/** Takes over every form with `data-action`, now and later. */
export function start() {
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || !form.dataset.action) return;
    event.preventDefault();
    send(form, event.submitter);
  });
  document.addEventListener("input", (event) => {
    const field = event.target.closest?.("[data-field]");
    if (field) clearField(field);
  });
  // Coming back by the browser's own way may show a page as it was left: busy for ever, or with a secret.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
}
