/** Groups of pictures that are there more than once: byte for byte, or nearly. */

import { ApiProblem, aboutServer, compareImages, fileOf, getImage, listDuplicates, thumbnail } from "../api.js";
import { announce, h } from "../dom.js";
import { DUPLICATE_FILTERS, Filters, filtersOf } from "../filters.js";
import { basename, bytes, count, counted, dimensions, score } from "../format.js";
import { empty, loading, problem } from "../notice.js";
import { go, link, linkWith } from "../router.js";
import { imageCells, saveButtons } from "../save.js";
import { overlayLink, plate } from "../tile.js";

/** @typedef {import("../types.js").Group} Group */
/** @typedef {import("../types.js").Image} Image */

const PAGE = "20";
const KINDS = /** @type {["exact" | "near", string][]} */ ([["exact", "The same file"], ["near", "Nearly the same"]]);
/** Members of a group that are shown; a group can hold a hundred. */
const SHOWN = 12;

/** Bytes that a group takes beyond its first picture; an estimate where not all of it is named. @param {Group} group */
const spareOf = ({ images, size }) => images.slice(1).reduce((sum, image) => sum + image.size, 0) * ((size - 1) / Math.max(1, images.length - 1));

/** @param {Image} image @param {Image} first @param {boolean} near */
function member(image, first, near) {
  const over = /** @type {Record<string, string>} */ (
    near && image !== first ? { compare: image.id, with: first.id } : { open: image.id });
  const name = basename(image.key);
  return h("li", null, overlayLink(link("duplicates", { kind: near ? "near" : "exact", ...over }), over, { class: "tile-link member", "aria-label": near && image !== first ? `Compare ${name} with ${basename(first.key)}` : name },
    plate(image, ""),
    h("span", { class: "member-key", title: image.key }, image.key),
    h("span", { class: "quiet" }, `${dimensions(image.width, image.height)}, ${bytes(image.size)}`)));
}

/** @param {Group} group */
function groupCard(group) {
  const [first] = group.images;
  const near = group.kind === "near";
  const rest = group.size - SHOWN;
  const all = first.sha256 && !near ? h("a", { href: link("browse", { sha256: first.sha256 }) }, `and ${count(rest)} more`) : `and ${count(rest)} more`;
  const card = h("article", { class: "group" },
    h("div", { class: "group-head" }, h("h2", null, counted(group.size, "picture")),
      h("p", { class: "quiet" }, near ? `${group.verified ? "verified, with" : "joined by"} scores from ${score(group.score)} up` : `${bytes(spareOf(group))} more than needed`)),
    h("ul", { class: "members", role: "list" }, group.images.slice(0, SHOWN).map((image) => member(image, first, near)),
      rest > 0 ? h("li", { class: "quiet members-more" }, all) : null));
  card.style.setProperty("--members", String(Math.min(SHOWN, Math.max(2, group.size))));
  return card;
}

