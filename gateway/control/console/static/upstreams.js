// The dialogs of upstreams: a credential that is kept, replaced or removed, and test calls with what came back.

import { Refusal, call } from "./api.js";

const NUMBER = new Intl.NumberFormat("en");

function field(form, name) {
  return form.querySelector(`[data-field="${name}"]`);
}

/** The form that changes an upstream: an empty credential stays as it is, unless it is to be removed. */
class Editing {
  constructor(dialog) {
    this.form = dialog.querySelector("form");
    this.secret = this.form.elements.namedItem("api_key");
    this.removes = this.form.elements.namedItem("remove_api_key");
    dialog.addEventListener("opened", ({ detail }) => this.#opened(detail.fill));
    this.removes.addEventListener("change", () => this.#update());
    this.form.addEventListener("sending", ({ detail }) => this.#send(detail.body));
  }

  #opened({ has_api_key: isSet }) {
    field(this.form, "remove_api_key").hidden = !isSet;
    this.secret.placeholder = isSet ? "Set, and not shown" : "None set";
    this.#update();
  }

  #update() {
    this.secret.disabled = this.removes.checked;
    if (this.removes.checked) this.secret.value = "";
  }

  #send(body) {
    if (body.remove_api_key) body.api_key = null;
    delete body.remove_api_key;
  }
}

function option(value, text) {
  const made = document.createElement("option");
  made.value = value;
  made.textContent = text;
  return made;
}

/** The dialog of a test call. */
class TestCall {
  constructor(dialog) {
    this.dialog = dialog;
    this.form = dialog.querySelector("form");
    this.model = this.form.elements.namedItem("model");
    this.outcome = dialog.querySelector("[data-outcome]");
    dialog.addEventListener("opened", ({ detail }) => this.#look(detail.fill.id));
    this.form.addEventListener("sending", ({ detail }) => this.#send(detail.body));
    this.form.addEventListener("done", ({ detail }) => this.#show(detail.data));
  }

  /** Which models it serves: asked for now, since a page of upstreams with thousands each would hold them all. */
  async #look(id) {
    this.outcome.hidden = true;
    this.model.disabled = true;
    this.model.replaceChildren(option("", "Looking up what it serves …"));
    let names = [];
    try {
      names = (await call("GET", `/admin/v1/upstreams/${encodeURIComponent(id)}`)).data.serves;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
    if (this.form.values.id !== id) return;
    const none = [option("", "None known yet: ask for its list of models")];
    this.model.replaceChildren(...(names.length ? names.map((name) => option(name, name)) : none));
    this.model.disabled = false;
  }

  #send(body) {
    this.outcome.hidden = true;
    if (!body.model) delete body.model;
  }

  #show(reply) {
    const { usage } = reply;
    const told = [
      [usage.input_tokens, "in"],
      [usage.output_tokens, "out"],
    ].filter(([count]) => count !== null);
    this.#fill({
      title: reply.ok ? "It answered as it should." : reply.error,
      hint: reply.hint,
      status: reply.status ?? "No answer",
      time: `${NUMBER.format(reply.milliseconds)} ms`,
      upstream_model: reply.upstream_model ?? "–",
      tokens: told.map(([count, way]) => `${NUMBER.format(count)} ${way}`).join(", ") || "Not told",
      reply: reply.reply,
    });
    const notice = this.outcome.querySelector("[data-notice]");
    notice.classList.toggle("notice-ok", reply.ok);
    notice.classList.toggle("notice-danger", !reply.ok);
    this.outcome.querySelector("[data-reply]").hidden = reply.reply === null;
    this.outcome.hidden = false;
    this.outcome.scrollIntoView({ block: "nearest" });
  }

  #fill(values) {
    for (const [name, value] of Object.entries(values)) {
      const slot = this.outcome.querySelector(`[data-slot="${name}"]`);
      slot.textContent = value ?? "";
      slot.hidden = value === null;
    }
  }
}

new Editing(document.getElementById("edit-upstream"));
new TestCall(document.getElementById("test-upstream"));
