// <time data-time="short|date|full|relative"> in the reader's own time zone; the title says the rest.

const PARTS = { day: "2-digit", month: "short", year: "numeric" };
const CLOCK = { hour: "2-digit", minute: "2-digit", hour12: false };
const LOCALE = "en-GB";

const STYLES = {
  short: new Intl.DateTimeFormat(LOCALE, { ...PARTS, day: "numeric", ...CLOCK }),
  date: new Intl.DateTimeFormat(LOCALE, { ...PARTS, day: "numeric" }),
  full: new Intl.DateTimeFormat(LOCALE, { ...PARTS, day: "numeric", ...CLOCK, second: "2-digit", timeZoneName: "short" }),
};
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const UNITS = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];
const EVERY_MS = 30_000;

/** "3 hours ago", "in 2 days", "just now". */
export function relative(at, now = Date.now()) {
  const seconds = (at - now) / 1000;
  for (const [unit, size] of UNITS) {
    if (Math.abs(seconds) >= size) return RELATIVE.format(Math.trunc(seconds / size), unit);
  }
  return seconds > 0 ? "in a moment" : "just now";
}

/** Writes one element anew. */
export function show(element) {
  const at = Date.parse(element.dateTime);
  if (Number.isNaN(at)) return;
  const style = element.dataset.time;
  if (style === "relative") {
    element.textContent = relative(at);
    element.title = STYLES.full.format(at);
  } else {
    element.textContent = (STYLES[style] ?? STYLES.short).format(at);
    element.title = `${relative(at)}, ${STYLES.full.format(at)}`;
  }
}

/** Writes every time under `root` anew; for modules that add some. */
export function showTimes(root = document) {
  for (const element of root.querySelectorAll("time[data-time]")) show(element);
}

export function start() {
  showTimes();
  setInterval(() => {
    if (!document.hidden) showTimes();
  }, EVERY_MS);
}
