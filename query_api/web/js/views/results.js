/** What a search found: the picture that was searched with, then exact files, copies and similar pictures. */

import { ApiProblem, getImage, searchByImage, searchByPicture, searchByUrl, thumbnail } from "../api.js";
import { announce, h, icon } from "../dom.js";
import { Filters, SEARCH_FILTERS, filtersOf } from "../filters.js";
import { basename, counted, dimensions, format } from "../format.js";
import { Grid } from "../grid.js";
import { choose } from "../intake.js";
import { aspectOf } from "../layout.js";
import { empty, loading, problem } from "../notice.js";
import { recall, urlOf } from "../queries.js";
import { HIT_CAPTION, VERDICTS, hitTile } from "../tile.js";

/** @typedef {import("../types.js").Hit} Hit */
/** @typedef {import("../types.js").Verdict} Verdict */
/** @typedef {import("../types.js").SearchAnswer} SearchAnswer */

const PAGE = 48;
/** The API ranks at most this many (offset + limit). */
const DEEPEST = 1000;

/**
 * @typedef {object} Source
 * @property {import("../compare.js").Side} side
 * @property {string} name
 * @property {(params: Record<string, string>, signal: AbortSignal) => Promise<SearchAnswer>} search
 */

/** @param {URLSearchParams} params @returns {Promise<Source>} */
async function sourceOf(params) {
  const id = params.get("image");
  if (id) {
    const image = await getImage(id);
    const side = { source: image.file_url, fallback: thumbnail(image, 640), label: "Searched with", width: image.width, height: image.height };
    return { side, name: basename(image.key), search: (query, signal) => searchByImage(id, query, signal) };
  }
  const url = params.get("url");
  if (url) {
    // The strict policy of this page forbids pictures of other hosts, so the picture itself is not shown.
    const side = { source: "", label: "Your picture", width: null, height: null };
    return { side, name: url, search: (query, signal) => searchByUrl(url, query, signal) };
  }
  const stored = await recall(params.get("upload") ?? "");
  if (!stored) {
    throw new ApiProblem({ status: 410, code: "forgotten", title: "This picture isn’t in this browser any more",
      detail: "Pictures you search with stay in your own browser, so such an address works only there. Drop the picture again." });
  }
  const side = { source: urlOf(stored), label: "Your picture", width: null, height: null };
  return { side, name: stored.name, search: (query, signal) => searchByPicture(stored.blob, stored.name, query, signal) };
}

class Results {
  /** @param {URLSearchParams} params */
  constructor(params) {
    this.params = params;
    this.title = "Search";
    // A search with an indexed picture leaves its own file out anyway.
    this.names = SEARCH_FILTERS.filter((name) => name !== "exclude_exact" || !params.has("image"));
    this.filters = new Filters(this.names, params);
    this.card = h("div", { class: "query-card" });
    this.summary = h("h1", { class: "summary" }, "Searching");
    this.timing = h("p", { class: "quiet timing" });
    this.body = h("div", { class: "results-body" });
    this.element = h("div", { class: "results" }, this.card,
      h("div", { class: "results-main" },
        h("div", { class: "results-head" }, h("div", null, this.summary, this.timing), this.filters.bar),
        this.filters.panel, this.body));
    /** @type {Map<Verdict, Grid<Hit>>} */
    this.grids = new Map();
    /** @type {Hit[]} */
    this.hits = [];
    this.more = false;
    this.loading = false;
    /** @type {Source | null} */
    this.source = null;
    this.busy = new AbortController();
    /** @type {Promise<void>} */
    this.ready = this.load();
  }

  /** @param {URLSearchParams} params */
  update(params) {
    this.params = params;
    this.filters.update(params);
    this.ready = this.load();
  }

  enter() {
    for (const grid of this.grids.values()) grid.connect();
  }

  leave() {
    for (const grid of this.grids.values()) grid.disconnect();
  }

  toggleFilters() {
    this.filters.toggle();
  }

  async load() {
    this.busy.abort();
    this.busy = new AbortController();
    this.leave();
    this.grids.clear();
    this.hits = [];
    this.summary.textContent = "Searching";
    this.timing.textContent = "";
    this.body.replaceChildren(loading("Looking for twins"));
    try {
      this.source ??= await sourceOf(this.params);
      this.showCard();
      const answer = await this.ask(0);
      this.body.replaceChildren();
      this.describe(answer);
      this.add(answer);
      this.tell();
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") return;
      this.summary.textContent = "No answer";
      this.body.replaceChildren(problem(error, () => (this.ready = this.load())));
    }
  }

  /** @param {number} offset */
  ask(offset) {
    const source = /** @type {Source} */ (this.source);
    const query = filtersOf(this.params, this.names);
    return source.search({ ...query, limit: String(Math.min(PAGE, DEEPEST - offset)), offset: String(offset) }, this.busy.signal);
  }

