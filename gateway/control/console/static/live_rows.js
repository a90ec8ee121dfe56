// Draws the live view in place: rows stay the same elements as long as they are about the same thing, so that nothing loses the
// focus or jumps while somebody reads.

const EXACT = new Intl.NumberFormat("en");
const LABELS = { rpm: "Times / min", tpm: "Token / min" };
const CODES = {
  limit_requests: "Times / min",
  insufficient_quota: "Token / min",
  limit_concurrency: "calls open at once",
  "Model.AccessDenied": "Model is not granted",
  model_not_found: "No such model",
  model_not_supported: "Model of another kind",
  invalid_api_key: "Key is disabled or gone",
  ModelUnavailable: "No healthy upstream",
  ServiceUnavailable: "Gateway cannot take it",
};
const LEVELS = { account: "Account", workspace: "Workspace", key: "Key" };

/** Three digits and a unit from 10,000 on, as the rest of the console has it. */
export function compact(value) {
  if (Math.abs(value) < 10_000) return EXACT.format(value);
  let left = value;
  for (const unit of ["k", "M", "G"]) {
    left /= 1000;
    if (Math.abs(Number(left.toPrecision(3))) < 1000 || unit === "G") return `${Number(left.toPrecision(3))}\u00a0${unit}`;
  }
  return "";
}

function duration(ms) {
  if (ms < 60_000) return `${Math.ceil(ms / 1000)} s`;
  return `${Math.ceil(ms / 60_000)} min`;
}

