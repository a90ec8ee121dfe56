// One model in the grants picker: what was stored of its grant, what is wanted now, and what is wrong with that.

import { FieldProblem, clearField, integer, markField } from "./fields.js";

const LABELS = { rpm: "Times / min", tpm: "Token / min" };
const NAMES = ["rpm", "tpm"];

function given(row, name) {
  const text = row.dataset[name];
  return text === undefined ? null : Number(text);
}

function limits(row) {
  return { rpm: given(row, "rpm"), tpm: given(row, "tpm") };
}

/** A number with separators of thousands. */
export function shown(value) {
  return value.toLocaleString("en");
}

function slot(cell, attribute, className) {
  let line = cell.querySelector(`[${attribute}]`);
  if (!line) {
    line = document.createElement("p");
    line.className = className;
    line.setAttribute(attribute, "");
    line.hidden = true;
    cell.append(line);
  }
  return line;
}

export class GrantRow {
  constructor(row, most) {
    this.row = row;
    this.most = most;
    this.model = row.dataset.model;
    this.box = row.querySelector("input[type=checkbox]");
    this.cells = Object.fromEntries(NAMES.map((name) => [name, row.querySelector(`[data-field="${name}"]`)]));
    this.inputs = Object.fromEntries(NAMES.map((name) => [name, this.cells[name].querySelector("input")]));
    this.account = { rpm: given(row, "baseRpm"), tpm: given(row, "baseTpm") };
    this.others = { rpm: given(row, "othersRpm"), tpm: given(row, "othersTpm") };
    this.before = row.dataset.granted === undefined ? null : limits(row);
    this.restore();
  }

  get isGranted() {
    return this.box.checked;
  }

  set isGranted(granted) {
    this.box.checked = granted;
    this.update();
  }

  /** Puts the fields to what is stored. A browser may have kept what was typed before a reload. */
  restore() {
    this.box.checked = this.before !== null;
    for (const name of NAMES) {
      const value = this.before?.[name] ?? null;
      this.inputs[name].value = value === null ? "" : shown(value);
    }
    this.update();
  }

  /** Only a model that is granted can be limited. */
  update() {
    for (const name of NAMES) {
      this.inputs[name].disabled = !this.box.checked;
      if (!this.box.checked) clearField(this.cells[name]);
    }
    this.row.toggleAttribute("data-chosen", this.box.checked);
    this.warn();
  }

  /** The limits that the fields say; undefined for what is no number. Null where the model is not to be granted. */
  get wanted() {
    if (!this.box.checked) return null;
    return Object.fromEntries(NAMES.map((name) => [name, this.read(name)]));
  }

  read(name) {
    try {
      return integer(this.inputs[name].value, name);
    } catch (error) {
      if (error instanceof FieldProblem) return undefined;
      throw error;
    }
  }

  /** What changes: {kind: added | changed | removed, before, after}; null for nothing. */
  get change() {
    const after = this.wanted;
    const { before } = this;
    if (after === null) return before === null ? null : { kind: "removed", before, after };
    if (before === null) return { kind: "added", before, after };
    return NAMES.some((name) => after[name] !== before[name]) ? { kind: "changed", before, after } : null;
  }

  /** What is wrong with what changes: {rpm: message, tpm: message}. What stays as it is is not asked about again. */
  get problems() {
    const found = {};
    const wanted = this.change?.after;
    if (!wanted) return found;
    for (const name of NAMES) {
      const message = this.problemOf(name, wanted[name]);
      if (message) found[name] = message;
    }
    if (!found.tpm && typeof wanted.tpm === "number" && wanted.rpm === null) {
      found.tpm = "Token / min cannot stand without Times / min; fill that in as well.";
    }
    return found;
  }

  problemOf(name, value) {
    if (value === null) return "";
    if (value === undefined) return "Enter a whole number, such as 600, or leave it blank.";
    if (value < 1 || value > this.most) return `Enter a number from 1 to ${shown(this.most)}, or leave it blank.`;
    const highest = this.account[name];
    return highest !== null && value > highest ? `Above the account's ${shown(highest)}.` : "";
  }

  /** Shows what is wrong at the fields; answers the first wrong one. */
  check() {
    const { problems } = this;
    for (const name of NAMES) {
      if (problems[name]) this.mark(name, problems[name]);
      else clearField(this.cells[name]);
    }
    this.warn();
    return NAMES.filter((name) => problems[name]).map((name) => this.inputs[name])[0] ?? null;
  }

  mark(name, message) {
    const line = slot(this.cells[name], "data-error", "field-error");
    line.id ||= `wrong-${name}-${[...this.row.parentElement.children].indexOf(this.row)}`;
    this.inputs[name].setAttribute("aria-describedby", line.id);
    markField(this.cells[name], message);
  }

  clear(name) {
    clearField(this.cells[name]);
  }

  /** Says where the account's workspaces are granted more together than the account has: allowed, and good to know. */
  warn() {
    const wanted = this.wanted;
    for (const name of NAMES) {
      const value = wanted?.[name];
      const sum = typeof value === "number" ? value + (this.others[name] ?? 0) : null;
      const highest = this.account[name];
      // Above the account's limit by itself it is wrong, which is said as such.
      const over = sum !== null && highest !== null && sum > highest && value <= highest;
      const above = this.before !== null && this.change === null && value !== null && highest !== null && value > highest;
      const line = over || above ? slot(this.cells[name], "data-warning", "field-warning") : this.cells[name].querySelector("[data-warning]");
      if (!line) continue;
      line.hidden = !(over || above);
      line.textContent = above
        ? `Above the account's ${shown(highest)}, which holds.`
        : over
          ? `All workspaces together: ${shown(sum)} of ${shown(highest)}.`
          : "";
    }
  }

  /** What is stored now: the grant's limits, or null. */
  keep(grant) {
    this.before = grant === null ? null : { rpm: grant.rpm, tpm: grant.tpm };
    this.restore();
  }
}

export { LABELS, NAMES };
