// Formats numbers for people. Times are nanoseconds.

export function span(ns) {
  const us = ns / 1e3;
  if (us < 1) return "0 ms";
  if (us < 10_000) return `${(us / 1e3).toFixed(us < 1000 ? 3 : 2)} ms`;
  const ms = us / 1e3;
  if (ms < 1000) return `${ms.toFixed(0)} ms`;
  const s = ms / 1e3;
  if (s < 60) return `${s.toFixed(s < 10 ? 1 : 0)} s`;
  return long(s);
}

export function long(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return `${m} min ${String(s % 60).padStart(2, "0")} s`;
  const hours = Math.floor(m / 60);
  if (hours < 48) return `${hours} h ${String(m % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function clock(ns) {
  return new Date(ns / 1e6).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

export function when(ns) {
  const at = new Date(ns / 1e6);
  if (at.toDateString() === new Date().toDateString()) return clock(ns);
  return at.toLocaleString([], { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hour12: false });
}

export const count = (number) => Number(number).toLocaleString("en-GB").replaceAll(",", "\u202f");

// What an index on the bot's grid is: an event-driven bot has heartbeats where others have ticks.
export const unit = (about) => (about?.heartbeats ? "heartbeat" : "tick");

// A release's id is a time and a digest; the digest is what people compare.
export function release(id) {
  const [made, digest] = id.split("-");
  return digest ? `${digest}` : made;
}

export function outcome(name) {
  return { done: "done", rehearsed: "rehearsed", aborted: "aborted", rolled_back: "rolled back" }[name] ?? name;
}
