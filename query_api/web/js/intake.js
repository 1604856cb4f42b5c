/** How a picture gets into the page: dropped anywhere, pasted, chosen, photographed, or named by its address. */

import { aboutServer } from "./api.js";
import { h, icon } from "./dom.js";
import { bytes, counted } from "./format.js";
import { toast } from "./notice.js";
import { remember } from "./queries.js";
import { go, link } from "./router.js";

/** Pictures that are searched with at once; a few are kept besides. */
const TOGETHER = 8;

/** Searches with pictures, with several of them at once as far as the server takes them together.
 * @param {File[]} files */
export async function searchWith(files) {
  const pictures = files.filter((file) => file.size > 0 || files.length === 1);
  if (pictures.length === 0) return;
  const limits = (await aboutServer().catch(() => null))?.limits;
  const limit = limits?.max_picture_bytes;
  const fitting = pictures.filter((file) => !limit || file.size <= limit);
  if (fitting.length === 0) {
    toast(`${pictures[0].name || "This file"} has ${bytes(pictures[0].size)}; the server takes up to ${bytes(limit)}.`);
    return;
  }
  const most = Math.min(TOGETHER, limits?.max_pictures ?? 1);
  if (fitting.length > most) toast(`Searching with the first ${counted(most, "picture")}; the server takes no more at once.`);
  const ids = [];
  // The last one that is remembered is the first of the recent ones.
  for (const file of fitting.slice(0, most).reverse()) ids.unshift(await remember(file));
  go(link("search", { upload: ids.join(",") }));
}

/** @param {string} html dragged or pasted @returns {string} the address of its first picture, or nothing */
function pictureIn(html) {
  // A document that is only parsed runs nothing and loads nothing.
  return new DOMParser().parseFromString(html, "text/html").querySelector("img[src]")?.getAttribute("src")?.trim() ?? "";
}

/** @param {string} text @returns {File | null} the picture that a data: URL holds */
function fileIn(text) {
  const parts = /^data:(image\/[a-z0-9.+-]+)((?:;[a-z0-9=-]+)*),(.*)$/is.exec(text.trim());
  if (!parts) return null;
  try {
    const decoded = decodeURIComponent(parts[3]);
    const binary = /;base64$/i.test(parts[2]) ? atob(decoded.replaceAll(/\s/g, "")) : decoded;
    return new File([Uint8Array.from(binary, (char) => char.charCodeAt(0))], "picture", { type: parts[1].toLowerCase() });
  } catch {
    return null;
  }
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
  // A picture that is a link has two addresses, and its own is in the HTML.
  const texts = [pictureIn(data.getData("text/html")), data.getData(textType)];
  const inline = texts.map(fileIn).find((file) => file !== null);
  if (files.length > 0) return searchWith(files);
  if (inline) return searchWith([inline]);
  for (const text of texts) if (await searchWithAddress(text)) return;
  toast("There was no picture in that.");
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
