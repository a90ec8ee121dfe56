// The dialog of a temporary increase: says what holds now for the model that is chosen, and asks for a moment where one is wanted.

const NUMBER = new Intl.NumberFormat("en");

class Increase {
  constructor(dialog) {
    this.dialog = dialog;
    this.form = dialog.querySelector("form");
    this.model = this.form.elements.namedItem("model");
    this.minutes = this.form.elements.namedItem("minutes");
    this.until = this.form.elements.namedItem("ends_at");
    dialog.addEventListener("opened", () => this.#update());
    this.model.addEventListener("input", () => this.#update());
    this.minutes.addEventListener("change", () => this.#update());
  }

  #update() {
    const names = [...document.getElementById("models").options];
    const chosen = names.find((each) => each.value === this.model.value.trim());
    for (const name of ["rpm", "tpm"]) this.#show(name, chosen);
    const open = this.minutes.value === "";
    this.until.disabled = !open;
    this.until.closest("[data-until]").hidden = !open;
  }

  /** What holds now stands under the field; where nothing limits, there is nothing to raise. */
  #show(name, chosen) {
    const input = this.form.elements.namedItem(name);
    const hint = input.closest("[data-field]").querySelector(".hint");
    const now = chosen?.dataset[name];
    input.disabled = chosen !== undefined && now === undefined;
    if (chosen === undefined) hint.textContent = this.model.value ? "There is no model of this name." : "Choose a model first.";
    else hint.textContent = now === undefined ? "No limit now, so nothing to raise." : `Now ${NUMBER.format(now)}; has to be above it.`;
  }
}

new Increase(document.getElementById("increase"));
