/** Everything that is known of one picture. */

import { openDialog } from "./dialog.js";
import { fileOf, getImage, listImages, thumbnail } from "./api.js";
import { copyButton } from "./clipboard.js";
import { h, icon } from "./dom.js";
import { basename, bytes, counted, dimensions, format, moment, words } from "./format.js";
import { loading, problem } from "./notice.js";
import { place, placeList } from "./places.js";
import { closeOverlay, link } from "./router.js";

/** @typedef {import("./types.js").Image} Image */

/** @param {[string, import("./dom.js").Child | import("./dom.js").Child[]][]} rows */
function facts(rows) {
  return h("dl", { class: "facts" }, rows.map(([name, value]) =>
    h("div", null, h("dt", null, name), h("dd", null, ...(Array.isArray(value) ? value : [value])))));
}

/** All keys under which the found bytes lie. @param {import("./types.js").Hit} hit */
export function hitFacts(hit) {
  const { image } = hit;
  return facts([
    [hit.keys_total > 1 ? `${counted(hit.keys_total, "place")}` : "Key",
      placeList({ bucket: image.bucket, keys: hit.keys, total: hit.keys_total, sha256: image.sha256 })],
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

/** What is missing of a picture whose file was cut short. @param {Image} image */
const partOf = (image) => (image.partial ? `, ${Math.round(100 * (image.decoded_share ?? 1))} % of it there` : "");

/** @param {Image} image */
function about(image) {
  const rows = /** @type {[string, import("./dom.js").Child | import("./dom.js").Child[]][]} */ ([
    ["Key", placeList({ bucket: image.bucket, keys: [image.key], total: 1, sha256: image.sha256 })],
    ["Bucket", image.bucket],
    ["Picture",
      `${dimensions(image.width, image.height)}, ${format(image.content_type)}, ${bytes(image.size)}${partOf(image)}`],
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
  const picture = h("img", { alt: basename(image.key), src: fileOf(image),
    width: image.width, height: image.height,
    onerror: () => {
      // What no browser shows itself, as TIFF, is shown in small.
      if (searchable && picture.getAttribute("src") !== thumbnail(image, 640)) picture.src = thumbnail(image, 640);
      else picture.replaceWith(h("p", { class: "stage-without" }, "There is no preview of this file."));
    } });
  return [
    h("div", { class: "detail-picture" }, picture),
    h("aside", { class: "detail-side" },
      h("h2", null, basename(image.key)),
      stateOf(image),
      h("div", { class: "actions" },
        searchable ? h("a", { class: "button button-primary", href: link("search", { image: image.id }) },
          icon("twin"), "Find similar") : null,
        h("a", { class: "button", href: fileOf(image), target: "_blank", rel: "noopener" }, icon("open"), "Open"),
        h("a", { class: "button", href: `${fileOf(image)}?download=true`, download: true }, icon("download"), "Download")),
      about(image), elsewhere(image)),
  ];
}

/** The other places of the same bytes, of the first hundred; they come a moment later. @param {Image} image */
function elsewhere(image) {
  const element = h("section", { class: "elsewhere", hidden: true });
  const sha256 = image.sha256;
  if (!sha256) return element;
  void listImages({ sha256, limit: "101", count: "true" }).then(({ results, total }) => {
    const others = results.filter(({ id }) => id !== image.id).slice(0, 100);
    element.hidden = others.length === 0;
    element.replaceChildren(...[h("h3", null, `Also at ${counted((total ?? results.length) - 1, "other place")}`),
      h("ul", { class: "keys", role: "list" }, others.map((other) => place(other.bucket, other.key, image.bucket))),
      others.length < (total ?? 0) - 1 ? h("a", { class: "more-link", href: link("browse", { sha256 }) }, `All ${counted(total ?? 0, "place")}`) : null].filter((child) => child !== null));
  }, () => {});
  return element;
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
