/** Modal dialogs on the browser's own <dialog>: it keeps the focus inside and gives it back afterwards. */

import { h, icon } from "./dom.js";

/**
 * Opens a dialog. It is removed when it is closed.
 *
 * @param {{ label: string, className: string, onClose?: () => void }} options `onClose` runs when a person closes it,
 *   by the button, Escape or a click beside it; what it does must end in `element.close()`
 * @param {...Node} children
 * @returns {HTMLDialogElement}
 */
export function openDialog({ label, className, onClose }, ...children) {
  const leave = () => (onClose ? onClose() : element.close());
  const element = h("dialog", { class: `dialog ${className}`, "aria-label": label,
    oncancel: (/** @type {Event} */ event) => {
      event.preventDefault();
      leave();
    },
    onclose: () => element.remove(),
    onclick: (/** @type {MouseEvent} */ event) => {
      if (event.target === element) leave();
    } },
    h("div", { class: "dialog-body" }, ...children,
      h("button", { class: "icon-button dialog-close", type: "button", "aria-label": "Close", onclick: leave }, icon("close"))));
  document.body.append(element);
  element.showModal();
  return element;
}
