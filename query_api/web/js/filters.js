/** The filter panel and its chips; the address holds the values, under the API's own parameter names. */

import { aboutServer } from "./api.js";
import { h, icon } from "./dom.js";
import { go, linkWith } from "./router.js";

/**
 * @typedef {object} Field
 * @property {string} name parameter in the address
 * @property {string} label
 * @property {"text" | "select" | "date" | "kilobytes" | "score" | "flag"} kind
 * @property {[string, string][]} [options] value and label of a select; the first is the default
 * @property {string} [placeholder]
 * @property {number} [least] of a score; it means any
 */

/** The media types that pictures have, and how people call them. */
const TYPES = /** @type {[string, string][]} */ ([["image/jpeg", "JPEG"], ["image/png", "PNG"], ["image/webp", "WebP"],
  ["image/gif", "GIF"], ["image/bmp", "BMP"], ["image/tiff", "TIFF"], ["image/avif", "AVIF"], ["image/heic", "HEIC"],
  ["image/jxl", "JPEG XL"], ["image/jp2", "JPEG 2000"], ["image/vnd.microsoft.icon", "Icon"],
  ["image/vnd.adobe.photoshop", "Photoshop"], ["image/x-raw", "Camera raw"]]);

/** @type {Record<string, Field>} */
const FIELDS = {
  bucket: { name: "bucket", label: "Bucket", kind: "select", options: [["", "All buckets"]] },
  prefix: { name: "prefix", label: "Key begins with", kind: "text", placeholder: "2026/summer/" },
  content_type: { name: "content_type", label: "Type", kind: "select",
    options: [["", "Any type"], ...TYPES] },
  created_from: { name: "created_from", label: "Added from", kind: "date" },
  created_to: { name: "created_to", label: "Added until", kind: "date" },
  size_min: { name: "size_min", label: "At least (kB)", kind: "kilobytes" },
  size_max: { name: "size_max", label: "At most (kB)", kind: "kilobytes" },
  min_score: { name: "min_score", label: "Lowest score", kind: "score" },
  near_score: { name: "near_score", label: "Lowest score", kind: "score", least: 50 },
  exclude_exact: { name: "exclude_exact", label: "Leave out the same file", kind: "flag" },
  parts: { name: "parts", label: "Search its parts, too", kind: "flag" },
  sort: { name: "sort", label: "Order", kind: "select", options: [["", "Best first"], ["oldest", "Oldest first"], ["largest", "Largest first"]] },
  sha256: { name: "sha256", label: "SHA-256", kind: "text" },
  state: { name: "state", label: "State", kind: "select",
    options: [["", "Any state"], ["indexed", "Indexed"], ["pending", "Pending"], ["rejected", "Rejected"]] },
  order: { name: "order", label: "Order", kind: "select",
    options: [["", "Newest first"], ["oldest", "Oldest first"], ["key", "By key"]] },
};

const COMMON = ["bucket", "prefix", "content_type", "created_from", "created_to", "size_min", "size_max"];
export const SEARCH_FILTERS = [...COMMON, "min_score", "exclude_exact", "parts", "sort"];
export const DUPLICATE_FILTERS = ["bucket", "prefix", "near_score"];
export const BROWSE_FILTERS = [...COMMON, "state", "sha256", "order"];

const DAY_MS = 86_400_000;

/** The filters of an address as the API wants them: days become moments (in this browser's time zone).
 * @param {URLSearchParams} params @param {string[]} names @returns {Record<string, string>} */
export function filtersOf(params, names) {
  const query = /** @type {Record<string, string>} */ ({});
  for (const name of names) {
    const value = params.get(name);
    if (!value) continue;
    if (FIELDS[name].kind !== "date") {
      query[name] = value;
      continue;
    }
    const day = new Date(`${value}T00:00:00`).getTime();
    if (!Number.isNaN(day)) query[name] = new Date(day + (name === "created_to" ? DAY_MS : 0)).toISOString();
  }
  return query;
}

/** @param {Field} field @param {string} value */
function described(field, value) {
  const option = field.options?.find(([key]) => key === value);
  if (option) return option[1];
  if (field.kind === "flag") return field.label;
  if (field.kind === "kilobytes") return `${field.label.replace(" (kB)", "")} ${Number(value) / 1000} kB`;
  return `${field.label} ${value}`;
}

