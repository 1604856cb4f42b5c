/** What a verified match says, in words, as an outline on a picture, and as the place where one lies on the other. */

import { h, s } from "./dom.js";
import { counted } from "./format.js";

/** @typedef {import("./types.js").Verified} Verified */
/** @typedef {import("./types.js").Change} Change */
/** @typedef {import("./compare.js").Side} Side */

/** @param {number} share 0 to 1 */
const percent = (share) => `${share > 0 && share < 0.01 ? "under 1" : Math.round(share * 100)} %`;

/** @type {Record<string, (value: number) => string>} */
const WORDS = {
  mirrored: () => "mirrored",
  turned: (degrees) => `turned by ${Math.round(Math.abs(degrees))}° to the ${degrees > 0 ? "right" : "left"}`,
  stretched: (factor) => `stretched ${factor.toFixed(1)} times`,
  cropped: (share) => `${percent(share)} of the area`,
  bordered: () => "with a border",
  inset: () => "within another picture",
  grey: () => "grey",
  coloured: () => "coloured",
  brighter: () => "brighter",
  darker: () => "darker",
  recoloured: () => "in other colours",
};

/** "mirrored, grey, 50 % of the area". @param {Change[]} changes */
export function changesInWords(changes) {
  const words = changes.map(({ kind, value }) => WORDS[kind]?.(value) ?? kind);
  return words.join(", ") || "the same but for size or compression";
}

/** Why a hit could not be verified, where that is worth a word. @type {Record<string, string>} */
const REASONS = {
  featureless: "One of them has nothing in it that could be found again.",
  few_features: "One of them has too little in it that could be found again.",
  gone: "The stored file was removed or replaced a moment ago.",
  unreadable: "The stored file can’t be read at the moment.",
  busy: "The server had too much to do to verify it.",
  no_time: "Verifying it took too long.",
};

/** @param {Verified | null} verified @param {string | null} unverified */
export function matchFacts(verified, unverified) {
  if (!verified) {
    const reason = REASONS[unverified ?? ""];
    return reason ? h("p", { class: "match-words quiet" }, `Not verified. ${reason}`) : null;
  }
  if (!verified.is_copy) {
    return h("p", { class: "match-words quiet" }, "Looked at closely: nothing shows that one was made of the other.");
  }
  return h("div", { class: "match-words" },
    h("p", null, h("b", null, "Verified copy: "), changesInWords(verified.changes)),
    h("p", { class: "quiet" }, `They share ${percent(verified.query_overlap)} of yours and ${percent(verified.other_overlap)} of the one found, `,
      `by ${counted(verified.inliers, "point")}.`));
}

/**
 * A quadrilateral drawn over a picture that is shown whole (`object-fit: contain`) in the same box.
 *
 * @param {number[][] | null} outline shares of width and height
 * @param {Side} side
 * @param {string} className
 */
export function outlineOn(outline, side, className) {
  if (!outline || !side.width || !side.height) return null;
  const { width, height } = side;
  const points = outline.map(([x, y]) => `${(x * width).toFixed(1)},${(y * height).toFixed(1)}`).join(" ");
  return s("svg", { class: `stage-outline ${className}`, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    s("polygon", { points, class: "outline-halo" }), s("polygon", { points }));
}

/**
 * A CSS transform that lays a box, stretched over another one, on the place where its picture lies in the other's.
 *
 * @param {number[]} transform 3 × 3, row by row, between unit squares
 * @param {number} aspect width / height of the box
 */
export function cssTransform([a, b, x, c, d, y], aspect) {
  const part = (/** @type {number} */ value) => value.toFixed(6);
  return `translate(${part(100 * x)}%, ${part(100 * y)}%) matrix(${part(a)}, ${part(c / aspect)}, ${part(b * aspect)}, ${part(d)}, 0, 0)`;
}

/**
 * The part of the frame left of the slider, as a polygon in the coordinates of the picture that lies in it.
 *
 * @param {number[]} transform
 * @param {number} at share of the frame's width
 */
export function leftOf([a, b, x, c, d, y], at) {
  const det = a * d - b * c;
  const back = (/** @type {number} */ u, /** @type {number} */ v) => [
    (d * (u - x) - b * (v - y)) / det, (a * (v - y) - c * (u - x)) / det];
  const corners = [[0, 0], [at, 0], [at, 1], [0, 1]].map(([u, v]) => back(u, v));
  return `polygon(${corners.map(([u, v]) => `${(100 * u).toFixed(3)}% ${(100 * v).toFixed(3)}%`).join(", ")})`;
}
