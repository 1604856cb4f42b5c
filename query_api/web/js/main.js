/** Puts the page together: header, routes, what opens over a view, drops, shortcuts. */

import { UNAUTHORIZED } from "./api.js";
import { openCompare } from "./compare.js";
import { openDetail } from "./detail.js";
import { openDialog } from "./dialog.js";
import { acceptEverywhere } from "./intake.js";
import { problem } from "./notice.js";
import { closeOverlay, startRouter } from "./router.js";
import { askForKey } from "./session.js";
import { helpButton, listenForShortcuts } from "./shortcuts.js";
import { themeButton } from "./themes.js";
import { browseView } from "./views/browse.js";
import { duplicatesView } from "./views/duplicates.js";
import { searchView } from "./views/search.js";
import { statusView } from "./views/status.js";

/** @type {{ key: string, dialog: HTMLDialogElement | null }} */
const over = { key: "", dialog: null };

/** Opens, swaps or closes what lies over the view, as the address says.
 * @param {URLSearchParams} params @param {import("./router.js").View} view */
async function showOverlay(params, view) {
  const open = params.get("open");
  const compare = params.get("compare");
  const key = open ? `open ${open}` : compare ? `compare ${compare} ${params.get("with") ?? ""}` : "";
  if (key === over.key && (over.dialog?.open ?? !key)) return;
  over.key = key;
  const opener = open ? () => openDetail(open) : compare ? await comparison(view, compare, params.get("with")) : null;
  if (over.key !== key) return;
  // The old one goes first, so that it gives the focus back to the page, where the new one finds it.
  over.dialog?.close();
  over.dialog?.remove();
  over.dialog = opener?.() ?? null;
}

/**
 * @param {import("./router.js").View} view @param {string} id @param {string | null} withId
 * @returns {Promise<() => HTMLDialogElement>} what opens the dialog
 */
async function comparison(view, id, withId) {
  try {
    if (!view.comparison) return () => openDetail(id);
    const found = await view.comparison(id, withId);
    return () => openCompare(found);
  } catch (error) {
    return () => openDialog({ label: "Problem", className: "small", onClose: closeOverlay }, problem(error, null));
  }
}

/** @param {string} view */
function markTab(view) {
  for (const tab of document.querySelectorAll("[data-view]")) {
    if (tab.getAttribute("data-view") === view) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
}

/** `/browse` and the like are answered with this page too; the rest of the page knows only what follows the `#`. */
function adoptPath() {
  const [, view] = /\/(browse|duplicates|status)\/?$/.exec(location.pathname) ?? [];
  if (view && !location.hash) history.replaceState(null, "", `./#/${view}`);
}

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
document.getElementById("bar-tools")?.append(helpButton(), themeButton());
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
adoptPath();
acceptEverywhere();
addEventListener(UNAUTHORIZED, askForKey);
/** @type {import("./router.js").View | null} */
let present = null;
listenForShortcuts(() => present);
startRouter(main, { search: searchView, browse: browseView, duplicates: duplicatesView, status: statusView },
  (route, view) => {
    present = view;
    document.title = `${view.title} · Twinlens`;
    markTab(route.view);
    void showOverlay(route.params, view);
  });
