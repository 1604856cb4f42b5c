/** Everything that is known of one picture. */

import { openDialog } from "./dialog.js";
import { getImage } from "./api.js";
import { announce, h, icon } from "./dom.js";
import { basename, bytes, dimensions, format, moment, words } from "./format.js";
import { loading, problem } from "./notice.js";
import { closeOverlay, link } from "./router.js";

/** @typedef {import("./types.js").Image} Image */

/** @param {string} text @param {string} what */
function copyButton(text, what) {
  return h("button", { class: "icon-button copy-button", type: "button", "aria-label": `Copy the ${what}`, title: "Copy",
    onclick: async () => {
      await navigator.clipboard?.writeText(text).then(() => announce(`The ${what} was copied`), () => {});
    } }, icon("copy"));
}

/** @param {[string, import("./dom.js").Child | import("./dom.js").Child[]][]} rows */
function facts(rows) {
  return h("dl", { class: "facts" }, rows.map(([name, value]) =>
    h("div", null, h("dt", null, name), h("dd", null, ...(Array.isArray(value) ? value : [value])))));
}

/** All keys under which the found bytes lie. @param {import("./types.js").Hit} hit */
export function hitFacts(hit) {
  const { image } = hit;
  const rest = hit.keys_total - hit.keys.length;
  return facts([
    [hit.keys_total > 1 ? `${hit.keys_total} keys` : "Key", h("ul", { class: "keys" },
      hit.keys.map((key) => h("li", null, key)), rest > 0 ? h("li", { class: "quiet" }, `and ${rest} more`) : null)],
    ["Bucket", image.bucket],
    ["Picture", `${dimensions(image.width, image.height)}, ${format(image.content_type)}, ${bytes(image.size)}`],
    ["Added", moment(image.created_at)],
  ]);
}

/** @param {Image} image */
function stateOf(image) {
  if (image.state === "indexed") return null;
  const [slug, ...sentence] = (image.reason ?? "").split(": ");
  const text = image.state === "pending"
    ? "This picture is on its way into the index and will be searchable in a moment."
    : sentence.join(": ") || "The picture could not be indexed.";
  const tried = image.attempts > 1 ? `, after ${image.attempts} attempts` : "";
  return h("div", { class: `state state-${image.state}` },
    h("b", null, image.state === "rejected" && slug ? words(slug) : words(image.state)), h("p", null, text),
    image.decided_at ? h("p", { class: "quiet" }, `${moment(image.decided_at)}${tried}`) : null);
}

/** @param {Image} image */
function about(image) {
  const rows = /** @type {[string, import("./dom.js").Child | import("./dom.js").Child[]][]} */ ([
    ["Key", [h("span", null, image.key), copyButton(image.key, "key")]],
    ["Bucket", image.bucket],
    ["Picture", `${dimensions(image.width, image.height)}, ${format(image.content_type)}, ${bytes(image.size)}`],
    ["Added", moment(image.created_at)],
    ["Changed", moment(image.last_modified ?? image.updated_at)],
  ]);
  if (image.external_id) rows.push(["External id", image.external_id]);
  for (const [name, value] of Object.entries(image.metadata)) {
    if (name !== "external-id") rows.push([words(name), value]);
  }
  rows.push(["Id", h("code", null, image.id)]);
  if (image.sha256) rows.push(["SHA-256", [h("code", null, image.sha256), copyButton(image.sha256, "SHA-256")]]);
  if (image.md5) rows.push(["MD5", h("code", null, image.md5)]);
  return facts(rows);
}

/** @param {Image} image */
function content(image) {
  const searchable = image.state === "indexed";
  const picture = h("img", { alt: basename(image.key), src: image.file_url,
    width: image.width, height: image.height,
    onerror: () => picture.replaceWith(h("p", { class: "stage-without" }, "There is no preview of this file.")) });
  return [
    h("div", { class: "detail-picture" }, picture),
    h("aside", { class: "detail-side" },
      h("h2", null, basename(image.key)),
      stateOf(image),
      h("div", { class: "actions" },
        searchable ? h("a", { class: "button button-primary", href: link("search", { image: image.id }) },
          icon("twin"), "Find similar") : null,
        h("a", { class: "button", href: image.file_url, target: "_blank", rel: "noopener" }, icon("open"), "Open"),
        h("a", { class: "button", href: `${image.file_url}?download=true`, download: true }, icon("download"), "Download")),
      about(image)),
  ];
}

/**
 * Opens the dialog and fills it when the answer is there.
 *
 * @param {string} id
 * @returns {HTMLDialogElement}
 */
export function openDetail(id) {
  const body = h("div", { class: "detail-body" }, loading("Opening the picture"));
  const dialog = openDialog({ label: "Picture details", className: "detail", onClose: closeOverlay }, body);
  const load = () => getImage(id).then(
    (image) => {
      dialog.setAttribute("aria-label", basename(image.key));
      body.replaceChildren(...content(image));
    },
    (error) => body.replaceChildren(problem(error, load)),
  );
  void load();
  return dialog;
}