/** Why calls were refused, in words: "Workspace Times / min (12)". */
export function reasons(causes) {
  return causes
    .map(({ code, level, calls }) => {
      const what = CODES[code] ?? code;
      return `${level ? `${LEVELS[level]}: ${what}` : what} (${EXACT.format(calls)})`;
    })
    .join(", ");
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function cell(label, className = "") {
  const made = make("td", className);
  made.dataset.label = label;
  return made;
}

function twoLines(parent) {
  const name = make("span", "name");
  const second = make("span", "name-second");
  const first = make("span");
  name.append(first, second);
  parent.append(name);
  return { first, second };
}

class Meter {
  constructor(label, whose) {
    this.whose = `${whose}, ${label}`;
    this.cell = cell(label, "live-meter");
    this.row = make("span", "meter-row");
    this.meter = make("meter", "meter");
    this.text = make("span", "meter-text");
    this.nothing = make("span", "nothing");
    this.row.append(this.meter, this.text);
    this.cell.append(this.row, this.nothing);
  }

  show(bucket, without) {
    this.row.hidden = bucket === undefined;
    this.nothing.hidden = bucket !== undefined;
    if (bucket === undefined) {
      say(this.nothing, without);
      return;
    }
    const { used, capacity, reset_ms: reset } = bucket;
    const over = used > capacity;
    const text = `${compact(used)} of ${compact(capacity)}`;
    Object.assign(this.meter, { min: 0, max: capacity, low: capacity * 0.75, high: capacity * 0.9, optimum: 0, value: Math.min(Math.max(used, 0), capacity) });
    this.meter.setAttribute("aria-label", `${this.whose}: ${text}`);
    this.row.toggleAttribute("data-over", over);
    say(this.text, over ? `${text}, ${Math.round((used / capacity) * 100)}%` : text);
    const exact = `${EXACT.format(used)} of ${EXACT.format(capacity)} used`;
    this.cell.title = used > 0 ? `${exact}; full again in ${duration(reset)} if no call comes` : exact;
  }
}

class BucketRow {
  constructor(key, whose) {
    this.row = make("tr");
    this.row.dataset.key = key;
    const head = make("th");
    head.scope = "row";
    this.name = twoLines(head);
    this.meters = { rpm: new Meter(LABELS.rpm, whose), tpm: new Meter(LABELS.tpm, whose) };
    this.admitted = cell("Admitted", "num");
    this.refused = cell("Refused", "num");
    this.why = cell("Why refused", "live-why");
    this.row.append(head, this.meters.rpm.cell, this.meters.tpm.cell, this.admitted, this.refused, this.why);
  }

  show(name, second, traffic, without) {
    say(this.name.first, name);
    say(this.name.second, second);
    for (const limit of ["rpm", "tpm"]) {
      this.meters[limit].show(traffic.buckets.find((bucket) => bucket.limit === limit), without);
    }
    showCalls(this, traffic);
  }
}

function showCalls(row, { admitted, refused, causes }) {
  say(row.admitted, EXACT.format(admitted));
  say(row.refused, EXACT.format(refused));
  row.refused.toggleAttribute("data-some", refused > 0);
  say(row.why, reasons(causes));
}

class DriverRow {
  constructor(key) {
    this.row = make("tr");
    this.row.dataset.key = key;
    const head = make("th");
    head.scope = "row";
    this.key = twoLines(head);
    this.key.second.classList.add("mono");
    const workspace = cell("Workspace");
    this.workspace = make("span", "name");
    workspace.append(this.workspace);
    this.model = cell("Model", "live-model");
    this.refused = cell("Refused", "nowrap");
    this.why = cell("Why refused", "live-why");
    this.row.append(head, workspace, this.model, this.refused, this.why);
  }

  show(driver) {
    const calls = driver.admitted + driver.refused;
    say(this.key.first, driver.description || (driver.masked ? "No description" : "Deleted key"));
    this.key.first.classList.toggle("nothing", !driver.description);
    say(this.key.second, driver.masked ?? driver.key_id);
    say(this.workspace, driver.workspace_name || driver.workspace_id);
    say(this.model, driver.model || "–");
    say(this.refused, `${EXACT.format(driver.refused)} of ${EXACT.format(calls)} refused`);
    this.refused.toggleAttribute("data-some", driver.refused > 0);
    say(this.why, reasons(driver.causes));
  }
}

/** Puts rows into a table's body in this order, moving none that stands where it should. */
function place(body, rows) {
  const wanted = new Set(rows);
  for (const row of [...body.children]) if (!wanted.has(row)) row.remove();
  rows.forEach((row, index) => {
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
  });
}

const made = new Map();

function rowOf(key, build) {
  if (!made.has(key)) made.set(key, build());
  return made.get(key);
}

function bucketRows(models) {
  const rows = [];
  for (const model of models) {
    const key = JSON.stringify(["model", model.model]);
    const whole = rowOf(key, () => new BucketRow(key, `${model.model}, account`));
    const more = model.more_workspaces ? `Account, with ${EXACT.format(model.more_workspaces)} more workspaces` : "Account";
    whole.show(model.model, more, model, "No limit");
    rows.push(whole.row);
    for (const each of model.workspaces) {
      const within = JSON.stringify(["workspace", model.model, each.workspace_id]);
      const name = each.name || each.workspace_id;
      const row = rowOf(within, () => new BucketRow(within, `${model.model}, workspace ${name}`));
      row.row.classList.add("live-within");
      row.show(name, "Workspace", each, "No own limit");
      rows.push(row.row);
    }
  }
  return rows;
}

function driverRows(drivers) {
  return drivers.map((driver) => {
    const key = JSON.stringify(["driver", driver.key_id, driver.workspace_id, driver.model]);
    const row = rowOf(key, () => new DriverRow(key));
    row.show(driver);
    return row.row;
  });
}

/** Shows what a `live` event brought. */
export function draw(root, data) {
  for (const notice of root.querySelectorAll("[data-live-source]")) notice.hidden = notice.dataset.liveSource !== data.source;
  for (const stat of root.querySelectorAll("[data-live-stat]")) {
    const value = data[stat.dataset.liveStat];
    say(stat.querySelector(".stat-value"), value === null ? "–" : compact(value));
    if (stat.dataset.liveStat === "refused") stat.classList.toggle("stat-danger", value > 0);
  }
  const none = data.models.length === 0 && data.drivers.length === 0;
  root.querySelector("[data-live-empty]").hidden = !none;
  root.querySelector("[data-live-body]").hidden = none;
  place(root.querySelector("#live-buckets tbody"), bucketRows(data.models));
  place(root.querySelector("#live-drivers tbody"), driverRows(data.drivers));
  const more = root.querySelector("[data-live-more]");
  more.hidden = data.more_models === 0;
  say(more, `${EXACT.format(data.more_models)} more models with fewer calls are not shown.`);
}
