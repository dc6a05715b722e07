// Deploying although values of the state are dropped: the operator ticks each field first.

import { h } from "./dom.js";
import { count } from "./words.js";

// As protocol/state_changes.py begins the reason of such a refusal.
const REFUSED = "the new code would drop ";

// The fields that a refused deployment would drop, and that need an operator's consent: none for any other outcome.
export function refusedFields(result, steps) {
  if (result?.outcome !== "aborted" || !result.reason?.startsWith(REFUSED)) return [];
  const compared = steps.findLast((entry) => entry.step === "state" && entry.facts?.changes);
  return (compared?.facts.changes.dropped ?? []).filter((lost) => !lost.default && !lost.declared);
}

// Resolves to the names of all fields, or to null when the operator cancels.
export function confirmDrop(release, fields) {
  return new Promise((resolve) => {
    const go = h("button", { class: "button grave", value: "drop", disabled: true, "data-do": "confirm-drop" }, "Deploy and drop");
    const boxes = fields.map(() => h("input", { type: "checkbox" }));
    for (const box of boxes) {
      box.addEventListener("change", () => {
        go.disabled = !boxes.every((one) => one.checked);
      });
    }
    const dialog = h(
      "dialog",
      { "aria-labelledby": "drop-title" },
      h("h2", { id: "drop-title" }, `Deploy ${release} and drop values?`),
      h(
        "form",
        { method: "dialog" },
        h("p", { class: "soft" }, "The new code does not keep these values of the state. Tick each field that you want to drop."),
        h("div", { class: "stack" }, fields.map((lost, place) => h("label", { class: "check" }, boxes[place], h("span", {}, `Drop ${words(lost)}`)))),
        h("div", { class: "buttons" }, go, h("button", { class: "button", value: "", formnovalidate: true }, "Cancel")),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "drop" ? fields.map((lost) => lost.field) : null);
    });
    document.body.append(dialog);
    dialog.showModal();
    boxes[0].focus();
  });
}

function words(lost) {
  if (lost.rows !== null && lost.rows !== undefined) return `table ${lost.field} (${count(lost.rows)} ${lost.rows === 1 ? "row" : "rows"})`;
  const more = lost.count > 1 ? ` and ${count(lost.count - 1)} more` : "";
  return `${lost.at} = ${lost.value}${more}`;
}
