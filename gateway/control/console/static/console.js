// Loaded on every page: starts what works by attributes alone. A page's own module imports what it needs besides.

import { start as confirm } from "./confirm.js";
import { start as copy } from "./copy.js";
import { startCounters as counters } from "./counter.js";
import { start as dialogs } from "./dialogs.js";
import { start as forms } from "./forms.js";
import { start as menus } from "./menus.js";
import { start as plots } from "./plot.js";
import { start as switcher } from "./switcher.js";
import { start as tables } from "./tables.js";
import { start as times } from "./times.js";
import { start as toasts } from "./toasts.js";

for (const start of [times, confirm, forms, dialogs, menus, switcher, copy, counters, tables, plots, toasts]) start();
