// The HTTP operations, made from /openapi.json, to read and to try.

import { token } from "./api.js";
import { field, h, put } from "./dom.js";

const root = document.getElementById("app");
const description = await (await fetch("/openapi.json")).json();
const secret = h("input", { type: "password", class: "mono", autocomplete: "current-password", value: token.get() });
secret.value = token.get();
secret.addEventListener("change", () => token.set(secret.value.trim()));

const operations = Object.entries(description.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, spec]) => operation(path, method, spec)),
);

put(
  root,
  h("header", { class: "top" }, h("h1", {}, "neverblink over HTTP"), h("div", { class: "who" }, h("a", { href: "/" }, "The bot"), h("a", { href: "/openapi.json" }, "openapi.json"))),
  h(
    "main",
    { id: "main", tabindex: "-1" },
    h("section", { class: "sheet stack", "aria-label": "About" }, h("p", { class: "soft" }, description.info.description), field("Token for requests", secret)),
    operations,
  ),
);

function operation(path, method, spec) {
  const inputs = {};
  const rows = (spec.parameters ?? []).map((parameter) => {
    const input = h("input", { type: "text", class: "mono", placeholder: String(parameter.schema.default ?? "") });
    inputs[parameter.name] = { input, where: parameter.in };
    return field(parameter.name, input, note(parameter.schema));
  });
  const schema = spec.requestBody?.content["application/json"].schema;
  const body = schema ? h("textarea", { rows: "4", spellcheck: "false" }) : null;
  if (body) body.value = "{}";
  const answer = h("pre", { class: "log mono", hidden: true, tabindex: "0", "aria-label": "Answer" });
  const go = h("button", { class: "button" }, "Try it");
  const form = h(
    "form",
    {
      class: "stack",
      onsubmit: async (event) => {
        event.preventDefault();
        answer.hidden = false;
        put(answer, await ask(path, method, inputs, body));
      },
    },
    rows,
    body ? field("Body", body, properties(schema).join(", ")) : null,
    h("div", { class: "buttons" }, go),
    answer,
  );
  return h(
    "details",
    { class: "sheet" },
    h("summary", {}, h("code", {}, `${method.toUpperCase()} ${path}`), h("span", { class: "soft" }, ` ${spec.summary} ${spec["x-role"] ? `(${spec["x-role"]})` : "(public)"}`)),
    form,
  );
}

async function ask(path, method, inputs, body) {
  const query = new URLSearchParams();
  let url = path;
  for (const [name, { input, where }] of Object.entries(inputs)) {
    if (where === "path") url = url.replace(`{${name}}`, encodeURIComponent(input.value || "1"));
    else if (input.value) query.set(name, input.value);
  }
  if ([...query].length) url += `?${query}`;
  const headers = secret.value ? { Authorization: `Bearer ${secret.value.trim()}` } : {};
  if (body) headers["Content-Type"] = "application/json";
  try {
    const response = await fetch(url, { method: method.toUpperCase(), headers, body: body?.value });
    if (response.headers.get("Content-Type")?.startsWith("text/event-stream")) return `${response.status}\n${await some(response)}`;
    const text = await response.text();
    let shown = text;
    try {
      shown = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      // Not JSON: shown as text.
    }
    return `${response.status}\n${shown.slice(0, 50_000)}`;
  } catch (error) {
    return String(error);
  }
}

// The first seconds of a stream that never ends.
async function some(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const until = performance.now() + 3000;
  let text = "";
  while (performance.now() < until && text.length < 20_000) {
    const { done, value } = await reader.read();
    if (done) break;
    text += value;
  }
  reader.cancel();
  return text;
}

function properties(schema) {
  const name = schema.$ref?.split("/").pop();
  const found = name ? description.components.schemas[name] : schema;
  return Object.entries(found.properties ?? {}).map(([key, kind]) => `${key} (${kind.type ?? "any"}${found.required?.includes(key) ? ", required" : ""})`);
}

function note(schema) {
  const range = schema.minimum !== undefined ? `${schema.minimum} to ${schema.maximum}` : "";
  return [schema.type, range].filter(Boolean).join(", ");
}
