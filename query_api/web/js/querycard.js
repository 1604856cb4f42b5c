/** What was searched with, beside the results. */

import { h, icon } from "./dom.js";
import { dimensions, format } from "./format.js";
import { choose } from "./intake.js";
import { chooseRegion } from "./region.js";
import { link } from "./router.js";

/** @typedef {import("./sources.js").Source} Source */
/** @typedef {import("./compare.js").Side} Side */

/** @param {Side} side @param {string} alt */
function pictureOf(side, alt) {
  const without = (/** @type {string} */ text) => h("span", { class: "query-without" }, icon("search"), h("span", null, text));
  if (!side.source) return without("No preview");
  const image = h("img", { src: side.source, alt, onerror: () => {
    if (side.fallback && image.getAttribute("src") !== side.fallback) image.src = side.fallback;
    else image.replaceWith(without("No preview"));
  } });
  return image;
}

/** Several pictures, each a way to a search with it alone. @param {Source} source */
function several({ sides, uploads }) {
  return h("ul", { class: "query-pictures", role: "list" }, sides.map((side, index) =>
    h("li", null, h("a", { href: link("search", { upload: uploads[index] }), "aria-label": `Search with ${side.label} alone`, title: side.label },
      pictureOf(side, ""), h("span", { class: "query-number" }, String(index + 1))))));
}

/** @param {Source} source @param {import("./types.js").SearchAnswer | null} answer null while there is none
 * @returns {HTMLElement[]} */
export function queryCard(source, answer) {
  const { sides, name } = source;
  const [side] = sides;
  const kind = side.type || answer?.queries[0]?.format;
  const facts = sides.length > 1 || !side.width ? "" : `${dimensions(side.width, side.height)}${kind ? `, ${format(kind)}` : ""}`;
  return [
    h("div", { class: "query-picture" }, sides.length > 1 ? several(source) : pictureOf(side, "The picture you searched with")),
    h("div", { class: "query-text" }, h("p", { class: "query-name", title: name }, name), h("p", { class: "quiet" }, facts),
      h("button", { class: "button button-quiet", type: "button", onclick: () => choose() }, icon("upload"), "Another picture"),
      side.source && sides.length === 1
        ? h("button", { class: "button button-quiet", type: "button", onclick: () => chooseRegion(side, name) }, icon("crop"), "A part of it") : null),
  ];
}
