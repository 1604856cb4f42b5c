/** A part of a picture to search with: drawn with a pointer, or set edge by edge with the keyboard. */

import { openDialog } from "./dialog.js";
import { announce, h } from "./dom.js";
import { remember } from "./queries.js";
import { go, link } from "./router.js";

/** @typedef {{ left: number, top: number, right: number, bottom: number }} Region shares of the sides, in per cent */
/** @typedef {keyof Region} Edge */

const EDGES = /** @type {[Edge, string][]} */ ([["left", "Left edge"], ["right", "Right edge"], ["top", "Top edge"], ["bottom", "Bottom edge"]]);
const OPPOSITE = /** @type {Record<Edge, Edge>} */ ({ left: "right", right: "left", top: "bottom", bottom: "top" });
/** A part is at least so wide and high, in per cent. */
const LEAST = 5;
/** Longer sides are of no use to a search, and take long to send. */
const LONGEST = 2000;

/** @param {number} value */
const within = (value) => Math.max(0, Math.min(100, value));

/** The part as a file. @param {HTMLImageElement} image @param {Region} region @returns {Promise<Blob | null>} */
function cut(image, { left, top, right, bottom }) {
  const width = (image.naturalWidth * (right - left)) / 100;
  const height = (image.naturalHeight * (bottom - top)) / 100;
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const canvas = h("canvas", { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) });
  canvas.getContext("2d")?.drawImage(image, (image.naturalWidth * left) / 100, (image.naturalHeight * top) / 100, width, height,
    0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}

/**
 * Lets a person choose a part of the picture, and searches with it.
 *
 * @param {import("./compare.js").Side} side a picture of this origin
 * @param {string} name
 */
export function chooseRegion(side, name) {
  /** @type {Region} */
  const region = { left: 20, top: 20, right: 80, bottom: 80 };
  const image = h("img", { src: side.fallback ?? side.source, alt: "The picture to choose a part of", draggable: "false" });
  const box = h("span", { class: "region-box", "aria-hidden": "true" });
  const frame = h("div", { class: "region-frame" }, image, box);
  const sliders = EDGES.map(([edge, label]) => {
    const input = h("input", { type: "range", min: 0, max: 100, step: 1, value: region[edge], "data-edge": edge,
      oninput: () => move(edge, Number(input.value)) });
    return h("label", { class: "region-edge" }, h("span", null, label), input);
  });

  const show = () => {
    for (const [edge] of EDGES) frame.style.setProperty(`--${edge}`, `${region[edge]}%`);
    for (const label of sliders) {
      const input = /** @type {HTMLInputElement} */ (label.querySelector("input"));
      const edge = /** @type {Edge} */ (input.dataset.edge);
      input.value = String(region[edge]);
      input.setAttribute("aria-valuetext", `${Math.round(region[edge])} %`);
    }
  };
  /** An edge stops short of the opposite one. @param {Edge} edge @param {number} value */
  const move = (edge, value) => {
    const other = region[OPPOSITE[edge]];
    const first = edge === "left" || edge === "top";
    region[edge] = first ? Math.min(within(value), other - LEAST) : Math.max(within(value), other + LEAST);
    show();
  };
  /** @param {PointerEvent} event */
  const at = (event) => {
    const { left, top, width, height } = frame.getBoundingClientRect();
    return [within(((event.clientX - left) / width) * 100), within(((event.clientY - top) / height) * 100)];
  };
  frame.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    frame.setPointerCapture(event.pointerId);
    const [x, y] = at(event);
    const draw = (/** @type {PointerEvent} */ moved) => {
      const [u, v] = at(moved);
      const left = Math.min(x, u, 100 - LEAST);
      const top = Math.min(y, v, 100 - LEAST);
      Object.assign(region, { left, top, right: Math.max(left + LEAST, x, u), bottom: Math.max(top + LEAST, y, v) });
      show();
    };
    frame.addEventListener("pointermove", draw);
    for (const end of ["pointerup", "pointercancel"]) {
      frame.addEventListener(end, () => frame.removeEventListener("pointermove", draw), { once: true });
    }
  });

  const search = async () => {
    const part = image.naturalWidth ? await cut(image, region) : null;
    if (!part) {
      announce("This part can’t be cut out.");
      return;
    }
    const id = await remember(new File([part], `Part of ${name}`, { type: part.type }));
    dialog.close();
    go(link("search", { upload: id }));
  };
  const dialog = openDialog({ label: "Search with a part", className: "region" },
    h("h2", null, "Search with a part"),
    h("p", { class: "quiet" }, "Draw a frame over the picture, or set its edges."),
    h("div", { class: "region-room" }, frame), h("div", { class: "region-edges" }, sliders),
    h("div", { class: "actions" }, h("button", { class: "button button-primary", type: "button", onclick: () => void search() }, "Search with this part")));
  show();
  return dialog;
}
