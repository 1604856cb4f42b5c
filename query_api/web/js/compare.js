/** Two pictures beside each other: under a slider, side by side, or as their difference. */

import { ApiProblem, fileOf, getImage, thumbnail } from "./api.js";
import { openDialog } from "./dialog.js";
import { h, icon } from "./dom.js";
import { dimensions, score } from "./format.js";
import { hitFacts } from "./detail.js";
import { cssTransform, leftOf, matchFacts, outlineOn } from "./match.js";
import { closeOverlay, go, link, linkWith } from "./router.js";
import { kindOf, verdictChip } from "./tile.js";

/**
 * @typedef {object} Side
 * @property {string} source address of the picture
 * @property {string} [fallback] shown when the browser cannot show the source (TIFF, for one)
 * @property {string} label
 * @property {number | null} width
 * @property {number | null} height
 * @property {string} [type] what the file is
 * @property {string} [image] the id of an indexed picture
 */

/** @typedef {"slider" | "side" | "difference"} Mode */

const MODES = /** @type {[Mode, string][]} */ ([["slider", "Slider"], ["side", "Side by side"], ["difference", "Difference"]]);

/** The way of comparing that was used last. @type {Mode} */
let lastMode = "slider";

/** @param {Side} side @param {string} className */
function picture(side, className) {
  const image = h("img", { class: className, alt: side.label, src: side.source, draggable: "false",
    onerror: () => {
      if (side.fallback && image.getAttribute("src") !== side.fallback) image.src = side.fallback;
      else void without(side).then((text) => image.replaceWith(h("p", { class: `${className} stage-without` }, text)));
    } });
  return side.source ? image : h("p", { class: `${className} stage-without` }, "There is no preview of this picture.");
}

/** Why a picture can't be shown. @param {Side} side @returns {Promise<string>} */
async function without(side) {
  const gone = side.image ? await getImage(side.image).then(() => false, (error) => error instanceof ApiProblem && error.status === 404) : false;
  return gone ? "This picture was deleted from its bucket." : "This picture can’t be shown.";
}

/** Puts the left picture where it lies in the right one, or back over all of it.
 * @param {HTMLElement} element the stage @param {boolean} aligned */
function align(element, aligned) {
  element.toggleAttribute("data-aligned", aligned);
  if (aligned) element.removeAttribute("data-flipped");
}

