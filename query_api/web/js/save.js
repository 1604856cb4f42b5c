/** Lists as files: CSV for spreadsheets, JSON for programs. */

import { fileOf } from "./api.js";
import { h } from "./dom.js";

/** @typedef {import("./types.js").Image} Image */
/** @typedef {string | number | boolean | null | undefined} Cell */

/** RFC 4180. A text that a spreadsheet would take for a formula is told from one by an apostrophe. @param {Cell} value */
function cell(value) {
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** @param {Record<string, Cell>[]} rows all with the same members */
export function csvOf(rows) {
  const names = Object.keys(rows[0] ?? {});
  return [names, ...rows.map((row) => names.map((name) => row[name]))].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

/** What of an image goes into a row; the address works in this browser's network. @param {Image} image */
export const imageCells = (image) => ({ bucket: image.bucket, key: image.key, width: image.width, height: image.height, format: image.format,
  size: image.size, created_at: image.created_at, sha256: image.sha256, id: image.id, url: fileOf(image) });

/** Hands a text over as a download. @param {string} name @param {string} type @param {string} text */
export function save(name, type, text) {
  // Spreadsheets take a CSV for UTF-8 by this mark only.
  const blob = new Blob([type === "text/csv" ? "\uFEFF" : "", text], { type });
  const url = URL.createObjectURL(blob);
  const way = h("a", { href: url, download: name, hidden: true });
  document.body.append(way);
  way.click();
  way.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/**
 * The two buttons. `collect` fetches what isn't there yet, and may take a while.
 *
 * @param {string} name of the file, without its ending
 * @param {() => Promise<{ rows: Record<string, Cell>[], json: unknown } | null>} collect null where it failed, and said so
 */
export function saveButtons(name, collect) {
  const button = (/** @type {string} */ label, /** @type {(found: { rows: Record<string, Cell>[], json: unknown }) => void} */ then) => {
    const element = h("button", { class: "button button-quiet", type: "button", "aria-label": `Export as ${label}`, onclick: async () => {
      element.disabled = true;
      const found = await collect();
      element.disabled = false;
      if (found) then(found);
    } }, label);
    return element;
  };
  return h("div", { class: "save", role: "group", "aria-label": "Export" },
    button("CSV", ({ rows }) => save(`${name}.csv`, "text/csv", csvOf(rows))),
    button("JSON", ({ json }) => save(`${name}.json`, "application/json", `${JSON.stringify(json, null, 2)}\n`)));
}
