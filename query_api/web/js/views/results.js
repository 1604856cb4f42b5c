/** What a search found: the picture that was searched with, then exact files, copies and similar pictures. */

import { ApiProblem } from "../api.js";
import { announce, h } from "../dom.js";
import { Filters, SEARCH_FILTERS, filtersOf } from "../filters.js";
import { counted } from "../format.js";
import { Groups } from "../groups.js";
import { choose } from "../intake.js";
import { empty, problem, sending } from "../notice.js";
import { queryCard } from "../querycard.js";
import { LOCAL, arranged, inWords, isSorted, leastOf, tally } from "../ranking.js";
import { go, linkWith } from "../router.js";
import { imageCells, saveButtons } from "../save.js";
import { sourceOf } from "../sources.js";
import { kindOf } from "../tile.js";

/** @typedef {import("../types.js").Hit} Hit */
/** @typedef {import("../types.js").SearchAnswer} SearchAnswer */
/** @typedef {import("../sources.js").Source} Source */

const PAGE = 48;
/** Reasons for which a hit was not verified that do not hold for a look at it alone. */
const LATER = new Set(["not_among_best", "far", "busy", "no_time"]);
/** A search with an indexed picture goes by its stored vector, which has no parts. */
const NOT_OF_IMAGES = new Set(["parts"]);
/** The API ranks at most this many (offset + limit). */
const DEEPEST = 1000;

/** @param {unknown} error */
const isStop = (error) => error instanceof DOMException && error.name === "AbortError";

class Results {
  /** @param {URLSearchParams} params */
  constructor(params) {
    this.params = params;
    this.title = "Search";
    this.names = params.has("image") ? SEARCH_FILTERS.filter((name) => !NOT_OF_IMAGES.has(name)) : SEARCH_FILTERS;
    this.filters = new Filters(this.names, params);
    this.card = h("div", { class: "query-card" });
    this.summary = h("h1", { class: "summary" }, "Searching");
    this.timing = h("p", { class: "quiet timing" });
    this.waiting = h("p", { class: "quiet waiting" });
    this.body = h("div", { class: "results-body" });
    this.filters.bar.append(saveButtons("twinlens-results", () => this.collect()));
    this.element = h("div", { class: "results" }, this.card,
      h("div", { class: "results-main" },
        h("div", { class: "results-head" }, h("div", null, this.summary, this.timing, this.waiting), this.filters.bar),
        this.filters.panel, this.body));
    this.groups = new Groups(this.body, { needMore: (kind) => void this.needMore(kind), labels: () => this.source?.sides.map(({ label }) => label) ?? [] });
    /** @type {Hit[]} */
    this.hits = [];
    this.offset = 0;
    this.more = false;
    this.asked = "";
    /** @type {Promise<boolean> | null} */
    this.loading = null;
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
    // The lowest score and the order are a matter of what is here already.
    if (this.asked !== this.question()) this.ready = this.load();
    else if (this.hits.length) void this.show();
  }

  enter() {
    this.groups.connect();
  }

  leave() {
    this.groups.disconnect();
  }

  toggleFilters() {
    this.filters.toggle();
  }

  /** The filters that the server is asked with. */
  query() {
    return filtersOf(this.params, this.names.filter((name) => !LOCAL.has(name)));
  }

  question() {
    return JSON.stringify(this.query());
  }

  async load() {
    this.busy.abort();
    this.busy = new AbortController();
    const { signal } = this.busy;
    this.asked = this.question();
    this.groups.clear();
    Object.assign(this, { hits: [], offset: 0, more: false, loading: null });
    this.summary.textContent = "Searching";
    this.timing.textContent = "";
    this.waiting.textContent = "";
    const notice = sending("Looking for twins", () => this.stop());
    this.body.replaceChildren(notice.element);
    try {
      this.source ??= await sourceOf(this.params);
      this.card.replaceChildren(...queryCard(this.source, null));
      const answer = await this.ask(signal, notice.progress);
      if (signal.aborted) return;
      this.card.replaceChildren(...queryCard(this.source, answer));
      this.body.replaceChildren();
      this.describe(answer);
      this.take(answer);
      await this.show();
    } catch (error) {
      if (signal.aborted || isStop(error)) return;
      this.summary.textContent = "No answer";
      this.body.replaceChildren(problem(error, () => (this.ready = this.load())));
    }
  }

  /** Ends the search before its answer. */
  stop() {
    this.busy.abort();
    this.asked = "";
    this.summary.textContent = "Stopped";
    this.body.replaceChildren(empty("The search was stopped", "Nothing more is sent.",
      h("button", { class: "button", type: "button", onclick: () => (this.ready = this.load()) }, "Search again")));
    announce("The search was stopped");
  }

  /** @param {AbortSignal} signal @param {(sent: number, total: number) => void} [onProgress] */
  ask(signal, onProgress) {
    const source = /** @type {Source} */ (this.source);
    const page = { limit: String(Math.min(PAGE, DEEPEST - this.offset)), offset: String(this.offset) };
    return source.search({ ...this.query(), ...page }, { signal, onProgress });
  }

  /** @param {SearchAnswer} answer @returns {Hit[]} those that were added */
  take(answer) {
    this.offset += answer.results.length;
    this.more = answer.more && this.offset < DEEPEST;
    // A picture that was searched with by its id and lies at one place only is nowhere else.
    const fresh = answer.results.filter((hit) => !(hit.verdict === "exact" && hit.keys_total === 1 && hit.image.id === this.source?.image));
    this.hits.push(...fresh);
    return fresh;
  }

