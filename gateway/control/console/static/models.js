// The dialogs of the catalogue: a new model's name stands in the address, and must not be one that is stored already.

import { Refusal, call } from "./api.js";
import { markField } from "./fields.js";
import { send, showRefusal } from "./forms.js";

/** What is left blank is said of nobody: null. */
function withoutBlanks(body) {
  for (const name of ["type", "vendor"]) if (name in body && body[name].trim() === "") body[name] = null;
}

async function isStored(name) {
  const { data } = await call("GET", `/admin/v1/models?limit=1000&q=${encodeURIComponent(name)}`);
  return data.data.some((row) => row.name === name && row.source === "database");
}

class NewModel {
  constructor(form) {
    this.form = form;
    this.free = null;
    form.addEventListener("sending", (event) => this.#send(event));
  }

  #send(event) {
    const { body } = event.detail;
    const name = body.name.trim();
    if (this.free === name) {
      this.free = null;
      this.form.values = { name };
      delete body.name;
      return;
    }
    event.preventDefault();
    if (name === "") this.#say("Enter the model's name.");
    else this.#look(name);
  }

  async #look(name) {
    try {
      if (await isStored(name)) {
        this.#say("This model is stored already; edit it instead.");
        return;
      }
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      showRefusal(this.form, error);
      return;
    }
    this.free = name;
    await send(this.form);
  }

  #say(message) {
    const field = this.form.querySelector('[data-field="name"]');
    markField(field, message);
    field.querySelector("input").focus();
  }
}

document.addEventListener("sending", (event) => withoutBlanks(event.detail.body));
new NewModel(document.querySelector("#add-model form"));
