/** The throughput chart: pictures indexed per minute as bars, the running minute at the right edge. */

import { h, s } from "./dom.js";
import { count, counted } from "./format.js";

const WIDTH = 960;
const HEIGHT = 200;
const FLOOR = HEIGHT - 1;

/** @typedef {{ minute: string, indexed: number }} Minute */

/** The smallest of 1, 2, 5 × 10ⁿ that is not below the value. @param {number} value */
export function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  return /** @type {number} */ ([1, 2, 5, 10].find((step) => step * power >= value)) * power;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

/**
 * Bars keep their element while they move left, so that the style sheet can let them glide.
 */
export class ThroughputChart {
  constructor() {
    this.title = h("figcaption", { class: "chart-caption" });
    this.grid = s("g", { class: "chart-grid" });
    this.bars = s("g", { class: "chart-bars" });
    this.times = s("g", { class: "chart-times" });
    /** @type {Map<string, SVGElement>} */
    this.byMinute = new Map();
    this.svg = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "chart", preserveAspectRatio: "none" },
      this.grid, this.bars);
    this.plot = h("div", { class: "chart-plot" }, this.svg);
    this.element = h("figure", { class: "chart-figure" }, this.title, this.plot, h("div", { class: "chart-axis", "aria-hidden": "true" }));
  }

  /** @param {Minute[]} minutes oldest first */
  show(minutes) {
    const most = Math.max(0, ...minutes.map(({ indexed }) => indexed));
    const top = niceCeiling(most);
    const step = WIDTH / Math.max(1, minutes.length);
    const last = minutes.at(-1)?.indexed ?? 0;
    const total = minutes.reduce((sum, { indexed }) => sum + indexed, 0);
    this.title.replaceChildren(h("b", null, "Indexed per minute"),
      h("span", { class: "quiet" }, `last hour ${counted(total, "picture")}, at most ${count(most)} a minute, this minute ${count(last)}`));
    this.svg.setAttribute("aria-label", `Pictures indexed per minute over the last ${minutes.length} minutes: ${count(total)} in all, at most ${count(most)} in one minute.`);
    this.#lines(top);
    const seen = new Set();
    minutes.forEach(({ minute, indexed }, index) => {
      seen.add(minute);
      const bar = this.byMinute.get(minute) ?? this.#bar(minute);
      const height = indexed === 0 ? 1 : Math.max(2, (indexed / top) * (FLOOR - 12));
      bar.style.transform = `translate(${(index * step).toFixed(2)}px, ${(FLOOR - height).toFixed(2)}px) scale(1, ${height.toFixed(2)})`;
      bar.setAttribute("width", (step * 0.72).toFixed(2));
      bar.classList.toggle("chart-now", index === minutes.length - 1);
    });
    for (const [minute, bar] of this.byMinute) {
      if (seen.has(minute)) continue;
      bar.remove();
      this.byMinute.delete(minute);
    }
    const axis = /** @type {HTMLElement} */ (this.element.querySelector(".chart-axis"));
    const marks = [0, 0.25, 0.5, 0.75].map((part) => minutes[Math.floor(part * minutes.length)]).filter(Boolean);
    axis.replaceChildren(...marks.map(({ minute }) => h("span", null, CLOCK.format(new Date(minute)))), h("span", null, "now"));
  }

  /** @param {string} minute */
  #bar(minute) {
    const bar = s("rect", { x: 0, y: 0, height: 1, class: "chart-bar" });
    this.byMinute.set(minute, bar);
    this.bars.append(bar);
    return bar;
  }

  /** @param {number} top */
  #lines(top) {
    this.grid.replaceChildren(...[0, 0.5, 1].map((part) => {
      const y = FLOOR - part * (FLOOR - 12);
      return s("line", { x1: 0, x2: WIDTH, y1: y, y2: y });
    }));
    this.plot.dataset.top = count(top);
  }
}
