/** How a picture gets into the page: dropped anywhere, pasted, chosen, photographed, or named by its address. */

import { aboutServer } from "./api.js";
import { h, icon } from "./dom.js";
import { bytes } from "./format.js";
import { toast } from "./notice.js";
import { remember } from "./queries.js";
import { go, link } from "./router.js";

/** Searches with one picture; more than one are remembered too, and wait under "Recent pictures".
 * @param {File[]} files */
export async function searchWith(files) {
  const pictures = files.filter((file) => file.size > 0 || files.length === 1);
  if (pictures.length === 0) return;
  const limit = (await aboutServer().catch(() => null))?.limits.max_picture_bytes;
  const fitting = pictures.filter((file) => !limit || file.size <= limit);
  if (fitting.length === 0) {
    toast(`${pictures[0].name || "This file"} has ${bytes(pictures[0].size)}; the server takes up to ${bytes(limit)}.`);
    return;
  }
  let id = "";
  for (const file of fitting.slice(0, 8).reverse()) id = await remember(file);
  go(link("search", { upload: id }));
}

/** @param {string} text @returns {string | null} the http(s) address that the text is */
function addressIn(text) {
  try {
    const url = new URL(text.trim().split(/\s/, 1)[0]);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

/** @param {string} text dragged or pasted @returns {Promise<boolean>} whether a search was started */
async function searchWithAddress(text) {
  const url = addressIn(text);
  if (!url) return false;
  const about = await aboutServer().catch(() => null);
  if (!about?.features.search_by_url) {
    toast("That is an address, and this server doesn’t fetch pictures. Save the picture and drop the file instead.");
    return true;
  }
  go(link("search", { url }));
  return true;
}

/** Listens for drops and pastes on the whole page. */
export function acceptEverywhere() {
  const veil = h("div", { class: "veil", hidden: true, "aria-hidden": "true" },
    h("div", { class: "veil-lens" }, icon("search"), h("p", null, "Let go to search")));
  document.body.append(veil);
  let depth = 0;
  const interesting = (/** @type {DragEvent} */ event) =>
    event.dataTransfer?.types.some((type) => type === "Files" || type === "text/uri-list") ?? false;

  addEventListener("dragenter", (event) => {
    if (!interesting(event)) return;
    event.preventDefault();
    depth += 1;
    veil.hidden = false;
  });
  addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    veil.hidden = depth === 0;
  });
  addEventListener("dragover", (event) => {
    if (interesting(event)) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    depth = 0;
    veil.hidden = true;
    if (!event.dataTransfer || !interesting(event)) return;
    event.preventDefault();
    void take(event.dataTransfer, "text/uri-list");
  });
  addEventListener("paste", (event) => {
    const typing = event.target instanceof HTMLInputElement && !event.clipboardData?.files.length;
    if (!event.clipboardData || typing) return;
    void take(event.clipboardData, "text/plain");
  });
}

/** @param {DataTransfer} data @param {string} textType */
async function take(data, textType) {
  const files = [...data.files];
  const text = data.getData(textType);
  if (files.length > 0) await searchWith(files);
  else if (!(await searchWithAddress(text))) toast("There was no picture in that.");
}

/** Opens the file chooser. @param {{ camera?: boolean }} [options] */
export function choose({ camera = false } = {}) {
  const input = h("input", {
    type: "file",
    accept: "image/*",
    multiple: !camera,
    capture: camera ? "environment" : null,
    class: "visually-hidden",
    "aria-hidden": "true",
    tabindex: "-1",
    onchange: () => {
      void searchWith([...(input.files ?? [])]);
      input.remove();
    },
    oncancel: () => input.remove(),
  });
  document.body.append(input);
  input.click();
}

/** The buttons for choosing; the camera only where there is a touch screen. */
export function chooseButtons() {
  return [
    h("button", { class: "button button-primary", type: "button", onclick: () => choose() },
      "Choose a picture"),
    h("button", { class: "button only-touch", type: "button", onclick: () => choose({ camera: true }) },
      icon("camera"), "Take a photo"),
  ];
}

/** A field for a picture's address; stays away unless the server fetches addresses. */
export function addressField() {
  const input = h("input", { type: "url", name: "url", required: true, autocomplete: "off",
    placeholder: "https://", "aria-label": "Address of a picture" });
  const form = h("form", { class: "address", hidden: true,
    onsubmit: (/** @type {Event} */ event) => {
      event.preventDefault();
      void searchWithAddress(input.value).then((started) => {
        if (!started) toast("Please enter an address that begins with http:// or https://.");
      });
    } }, icon("link"), input, h("button", { class: "button", type: "submit" }, "Search"));
  aboutServer().then((about) => (form.hidden = !about.features.search_by_url), () => {});
  return form;
}
