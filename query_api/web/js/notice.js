/** What a view shows when it has no pictures to show: loading, empty, or a problem told in plain words. */

import { ApiProblem } from "./api.js";
import { announce, h, icon } from "./dom.js";
import { bytes } from "./format.js";

const OTHER_FILE = "Try another file: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC, JPEG XL and JPEG 2000 pictures, icons, "
  + "Photoshop documents and camera raw files are understood.";
const DROP_IT = "Save the picture and drop it here instead.";

/** What a person can do about a problem, by its code; the server's own sentence is shown above it. */
const ADVICE = /** @type {Record<string, string>} */ ({
  unreadable_picture: OTHER_FILE,
  too_large: "Try a smaller version of the picture; the search does not need the full resolution.",
  unsupported_media_type: OTHER_FILE,
  not_found: "It may have been deleted from its bucket.",
  not_indexed: "A picture can be searched with once it is in the index.",
  refused_url: DROP_IT,
  url_not_fetched: DROP_IT,
  url_search_disabled: DROP_IT,
  unauthorized: "This server asks for an API key.",
  body_timeout: "The connection is slow: try a smaller version of the picture.",
});

const TITLES = /** @type {Record<string, string>} */ ({
  unreadable_picture: "This picture can’t be read",
  too_large: "This file is too large",
  unsupported_media_type: "This is not a picture",
  not_found: "This picture isn’t here any more",
  not_indexed: "This picture isn’t searchable yet",
  rate_limited: "That was a little fast",
  overloaded: "Twinlens is busy right now",
  unavailable: "A part of Twinlens is away",
  internal: "Something broke on the server",
  invalid_request: "The server didn’t accept these settings",
  unauthorized: "Please sign in",
  body_timeout: "Sending took too long",
});

/** Waits that are short enough to be counted down and then tried again without asking. */
const LONGEST_AUTOMATIC_WAIT_S = 60;

/** @param {string} text */
export function loading(text) {
  return h("div", { class: "notice notice-loading" },
    h("div", { class: "iris", "aria-hidden": "true" }, h("i"), h("i")), h("p", null, text));
}

/**
 * While something is sent and worked on, with a way to stop it.
 *
 * @param {string} text @param {() => void} onStop
 */
export function sending(text, onStop) {
  const bar = h("progress", { "aria-label": "Sending the picture", max: 1, value: 0, hidden: true });
  const label = h("p", null, text);
  const element = h("div", { class: "notice notice-loading" },
    h("div", { class: "iris", "aria-hidden": "true" }, h("i"), h("i")), label, bar,
    h("div", { class: "notice-actions" }, h("button", { class: "button button-quiet", type: "button", onclick: onStop }, "Stop")));
  /** @param {number} sent @param {number} total bytes */
  const progress = (sent, total) => {
    const all = sent >= total;
    bar.hidden = all;
    bar.value = total ? sent / total : 0;
    label.textContent = all ? text : `Sending, ${bytes(sent)} of ${bytes(total)}`;
  };
  return { element, progress };
}

/** @param {string} title @param {string} text @param {...Node} actions */
export function empty(title, text, ...actions) {
  return h("div", { class: "notice" }, h("h2", null, title), h("p", null, text),
    actions.length ? h("div", { class: "notice-actions" }, actions) : null);
}

/**
 * A problem with a way on. When the server named a wait (429, 503), it is counted down and `retry` follows by itself
 * as long as the notice is in the document.
 *
 * @param {unknown} error
 * @param {(() => void) | null} retry null when trying the same again cannot help
 */
export function problem(error, retry) {
  if (!(error instanceof ApiProblem)) throw error;
  const title = TITLES[error.code] ?? error.title;
  const retriable = retry && (error.status === 0 || error.status === 429 || error.status >= 500);
  const button = retriable ? h("button", { class: "button", type: "button", onclick: retry }, "Try again") : null;
  const wait = h("p", { class: "notice-wait" });
  const element = h("div", { class: "notice notice-problem" },
    h("h2", null, title),
    error.detail ? h("p", null, error.detail) : null,
    ADVICE[error.code] ? h("p", { class: "quiet" }, ADVICE[error.code]) : null,
    wait, button ? h("div", { class: "notice-actions" }, button) : null);
  announce(`${title}. ${error.detail}`);
  if (retriable && error.retryAfter && error.retryAfter <= LONGEST_AUTOMATIC_WAIT_S) {
    countDown(element, wait, error.retryAfter, retry);
  }
  return element;
}

/** @param {HTMLElement} element @param {HTMLElement} text @param {number} seconds @param {() => void} then */
function countDown(element, text, seconds, then) {
  const due = performance.now() + seconds * 1000;
  const tick = () => {
    const left = Math.ceil((due - performance.now()) / 1000);
    if (left <= 0) {
      if (element.isConnected) then();
      return;
    }
    text.textContent = `Trying again in ${left} s`;
    setTimeout(tick, 250);
  };
  tick();
}

/** A short message over the page that goes by itself. @param {string} message */
export function toast(message) {
  document.querySelector(".toast")?.remove();
  const element = h("div", { class: "toast", role: "alert" }, h("span", null, message),
    h("button", { class: "icon-button", type: "button", "aria-label": "Dismiss", onclick: () => element.remove() },
      icon("close")));
  (document.querySelector("dialog[open]") ?? document.body).append(element);
  setTimeout(() => element.remove(), 9000);
}