  /** Whether another page can hold anything of this kind: the weak ones come last. @param {import("../tile.js").Kind} kind */
  hasMore(kind) {
    const last = this.hits[this.hits.length - 1];
    if (!this.more || (last && last.score < leastOf(this.params))) return false;
    return kind === "weak" ? this.body.querySelector("details[open]") !== null : !last || kindOf(last) !== "weak";
  }

  /** @param {import("../tile.js").Kind} kind */
  async needMore(kind) {
    if (this.loading || isSorted(this.params) || !this.hasMore(kind)) return;
    const before = this.hits.length;
    if (await this.next()) this.groups.add(arranged(this.hits.slice(before), this.params));
  }

  /** Fetches the next page; one at a time. @returns {Promise<boolean>} false if it failed, which was said then */
  next() {
    this.loading ??= this.#next().finally(() => (this.loading = null));
    return this.loading;
  }

  async #next() {
    const { signal } = this.busy;
    try {
      const answer = await this.ask(signal);
      if (signal.aborted) return false;
      this.take(answer);
      return true;
    } catch (error) {
      if (signal.aborted || isStop(error)) return false;
      this.more = false;
      this.body.append(problem(error, () => {
        this.body.querySelector(".notice-problem")?.remove();
        this.more = true;
        void this.show();
      }));
      return false;
    }
  }

  /** All that is more than weak. @returns {Promise<boolean>} */
  async fetchAll() {
    while (this.hasMore("similar")) if (!(await this.next())) return false;
    return true;
  }

  /** Shows what there is as the address says. */
  async show() {
    if (isSorted(this.params)) await this.fetchAll();
    const hits = arranged(this.hits, this.params);
    this.groups.clear();
    for (const old of this.body.querySelectorAll(".suggestion, .notice:not(.notice-problem)")) old.remove();
    this.groups.add(hits);
    this.tell(hits);
  }

  /** @param {SearchAnswer} answer */
  describe(answer) {
    this.took = `in ${Math.round(answer.took_ms)} ms`;
    this.waiting.textContent = answer.pending
      ? `${counted(answer.pending, "picture")} in the catalog ${answer.pending === 1 ? "is" : "are"} still waiting and can’t be found yet.` : "";
  }

  /** @param {Hit[]} hits that are shown */
  tell(hits) {
    const found = tally(hits);
    const own = this.source?.image ? hits.find((hit) => hit.verdict === "exact" && hit.keys_total > 1) : null;
    const words = inWords(found, own ? own.keys_total - 1 : 0);
    const alike = found.similar ? `; ${counted(found.similar, "picture")} ${found.similar === 1 ? "looks" : "look"} a little alike` : "";
    this.summary.textContent = words ? `Found ${words}` : found.similar ? "No certain copy" : "Nothing alike";
    this.timing.textContent = `${this.took ?? ""}${words ? "" : alike}`;
    if (!words && hits.length) this.suggestParts();
    if (!words && !found.similar) this.none(found.weak);
    announce(`${this.summary.textContent}. ${this.timing.textContent}`);
  }

  /** @param {number} weak */
  none(weak) {
    const filtered = this.filters.chips.childElementCount > 0;
    const text = filtered ? "Nothing matches with these filters." : "Nothing in the catalog resembles this picture.";
    this.body.prepend(empty("No twin in the catalog", weak ? `${text} What is below is no more like it than chance would have it.` : text,
      filtered ? h("button", { class: "button", type: "button", onclick: () => this.filters.clear() }, "Clear the filters")
        : h("button", { class: "button", type: "button", onclick: () => choose() }, "Try another picture")));
  }

  /** A picture that fills a small part of this one is found by that part. */
  suggestParts() {
    if (!this.names.includes("parts") || this.params.get("parts")) return;
    this.body.prepend(h("p", { class: "suggestion" }, "Is what you look for only a part of this picture? ",
      h("button", { class: "text-button", type: "button", onclick: () => go(linkWith({ parts: "true" })) }, "Search its parts, too")));
  }

  /** For a file: every place of what is found, weak hits left out. */
  async collect() {
    await this.ready;
    if (!(await this.fetchAll())) return null;
    const hits = arranged(this.hits, this.params).filter((hit) => kindOf(hit) !== "weak");
    const names = this.source?.sides.map(({ label }) => label) ?? [];
    const rows = hits.flatMap((hit) => hit.keys.map((key) => ({ searched_with: names.length > 1 ? names[hit.query] : this.source?.name, score: hit.score,
      verdict: kindOf(hit), verified: hit.verified?.is_copy, ...imageCells(hit.image), key })));
    return { rows, json: { searched_with: names.length > 1 ? names : [this.source?.name], results: hits } };
  }

  /** Has a hit verified that was not among the best. @param {Hit} hit */
  async verify(hit) {
    const answer = await this.source?.compare?.(hit.query, hit.image.id).catch(() => null);
    if (answer) Object.assign(hit, { verified: answer.verified, unverified: answer.unverified });
  }

  /** @param {string} id @returns {Promise<import("../router.js").Comparison>} */
  async comparison(id) {
    await this.ready;
    const shown = arranged(this.hits, this.params);
    const at = shown.findIndex((hit) => hit.image.id === id);
    const hit = shown[at];
    if (!hit) {
      throw new ApiProblem({ status: 404, code: "not_a_hit", title: "This picture isn’t among the results",
        detail: "It may have been deleted, or a filter leaves it out now." });
    }
    const left = this.source?.sides[hit.query] ?? { source: "", label: "Your picture", width: null, height: null };
    if (!hit.verified && LATER.has(hit.unverified ?? "")) await this.verify(hit);
    return { left, hit, previous: shown[at - 1]?.image.id ?? null, next: shown[at + 1]?.image.id ?? null };
  }
}

/** @param {URLSearchParams} params @returns {import("../router.js").View} */
export function resultsView(params) {
  return new Results(params);
}
