// Values out of a form's fields, and errors at them.

/** A field whose text is not what it has to be. */
export class FieldProblem extends Error {
  constructor(param, message) {
    super(message);
    this.param = param;
  }
}

const LARGEST = Number.MAX_SAFE_INTEGER;

/** An integer as people type it ("1,000", "1 000"); null for a blank. Throws FieldProblem. */
export function integer(text, param = "") {
  const plain = text.replace(/[\s,_'’]/g, "");
  if (plain === "") return null;
  if (!/^[+-]?\d+$/.test(plain)) throw new FieldProblem(param, "Enter a whole number, such as 600, or leave it blank.");
  const value = Number(plain);
  if (Math.abs(value) > LARGEST) throw new FieldProblem(param, "This number is too large.");
  return value;
}

const READERS = {
  int: (text, param) => integer(text, param),
  lines: (text) => text.split(/\r?\n/).map((line) => line.trim()).filter(Boolean),
  time: (text, param) => {
    if (!text) return null;
    const moment = new Date(text);
    if (Number.isNaN(moment.getTime())) throw new FieldProblem(param, "Enter a date and a time.");
    return moment.toISOString();
  },
  json: (text, param) => {
    try {
      return JSON.parse(text);
    } catch {
      throw new FieldProblem(param, "This is not valid JSON.");
    }
  },
};

function named(form) {
  return [...form.elements].filter((each) => each.name && !each.disabled && each.type !== "submit" && each.type !== "button");
}

/** The body to send and what is wrong with it: {body, problems}. Several checkboxes of one name with `data-type="list"` make a list. */
export function gather(form) {
  const body = {};
  const problems = [];
  for (const input of named(form)) {
    const { name, type } = input;
    const kind = input.dataset.type;
    if (type === "checkbox" && kind === "list") {
      body[name] ??= [];
      if (input.checked) body[name].push(input.value);
    } else if (type === "checkbox") {
      body[name] = input.checked;
    } else if (type === "radio") {
      if (input.checked) body[name] = input.value;
    } else {
      const text = input.value;
      if ("omitEmpty" in input.dataset && text.trim() === "") continue;
      try {
        body[name] = kind in READERS ? READERS[kind](text, name) : text;
      } catch (error) {
        if (!(error instanceof FieldProblem)) throw error;
        problems.push(error);
      }
    }
  }
  return { body, problems };
}

/** The place of a parameter's field in a form: by its whole name, else by the name before a list's index. */
export function fieldOf(form, param) {
  for (const name of [param, param.split(".")[0]]) {
    const field = form.querySelector(`[data-field="${CSS.escape(name)}"]`);
    if (field && !field.hidden) return field;
  }
  return null;
}

function inputOf(field) {
  return field.querySelector("input:not([type=hidden]), select, textarea");
}

/** Shows a message at a field, and marks it as wrong for those who do not see it. */
export function markField(field, message) {
  const slot = field.querySelector("[data-error]");
  if (slot) {
    slot.textContent = message;
    slot.hidden = false;
  }
  inputOf(field)?.setAttribute("aria-invalid", "true");
}

export function clearField(field) {
  const slot = field.querySelector("[data-error]");
  if (slot) {
    slot.hidden = true;
    slot.textContent = "";
  }
  inputOf(field)?.removeAttribute("aria-invalid");
}

/** Shows errors [{param, message}] at their fields; answers the messages that have no field, and focuses the first wrong field. */
export function showErrors(form, errors) {
  const homeless = [];
  const marked = [];
  for (const { param, message } of errors) {
    const field = fieldOf(form, param);
    if (field) {
      markField(field, message);
      marked.push(field);
    } else {
      homeless.push(message);
    }
  }
  marked.sort((a, b) => (a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1));
  if (marked.length) inputOf(marked[0])?.focus();
  return homeless;
}
