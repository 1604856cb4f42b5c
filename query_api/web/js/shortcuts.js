/** Keys that do something, the dialog that lists them, and the switch that turns the single-key ones off. */

import { openDialog } from "./dialog.js";
import { h, icon } from "./dom.js";
import { choose } from "./intake.js";
import { go, link } from "./router.js";

const OFF = "twinlens.shortcuts-off";

/** @type {[string[], string][]} */
const LISTED = [
  [["S"], "Search"], [["B"], "Browse"], [["D"], "Duplicates"], [["T"], "Status"],
  [["O"], "Choose a picture"], [["Ctrl", "V"], "Search with the picture in the clipboard"], [["F"], "Filters"],
  [["←", "→", "↑", "↓"], "Walk over the pictures"], [["Home", "End"], "First, last picture"],
  [["Enter"], "Open or compare"], [["M"], "More like the picture in focus"],
  [["N", "P"], "Next, previous picture in a comparison"], [["Esc"], "Close"], [["?"], "This list"],
];

function off() {
  try {
    return localStorage.getItem(OFF) === "yes";
  } catch {
    return false;
  }
}

/** @param {boolean} value */
function setOff(value) {
  try {
    localStorage.setItem(OFF, value ? "yes" : "no");
  } catch {
    // Where storage is forbidden the keys stay on.
  }
}

function openHelp() {
  if (document.querySelector("dialog.help")) return;
  const toggle = h("input", { type: "checkbox", checked: !off(), onchange: () => setOff(!toggle.checked) });
  openDialog({ label: "Keyboard", className: "small help" },
    h("h2", null, "Keyboard"),
    h("dl", { class: "shortcut-list" }, LISTED.map(([keys, text]) =>
      h("div", null, h("dt", null, keys.map((key) => h("kbd", null, key))), h("dd", null, text)))),
    h("label", { class: "field field-flag" }, h("span", null, "Single letters work as shortcuts"), toggle),
    h("p", { class: "quiet" }, "Programs use the ", h("a", { href: "docs" }, "JSON API"), "."));
}

/** The button with the question mark. */
export function helpButton() {
  return h("button", { class: "icon-button not-touch", type: "button", "aria-label": "Keyboard shortcuts", title: "Keyboard shortcuts (?)",
    onclick: openHelp }, icon("help"));
}

/** @param {() => import("./router.js").View | null} presentView */
export function listenForShortcuts(presentView) {
  const inDialog = () => document.querySelector("dialog[open]");
  const press = (/** @type {string} */ selector) =>
    /** @type {HTMLElement | null} */ (document.querySelector(selector))?.click();
  const twinOfFocused = () => {
    const image = document.activeElement?.closest("[data-image]")?.getAttribute("data-image");
    if (image) go(link("search", { image }));
  };
  /** @type {Record<string, () => void>} */
  const anywhere = { "?": openHelp, n: () => press("dialog [data-step=next]"), p: () => press("dialog [data-step=previous]") };
  /** @type {Record<string, () => void>} */
  const onViews = {
    s: () => go(link("search")), b: () => go(link("browse")), d: () => go(link("duplicates")), t: () => go(link("status")),
    o: () => choose(), f: () => presentView()?.toggleFilters?.(), m: twinOfFocused,
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || off()) return;
    const target = /** @type {HTMLElement} */ (event.target);
    if (target.matches("textarea, select, input:not([type=range], [type=radio], [type=checkbox])")) return;
    const key = event.key.toLowerCase();
    const action = anywhere[key] ?? (inDialog() ? undefined : onViews[key]);
    if (!action) return;
    event.preventDefault();
    action();
  });
}
