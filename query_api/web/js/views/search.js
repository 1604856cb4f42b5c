/** The start page: two lenses, one for your picture and one that shows what the catalog holds. */

import { aboutServer, listImages, thumbnail } from "../api.js";
import { h, icon, s } from "../dom.js";
import { basename, counted } from "../format.js";
import { addressField, chooseButtons } from "../intake.js";
import { problem } from "../notice.js";
import { recent, urlOf, forgetAll } from "../queries.js";
import { link } from "../router.js";
import { resultsView } from "./results.js";

/** @typedef {import("../types.js").Image} Image */

const EXAMPLES = 9;
const SAMPLE = "120";

/** Words engraved around a lens, as on the real ones. @param {string} text */
function engraving(text) {
  const id = `ring-${Math.random().toString(36).slice(2)}`;
  return s("svg", { class: "engraving", viewBox: "0 0 400 400", "aria-hidden": "true" },
    s("path", { id, d: "M200 374a174 174 0 1 1 .01 0", fill: "none" }),
    s("text", null, s("textPath", { href: `#${id}`, startOffset: "50%", "text-anchor": "middle" }, text)));
}

/** @template T @param {T[]} items @param {number} size @returns {T[]} */
function sample(items, size) {
  const pool = [...items];
  const picked = [];
  while (pool.length && picked.length < size) picked.push(...pool.splice(Math.floor(Math.random() * pool.length), 1));
  return picked;
}

/** @param {Image} image @param {160 | 320 | 640} size */
function example(image, size) {
  return h("a", { class: "example", href: link("search", { image: image.id }),
    "aria-label": `Search with the example ${basename(image.key)}` },
    h("img", { src: thumbnail(image, size), alt: "", draggable: "false" }));
}

/** @returns {import("../router.js").View} */
function landing() {
  const twin = h("div", { class: "lens lens-twin" }, engraving("TWINLENS · THE CATALOG"));
  const examples = h("section", { class: "examples", hidden: true, "aria-labelledby": "examples-title" });
  const past = h("section", { class: "examples", hidden: true, "aria-labelledby": "recent-title" });
  const counter = h("p", { class: "hero-count" });
  const drop = h("div", { class: "lens lens-drop" },
    engraving("DROP · PASTE · CHOOSE"),
    h("div", { class: "lens-content" },
      icon("upload"),
      h("p", { class: "lens-title" }, "Drop a picture here"),
      h("p", { class: "quiet not-touch" }, "or paste one with ", h("kbd", null, "Ctrl"), " ", h("kbd", null, "V")),
      h("div", { class: "lens-actions" }, chooseButtons())));
  const element = h("div", { class: "landing" },
    h("div", { class: "hero-text" },
      h("h1", null, "Find a picture’s twin"),
      h("p", { class: "lead" }, "Resized, cropped, mirrored, recoloured or captioned: show it once, and see where it is."),
      counter),
    h("div", { class: "lenses" }, drop, twin),
    addressField(), past, examples);

  /** @param {Image[]} pool */
  const showExamples = (pool) => {
    const [first, ...rest] = sample(pool, EXAMPLES + 1);
    twin.querySelector(".example")?.remove();
    if (first) twin.prepend(example(first, 640));
    examples.hidden = rest.length === 0;
    examples.replaceChildren(
      h("div", { class: "section-head" }, h("h2", { id: "examples-title" }, "Or try one of these"),
        h("button", { class: "text-button", type: "button", onclick: () => showExamples(pool) }, icon("shuffle"), "Others")),
      h("div", { class: "example-strip" }, rest.map((image) => example(image, 320))));
  };

  const load = async () => {
    try {
      const [about, page] = await Promise.all([aboutServer(), listImages({ state: "indexed", limit: SAMPLE })]);
      counter.textContent = about.objects ? `${counted(about.objects, "picture")} in the catalog` : "The catalog is empty";
      twin.classList.toggle("lens-empty", page.results.length === 0);
      if (page.results.length) showExamples(page.results);
      else twin.append(h("p", { class: "lens-content" }, `Nothing to find yet: put pictures into the bucket “${about.buckets[0]}”.`));
    } catch (error) {
      examples.hidden = false;
      examples.replaceChildren(problem(error, load));
    }
  };

  const showRecent = async () => {
    const queries = await recent();
    past.hidden = queries.length === 0;
    past.replaceChildren(
      h("div", { class: "section-head" }, h("h2", { id: "recent-title" }, "Your recent pictures"),
        h("button", { class: "text-button", type: "button", onclick: () => forgetAll().then(showRecent) }, "Forget them")),
      h("div", { class: "example-strip" }, queries.slice(0, EXAMPLES).map((query) =>
        h("a", { class: "example", href: link("search", { upload: query.id }), "aria-label": `Search again with ${query.name}` },
          h("img", { src: urlOf(query), alt: "" })))));
  };

  void load();
  return { element, title: "Search", update: () => {}, enter: () => void showRecent() };
}

/** @param {URLSearchParams} params @returns {import("../router.js").View} */
export function searchView(params) {
  return ["image", "upload", "url"].some((name) => params.has(name)) ? resultsView(params) : landing();
}
