/** Copying text; over plain http, where browsers have no clipboard for pages, as it was done before. */

import { announce, h, icon } from "./dom.js";
import { toast } from "./notice.js";

/** @param {string} text @returns {Promise<boolean>} whether it was copied */
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  const field = h("textarea", { class: "visually-hidden", "aria-hidden": "true", readonly: true });
  field.value = text;
  const focused = document.activeElement;
  // What lies outside of an open dialog can't be selected.
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return done;
}

/** @param {string} text @param {string} what @param {"copy" | "link"} [picture] */
export function copyButton(text, what, picture = "copy") {
  return h("button", { class: "icon-button copy-button", type: "button", "aria-label": `Copy the ${what}`, title: `Copy the ${what}`,
    onclick: async () => {
      if (await copy(text)) announce(`The ${what} was copied`);
      else toast(`The browser does not let this page copy. The ${what} is: ${text}`);
    } }, icon(picture));
}