export class Filters {
  /** @param {string[]} names @param {URLSearchParams} params */
  constructor(names, params) {
    this.fields = names.map((name) => FIELDS[name]);
    /** @type {Map<string, HTMLInputElement | HTMLSelectElement>} */
    this.inputs = new Map();
    const id = (this.id = `filters-${Math.random().toString(36).slice(2)}`);
    this.panel = h("form", { class: "filter-panel", id, hidden: true, "aria-label": "Filters",
      onsubmit: (/** @type {Event} */ event) => event.preventDefault() }, this.fields.map((field) => this.#control(field)));
    this.button = h("button", { class: "button button-quiet", type: "button", "aria-expanded": "false",
      "aria-controls": id, onclick: () => this.toggle() }, icon("filter"), "Filters");
    this.chips = h("div", { class: "chips" });
    this.bar = h("div", { class: "filter-bar" }, this.button, this.chips);
    this.update(params);
    aboutServer().then((about) => this.#buckets(about.buckets), () => {});
  }

  toggle() {
    this.panel.hidden = !this.panel.hidden;
    this.button.setAttribute("aria-expanded", String(!this.panel.hidden));
    const first = [...this.inputs.values()].find((input) => !input.closest("[hidden]"));
    (this.panel.hidden ? this.button : first)?.focus();
  }

  /** Shows the values of an address. @param {URLSearchParams} params */
  update(params) {
    this.params = params;
    for (const field of this.fields) this.#fill(field, params.get(field.name) ?? "");
    const active = this.fields.filter((field) => params.get(field.name) && field.name !== "order" && field.name !== "sort");
    this.chips.replaceChildren(...active.map((field) =>
      h("button", { class: "chip", type: "button", "aria-label": `Remove the filter: ${described(field, params.get(field.name) ?? "")}`,
        onclick: () => this.#set(field, "") }, described(field, params.get(field.name) ?? ""), icon("close"))));
    if (active.length > 1) {
      this.chips.append(h("button", { class: "text-button", type: "button", onclick: () => this.clear() }, "Clear all"));
    }
  }

  /** @param {string} name @param {boolean} shown whether the field is any use at present */
  show(name, shown) {
    this.inputs.get(name)?.parentElement?.toggleAttribute("hidden", !shown);
  }

  clear() {
    go(linkWith(Object.fromEntries(this.fields.map((field) => [field.name, null]))));
  }

  /** @param {Field} field */
  #control(field) {
    const changed = () => this.#set(field, this.#valueOf(field));
    /** @type {HTMLInputElement | HTMLSelectElement} */
    let input;
    if (field.kind === "select") {
      input = h("select", { name: field.name, onchange: changed },
        (field.options ?? []).map(([value, label]) => h("option", { value }, label)));
    } else {
      const props = { text: { type: "search", autocomplete: "off", spellcheck: "false" }, date: { type: "date" },
        kilobytes: { type: "number", min: 0, step: "any", inputmode: "numeric" }, flag: { type: "checkbox" },
        score: { type: "range", min: field.least ?? 0, max: 100, step: 1 } }[field.kind];
      input = h("input", { name: field.name, placeholder: field.placeholder, ...props, onchange: changed });
    }
    // By its id: a label is that of its first control otherwise, and a score's value comes before its slider.
    input.id = `${this.id}-${field.name}`;
    this.inputs.set(field.name, input);
    const shown = field.kind === "score" ? h("output", { class: "field-value" }) : null;
    if (shown) input.addEventListener("input", () => (shown.textContent = input.value));
    return h("label", { class: `field field-${field.kind}`, for: input.id }, h("span", null, field.label, shown ? " " : null, shown), input);
  }

  /** @param {Field} field @param {string} value */
  #fill(field, value) {
    const input = this.inputs.get(field.name);
    if (!input) return;
    if (field.kind === "flag" && input instanceof HTMLInputElement) input.checked = value === "true";
    else if (field.kind === "kilobytes") input.value = value ? String(Number(value) / 1000) : "";
    else input.value = field.kind === "score" ? value || String(field.least ?? 0) : value;
    const shown = input.parentElement?.querySelector("output");
    if (shown) shown.textContent = input.value;
  }

  /** @param {Field} field @returns {string} */
  #valueOf(field) {
    const input = this.inputs.get(field.name);
    if (!input) return "";
    if (field.kind === "flag" && input instanceof HTMLInputElement) return input.checked ? "true" : "";
    if (field.kind === "kilobytes") return input.value ? String(Math.round(Number(input.value) * 1000)) : "";
    return field.kind === "score" && Number(input.value) <= (field.least ?? 0) ? "" : input.value.trim();
  }

  /** @param {Field} field @param {string} value */
  #set(field, value) {
    go(linkWith({ [field.name]: value || null }));
  }

  /** One bucket is no choice. @param {string[]} buckets */
  #buckets(buckets) {
    const select = this.inputs.get("bucket");
    if (!select) return;
    select.parentElement?.toggleAttribute("hidden", buckets.length < 2);
    select.append(...buckets.map((bucket) => h("option", { value: bucket }, bucket)));
    select.value = this.params?.get("bucket") ?? "";
  }
}
