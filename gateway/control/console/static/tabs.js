// Tabs within a page, as the ARIA Authoring Practices have them: one stop for the Tab key, arrows walk and choose.
//   <div role="tablist"> <button role="tab" aria-controls="id" aria-selected="true"> … with [role=tabpanel] elsewhere

function choose(list, chosen) {
  for (const tab of list.querySelectorAll("[role=tab]")) {
    const selected = tab === chosen;
    tab.setAttribute("aria-selected", String(selected));
    tab.tabIndex = selected ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !selected;
  }
}

function walk(list, event) {
  const tabs = [...list.querySelectorAll("[role=tab]")];
  const at = tabs.indexOf(event.target);
  const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
  if (at < 0 || next === undefined) return;
  event.preventDefault();
  const tab = tabs.at(next % tabs.length);
  choose(list, tab);
  tab.focus();
}

/** Makes every list of tabs of a page work. */
export function startTabs() {
  for (const list of document.querySelectorAll("[role=tablist]")) {
    list.addEventListener("click", (event) => {
      const tab = event.target.closest("[role=tab]");
      if (tab) choose(list, tab);
    });
    list.addEventListener("keydown", (event) => walk(list, event));
  }
}
