/**
 * Deep links: everything that is on the screen is named by the part after `#`, e.g. `#/browse?prefix=2026&open=<id>`.
 * Views that were left are kept for a while, so that going back finds them as they were, scrolled as they were.
 */

/**
 * @typedef {object} Route
 * @property {string} view
 * @property {URLSearchParams} params
 */

/**
 * What two pictures are shown beside each other: the left one, and the right one of which more is known.
 *
 * @typedef {object} Comparison
 * @property {import("./compare.js").Side} left
 * @property {import("./types.js").Hit} hit
 * @property {string | null} previous id to compare with instead
 * @property {string | null} next
 */

/**
 * @typedef {object} View
 * @property {HTMLElement} element
 * @property {string} title
 * @property {(params: URLSearchParams) => void} update the filters in the address changed
 * @property {() => void} [enter] the element has just entered the document
 * @property {() => void} [leave] the element is about to leave it
 * @property {(id: string, withId: string | null) => Promise<Comparison>} [comparison]
 * @property {() => void} [toggleFilters]
 */

/** @typedef {(params: URLSearchParams) => View} ViewFactory */

/** Parameters that open something over a view, and those that name which view of its kind it is. */
const OVERLAYS = ["open", "compare", "with"];
const IDENTITY = ["image", "upload", "url"];
const KEPT_VIEWS = 6;

let overlayOpenedHere = false;

/** @returns {Route} */
export function currentRoute() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return { view: path || "search", params: new URLSearchParams(query) };
}

/** @param {string} view @param {Record<string, string> | URLSearchParams} [params] */
export function link(view, params = {}) {
  const query = new URLSearchParams(params).toString();
  return `#/${view}${query ? `?${query}` : ""}`;
}

/** The present address with some parameters changed; `null` removes one.
 * @param {Record<string, string | null>} changes */
export function linkWith(changes) {
  const { view, params } = currentRoute();
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") params.delete(name);
    else params.set(name, value);
  }
  return link(view, params);
}

/** @param {string} hash @param {{ replace?: boolean }} [options] */
export function go(hash, { replace = false } = {}) {
  if (hash === location.hash) return;
  if (!replace) {
    location.hash = hash;
    return;
  }
  const opened = overlayOpenedHere;
  history.replaceState(history.state, "", hash);
  dispatchEvent(new Event("hashchange"));
  overlayOpenedHere = opened;
}

/** Closes what lies over the view: back, if opening it was the last step, else by a new address. */
export function closeOverlay() {
  if (overlayOpenedHere) history.back();
  else go(linkWith(Object.fromEntries(OVERLAYS.map((name) => [name, null]))), { replace: true });
}

/**
 * @param {URLSearchParams} params
 * @param {string[]} names
 */
function pick(params, names) {
  return new URLSearchParams([...params].filter(([name]) => names.includes(name)));
}

/** @typedef {{ view: View, scroll: number, filters: string }} Kept */

/**
 * Starts routing.
 *
 * @param {HTMLElement} main
 * @param {Record<string, ViewFactory>} views
 * @param {(route: Route, view: View) => void} onRoute called after each change, also for overlays
 */
export function startRouter(main, views, onRoute) {
  history.scrollRestoration = "manual";
  /** @type {Map<string, Kept>} */
  const kept = new Map();
  let present = "";

  /** @param {string} key @param {Kept} entry */
  const enter = (key, entry) => {
    const left = kept.get(present);
    if (left) {
      left.scroll = scrollY;
      left.view.leave?.();
    }
    kept.delete(key);
    kept.set(key, entry);
    main.replaceChildren(entry.view.element);
    entry.view.enter?.();
    scrollTo(0, entry.scroll);
    if (present) main.focus({ preventScroll: true });
    const oldest = [...kept.keys()].slice(0, -KEPT_VIEWS);
    for (const old of oldest) kept.delete(old);
    present = key;
  };

  const show = () => {
    const { view, params } = currentRoute();
    const name = view in views ? view : "search";
    const base = new URLSearchParams(params);
    for (const overlay of OVERLAYS) base.delete(overlay);
    const key = link(name, pick(base, IDENTITY));
    const entry = kept.get(key) ?? { view: views[name](base), scroll: 0, filters: base.toString() };
    overlayOpenedHere = key === present && OVERLAYS.some((overlay) => params.has(overlay));
    if (key !== present) enter(key, entry);
    if (entry.filters !== base.toString()) {
      entry.filters = base.toString();
      entry.view.update(base);
    }
    onRoute({ view: name, params }, entry.view);
  };

  addEventListener("hashchange", show);
  show();
}
