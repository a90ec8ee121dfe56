// The grants picker: which models a workspace may call, and up to which limits. Everything that is changed is sent at once.

import { Refusal, call } from "./api.js";
import { openDialog } from "./dialogs.js";
import { clearErrors, showFormError } from "./forms.js";
import { changedBy, counted, summary } from "./grant_changes.js";
import { GrantRow } from "./grant_rows.js";
import { icon } from "./icons.js";
import { Picker } from "./picker.js";
import { toast } from "./toasts.js";

const CHANGED = "Somebody else changed the models of this workspace meanwhile. Load the page again; what you chose here is not saved.";

class Editor {
  constructor(root) {
    this.root = root;
    this.workspace = root.dataset.workspace;
    this.etag = root.dataset.etag;
    this.readAt = Number(root.dataset.readAt);
    this.rows = [...root.querySelectorAll("tr[data-model]")].map((row) => new GrantRow(row, Number(root.dataset.max)));
    this.of = new Map(this.rows.map((row) => [row.row, row]));
    this.form = document.querySelector("[data-picker-form]");
    this.picker = new Picker(
      root,
      this.rows.map(({ row }) => row),
      { isGranted: (row) => this.of.get(row).isGranted || this.of.get(row).before !== null, onShown: () => this.drawSelection() },
    );
    this.listen();
    this.update();
  }

  part(name) {
    return this.root.querySelector(`[data-picker-${name}]`);
  }

