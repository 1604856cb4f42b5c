/** Which hits are shown, and in which order: what needs no further question to the server. */

import { kindOf } from "./tile.js";

/** @typedef {import("./types.js").Hit} Hit */

/** Filters that hold for what was found already. */
export const LOCAL = new Set(["min_score", "sort"]);

/** @param {URLSearchParams} params the lowest score (0 to 100) to be shown */
export const leastOf = (params) => Number(params.get("min_score") ?? 0) || 0;

/** @param {Hit} hit pixels */
const area = ({ image }) => (image.width ?? 0) * (image.height ?? 0);

/** @param {Hit} a @param {Hit} b */
const byAge = (a, b) => (a.image.created_at ?? "").localeCompare(b.image.created_at ?? "");

/** @type {Record<string, (a: Hit, b: Hit) => number>} */
const ORDERS = { oldest: byAge, largest: (a, b) => area(b) - area(a) || b.image.size - a.image.size };

/** Whether the hits come in another order than they are found in. @param {URLSearchParams} params */
export const isSorted = (params) => (params.get("sort") ?? "") in ORDERS;

/** The hits to be shown, in order; the same bytes stay first, each kind by itself. @param {Hit[]} hits
 * @param {URLSearchParams} params */
export function arranged(hits, params) {
  const shown = hits.filter((hit) => hit.score >= leastOf(params));
  const order = ORDERS[params.get("sort") ?? ""];
  return order ? shown.toSorted(order) : shown;
}

/** How many hits there are of each kind. @param {Hit[]} hits */
export function tally(hits) {
  const found = { exact: 0, copy: 0, likely: 0, similar: 0, weak: 0 };
  for (const hit of hits) found[kindOf(hit)] += 1;
  return found;
}

/** "the same file, 2 copies and 1 likely copy"; nothing where there is none of them.
 * @param {ReturnType<typeof tally>} found @param {number} elsewhere further places of the picture's own file */
export function inWords(found, elsewhere) {
  const several = (/** @type {number} */ count, /** @type {string} */ one, /** @type {string} */ more) => (count ? [count === 1 ? `1 ${one}` : `${count} ${more}`] : []);
  const same = elsewhere ? several(elsewhere, "other place of the same file", "other places of the same file") : found.exact ? ["the same file"] : [];
  const parts = [...same, ...several(found.copy, "copy", "copies"), ...several(found.likely, "likely copy", "likely copies")];
  return parts.length > 1 ? `${parts.slice(0, -1).join(", ")} and ${parts[parts.length - 1]}` : parts.join("");
}