  async loadMore() {
    if (!this.more || this.loading || this.hits.length >= DEEPEST) return;
    this.loading = true;
    try {
      this.add(await this.ask(this.hits.length));
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") return;
      this.more = false;
      this.body.append(problem(error, () => {
        this.body.querySelector(".notice-problem")?.remove();
        this.more = true;
        void this.loadMore();
      }));
    } finally {
      this.loading = false;
    }
  }

  /** @param {SearchAnswer} answer */
  add(answer) {
    this.hits.push(...answer.results);
    this.more = answer.more;
    for (const verdict of /** @type {Verdict[]} */ (["exact", "copy", "similar"])) {
      const hits = answer.results.filter((hit) => hit.verdict === verdict);
      if (hits.length) this.grid(verdict).append(hits);
    }
  }

  /** @param {Verdict} verdict */
  grid(verdict) {
    const known = this.grids.get(verdict);
    if (known) return known;
    const { heading, text } = VERDICTS[verdict];
    const grid = /** @type {Grid<Hit>} */ (new Grid({ label: heading, caption: HIT_CAPTION, tile: hitTile, zoom: verdict === "similar" ? 1 : 1.4,
      aspect: (hit) => aspectOf(hit.image.width, hit.image.height), needMore: () => void this.loadMore() }));
    this.grids.set(verdict, grid);
    this.body.append(h("section", { class: "verdict-group", "data-verdict": verdict },
      h("div", { class: "section-head" }, h("h2", null, heading), h("p", { class: "quiet" }, text)), grid.element));
    grid.connect();
    return grid;
  }

  showCard() {
    const { side, name } = /** @type {Source} */ (this.source);
    const picture = side.source ? h("img", { src: side.source, alt: "The picture you searched with",
      onerror: () => picture?.replaceWith(h("span", { class: "query-without" }, icon("search"))) }) : null;
    this.facts = h("p", { class: "quiet" }, dimensions(side.width, side.height));
    this.card.replaceChildren(
      h("div", { class: "query-picture" }, picture ?? h("span", { class: "query-without" }, icon("link"))),
      h("div", { class: "query-text" }, h("p", { class: "query-name", title: name }, name), this.facts,
        h("button", { class: "button button-quiet", type: "button", onclick: () => choose() }, icon("upload"), "Another picture")));
  }

  /** @param {SearchAnswer} answer */
  describe(answer) {
    const [query] = answer.queries;
    const side = this.source?.side;
    if (!query || !side || !query.width) return;
    side.width = query.width;
    side.height = query.height;
    if (this.facts) this.facts.textContent = `${dimensions(query.width, query.height)}, ${format(query.format)}`;
    this.timing.textContent = `in ${Math.round(answer.took_ms)} ms`;
  }

  tell() {
    const tally = (/** @type {Verdict} */ verdict) => this.hits.filter((hit) => hit.verdict === verdict).length;
    const parts = [];
    if (tally("exact")) parts.push("the same file");
    if (tally("copy")) parts.push(tally("copy") === 1 ? "1 copy" : `${tally("copy")} copies`);
    const similar = tally("similar");
    if (parts.length) this.summary.textContent = `Found ${parts.join(" and ")}`;
    else this.summary.textContent = similar ? "No certain copy" : "Nothing found";
    if (!parts.length && similar) this.timing.textContent += `; ${counted(similar, "picture")} look a little alike`;
    if (this.hits.length === 0) {
      const filtered = this.filters.chips.childElementCount > 0;
      this.body.replaceChildren(empty("No twin in the catalog",
        filtered ? "Nothing matches with these filters." : "Nothing in the catalog resembles this picture.",
        filtered ? h("button", { class: "button", type: "button", onclick: () => this.filters.clear() }, "Clear the filters")
          : h("button", { class: "button", type: "button", onclick: () => choose() }, "Try another picture")));
    }
    announce(`${this.summary.textContent}. ${this.timing.textContent}`);
  }

  /** @param {string} id @returns {Promise<import("../router.js").Comparison>} */
  async comparison(id) {
    await this.ready;
    const left = this.source?.side ?? { source: "", label: "Your picture", width: null, height: null };
    const at = this.hits.findIndex((hit) => hit.image.id === id);
    const hit = this.hits[at];
    if (!hit) {
      throw new ApiProblem({ status: 404, code: "not_a_hit", title: "This picture isn’t among the results",
        detail: "It may have been deleted, or a filter leaves it out now." });
    }
    return { left, hit, previous: this.hits[at - 1]?.image.id ?? null, next: this.hits[at + 1]?.image.id ?? null };
  }
}

/** @param {URLSearchParams} params @returns {import("../router.js").View} */
export function resultsView(params) {
  return new Results(params);
}
