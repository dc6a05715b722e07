// The steps of a deployment in plain words: each a line that can be read without knowing what it is called inside.

import { count, span } from "./words.js";

const NAMES = {
  spawned: "Started",
  imported: "Imported the new code",
  ready: "Ready",
  rehearsed: "Rehearsed",
  holding: "Held",
  handed: "Handed over",
  "first-tick": "First tick",
  turned: "Turned",
  restarting: "Starting again",
};

// Those whose text goes on where the name ends.
const GOES_ON = new Set(["spawned", "handed"]);

export function step(one) {
  const name = NAMES[one.step] ?? plain(one.step);
  const text = one.text ? (GOES_ON.has(one.step) ? `${name} ${one.text}` : `${name}: ${one.text}`) : name;
  return [text, ...numbers(one.step, one.facts ?? {})].join(", ");
}

function numbers(name, facts) {
  switch (name) {
    case "spawned":
      return facts.pid ? [`pid ${facts.pid}`] : [];
    case "handed":
      return [facts.seq ? `at tick ${count(facts.seq)}` : "", facts.blackout ? `blackout ${span(facts.blackout)}` : ""].filter(Boolean);
    case "first-tick":
      return [facts.late === undefined ? "" : `${span(facts.late)} late`, facts.missed ? `${count(facts.missed)} missed` : ""].filter(Boolean);
    default:
      return [];
  }
}

const plain = (name) => (name[0].toUpperCase() + name.slice(1)).replaceAll("-", " ");
