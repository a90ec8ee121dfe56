// Reads values off the charts of charts.py: a line and a box at the pointer, and by the arrow keys for those who use no pointer.

const SVG = "http://www.w3.org/2000/svg";
const DAY_MS = 86_400_000;
const DATE = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: "UTC" });
const EXACT = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const GAP = 12;

/** A value in full, as the chart's kind has it. */
export function valueText(value, kind) {
  if (value === null || value === undefined) return "–";
  if (kind === "percent") return `${EXACT.format(value * 100)}%`;
  if (kind !== "ms") return EXACT.format(value);
  return value < 1000 ? `${EXACT.format(Math.round(value))} ms` : `${EXACT.format(value / 1000)} s`;
}

/** The bucket in words. */
export function bucketText(start, step) {
  if (step >= DAY_MS) return `${DATE.format(start)} UTC`;
  return `${DATE.format(start)}, ${CLOCK.format(start)}–${CLOCK.format(start + step)} UTC`;
}

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function swatch(series, stacked) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", `swatch series-${series.colour}`);
  svg.setAttribute("width", "20");
  svg.setAttribute("height", "10");
  svg.setAttribute("aria-hidden", "true");
  const mark = document.createElementNS(SVG, stacked ? "rect" : "path");
  mark.setAttribute("class", stacked ? "chart-bar" : "chart-line");
  const shape = stacked ? { x: 5, width: 10, height: 10, rx: 2 } : { d: "M1 5h18" };
  for (const [name, value] of Object.entries(shape)) mark.setAttribute(name, value);
  svg.append(mark);
  return svg;
}

class Plot {
  constructor(frame) {
    this.frame = frame;
    this.data = JSON.parse(frame.dataset.plot);
    this.plot = frame.querySelector(".chart-plot");
    this.cursor = frame.querySelector(".chart-cursor");
    this.tip = frame.querySelector(".chart-tip");
    this.status = frame.parentElement.querySelector("[data-plot-status]");
    this.index = null;
    this.values = [];
    this.#build();
  }

  get count() {
    return this.data.times.length;
  }

  #build() {
    const { series, stacked } = this.data;
    this.time = element("p", "chart-tip-time");
    this.tip.append(this.time);
    // As in the drawing: the largest lies at the foot of a bar.
    for (const each of stacked ? [...series].reverse() : series) {
      const row = element("div", "chart-tip-row");
      const value = element("span", "chart-tip-value");
      row.append(swatch(each, stacked), element("span", "chart-tip-label", each.label), value);
      this.values.push([each, value]);
      this.tip.append(row);
    }
    if (stacked && series.length > 1) {
      const row = element("div", "chart-tip-row chart-tip-total");
      this.total = element("span", "chart-tip-value");
      row.append(element("span", "chart-tip-label", "Total"), this.total);
      this.tip.append(row);
    }
  }

  show(index, { aloud = false } = {}) {
    const { times, step, kind, series } = this.data;
    this.index = Math.min(Math.max(index, 0), this.count - 1);
    this.time.textContent = bucketText(times[this.index], step);
    for (const [each, slot] of this.values) slot.textContent = valueText(each.values[this.index], kind);
    if (this.total) this.total.textContent = valueText(series.reduce((sum, each) => sum + (each.values[this.index] ?? 0), 0), kind);
    const share = (this.index + 0.5) / this.count;
    for (const name of ["x1", "x2"]) this.cursor.setAttribute(name, `${share * 100}%`);
    this.cursor.setAttribute("visibility", "visible");
    this.tip.hidden = false;
    this.#place(share);
    if (aloud) {
      const parts = this.values.map(([each, slot]) => `${each.label} ${slot.textContent}`);
      this.status.textContent = `${this.time.textContent}: ${parts.join(", ")}`;
    }
  }

  #place(share) {
    const at = this.plot.offsetLeft + share * this.plot.offsetWidth;
    const width = this.tip.offsetWidth;
    const right = at + GAP;
    const left = right + width <= this.frame.clientWidth ? right : Math.max(0, at - GAP - width);
    this.tip.style.left = `${left}px`;
  }

  hide() {
    this.index = null;
    this.tip.hidden = true;
    this.cursor.setAttribute("visibility", "hidden");
    this.status.textContent = "";
  }

  onPointer(event) {
    const box = this.plot.getBoundingClientRect();
    this.show(Math.floor(((event.clientX - box.left) / box.width) * this.count));
  }

  onKey(event) {
    const now = this.index;
    const next = {
      ArrowRight: now === null ? 0 : now + 1,
      ArrowLeft: now === null ? this.count - 1 : now - 1,
      Home: 0,
      End: this.count - 1,
    }[event.key];
    if (next !== undefined) {
      event.preventDefault();
      this.show(next, { aloud: true });
    } else if (event.key === "Escape" && now !== null) {
      event.preventDefault();
      this.hide();
    }
  }
}

/** Makes the charts under `root` readable; for modules that add some. */
export function startPlots(root = document) {
  for (const frame of root.querySelectorAll("[data-plot]")) {
    const plot = new Plot(frame);
    frame.addEventListener("pointermove", (event) => plot.onPointer(event));
    frame.addEventListener("pointerdown", (event) => plot.onPointer(event));
    // A finger leaves as soon as it is lifted; what it asked for stays until the next touch elsewhere.
    frame.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && plot.hide());
    document.addEventListener("pointerdown", (event) => frame.contains(event.target) || plot.hide());
    frame.addEventListener("keydown", (event) => plot.onKey(event));
    frame.addEventListener("blur", () => plot.hide());
  }
}

export function start() {
  startPlots();
}
