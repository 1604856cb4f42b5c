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

export const VERDICTS = /** @type {Record<Verdict, { label: string, heading: string, text: string }>} */ ({
  exact: { label: "Exact", heading: "The same file", text: "Byte for byte." },
  copy: { label: "Copy", heading: "Copies", text: "The same picture, changed on the way." },
  similar: { label: "Similar", heading: "Similar", text: "Alike, but most likely other pictures." },
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
 * @param {Record<string, string>} over what changes in the present address on a plain click
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

/** @param {Verdict} verdict */
export function verdictChip(verdict) {
  return h("span", { class: `verdict verdict-${verdict}` }, VERDICTS[verdict].label);
}

/** @param {Hit} hit */
export function hitTile(hit) {
  const { image } = hit;
  const name = basename(image.key);
  const more = hit.keys_total > 1 ? h("span", { class: "more-keys", title: hit.keys.join("\n") },
    `+${hit.keys_total - 1}`) : null;
  return h("div", { class: "tile", "data-image": image.id, "data-verdict": hit.verdict },
    overlayLink(link("browse", { open: image.id }), { compare: image.id },
      { class: "tile-link", "aria-label": `Compare with ${name}, score ${score(hit.score)}, ${hit.verdict}` },
      plate(image, "")),
    h("div", { class: "hit-caption" },
      h("span", { class: "hit-score" }, score(hit.score)), verdictChip(hit.verdict),
      h("span", { class: "hit-name", title: image.key }, name, more),
      h("a", { class: "icon-button hit-twin", href: link("search", { image: image.id }),
        "aria-label": `Find pictures similar to ${name}`, title: "Find similar" }, icon("twin"))));
}
