// API keys: the one look at a new secret, in the dialog that made it.
//
// The secret stands in the dialog's text and nowhere else: in no field (which a browser may fill again), no address, no storage.
// It goes when the dialog closes, which loads the page again, and when the page is left. As long as it was not copied, both ask.

import { SNIPPETS } from "./snippets.js";
import { startTabs } from "./tabs.js";
import { toastLater } from "./toasts.js";

const NO_MODEL = "MODEL";

class OneLook {
  #key = null;
  #copied = false;
  #changed = false;

  constructor(dialog) {
    this.dialog = dialog;
    this.secret = dialog.querySelector('[data-step="secret"]');
    this.title = dialog.querySelector("h2").textContent;
    dialog.addEventListener("opened", () => this.#step("ask", this.title));
    dialog.addEventListener("done", (event) => this.#onDone(event.target, event.detail.data));
    dialog.addEventListener("copied", (event) => this.#onCopied("leaves" in event.target.dataset));
    dialog.addEventListener("copy", () => {
      if (this.#key !== null && String(document.getSelection()).includes(this.#key)) this.#onCopied(false);
    });
    // Before the page's own handlers, which close the dialog.
    dialog.addEventListener("click", (event) => this.#onClick(event), true);
    dialog.addEventListener("keydown", (event) => this.#onKey(event));
    dialog.addEventListener("cancel", (event) => this.#onCancel(event));
    dialog.addEventListener("close", () => this.#onClose());
    window.addEventListener("pagehide", () => this.#forget());
    window.addEventListener("beforeunload", (event) => {
      if (this.#isAtRisk) event.preventDefault();
    });
  }

  get #isAtRisk() {
    return this.#key !== null && !this.#copied;
  }

  #step(name, title) {
    for (const each of this.dialog.querySelectorAll("[data-step]")) each.hidden = each.dataset.step !== name;
    this.dialog.querySelector("h2").textContent = title;
  }

  #onDone(form, made) {
    this.#changed = true;
    if (made.key) this.#show(made.key, form.values?.model ?? this.secret.dataset.model);
    else this.#sayLost(made);
  }

  #show(key, model) {
    this.#key = key;
    this.#copied = false;
    this.secret.querySelector("[data-secret-text]").textContent = key;
    const values = { key, endpoint: this.secret.dataset.endpoint, model: model || NO_MODEL };
    for (const [name, write] of Object.entries(SNIPPETS)) {
      this.secret.querySelector(`[data-snippet="${name}"] code`).textContent = write(values);
    }
    const noModel = this.secret.querySelector("[data-no-model]");
    if (noModel) noModel.hidden = Boolean(model);
    // From now on only a button of its own closes the dialog.
    this.dialog.dataset.persistent = "";
    this.dialog.classList.add("dialog-wide");
    this.#step("secret", "Your new API key");
    this.dialog.scrollTop = 0;
    this.secret.querySelector("[data-secret-copy]").focus();
  }

  /** The request is a repeat of one that made the key, whose answer got lost. */
  #sayLost(made) {
    const lost = this.dialog.querySelector('[data-step="lost"]');
    lost.querySelector("form").values = { id: made.id };
    lost.querySelector("[data-made-id]").textContent = made.id;
    this.#step("lost", "The key was made before");
    lost.querySelector("[type=submit]").focus();
  }

  #onCopied(leaves) {
    this.#copied = true;
    this.#ask(false);
    if (leaves) this.dialog.close();
  }

  #ask(asks) {
    this.secret.querySelector("[data-sure]").hidden = !asks;
    this.secret.querySelector("[data-foot]").hidden = asks;
    if (asks) this.secret.querySelector("[data-sure] [data-copy-from]").focus();
  }

  #tryToClose() {
    if (this.#isAtRisk) this.#ask(true);
    else this.dialog.close();
  }

  #onClick(event) {
    if (this.#key === null) return;
    if (event.target.closest("[data-closes-anyway]")) {
      this.dialog.close();
    } else if (event.target.closest("[data-closes]")) {
      event.stopPropagation();
      this.#tryToClose();
    }
  }

  #onKey(event) {
    if (event.key !== "Escape" || this.#key === null) return;
    event.preventDefault();
    this.#tryToClose();
  }

  /** What phones have in place of the Escape key. */
  #onCancel(event) {
    if (this.#key === null) return;
    event.preventDefault();
    this.#tryToClose();
  }

  #forget() {
    this.#key = null;
    for (const each of this.secret.querySelectorAll("[data-secret-text], [data-snippet] code")) each.textContent = "";
  }

  #onClose() {
    this.#forget();
    if (!this.#changed) return;
    toastLater(this.secret.dataset.said);
    location.reload();
  }
}

startTabs();
for (const step of document.querySelectorAll('[data-step="secret"]')) new OneLook(step.closest("dialog"));
