// Halting closes a bot's positions: the operator types its name first.

import { field, h } from "./dom.js";

export function confirmHalt(bot) {
  return new Promise((resolve) => {
    const name = h("input", { type: "text", class: "mono", autocomplete: "off", spellcheck: "false" });
    const go = h("button", { class: "button grave", value: "halt", disabled: true, "data-do": "confirm-halt" }, "Halt bot");
    name.addEventListener("input", () => {
      go.disabled = name.value !== bot;
    });
    const dialog = h(
      "dialog",
      { "aria-labelledby": "halt-title" },
      h("h2", { id: "halt-title" }, `Halt ${bot}?`),
      h(
        "form",
        { method: "dialog" },
        h("p", { class: "soft" }, "Pauses the bot and closes its positions at market price. This may realise a loss."),
        field(`Type ${bot} to confirm`, name),
        h("div", { class: "buttons" }, go, h("button", { class: "button", value: "", formnovalidate: true }, "Cancel")),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "halt");
    });
    document.body.append(dialog);
    dialog.showModal();
    name.focus();
  });
}
