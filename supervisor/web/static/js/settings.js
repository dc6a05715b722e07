// The bot's settings: a form made from their JSON Schema.

import { get, post } from "./api.js";
import { field, h, put, sheet } from "./dom.js";

export function settings(operator, act) {
  const body = h("div");
  const element = sheet("Settings", { id: "settings" }, body);
  element.hidden = true;
  let schema = null;
  let values = {};
  let chosen = [];
  let inputs = {};
  let shown = "";

  async function load() {
    let got;
    try {
      got = await get("/api/settings");
    } catch {
      element.hidden = true;
      return;
    }
    schema = got.schema ? resolved(got.schema) : null;
    take(got.values, got.chosen);
  }

  function status(now) {
    if (now.settings && schema) take(now.settings.values, now.settings.chosen);
  }

  function take(next, set) {
    const text = JSON.stringify([schema, next, set]);
    if (text === shown) return;
    // Never overwrite a field while it is being edited.
    if (shown && element.contains(document.activeElement) && dirty()) return;
    shown = text;
    values = next ?? {};
    chosen = set ?? [];
    show();
  }

  function show() {
    element.hidden = !schema;
    if (!schema) return;
    inputs = {};
    const fields = Object.entries(schema.properties ?? {}).map(([name, kind]) => {
      const input = control(kind, values[name]);
      input.disabled = !operator;
      input.dataset.setting = name;
      inputs[name] = { input, kind };
      const hint = [kind.description, bounds(kind), chosen.includes(name) ? "set by an operator" : ""].filter(Boolean).join("; ");
      return field(name, input, hint);
    });
    const save = h("button", { class: "button", disabled: !operator, "data-do": "settings" }, "Change settings");
    const reset = h("button", { type: "button", class: "button plain", disabled: !operator || !chosen.length, onclick: giveBack }, "Reset to defaults");
    const form = h("form", { class: "stack", onsubmit: submit }, h("div", { class: "fields" }, fields), h("div", { class: "buttons" }, save, reset));
    put(body, form);
  }

  async function submit(event) {
    event.preventDefault();
    const set = {};
    for (const [name, { input, kind }] of Object.entries(inputs)) {
      const value = read(kind, input);
      if (value !== undefined && JSON.stringify(value) !== JSON.stringify(values[name])) set[name] = value;
    }
    if (!Object.keys(set).length) return;
    if (await act(() => post("settings", { set }), describe)) await load();
  }

  async function giveBack() {
    if (await act(() => post("settings", { reset: chosen }), describe)) await load();
  }

  function describe(got) {
    const changes = Object.entries(got.changes ?? {}).map(([name, item]) => `${name} ${JSON.stringify(item.old)} → ${JSON.stringify(item.new)}`);
    return `${changes.join(", ") || "Nothing changed"}, at tick ${got.seq}.`;
  }

  function dirty() {
    return Object.entries(inputs).some(([name, { input, kind }]) => JSON.stringify(read(kind, input)) !== JSON.stringify(values[name]));
  }

  return { element, load, status };
}

function control(kind, value) {
  if (kind.enum) {
    const select = h("select", {}, kind.enum.map((item) => h("option", { value: JSON.stringify(item) }, String(item))));
    select.value = JSON.stringify(value);
    return select;
  }
  if (kind.type === "boolean") return h("input", { type: "checkbox", checked: Boolean(value) });
  if (kind.type === "integer" || kind.type === "number") {
    const input = h("input", { type: "number", class: "mono", step: kind.type === "integer" ? "1" : "any" });
    for (const [from, to] of [["minimum", "min"], ["maximum", "max"]]) if (kind[from] !== undefined) input.setAttribute(to, kind[from]);
    input.value = value;
    return input;
  }
  if (kind.type === "string") {
    const input = h("input", { type: "text" });
    input.value = value;
    return input;
  }
  const input = h("textarea", { rows: "3", spellcheck: "false" });
  input.value = JSON.stringify(value);
  return input;
}

function read(kind, input) {
  if (kind.enum) return JSON.parse(input.value);
  if (kind.type === "boolean") return input.checked;
  if (kind.type === "integer" || kind.type === "number") return input.value === "" ? undefined : Number(input.value);
  if (kind.type === "string") return input.value;
  try {
    return JSON.parse(input.value);
  } catch {
    return input.value;
  }
}

function bounds(kind) {
  const low = kind.minimum ?? kind.exclusiveMinimum;
  const high = kind.maximum ?? kind.exclusiveMaximum;
  if (low !== undefined && high !== undefined) return `${low} to ${high}`;
  if (low !== undefined) return `at least ${low}`;
  if (high !== undefined) return `at most ${high}`;
  return "";
}

// The schema with its references followed, as far as a form needs them.
function resolved(schema) {
  const all = schema.$defs ?? schema.components ?? {};
  const follow = (item) => (item?.$ref ? (all[item.$ref.split("/").pop()] ?? item) : item);
  const root = follow(schema);
  const properties = {};
  for (const [name, kind] of Object.entries(root.properties ?? {})) properties[name] = { ...follow(kind), ...kind };
  return { ...root, properties };
}
