/** A justified grid that keeps only the rows near the window in the document: 10,000 pictures scroll like 50. */

import { h } from "./dom.js";
import { justify, rowAt } from "./layout.js";

/**
 * @template T
 * @typedef {object} GridOptions
 * @property {string} label what the list is, for screen readers
 * @property {(item: T) => number} aspect width / height of an item's picture
 * @property {(item: T, index: number) => HTMLElement} tile the element that fills a cell
 * @property {number} [caption] height of the text under a picture, in CSS pixels
 * @property {number} [zoom] how much higher than usual the rows are
 * @property {() => void} [needMore] called when the end of the list comes near
 */

/** Rows are kept this many window heights above and below the visible part. */
const OVERSCAN = 1.0;

/** @template T */
export class Grid {
  /** @param {GridOptions<T>} options */
  constructor(options) {
    this.options = options;
    /** @type {T[]} */
    this.items = [];
    /** @type {import("./layout.js").Row[]} */
    this.rows = [];
    /** @type {Map<number, HTMLLIElement>} */
    this.shown = new Map();
    this.width = 0;
    this.element = h("ul", { class: "grid", role: "list", "aria-label": options.label });
    this.element.addEventListener("keydown", (event) => this.#arrows(event));
    new ResizeObserver(() => this.#measure()).observe(this.element);
    this.onScroll = () => this.render();
  }

  /** Starts following the window's scrolling; call when the grid enters the document. */
  connect() {
    addEventListener("scroll", this.onScroll, { passive: true });
    this.#measure();
  }

  /** Stops following it. */
  disconnect() {
    removeEventListener("scroll", this.onScroll);
  }

  /** @param {T[]} items */
  append(items) {
    this.items.push(...items);
    this.#layout();
  }

  /** Puts the item's link into view and focuses it. @param {number} index */
  focus(index) {
    const row = this.rows.find(({ cells }) => cells.some((cell) => cell.index === index));
    if (!row) return;
    if (!this.shown.has(index)) {
      scrollTo({ top: scrollY + this.element.getBoundingClientRect().top + row.top - innerHeight / 3 });
      this.render();
    }
    this.shown.get(index)?.querySelector("a")?.focus();
  }

  #measure() {
    const width = this.element.clientWidth;
    if (width > 0 && width !== this.width) {
      this.width = width;
      this.#layout();
    }
  }

  #layout() {
    if (this.width === 0) return;
    const narrow = this.width < 560;
    const { rows, height } = justify(this.items.map(this.options.aspect), {
      width: this.width,
      target: (narrow ? 150 : this.width < 1100 ? 200 : 230) * (this.options.zoom ?? 1),
      gap: narrow ? 8 : 14,
      caption: this.options.caption ?? 0,
    });
    this.rows = rows;
    this.element.style.height = `${height}px`;
    this.#place();
    this.render();
  }

  /** Moves what is shown to where it belongs after a new layout. */
  #place() {
    for (const row of this.rows) {
      for (const cell of row.cells) {
        const shown = this.shown.get(cell.index);
        if (shown) this.#position(shown, row, cell);
      }
    }
  }

  /** Makes the document hold exactly the rows near the window, in order; the focused one is never removed. */
  render() {
    if (this.rows.length === 0 || !this.element.isConnected) return;
    const caption = this.options.caption ?? 0;
    const offset = -this.element.getBoundingClientRect().top;
    const first = rowAt(this.rows, offset - innerHeight * OVERSCAN, caption);
    const bottom = offset + innerHeight * (1 + OVERSCAN);
    const wanted = new Set();
    for (let r = first; r < this.rows.length && this.rows[r].top < bottom; r += 1) {
      for (const cell of this.rows[r].cells) {
        wanted.add(cell.index);
        if (!this.shown.has(cell.index)) this.#show(this.rows[r], cell);
      }
    }
    for (const [index, item] of this.shown) {
      if (!wanted.has(index) && !item.contains(document.activeElement)) {
        item.remove();
        this.shown.delete(index);
      }
    }
    const end = this.rows[this.rows.length - 1];
    if (end.top < bottom + innerHeight) this.options.needMore?.();
  }

  /** @param {import("./layout.js").Row} row @param {import("./layout.js").Cell} cell */
  #show(row, cell) {
    const tile = this.options.tile(this.items[cell.index], cell.index);
    const item = h("li", { "aria-posinset": cell.index + 1, "aria-setsize": -1, "data-index": cell.index }, tile);
    this.#position(item, row, cell);
    let next = null;
    for (const [index, other] of this.shown) {
      if (index > cell.index && (next === null || index < Number(next.dataset.index))) next = other;
    }
    this.element.insertBefore(item, next);
    this.shown.set(cell.index, item);
  }

  /** @param {HTMLElement} item @param {import("./layout.js").Row} row @param {import("./layout.js").Cell} cell */
  #position(item, row, cell) {
    item.style.transform = `translate(${cell.left.toFixed(2)}px, ${row.top.toFixed(2)}px)`;
    item.style.width = `${cell.width.toFixed(2)}px`;
    item.style.setProperty("--picture-height", `${row.height.toFixed(2)}px`);
  }

  /** Arrow keys walk over the pictures; Home and End go to the ends. @param {KeyboardEvent} event */
  #arrows(event) {
    const item = /** @type {HTMLElement} */ (event.target).closest("li");
    if (!item || event.altKey || event.ctrlKey || event.metaKey) return;
    const index = Number(item.dataset.index);
    const next = this.#neighbour(index, event.key);
    if (next === null) return;
    event.preventDefault();
    this.focus(next);
  }

  /** @param {number} index @param {string} key @returns {number | null} */
  #neighbour(index, key) {
    const last = this.items.length - 1;
    if (key === "ArrowRight") return Math.min(last, index + 1);
    if (key === "ArrowLeft") return Math.max(0, index - 1);
    if (key === "Home") return 0;
    if (key === "End") return last;
    if (key !== "ArrowDown" && key !== "ArrowUp") return null;
    const at = this.rows.findIndex(({ cells }) => cells.some((cell) => cell.index === index));
    const from = this.rows[at]?.cells.find((cell) => cell.index === index);
    const row = this.rows[at + (key === "ArrowDown" ? 1 : -1)];
    if (!from || !row) return index;
    const middle = from.left + from.width / 2;
    const distance = (/** @type {import("./layout.js").Cell} */ cell) => Math.abs(cell.left + cell.width / 2 - middle);
    return row.cells.reduce((best, cell) => (distance(cell) < distance(best) ? cell : best)).index;
  }
}