/** @param {Side} left @param {Side} right @param {import("./types.js").Verified | null} match */
function stage(left, right, match) {
  const range = h("input", { type: "range", min: 0, max: 100, step: 1, value: 50, class: "stage-range",
    "aria-label": "Slide between your picture and the picture found", oninput: () => place(Number(range.value)) });
  const handle = h("span", { class: "stage-handle", "aria-hidden": "true" }, h("span", null, icon("left"), icon("right")));
  const frame = h("div", { class: "stage-frame" },
    picture(right, "stage-right"), picture(left, "stage-left"),
    outlineOn(match?.is_copy ? match.outline : null, right, "stage-outline-right"),
    outlineOn(match?.is_copy ? match.other_outline : null, left, "stage-outline-left"), range, handle);
  const transform = match?.is_copy ? match.transform : null;
  const place = (/** @type {number} */ percent) => {
    frame.style.setProperty("--at", `${percent}%`);
    if (transform) frame.style.setProperty("--left-part", leftOf(transform, percent / 100));
  };
  const follow = (/** @type {PointerEvent} */ event) => {
    const box = frame.getBoundingClientRect();
    const percent = Math.max(0, Math.min(100, ((event.clientX - box.left) / box.width) * 100));
    range.value = String(percent);
    place(percent);
  };
  frame.addEventListener("pointerdown", (event) => {
    if (element.dataset.mode !== "slider") return;
    event.preventDefault();
    frame.setPointerCapture(event.pointerId);
    range.focus({ preventScroll: true });
    follow(event);
    frame.addEventListener("pointermove", follow);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    frame.addEventListener(end, () => frame.removeEventListener("pointermove", follow));
  }
  const element = h("div", { class: "stage", "data-mode": lastMode },
    h("div", { class: "stage-room" }, frame),
    h("div", { class: "stage-labels" },
      h("p", null, h("b", null, left.label), h("span", null, dimensions(left.width, left.height))),
      h("p", null, h("b", null, right.label), h("span", null, dimensions(right.width, right.height)))));
  place(50);
  const aspect = (right.width ?? left.width ?? 4) / (right.height ?? left.height ?? 3);
  frame.style.setProperty("--aspect", String(aspect));
  if (transform) {
    frame.style.setProperty("--place", cssTransform(transform, aspect));
    align(element, true);
  }
  return element;
}

/** @param {HTMLElement} element the stage */
function modeSwitch(element) {
  const name = `mode-${Math.random().toString(36).slice(2)}`;
  return h("fieldset", { class: "segments" }, h("legend", { class: "visually-hidden" }, "How to compare"),
    MODES.map(([mode, label]) => h("label", null,
      h("input", { type: "radio", name, value: mode, checked: mode === lastMode, onchange: () => {
        lastMode = mode;
        element.dataset.mode = mode;
      } }), h("span", null, label))));
}

/** @param {string | null} id @param {"previous" | "next"} which */
function stepButton(id, which) {
  return h("button", { class: "icon-button", type: "button", disabled: id === null, "data-step": which,
    "aria-label": which === "next" ? "Next picture" : "Previous picture",
    onclick: () => id && go(linkWith({ compare: id }), { replace: true }) }, icon(which === "next" ? "right" : "left"));
}

/**
 * Opens the comparison.
 *
 * @param {import("./router.js").Comparison} comparison
 * @returns {HTMLDialogElement}
 */
export function openCompare({ left, hit, previous, next }) {
  const { image } = hit;
  const right = { source: fileOf(image), fallback: thumbnail(image, 640), label: "Found", image: image.id,
    width: image.width, height: image.height };
  const element = stage(left, right, hit.verified);
  const show = () => {
    flip.setAttribute("aria-pressed", String(element.hasAttribute("data-flipped")));
    aligner?.setAttribute("aria-pressed", String(element.hasAttribute("data-aligned")));
  };
  // What is mirrored by hand does not lie where it was found any more.
  const flip = h("button", { class: "button button-quiet", type: "button", "aria-pressed": "false", onclick: () => {
    align(element, false);
    element.toggleAttribute("data-flipped");
    show();
  } }, icon("flip"), "Mirror");
  const aligner = element.hasAttribute("data-aligned")
    ? h("button", { class: "button button-quiet", type: "button", "aria-pressed": "true", onclick: () => {
        align(element, !element.hasAttribute("data-aligned"));
        show();
      } }, icon("align"), "Align") : null;
  const side = h("aside", { class: "compare-side" },
    h("div", { class: "compare-verdict" }, h("span", { class: "big-score" }, score(hit.score)), verdictChip(kindOf(hit))),
    matchFacts(hit.verified, hit.unverified),
    hitFacts(hit),
    h("div", { class: "actions" },
      h("a", { class: "button button-primary", href: link("search", { image: image.id }) }, icon("twin"), "Find similar"),
      h("a", { class: "button", href: linkWith({ compare: null, with: null, open: image.id }),
        onclick: (/** @type {Event} */ event) => {
          event.preventDefault();
          go(linkWith({ compare: null, with: null, open: image.id }), { replace: true });
        } }, icon("info"), "Details"),
      h("a", { class: "button", href: `${fileOf(image)}?download=true`, download: true }, icon("download"), "Download")));
  const dialog = openDialog({ label: "Compare two pictures", className: "compare", onClose: closeOverlay },
    h("div", { class: "compare-main" }, element,
      h("div", { class: "compare-tools" }, stepButton(previous, "previous"), modeSwitch(element), aligner, flip, stepButton(next, "next"))),
    side);
  /** @type {HTMLElement | null} */ (dialog.querySelector(".stage-range"))?.focus();
  return dialog;
}
