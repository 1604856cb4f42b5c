/** The whole catalog, with endless scroll and filters. */

import { aboutServer, listImages } from "../api.js";
import { announce, h } from "../dom.js";
import { BROWSE_FILTERS, Filters, filtersOf } from "../filters.js";
import { counted } from "../format.js";
import { Grid } from "../grid.js";
import { aspectOf } from "../layout.js";
import { empty, loading, problem } from "../notice.js";
import { imageTile } from "../tile.js";

/** @typedef {import("../types.js").Image} Image */

const PAGE = "120";

class Browse {
  /** @param {URLSearchParams} params */
  constructor(params) {
    this.title = "Browse";
    this.filters = new Filters(BROWSE_FILTERS, params);
    this.heading = h("h1", { class: "summary" }, "Browse");
    this.body = h("div", { class: "browse-body" });
    this.foot = h("div", { class: "browse-foot" });
    this.element = h("div", { class: "browse" },
      h("div", { class: "results-head" }, this.heading, this.filters.bar), this.filters.panel, this.body, this.foot);
    this.busy = new AbortController();
    /** Where the list goes on: empty at its beginning, null at its end. @type {string | null} */
    this.token = "";
    this.start(params);
  }

  /** @param {URLSearchParams} params */
  update(params) {
    this.filters.update(params);
    this.start(params);
  }

  enter() {
    this.grid?.connect();
  }

  leave() {
    this.grid?.disconnect();
  }

  toggleFilters() {
    this.filters.toggle();
  }

  /** @param {URLSearchParams} params */
  start(params) {
    this.busy.abort();
    this.busy = new AbortController();
    this.grid?.disconnect();
    this.query = filtersOf(params, BROWSE_FILTERS);
    this.token = "";
    this.fetching = false;
    this.grid = /** @type {Grid<Image>} */ (new Grid({ label: "Pictures", tile: imageTile,
      aspect: (image) => aspectOf(image.width, image.height), needMore: () => void this.loadMore() }));
    this.body.replaceChildren(this.grid.element);
    this.grid.connect();
    void this.loadMore();
  }

  async loadMore() {
    if (this.fetching || this.token === null || !this.grid) return;
    this.fetching = true;
    const { signal } = this.busy;
    const first = this.token === "";
    this.foot.replaceChildren(loading(first ? "Opening the catalog" : "More pictures"));
    try {
      const page = await listImages({ ...this.query, limit: PAGE, ...(first ? { count: "true" } : { page_token: this.token }) }, signal);
      this.fetching = false;
      this.token = page.next_page_token;
      this.foot.replaceChildren();
      if (first) this.begin(page.total, page.results.length);
      this.grid.append(page.results);
      if (this.token === null && this.grid.items.length > 40) this.foot.append(h("p", { class: "quiet" }, "That is all."));
    } catch (error) {
      if (signal.aborted) return;
      this.fetching = false;
      const { token } = this;
      this.token = null;
      this.foot.replaceChildren(problem(error, () => {
        this.token = token;
        void this.loadMore();
      }));
    }
  }

  /** @param {number | null} total @param {number} found */
  begin(total, found) {
    this.heading.textContent = total === null ? "Browse" : counted(total, "picture");
    announce(this.heading.textContent);
    if (found > 0) return;
    if (this.filters.chips.childElementCount > 0) {
      this.foot.replaceChildren(empty("No picture matches", "There are none with these filters.",
        h("button", { class: "button", type: "button", onclick: () => this.filters.clear() }, "Clear the filters")));
      return;
    }
    this.foot.replaceChildren(empty("The catalog is empty", "Pictures that are put into the bucket appear here a moment later."));
    aboutServer().then((about) => this.foot.querySelector("p")?.append(` The bucket is “${about.buckets[0]}”.`), () => {});
  }
}

/** @param {URLSearchParams} params @returns {import("../router.js").View} */
export function browseView(params) {
  return new Browse(params);
}