class Duplicates {
  /** @param {URLSearchParams} params */
  constructor(params) {
    this.title = "Duplicates";
    this.body = h("div", { class: "groups" });
    this.foot = h("div", { class: "browse-foot" });
    this.totals = h("p", { class: "quiet totals" });
    this.kinds = h("fieldset", { class: "segments" }, h("legend", { class: "visually-hidden" }, "Kind of duplicates"),
      KINDS.map(([kind, label]) => h("label", null, h("input", { type: "radio", name: "kind", value: kind,
        onchange: () => go(linkWith({ kind: kind === "exact" ? null : kind })) }), h("span", null, label))));
    this.filters = new Filters(DUPLICATE_FILTERS, params);
    this.filters.bar.append(saveButtons("twinlens-duplicates", () => this.collect()), this.kinds);
    this.element = h("div", { class: "duplicates" },
      h("div", { class: "results-head" }, h("div", null, h("h1", { class: "summary" }, "Duplicates"), this.totals), this.filters.bar),
      this.filters.panel, this.body, this.foot);
    this.watcher = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) void this.loadMore();
    }, { rootMargin: "800px" });
    this.busy = new AbortController();
    /** @type {Group[]} */
    this.groups = [];
    this.update(params);
  }

  enter() {
    this.watcher.observe(this.foot);
  }

  leave() {
    this.watcher.disconnect();
  }

  toggleFilters() {
    this.filters.toggle();
  }

  /** @param {URLSearchParams} params */
  update(params) {
    this.filters.update(params);
    this.kind = params.get("kind") === "near" ? "near" : "exact";
    this.prefix = params.get("prefix") ?? "";
    this.filters.show("near_score", this.kind === "near");
    for (const input of this.kinds.querySelectorAll("input")) input.checked = input.value === this.kind;
    this.busy.abort();
    this.busy = new AbortController();
    const { near_score: least, bucket } = filtersOf(params, DUPLICATE_FILTERS);
    this.query = { kind: this.kind, limit: PAGE, verify: "true", ...(bucket ? { bucket } : {}), ...(least && this.kind === "near" ? { min_score: least } : {}) };
    this.body.replaceChildren();
    this.groups = [];
    /** @type {string | null} */
    this.token = "";
    /** @type {Promise<void> | null} */
    this.fetching = null;
    this.tell();
    void this.loadMore();
  }

  /** Fetches the next page, one at a time. */
  loadMore() {
    if (this.token === null) return Promise.resolve();
    this.fetching ??= this.#loadMore().finally(() => (this.fetching = null));
    return this.fetching;
  }

  async #loadMore() {
    const { signal } = this.busy;
    this.foot.replaceChildren(loading("Looking for duplicates"));
    try {
      const page = await listDuplicates({ ...this.query, ...(this.token ? { page_token: this.token } : {}) }, signal);
      if (signal.aborted) return;
      this.token = page.next_page_token;
      const groups = page.results.filter(({ images }) => images.some(({ key }) => key.startsWith(this.prefix ?? "")));
      this.groups.push(...groups);
      this.body.append(...groups.map(groupCard));
      this.foot.replaceChildren();
      this.tell();
      if (this.token === null && !this.groups.length) this.foot.append(this.none());
      // A page can hold few groups or none; the observer reports only changes, so look again.
      this.watcher.unobserve(this.foot);
      if (this.token !== null && this.element.isConnected) this.watcher.observe(this.foot);
    } catch (error) {
      if (signal.aborted) return;
      const { token } = this;
      this.token = null;
      this.foot.replaceChildren(problem(error, () => {
        this.token = token;
        void this.loadMore();
      }));
    }
  }

  /** How much there is, as far as was looked. */
  tell() {
    const pictures = this.groups.reduce((sum, { size }) => sum + size, 0);
    const spare = bytes(Math.round(this.groups.reduce((sum, group) => sum + spareOf(group), 0)));
    const found = `${counted(this.groups.length, "group")}, ${counted(pictures, "picture")}, ${spare} more than needed`;
    this.totals.textContent = this.token === null ? found : this.groups.length ? `${found}, so far` : "";
    if (this.token === null) announce(this.totals.textContent);
    const { kind } = this;
    if (kind !== "exact" || this.filters.chips.childElementCount) return;
    void aboutServer().then(({ objects, contents }) => {
      // The catalog counts equal files; near duplicates are known only once they were looked for.
      if (this.token === null || this.kind !== kind || objects <= contents) return;
      this.totals.textContent = `${counted(objects - contents, "file")} more than needed in all; ${this.totals.textContent || "looking for them"}`;
    }, () => {});
  }

  /** For a file: all groups, however many pages they take. */
  async collect() {
    const { signal } = this.busy;
    while (this.token !== null && !signal.aborted) await this.loadMore();
    if (signal.aborted || this.foot.querySelector(".notice-problem")) return null;
    const rows = this.groups.flatMap((group, index) => group.images.map((image) =>
      ({ group: index + 1, kind: group.kind, score: group.score, verified: group.verified, pictures: group.size, ...imageCells(image) })));
    return { rows, json: this.groups };
  }

  none() {
    if (this.filters.chips.childElementCount > 0) {
      return empty("No duplicates", "There are none with these filters.",
        h("button", { class: "button", type: "button", onclick: () => this.filters.clear() }, "Clear the filters"));
    }
    return this.kind === "near"
      ? empty("No near duplicates", "No two pictures in the catalog are copies of one another.")
      : empty("No duplicates", "Every file in the catalog is there once.");
  }

  /** @param {string} id @param {string | null} withId @returns {Promise<import("../router.js").Comparison>} */
  async comparison(id, withId) {
    if (!withId) throw new ApiProblem({ status: 404, code: "not_found", title: "Nothing to compare with", detail: "" });
    const [left, image, answer] = await Promise.all([getImage(withId), getImage(id),
      compareImages(withId, id)]);
    const others = this.groups.find(({ images: [first] }) => first.id === withId)?.images.slice(1) ?? [];
    const at = others.findIndex((other) => other.id === id);
    return {
      left: { source: fileOf(left), fallback: thumbnail(left, 640), label: basename(left.key), width: left.width, height: left.height, image: left.id },
      hit: { ...answer, image, keys: [image.key], keys_total: 1, part: null, query: 0, weak: false },
      previous: others[at - 1]?.id ?? null,
      next: others[at + 1]?.id ?? null,
    };
  }
}

/** @param {URLSearchParams} params @returns {import("../router.js").View} */
export function duplicatesView(params) {
  return new Duplicates(params);
}
