// The history: deployments, outages and commands; and the live log.

import { get } from "./api.js";
import { h, put, sheet } from "./dom.js";
import { log } from "./log.js";
import { outcome, release, span, when } from "./words.js";

const TABS = [
  ["history", "History"],
  ["commands", "Commands"],
  ["log", "Log"],
];

export function past(open) {
  const filter = h("input", { type: "search", class: "filter", placeholder: "Filter", "aria-label": "Filter what is shown" });
  const tail = log(() => filter.value.toLowerCase());
  const panels = {
    history: h("div", { class: "table" }),
    commands: h("div", { class: "table" }),
    log: tail.element,
  };
  let chosen = "history";
  let rows = { history: [], commands: [] };
  const tabs = TABS.map(([name, words]) =>
    h(
      "button",
      {
        type: "button",
        role: "tab",
        class: "tab",
        id: `tab-${name}`,
        "aria-controls": `panel-${name}`,
        onclick: () => choose(name),
        onkeydown: (event) => {
          const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
          if (!step) return;
          const place = (TABS.findIndex(([other]) => other === name) + step + TABS.length) % TABS.length;
          choose(TABS[place][0]);
          tabs[place].focus();
        },
      },
      words,
    ),
  );
  for (const [name] of TABS) {
    panels[name].id = `panel-${name}`;
    panels[name].setAttribute("role", "tabpanel");
    panels[name].setAttribute("aria-labelledby", `tab-${name}`);
    panels[name].tabIndex = 0;
  }
  const element = sheet(
    "History",
    { id: "past", aside: [h("div", { class: "tabs", role: "tablist", "aria-label": "History" }, tabs), filter] },
    Object.values(panels),
  );
  filter.addEventListener("input", show);

  async function load() {
    const [history, audit] = await Promise.all([get("/api/history?limit=100"), get("/api/audit?limit=200")]);
    rows.history = [...history.deployments.map(deploymentRow), ...history.outages.map(outageRow)].sort((a, b) => b.at - a.at);
    rows.commands = audit.commands.map(commandRow);
    show();
  }

  function choose(name) {
    chosen = name;
    tail.on(name === "log");
    show();
  }

  function show() {
    TABS.forEach(([name], place) => {
      tabs[place].setAttribute("aria-selected", String(name === chosen));
      tabs[place].tabIndex = name === chosen ? 0 : -1;
      panels[name].hidden = name !== chosen;
    });
    if (chosen === "log") tail.show();
    else table(chosen);
  }

  function table(name) {
    const heads = { history: ["When", "What", "Release", "Outcome", "Blackout", "Why"], commands: ["When", "Command", "Who", "Outcome", "Why"] }[name];
    const wanted = filter.value.toLowerCase();
    const found = rows[name].filter((row) => !wanted || row.cells.some((cell) => String(cell).toLowerCase().includes(wanted)));
    const text = JSON.stringify(found);
    if (panels[name].dataset.text === text) return;
    panels[name].dataset.text = text;
    if (!found.length) {
      put(panels[name], h("p", { class: "soft" }, wanted ? "No matches." : "Nothing yet."));
      return;
    }
    put(
      panels[name],
      h(
        "table",
        { class: "cards" },
        h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
        h(
          "tbody",
          {},
          found.map((row) =>
            h(
              "tr",
              {},
              row.cells.map((cell, place) =>
                h(
                  "td",
                  { "data-label": heads[place], class: place === 0 ? "tight mono" : "", "data-tone": heads[place] === "Outcome" ? row.tone : null },
                  place === 1 && row.deployment
                    ? h("button", { type: "button", class: "inline", onclick: () => open(row.deployment) }, cell)
                    : cell,
                ),
              ),
            ),
          ),
        ),
      ),
    );
  }

  show();
  return { element, load };
}

function deploymentRow(entry) {
  const notes = entry.outcome ? outcome(entry.outcome) : "under way";
  const from = entry.subject || entry.commit.slice(0, 8);
  return {
    at: entry.begun,
    deployment: entry.id,
    tone: { done: "good", rolled_back: "bad", aborted: "bad" }[entry.outcome] ?? null,
    cells: [
      when(entry.begun),
      `${entry.kind} ${entry.id}`,
      `${release(entry.release)}${from ? ` ${from}` : ""}`,
      notes,
      entry.blackout ? `${span(entry.blackout)}, ${entry.missed} missed` : "",
      [entry.who, entry.why, entry.reason].filter(Boolean).join(": "),
    ],
  };
}

function outageRow(entry) {
  return {
    at: entry.since,
    tone: "bad",
    cells: [
      when(entry.since),
      `outage ${entry.id}`,
      release(entry.release),
      entry.until ? "over" : "goes on",
      entry.until ? `${span(entry.until - entry.since)}, ${entry.missed} missed` : "",
      [entry.cause, entry.acknowledged ? `acknowledged by ${entry.who || "an operator"}` : "", entry.why].filter(Boolean).join(": "),
    ],
  };
}

function commandRow(entry) {
  const well = entry.outcome === "ok";
  const what = called(entry, well);
  return {
    at: entry.at,
    tone: well ? "good" : "bad",
    cells: [when(entry.at), `${entry.op}${what ? ` ${what}` : ""}`, entry.who, well ? "done" : `${entry.outcome}: ${entry.detail}`, entry.why],
  };
}

// A command's subject and arguments.
function called(entry, well) {
  const given = entry.op === "send" ? entry.facts?.args : well ? null : entry.facts?.set;
  if (!given) return well ? entry.detail : (entry.facts?.name ?? "");
  const pairs = Object.entries(given).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  const call = [entry.facts.name ?? "", ...pairs].join(" ").trim();
  return call.length > 200 ? `${call.slice(0, 200)}…` : call;
}
