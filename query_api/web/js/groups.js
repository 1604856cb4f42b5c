/** Hits by what they are: the same file, copies, likely copies, similar ones; what is hardly alike is folded away. */

import { h } from "./dom.js";
import { Grid } from "./grid.js";
import { aspectOf } from "./layout.js";
import { HIT_CAPTION, VERDICTS, hitTile, kindOf } from "./tile.js";

/** @typedef {import("./types.js").Hit} Hit */
/** @typedef {import("./tile.js").Kind} Kind */

const KINDS = /** @type {Kind[]} */ (["exact", "copy", "likely", "similar", "weak"]);

export class Groups {
  /**
   * @param {HTMLElement} element where the groups lie
   * @param {{ needMore: (kind: Kind) => void, labels: () => string[] }} options `labels` names the queries, if several
   */
  constructor(element, options) {
    this.element = element;
    this.options = options;
    /** @type {Map<Kind, Grid<Hit>>} */
    this.grids = new Map();
  }

  connect() {
    for (const grid of this.grids.values()) grid.connect();
  }

  disconnect() {
    for (const grid of this.grids.values()) grid.disconnect();
  }

  clear() {
    this.disconnect();
    this.grids.clear();
    for (const group of this.element.querySelectorAll(".verdict-group")) group.remove();
  }

  /** @param {Hit[]} hits */
  add(hits) {
    for (const kind of KINDS) {
      const ofKind = hits.filter((hit) => kindOf(hit) === kind);
      if (ofKind.length) this.#grid(kind).append(ofKind);
    }
  }

  /** @param {Kind} kind */
  #grid(kind) {
    const known = this.grids.get(kind);
    if (known) return known;
    const { heading, text } = VERDICTS[kind];
    const folded = kind === "weak";
    const grid = /** @type {Grid<Hit>} */ (new Grid({ label: heading, caption: HIT_CAPTION, tile: (hit) => hitTile(hit, this.options.labels()),
      zoom: folded || kind === "similar" ? 1 : 1.4, aspect: (hit) => aspectOf(hit.image.width, hit.image.height),
      needMore: () => this.options.needMore(kind) }));
    this.grids.set(kind, grid);
    const about = h("p", { class: "quiet" }, text);
    this.element.append(folded
      ? h("details", { class: "verdict-group", "data-verdict": kind }, h("summary", null, h("span", { class: "fold-title" }, heading)), about, grid.element)
      : h("section", { class: "verdict-group", "data-verdict": kind }, h("div", { class: "section-head" }, h("h2", null, heading), about), grid.element));
    grid.connect();
    return grid;
  }
}
