// What the dialogs of the grants picker say: what is going to change, and who changed it meanwhile.

import { call } from "./api.js";
import { LABELS, NAMES, shown } from "./grant_rows.js";
import { relative } from "./times.js";

const HEADINGS = { added: "Granted", changed: "Other limits", removed: "Taken away" };
const MOST_TOLD = 8;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function limit(value) {
  return value === null || value === undefined ? "no own limit" : shown(value);
}

function line(row, change) {
  const item = element("li", "change");
  item.append(element("span", "change-model", row.model));
  const { before, after } = change;
  for (const name of NAMES) {
    const told = element("span", "change-limit");
    told.append(element("span", "change-label", LABELS[name]), " ");
    if (change.kind === "changed" && before[name] !== after[name]) {
      told.append(element("del", "", limit(before[name])), element("span", "visually-hidden", " becomes "), element("span", "change-arrow", " → "));
      told.lastChild.setAttribute("aria-hidden", "true");
      told.append(element("ins", "", limit(after[name])));
    } else {
      told.append(limit((after ?? before)[name]));
    }
    item.append(told);
  }
  return item;
}

/** How many there are of each kind, as words: "2 granted, 1 taken away". */
export function counted({ added, changed, removed }) {
  const parts = [
    [added, "granted"],
    [changed, "with other limits"],
    [removed, "taken away"],
  ];
  return parts
    .filter(([count]) => count)
    .map(([count, said]) => `${count} ${said}`)
    .join(", ");
}

/** The changes of rows, [[row, change]], as lists under headings. */
export function summary(changes) {
  return Object.keys(HEADINGS).flatMap((kind) => {
    const some = changes.filter(([, change]) => change.kind === kind);
    if (some.length === 0) return [];
    const list = element("ul", `change-list change-${kind}`);
    list.append(...some.map(([row, change]) => line(row, change)));
    const part = element("section", "change-part");
    part.append(element("h3", "", `${HEADINGS[kind]} (${some.length})`), list);
    return [part];
  });
}

function saying(entry, workspace) {
  const model = entry.target.slice(workspace.length + 1);
  const told = (limits) => NAMES.map((name) => `${LABELS[name]} ${limit(limits[name])}`).join(", ");
  const at = relative(new Date(entry.at).getTime());
  if (entry.action === "grant.delete") return `${entry.actor} took ${model} away, ${at}.`;
  return `${entry.actor} ${entry.before ? "changed" : "granted"} ${model}: ${told(entry.after)}, ${at}.`;
}

/** Who changed the workspace's grants since, as a list; null where that cannot be told. */
export async function changedBy(workspace, since) {
  const query = new URLSearchParams({ workspace_id: workspace, action: "grant", start: new Date(since).toISOString(), limit: String(MOST_TOLD + 1) });
  let entries;
  try {
    ({ data: { data: entries } } = await call("GET", `/admin/v1/audit?${query}`));
  } catch {
    return null;
  }
  if (entries.length === 0) return null;
  const list = element("ul", "changed-by");
  list.append(...entries.slice(0, MOST_TOLD).map((entry) => element("li", "", saying(entry, workspace))));
  if (entries.length > MOST_TOLD) list.append(element("li", "", "And more."));
  return list;
}
