// The bot's state, now or at an earlier point: its fields, and what is in them a page at a time. It is read when asked
// for: the journal is read for each answer.

import { get } from "./api.js";
import { field, h, put, say, sheet } from "./dom.js";
import { when } from "./words.js";

const PAGE = 50;

export function state() {
  const path = h("input", { type: "text", class: "mono", spellcheck: "false", placeholder: "positions.BTC" });
  const at = h("input", { type: "text", class: "mono", spellcheck: "false", placeholder: "now, 09:00, 10m, a tick, a decision" });
  const point = h("p", { class: "soft small", role: "status" }, "Read from the journal.");
  const body = h("div", { class: "table" });
  const form = h(
    "form",
    { class: "stack", onsubmit: (event) => (event.preventDefault(), load(0)) },
    h("div", { class: "fields" }, field("Path", path), field("At", at)),
    h("div", { class: "buttons" }, h("button", { class: "button", "data-do": "state" }, "Show the state")),
  );
  const element = sheet("State", { id: "state" }, form, point, body);

  async function load(offset) {
    const asked = new URLSearchParams({ path: path.value.trim(), at: at.value.trim(), offset, limit: PAGE });
    say(point, "Reading the journal…");
    try {
      show(await get(`/api/state?${asked}`));
    } catch (problem) {
      say(point, problem.message);
      put(body);
    }
  }

  function show(page) {
    const { seq, number, at: moment, release } = page.point;
    const tick = seq === null ? "before the first tick" : `tick ${seq}`;
    say(point, `${page.path ? `${page.path}, ` : ""}${tick}, ${when(moment)}${release ? `, release ${release}` : ""} (frame ${number})`);
    if (page.fields) {
      const rows = page.fields.map((one) => [link(one.name, quoted(one.name)), one.type, shown(one.value, one.items)]);
      put(body, table(["Field", "Type", "Value"], rows));
    } else if (page.items) {
      const rows = page.items.map(([key, value]) => [String(typeof key === "string" ? key : JSON.stringify(key)), JSON.stringify(value)]);
      put(body, table(["Key", "Value"], rows), pager(page));
    } else {
      put(body, h("pre", { class: "mono" }, JSON.stringify(page.value, null, 2)));
    }
  }

  function link(words, to) {
    const open = () => {
      path.value = to;
      load(0);
    };
    return h("button", { type: "button", class: "inline", onclick: open }, words);
  }

  function pager({ offset = 0, items, total }) {
    const last = offset + items.length;
    const button = (words, to, off) => h("button", { type: "button", class: "button plain", disabled: off, onclick: () => load(to) }, words);
    return h(
      "div",
      { class: "buttons" },
      button("Before", Math.max(0, offset - PAGE), offset === 0),
      h("span", { class: "small soft" }, `${items.length ? offset + 1 : 0} to ${last} of ${total}`),
      button("After", last, last >= total),
    );
  }

  return { element };
}

function table(heads, rows) {
  const row = (cells) => h("tr", {}, cells.map((cell, place) => h("td", { "data-label": heads[place], class: "mono" }, cell)));
  return h(
    "table",
    { class: "cards" },
    h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, rows.map(row)),
  );
}

function shown(value, items) {
  if (value !== null || items === null) return JSON.stringify(value);
  return `${items} ${items === 1 ? "item" : "items"}`;
}

// A name as a path has it: quoted where it is not plain.
function quoted(name) {
  return /^[^.[\]"']+$/.test(name) ? name : `[${JSON.stringify(name)}]`;
}
