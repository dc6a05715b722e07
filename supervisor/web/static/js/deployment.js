// A deployment as it happens: its phases, what holds it, and its steps.

import { get } from "./api.js";
import { h, put, say, sheet } from "./dom.js";
import { confirmDrop, refusedFields } from "./drop.js";
import { step } from "./steps.js";
import { clock, long, outcome, release, span, unit } from "./words.js";

const USUAL = ["preparing", "rehearsing", "waiting", "transferring", "probation"];
// A probation reports a few times a second; its phase shows that already.
const worthALine = (entry) => entry.step !== "probation";
const TONES = { done: "good", rehearsed: "good", aborted: "warn", rolled_back: "bad" };

// `redeploy(kind, release, drop)` deploys a release, or rolls back to it, and drops fields; null for who may not.
export function deployment(redeploy) {
  const title = h("p", { class: "aside small soft" });
  const phases = h("ol", { class: "phases", "aria-label": "Phases" });
  const holding = h("p", { class: "notice", "data-tone": "warn", role: "status", hidden: true });
  const ended = h("p", { class: "notice", role: "status", hidden: true });
  const drop = h("button", { type: "button", class: "button", hidden: true, "data-do": "drop", onclick: retry }, "Deploy and drop values…");
  const steps = h("ol", { class: "steps", "aria-label": "Steps" });
  const none = h("p", { class: "soft" }, "No deployments yet. The bot runs the release it was started with.");
  const element = sheet("Deployment", { id: "deployment", aside: title }, none, phases, holding, ended, drop, steps);

  let number = 0;
  let seen = []; // {phase, since, took}
  let lines = [];
  let result = null;
  let about = "";
  let ahead = 0;

  async function load(id) {
    const story = await get(`/api/history/${id}`);
    if (number && number > id) return;
    number = id;
    about = what(story.kind ?? "deploy", story.release, story.who, story.why);
    const first = story.phases[0];
    seen = first ? [{ phase: first.before, since: first.at - first.took, took: first.took }] : [{ phase: "preparing", since: story.begun, took: 0 }];
    story.phases.forEach((entry, place) => seen.push({ phase: entry.phase, since: entry.at, took: story.phases[place + 1]?.took ?? 0 }));
    lines = story.steps.filter(worthALine);
    result = story.outcome ? story : null;
    show();
  }

  function hear(type, event) {
    if (type === "deployment-started") {
      number = event.deployment;
      seen = [{ phase: "preparing", since: event.at, took: 0 }];
      lines = [];
      result = null;
      about = what("", event.release, event.who, event.why);
    } else if (event.deployment !== number) return;
    else if (type === "phase") {
      const before = seen.at(-1);
      if (before) before.took = event.took;
      seen.push({ phase: event.phase, since: event.at, took: 0 });
    } else if (type === "step") {
      if (worthALine(event)) lines.push(event);
    } else if (type === "output") lines.push(event);
    else if (type === "deployment-ended") result = event;
    show();
  }

  function status(now) {
    ahead = now.at / 1e6 - Date.now();
    const under = now.deployment;
    if (under && under.deployment === number && !under.holding !== holding.hidden) {
      holding.hidden = !under.holding;
    }
    if (under?.holding) say(holding, `Waits for: ${under.holding}`);
    if (under && under.deployment !== number) load(under.deployment).catch(() => {});
    else if (!under && !number && now.last) load(now.last.deployment).catch(() => {});
  }

  async function retry() {
    const fields = refusedFields(result, lines);
    try {
      const story = await get(`/api/history/${number}`);
      const names = await confirmDrop(release(story.release), fields);
      if (names) await redeploy(story.kind, story.release, names);
    } catch (error) {
      say(ended, error.message);
    }
  }

  function what(kind, id, who, why) {
    return `${kind === "rollback" ? "rollback" : "release"} ${release(id)}${who ? ` by ${who}` : ""}${why ? `: ${why}` : ""}`;
  }

  function show() {
    none.hidden = number > 0;
    say(title, number ? `Deployment ${number}, ${about}` : "");
    element.dataset.number = number;
    element.dataset.outcome = result?.outcome ?? "";
    const last = seen.at(-1);
    const over = new Set(["done", "aborted", "rolled_back", "rehearsed"]);
    const there = seen.filter((entry) => !over.has(entry.phase));
    const names = there.map((entry) => entry.phase);
    const coming = result ? [] : USUAL.slice(USUAL.indexOf(names.findLast((name) => USUAL.includes(name)) ?? "") + 1);
    put(
      phases,
      there.map((entry) => {
        const is = entry === last && !result ? "now" : "over";
        const took = entry.took ? span(entry.took) : "";
        return h(
          "li",
          { "data-is": is, "data-phase": entry.phase, "aria-current": is === "now" ? "step" : null },
          entry.phase,
          h("span", { class: "mono" }, took),
        );
      }),
      number ? coming.map((phase) => h("li", {}, phase, h("span", { class: "mono" }))) : null,
    );
    ended.hidden = !result;
    if (result) {
      holding.hidden = true;
      ended.dataset.tone = TONES[result.outcome] === "good" ? "" : TONES[result.outcome];
      say(ended, verdict(result));
    }
    drop.hidden = !redeploy || !refusedFields(result, lines).length;
    put(
      steps,
      lines.slice(-14).map((line) =>
        h(
          "li",
          {},
          h("span", { class: "at mono" }, clock(line.at)),
          h("span", {}, step(line)),
          h("span", { class: "mono soft" }, line.took ? span(line.took) : ""),
        ),
      ),
    );
    tick();
  }

  function verdict(entry) {
    const parts = [outcome(entry.outcome)[0].toUpperCase() + outcome(entry.outcome).slice(1)];
    if (entry.seq !== null && entry.seq !== undefined) parts.push(`first ${unit(entry)} ${entry.seq}`);
    if (entry.blackout) parts.push(`blackout ${span(entry.blackout)}`);
    if (entry.blackout) parts.push(`${entry.missed} missed`);
    return parts.join(", ") + (entry.reason ? `: ${entry.reason}` : ".");
  }

  function tick() {
    const now = phases.querySelector('[data-is="now"] .mono');
    const last = seen.at(-1);
    if (now && last) say(now, long((Date.now() + ahead - last.since / 1e6) / 1e3));
  }

  return { element, hear, status, tick, load };
}
