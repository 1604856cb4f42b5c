/** One picture in a grid. */

import { thumbnail } from "./api.js";
import { h, icon } from "./dom.js";
import { basename, score, words } from "./format.js";
import { go, link, linkWith } from "./router.js";

/** @typedef {import("./types.js").Image} Image */
/** @typedef {import("./types.js").Hit} Hit */
/** @typedef {import("./types.js").Verdict} Verdict */

/** Room for what is written under a hit, in CSS pixels; `.hit-caption` in grid.css has the same height. */
export const HIT_CAPTION = 58;

/** @typedef {Verdict | "likely" | "weak"} Kind */

export const VERDICTS = /** @type {Record<Kind, { label: string, heading: string, text: string }>} */ ({
  exact: { label: "Exact", heading: "The same file", text: "Byte for byte." },
  copy: { label: "Copy", heading: "Copies", text: "The same picture, changed on the way." },
  likely: { label: "Likely copy", heading: "Likely copies", text: "Not verified, but most likely the same picture." },
  similar: { label: "Similar", heading: "Similar", text: "Alike, but most likely other pictures." },
  weak: { label: "Weak", heading: "Weak matches", text: "No more alike than pictures that have nothing in common." },
});

/** The picture itself in a box that keeps its place while it loads. @param {Image} image @param {string} alt */
export function plate(image, alt) {
  const box = h("span", { class: "plate" });
  if (image.state !== "indexed") {
    box.classList.add("plate-without");
    box.append(h("span", { class: "plate-state" }, words(image.state)), h("span", null, basename(image.key)));
    return box;
  }
  const picture = h("img", { alt, decoding: "async", src: thumbnail(image, 320), draggable: "false",
    srcset: `${thumbnail(image, 320)} 1x, ${thumbnail(image, 640)} 2x`,
    onload: () => picture.classList.add("loaded"),
    onerror: () => {
      box.classList.add("plate-without");
      box.replaceChildren(h("span", { class: "plate-state" }, "No preview"), h("span", null, basename(image.key)));
    } });
  if (picture.complete) picture.classList.add("loaded");
  box.append(picture);
  return box;
}

/**
 * A link that opens something over the present view when clicked, and has an address of its own for a new tab.
 *
 * @param {string} href for a new tab
 * @param {Record<string, string | null>} over what changes in the present address on a plain click
 * @param {Record<string, any>} props
 * @param {...Node} children
 */
export function overlayLink(href, over, props, ...children) {
  return h("a", { ...props, href, draggable: "false",
    onclick: (/** @type {MouseEvent} */ event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      go(linkWith(over));
    } }, ...children);
}

/** @param {Image} image */
export function imageTile(image) {
  return h("div", { class: "tile", "data-image": image.id },
    overlayLink(link("browse", { open: image.id }), { open: image.id }, { class: "tile-link" }, plate(image, basename(image.key)),
      h("span", { class: "tile-name", "aria-hidden": "true" }, basename(image.key))));
}

/** What a hit is shown as. @param {{ verdict: Verdict, likely_copy: boolean, weak?: boolean }} hit @returns {Kind} */
export const kindOf = (hit) => (hit.likely_copy ? "likely" : hit.weak ? "weak" : hit.verdict);

/** @param {Kind} kind */
export function verdictChip(kind) {
  return h("span", { class: `verdict verdict-${kind}` }, VERDICTS[kind].label);
}

/** @param {Hit} hit @param {string[]} [queries] names of the pictures that were searched with, if they were several */
export function hitTile(hit, queries = []) {
  const { image } = hit;
  const name = basename(image.key);
  const more = hit.keys_total > 1 ? h("a", { class: "more-keys", href: link("browse", { sha256: image.sha256 ?? "" }), title: hit.keys.join("\n"),
    "aria-label": `All ${hit.keys_total} places of ${name}` }, `+${hit.keys_total - 1}`) : null;
  const query = queries.length > 1 ? h("span", { class: "hit-query", title: `Like ${queries[hit.query]}` },
    h("span", { class: "visually-hidden" }, "Like picture "), String(hit.query + 1)) : null;
  const kind = kindOf(hit);
  return h("div", { class: "tile", "data-image": image.id, "data-verdict": kind },
    overlayLink(link("browse", { open: image.id }), { compare: image.id },
      { class: "tile-link", "aria-label": `Compare with ${name}, score ${score(hit.score)}, ${VERDICTS[kind].label.toLowerCase()}` },
      plate(image, "")),
    h("div", { class: "hit-caption" },
      h("span", { class: "hit-score" }, score(hit.score)), verdictChip(kind), query,
      h("span", { class: "hit-name", title: image.key }, h("span", { class: "hit-key" }, name), more),
      h("a", { class: "icon-button hit-twin", href: link("search", { image: image.id }),
        "aria-label": `Find pictures similar to ${name}`, title: "Find similar" }, icon("twin"))));
}
