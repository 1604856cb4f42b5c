/** Light, dark, or as the system has it. */

import { announce, h, icon } from "./dom.js";

const THEMES = /** @type {const} */ (["auto", "light", "dark"]);
const KEY = "twinlens.theme";

/** @returns {typeof THEMES[number]} */
function chosen() {
  const theme = document.documentElement.dataset.theme;
  return theme === "light" || theme === "dark" ? theme : "auto";
}

/** @param {typeof THEMES[number]} theme */
function apply(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    if (theme === "auto") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // Where storage is forbidden the choice lasts as long as the page.
  }
}

/** A button that goes through the three themes. */
export function themeButton() {
  const button = h("button", { class: "icon-button", type: "button", onclick: () => {
    apply(THEMES[(THEMES.indexOf(chosen()) + 1) % THEMES.length]);
    show();
    announce(label());
  } });
  const label = () => `Colours: ${{ auto: "as the system", light: "light", dark: "dark" }[chosen()]}`;
  const show = () => {
    button.replaceChildren(icon(chosen()));
    button.setAttribute("aria-label", label());
    button.title = label();
  };
  show();
  return button;
}
