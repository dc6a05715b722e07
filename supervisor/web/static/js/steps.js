// The steps of a deployment as readable lines.

import { count, span, unit } from "./words.js";

const NAMES = {
  spawned: "Started",
  imported: "Imported the new code",
  ready: "Ready",
  rehearsed: "Rehearsed",
  holding: "Held",
  handed: "Handed over",
  "first-tick": "First tick",
  turned: "Turned",
  restarting: "Restarting",
};

// Steps whose text continues the name.
const GOES_ON = new Set(["spawned", "handed"]);

export function step(event) {
  const ready = event.step === "first-tick" && event.facts?.heartbeats;
  const name = ready ? "Ready to run" : (NAMES[event.step] ?? plain(event.step));
  const text = event.text ? (GOES_ON.has(event.step) ? `${name} ${event.text}` : `${name}: ${event.text}`) : name;
  return [text, ...numbers(event.step, event.facts ?? {})].join(", ");
}

function numbers(name, facts) {
  switch (name) {
    case "spawned":
      return facts.pid ? [`pid ${facts.pid}`] : [];
    case "handed":
      return [facts.seq ? `at ${unit(facts)} ${count(facts.seq)}` : "", facts.blackout ? `blackout ${span(facts.blackout)}` : ""].filter(Boolean);
    case "first-tick":
      return [facts.late === undefined ? "" : `${span(facts.late)} late`, facts.missed ? `${count(facts.missed)} missed` : ""].filter(Boolean);
    default:
      return [];
  }
}

const plain = (name) => (name[0].toUpperCase() + name.slice(1)).replaceAll("-", " ");
