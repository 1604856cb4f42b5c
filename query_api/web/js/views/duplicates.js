/** Groups of pictures that are there more than once: byte for byte, or nearly. */

import { ApiProblem, call, getImage, listDuplicates, thumbnail } from "../api.js";
import { h } from "../dom.js";
import { basename, bytes, counted, dimensions, score } from "../format.js";
import { empty, loading, problem } from "../notice.js";
import { go, link, linkWith } from "../router.js";
import { overlayLink, plate } from "../tile.js";

/** @typedef {import("../types.js").Group} Group */
/** @typedef {import("../types.js").Image} Image */

const PAGE = "20";
const KINDS = /** @type {["exact" | "near", string][]} */ ([["exact", "The same file"], ["near", "Nearly the same"]]);
/** Members of a group that are shown; a group can hold a hundred. */
const SHOWN = 12;

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
  const spare = group.images.slice(1).reduce((sum, image) => sum + image.size, 0);
  const card = h("article", { class: "group" },
    h("div", { class: "group-head" }, h("h2", null, counted(group.size, "picture")),
      h("p", { class: "quiet" }, near ? `joined by scores from ${score(group.score)} up` : `${bytes(spare)} more than needed`)),
    h("ul", { class: "members", role: "list" }, group.images.slice(0, SHOWN).map((image) => member(image, first, near)),
      group.size > SHOWN ? h("li", { class: "quiet members-more" }, `and ${group.size - SHOWN} more`) : null));
  card.style.setProperty("--members", String(Math.min(SHOWN, Math.max(2, group.size))));
  return card;
}

class Duplicates {
  /** @param {URLSearchParams} params */
  constructor(params) {
    this.title = "Duplicates";
    this.body = h("div", { class: "groups" });
    this.foot = h("div", { class: "browse-foot" });
    this.kinds = h("fieldset", { class: "segments" }, h("legend", { class: "visually-hidden" }, "Kind of duplicates"),
      KINDS.map(([kind, label]) => h("label", null, h("input", { type: "radio", name: "kind", value: kind,
        onchange: () => go(linkWith({ kind: kind === "exact" ? null : kind })) }), h("span", null, label))));
    this.element = h("div", { class: "duplicates" },
      h("div", { class: "results-head" }, h("h1", { class: "summary" }, "Duplicates"), this.kinds), this.body, this.foot);
    this.watcher = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) void this.loadMore();
    }, { rootMargin: "800px" });
    this.busy = new AbortController();
    this.update(params);
  }

  enter() {
    this.watcher.observe(this.foot);
  }

  leave() {
    this.watcher.disconnect();
  }

  /** @param {URLSearchParams} params */
  update(params) {
    this.kind = params.get("kind") === "near" ? "near" : "exact";
    for (const input of this.kinds.querySelectorAll("input")) input.checked = input.value === this.kind;
    this.busy.abort();
    this.busy = new AbortController();
    this.body.replaceChildren();
    /** @type {string | null} */
    this.token = "";
    this.fetching = false;
    void this.loadMore();
  }

  async loadMore() {
    if (this.fetching || this.token === null) return;
    this.fetching = true;
    const { signal } = this.busy;
    this.foot.replaceChildren(loading("Looking for duplicates"));
    try {
      const page = await listDuplicates({ kind: this.kind ?? "exact", limit: PAGE, ...(this.token ? { page_token: this.token } : {}) }, signal);
      this.token = page.next_page_token;
      this.body.append(...page.results.map(groupCard));
      this.foot.replaceChildren();
      this.fetching = false;
      if (this.token === null && !this.body.childElementCount) this.foot.append(this.none());
      // A page can hold few groups or none; the observer reports only changes, so look again.
      this.watcher.unobserve(this.foot);
      if (this.token !== null && this.element.isConnected) this.watcher.observe(this.foot);
    } catch (error) {
      if (signal.aborted) return;
      const { token } = this;
      this.token = null;
      this.fetching = false;
      this.foot.replaceChildren(problem(error, () => {
        this.token = token;
        void this.loadMore();
      }));
    }
  }

  none() {
    return this.kind === "near"
      ? empty("No near duplicates", "No two pictures in the catalog are copies of one another.")
      : empty("No duplicates", "Every file in the catalog is there once.");
  }

  /** @param {string} id @param {string | null} withId @returns {Promise<import("../router.js").Comparison>} */
  async comparison(id, withId) {
    if (!withId) throw new ApiProblem({ status: 404, code: "not_found", title: "Nothing to compare with", detail: "" });
    const [left, image, answer] = await Promise.all([getImage(withId), getImage(id),
      call("v1/compare", { params: { a: withId, b: id } })]);
    return {
      left: { source: left.file_url, fallback: thumbnail(left, 640), label: basename(left.key), width: left.width, height: left.height },
      hit: { image, score: answer.score, distance: answer.distance, verdict: answer.verdict, keys: [image.key], keys_total: 1 },
      previous: null,
      next: null,
    };
  }
}

/** @param {URLSearchParams} params @returns {import("../router.js").View} */
export function duplicatesView(params) {
  return new Duplicates(params);
}
