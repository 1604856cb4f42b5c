/** Asks for the API key when the server wants one, and trades it for a cookie (so that pictures load too). */

import { ApiProblem, openSession } from "./api.js";
import { openDialog } from "./dialog.js";
import { h } from "./dom.js";

/** Opens the dialog unless it is open already; the page starts anew once the key was right. */
export function askForKey() {
  if (document.querySelector("dialog.sign-in")) return;
  const input = h("input", { type: "password", name: "key", required: true, autocomplete: "current-password", id: "api-key" });
  const message = h("p", { class: "form-error", role: "alert" });
  const form = h("form", { class: "sign-in-form", onsubmit: async (/** @type {Event} */ event) => {
    event.preventDefault();
    message.textContent = "";
    try {
      await openSession(input.value);
      location.reload();
    } catch (error) {
      const wrong = error instanceof ApiProblem && error.status === 401;
      message.textContent = wrong ? "This key is not known here." : String(/** @type {Error} */ (error).message);
      input.select();
    }
  } },
    h("h2", null, "This server asks for an API key"),
    h("label", { class: "field", for: "api-key" }, h("span", null, "API key"), input), message,
    h("div", { class: "actions" }, h("button", { class: "button button-primary", type: "submit" }, "Go on")));
  openDialog({ label: "API key", className: "small sign-in" }, form);
  input.focus();
}
