/** Where a picture is: every key of its bytes, each to be opened and copied. */

import { copyButton } from "./clipboard.js";
import { h } from "./dom.js";
import { counted } from "./format.js";
import { link } from "./router.js";
import { imageId } from "./sha256.js";
import { overlayLink } from "./tile.js";

/** The address of a picture's details, for others. @param {string} id */
const addressOf = (id) => new URL(link("browse", { open: id }), document.baseURI).href;

/** @param {string} bucket @param {string} key @param {string} [beside] the bucket that need not be named */
export function place(bucket, key, beside = bucket) {
  const id = imageId(bucket, key);
  return h("li", null,
    overlayLink(link("browse", { open: id }), { open: id, compare: null, with: null }, { class: "place-key" }, document.createTextNode(bucket === beside ? key : `${bucket}: ${key}`)),
    copyButton(key, "key"), copyButton(addressOf(id), "link", "link"));
}

/** @param {{ bucket: string, keys: string[], total: number, sha256: string | null }} places keys of one bucket */
export function placeList({ bucket, keys, total, sha256 }) {
  return [
    h("ul", { class: "keys", role: "list" }, keys.map((key) => place(bucket, key))),
    total > keys.length && sha256 ? h("a", { class: "more-link", href: link("browse", { sha256 }) }, `All ${counted(total, "place")}`) : null,
  ];
}