  listen() {
    const table = this.part("found");
    table.addEventListener("change", ({ target }) => this.touched(target, { done: true }));
    table.addEventListener("input", ({ target }) => this.touched(target));
    this.part("page").addEventListener("change", ({ target }) => this.choose(this.picker.visible, target.checked));
    this.part("all").addEventListener("click", () => this.choose(this.picker.shown, true));
    this.part("none").addEventListener("click", () => this.choose(this.picker.shown, false));
    this.part("discard").addEventListener("click", () => this.discard());
    this.part("save").addEventListener("click", ({ currentTarget }) => this.review(currentTarget));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.save(event.submitter);
    });
    window.addEventListener("beforeunload", (event) => {
      if (this.changes.length) event.preventDefault();
    });
  }

  /** Something was typed or chosen in a row; `done` once the field is left. */
  touched(input, { done = false } = {}) {
    const row = this.of.get(input.closest("tr"));
    if (!row) return;
    if (input === row.box) {
      row.update();
    } else if (done) {
      row.check();
    } else {
      row.clear(input.closest("[data-field]").dataset.field);
      row.warn();
    }
    this.update();
  }

  choose(rows, granted) {
    for (const row of rows) this.of.get(row).isGranted = granted;
    this.update();
  }

  discard() {
    for (const row of this.rows) row.restore();
    this.update();
    this.part("search").focus();
  }

  get changes() {
    return this.rows.map((row) => [row, row.change]).filter(([, change]) => change !== null);
  }

  update() {
    const { changes } = this;
    const count = (kind) => changes.filter(([, change]) => change.kind === kind).length;
    const said = counted({ added: count("added"), changed: count("changed"), removed: count("removed") });
    this.part("changes").textContent = said ? `Not saved yet: ${said}.` : "No changes yet.";
    this.part("save").disabled = changes.length === 0;
    this.part("discard").hidden = changes.length === 0;
    const granted = this.rows.filter((row) => row.isGranted).length;
    this.part("chosen").textContent = `${granted} of ${this.rows.length} granted`;
    this.drawSelection();
  }

  drawSelection() {
    if (!this.picker) return;
    const chosen = this.picker.visible.filter((row) => this.of.get(row).isGranted).length;
    const page = this.part("page");
    page.checked = chosen > 0 && chosen === this.picker.visible.length;
    page.indeterminate = chosen > 0 && !page.checked;
    page.disabled = this.picker.visible.length === 0;
    this.part("all").firstChild.textContent = `Select all ${this.picker.shown.length} shown`;
  }

  /** Opens the summary, or goes to the first field that is wrong. */
  review(opener) {
    const wrong = this.rows.map((row) => row.check());
    const first = wrong.findIndex(Boolean);
    if (first >= 0) {
      this.picker.reveal(this.rows[first].row);
      wrong[first].focus();
      const count = wrong.filter(Boolean).length;
      toast(count === 1 ? "One model has a limit that cannot be set." : `${count} models have limits that cannot be set.`, "danger");
      return;
    }
    document.querySelector("[data-picker-summary]").replaceChildren(...summary(this.changes));
    this.form.querySelector("[type=submit]").disabled = false;
    openDialog("save-grants", { opener });
  }

  async save(button) {
    if (this.form.hasAttribute("data-busy")) return;
    clearErrors(this.form);
    const wanted = this.rows.filter((row) => row.isGranted);
    const body = { grants: wanted.map((row) => ({ model: row.model, ...row.wanted })) };
    this.setBusy(button, true);
    try {
      const reply = await call("PUT", `/admin/v1/workspaces/${encodeURIComponent(this.workspace)}/grants`, { body, etag: this.etag });
      this.setBusy(button, false);
      this.saved(reply);
    } catch (error) {
      this.setBusy(button, false);
      if (!(error instanceof Refusal)) {
        showFormError(this.form, "This page has a fault; load it again.");
        throw error;
      }
      await this.refused(error, wanted);
    }
  }

  setBusy(button, busy) {
    this.form.toggleAttribute("data-busy", busy);
    if (!button) return;
    button.disabled = busy;
    if (busy) button.setAttribute("aria-busy", "true");
    else button.removeAttribute("aria-busy");
  }

  saved({ data, etag }) {
    this.etag = etag;
    this.readAt = Date.now();
    const stored = new Map(data.data.map((grant) => [grant.model, grant]));
    for (const row of [...this.rows]) {
      row.keep(stored.get(row.model) ?? null);
      if (row.before === null && "gone" in row.row.dataset) this.forget(row);
    }
    this.form.closest("dialog").close();
    this.update();
    this.say(data.warnings);
    toast(`Saved: ${counted(data) || "nothing changed"}.`);
  }

  forget(row) {
    this.rows = this.rows.filter((each) => each !== row);
    this.picker.remove(row.row);
  }

  /** What the gateway says of what it saved. */
  say(warnings) {
    const place = this.part("notices");
    if (warnings.length === 0) {
      place.replaceChildren();
      return;
    }
    const box = document.createElement("div");
    box.className = "notice notice-warn";
    const text = document.createElement("div");
    text.className = "notice-text";
    for (const [tag, said] of [["p", "Saved. That workspaces are granted more together than the account has is allowed; they share what there is."], ...warnings.map((each) => ["p", each])]) {
      const line = document.createElement(tag);
      line.textContent = said;
      text.append(line);
    }
    box.append(icon("warning"), text);
    place.replaceChildren(box);
  }

  async refused(refusal, wanted) {
    if (refusal.status === 412) {
      // Sending it again would be in vain until the page is loaded again.
      this.form.querySelector("[type=submit]").disabled = true;
      showFormError(this.form, CHANGED, { reload: true });
      const told = await changedBy(this.workspace, this.readAt);
      if (told) this.form.querySelector("[data-form-error] .notice-text p")?.after(told);
      return;
    }
    if (refusal.code === "not_yet_in_force") {
      showFormError(this.form, refusal.detail, { reload: true });
      return;
    }
    const homeless = refusal.errors.filter(({ param, message }) => !this.markWrong(wanted, param, message));
    if (refusal.errors.length === 0 || homeless.length) {
      showFormError(this.form, homeless.map(({ message }) => message).join(" ") || refusal.detail);
      return;
    }
    this.form.closest("dialog").close();
    const first = this.root.querySelector('[data-field] [aria-invalid="true"]');
    this.picker.reveal(first.closest("tr"));
    first.focus();
  }

  /** Shows a refusal such as that of `grants.3.rpm` at its field; answers whether there is one. */
  markWrong(wanted, param, message) {
    const [, place, name] = /^grants\.(\d+)\.(rpm|tpm)$/.exec(param) ?? [];
    const row = wanted[Number(place)];
    if (!row) return false;
    row.mark(name, message);
    return true;
  }
}

for (const root of document.querySelectorAll("[data-picker]")) {
  if (root.querySelector("[data-picker-save]")) new Editor(root);
  else new Picker(root, [...root.querySelectorAll("tr[data-model]")]);
}
