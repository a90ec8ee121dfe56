// One-time links: the one look at a link, in the dialog that made it.
//
// The link stands in the dialog's text and nowhere else: in no field, no address, no storage. It goes when the dialog closes, which
// loads the page again, and when the page is left. The address is the one that this browser has come by.

import { show } from "./times.js";

class OneTimeLink {
  #shown = false;

  constructor(dialog) {
    this.dialog = dialog;
    this.step = dialog.querySelector('[data-step="link"]');
    this.heading = dialog.querySelector("h2");
    this.title = this.heading.textContent;
    dialog.addEventListener("opened", () => this.#go("ask", this.title));
    dialog.addEventListener("done", (event) => this.#show(event.detail.data, event.target));
    dialog.addEventListener("close", () => {
      if (!this.#shown) return;
      this.#forget();
      location.reload();
    });
    window.addEventListener("pagehide", () => this.#forget());
  }

  #go(name, title) {
    for (const each of this.dialog.querySelectorAll("[data-step]")) each.hidden = each.dataset.step !== name;
    this.heading.textContent = title;
  }

  #show(made, form) {
    this.#shown = true;
    this.step.querySelector("[data-link]").textContent = location.origin + made.path;
    this.step.querySelector("[data-link-for]").textContent = made.email ?? form.values?.email ?? "";
    const until = this.step.querySelector("[data-link-until]");
    until.dateTime = made.expires_at;
    show(until);
    // From now on only a button of its own closes the dialog.
    this.dialog.dataset.persistent = "";
    this.#go("link", this.step.dataset.title);
    this.step.querySelector("[data-copy-from]").focus();
  }

  #forget() {
    this.step.querySelector("[data-link]").textContent = "";
    delete this.dialog.dataset.persistent;
  }
}

for (const dialog of document.querySelectorAll("dialog:has([data-step='link'])")) new OneTimeLink(dialog);
