// Filters and pages over a table whose rows are all there, such as the models of the catalogue: no request for either.

const PER_PAGE = 50;

function words(text) {
  return text.toLocaleLowerCase().split(/\s+/).filter(Boolean);
}

/** The text of a select's choice behind "is:"; null for none. */
function chosen(select) {
  return select && select.value.startsWith("is:") ? select.value.slice(3) : null;
}

export class Picker {
  /** `rows` are the table's rows; `isGranted(row)` says what "Only granted" leaves; `onShown` is called when others are shown. */
  constructor(root, rows, { isGranted = () => true, onShown = () => {} } = {}) {
    this.rows = rows;
    this.isGranted = isGranted;
    this.onShown = onShown;
    this.shown = rows;
    this.page = 0;
    this.texts = new Map(rows.map((row) => [row, `${row.dataset.model} ${row.dataset.vendor}`.toLocaleLowerCase()]));
    const part = (name) => root.querySelector(`[data-picker-${name}]`);
    this.parts = Object.fromEntries(
      ["search", "vendor", "type", "granted", "found", "nothing", "clear", "pages", "shown", "back", "next", "status"].map((name) => [name, part(name)]),
    );
    this.listen();
    this.filter({ quiet: true });
  }

  listen() {
    const { search, vendor, type, granted, clear, back, next } = this.parts;
    search.addEventListener("input", () => this.filter());
    for (const each of [vendor, type, granted]) each?.addEventListener("change", () => this.filter());
    clear.addEventListener("click", () => {
      this.clearFilters();
      search.focus();
    });
    back.addEventListener("click", () => this.turn(-1));
    next.addEventListener("click", () => this.turn(1));
  }

  /** The rows of the page that is looked at. */
  get visible() {
    return this.shown.slice(this.page * PER_PAGE, (this.page + 1) * PER_PAGE);
  }

  clearFilters() {
    const { search, vendor, type, granted } = this.parts;
    search.value = "";
    if (vendor) vendor.value = "";
    if (type) type.value = "";
    if (granted) granted.checked = false;
    this.filter();
  }

  filter({ quiet = false } = {}) {
    const { search, vendor, type, granted, status } = this.parts;
    const wanted = words(search.value);
    const [ofVendor, ofType] = [chosen(vendor), chosen(type)];
    this.shown = this.rows.filter(
      (row) =>
        wanted.every((word) => this.texts.get(row).includes(word)) &&
        (ofVendor === null || row.dataset.vendor === ofVendor) &&
        (ofType === null || row.dataset.type === ofType) &&
        (!granted?.checked || this.isGranted(row)),
    );
    this.page = 0;
    this.draw();
    if (!quiet) status.textContent = this.shown.length === 1 ? "1 model is shown." : `${this.shown.length} models are shown.`;
  }

  turn(by) {
    this.page += by;
    this.draw();
    const { back, next, found, status, shown } = this.parts;
    // A button that was pressed and is disabled now would lose the focus to nowhere.
    if (document.activeElement === document.body || document.activeElement?.disabled) (by > 0 ? back : next).focus();
    found.scrollIntoView({ block: "start" });
    status.textContent = shown.textContent;
  }

  draw() {
    const { found, nothing, pages, shown, back, next } = this.parts;
    const visible = new Set(this.visible);
    for (const row of this.rows) row.hidden = !visible.has(row);
    const count = this.shown.length;
    found.hidden = count === 0;
    nothing.hidden = count !== 0;
    pages.hidden = count <= PER_PAGE;
    const first = this.page * PER_PAGE + 1;
    shown.textContent = `Models ${first}–${Math.min(first + PER_PAGE - 1, count)} of ${count}`;
    back.disabled = this.page === 0;
    next.disabled = first + PER_PAGE > count;
    this.onShown();
  }

  /** Shows a row, whatever the filters say. */
  reveal(row) {
    if (!this.shown.includes(row)) this.clearFilters();
    this.page = Math.floor(this.shown.indexOf(row) / PER_PAGE);
    this.draw();
  }

  /** Forgets a row that is there no more. */
  remove(row) {
    this.rows = this.rows.filter((each) => each !== row);
    row.remove();
    this.filter({ quiet: true });
  }
}
