// The current state: leader, next windows, open decisions, warnings, and the last deployment.

import { h, put, say, sheet } from "./dom.js";
import { count, long, outcome, release, span, when } from "./words.js";

const TONES = { running: "good", paused: "warn", starting: "warn", recovering: "warn", stopping: "warn", down: "bad" };

export const tone = (state) => TONES[state] ?? "";

export function now() {
  const figures = {};
  const figure = (key, label, word = false) => {
    figures[key] = { label: h("dt", {}, label), value: h("dd", { class: word ? "word" : "" }), note: h("span", { class: "note" }) };
    return h("div", { class: "figure" }, figures[key].label, figures[key].value);
  };
  const windows = h("ul", { class: "rows" });
  const decisions = h("ul", { class: "rows" });
  const last = h("ul", { class: "rows" });
  const notices = h("div", { class: "notices", role: "status" });
  const element = sheet(
    "Now",
    { id: "now" },
    notices,
    h(
      "dl",
      { class: "figures" },
      figure("tick", "Tick"),
      figure("late", "Worst lateness so far"),
      figure("leader", "Leader"),
      figure("epoch", "Epoch"),
      figure("release", "Release"),
      figure("inbox", "Events waiting"),
    ),
    h(
      "div",
      { class: "lists" },
      h("div", {}, h("h3", {}, "Windows"), windows),
      h("div", {}, h("h3", {}, "Open decisions"), decisions),
      h("div", {}, h("h3", {}, "Last deployment"), last),
    ),
  );

  let status = null;
  let ahead = 0;

  function set(key, value, note = "") {
    const { value: dd, note: small } = figures[key];
    const text = String(value);
    if (dd.dataset.value === text && small.textContent === note) return;
    dd.dataset.value = text;
    small.textContent = note;
    put(dd, text, note ? small : null);
  }

  function show(next) {
    status = next;
    ahead = status.at / 1e6 - Date.now();
    say(figures.tick.label, status.event_driven ? "Turns" : "Tick");
    if (status.event_driven) set("tick", count(status.turns), `no ticks, a heartbeat every ${span(status.interval)}`);
    else set("tick", status.seq ? count(status.seq) : "none yet", status.interval ? `one every ${span(status.interval)}` : "");
    set("late", span(status.late_max), status.skipped ? `${count(status.skipped)} skipped` : "none skipped");
    set("leader", status.worker || "none", status.pid ? `pid ${status.pid}, Python ${status.python}` : status.reason);
    set("epoch", status.epoch, status.since ? `since ${when(status.since)}` : "");
    set("release", status.release ? release(status.release) : "none", status.release);
    set("inbox", count(status.inbox?.waiting ?? 0), status.journal?.failing ? "" : "journal is written");
    showNotices();
    showLast();
    countDown();
  }

  function showNotices() {
    const warnings = [];
    if (status.reason) warnings.push(["bad", `${status.state}: ${status.reason}`]);
    if (status.next_start) {
      const { at, release: next } = status.next_start;
      warnings.push(["warn", `Next start: ${at ? when(at) : "now"}, on release ${next}`]);
    }
    if (status.pause) {
      const { op, who, why, at } = status.pause;
      warnings.push(["warn", op === "journal" ? `Paused since ${when(at)}: ${why}` : `${op === "halt" ? "Halted" : "Paused"} by ${who || "unknown"} since ${when(at)}${why ? `: ${why}` : ""}`]);
    }
    if (status.slow) warnings.push(["bad", `The leader is slow: ${status.slow}`]);
    if (status.journal?.failing) warnings.push(["bad", `The journal cannot be written: ${status.journal.failing}`]);
    for (const item of status.problems ?? []) warnings.push(["bad", `State field ${item.path} does not read back as it was written: expected ${item.expected}, found ${item.found}. ${item.mend}`]);
    if (status.unverified?.length) warnings.push(["warn", `State not read back: ${status.unverified.join(", ")}. This takes longer than the time between two turns.`]);
    for (const item of (status.tasks ?? []).filter((task) => !["running", "starting"].includes(task.state))) {
      warnings.push([item.state === "unhealthy" ? "bad" : "warn", `${item.kind === "thread" ? "Thread" : "Task"} ${item.name} is ${item.state} since ${when(item.since)}${item.error ? `: ${item.error}` : ""}${item.row > 1 ? `, ${count(item.row)} times in a row` : ""}`]);
    }
    const lost = [["refused", "events refused (inbox full)"], ["discarded", "events dropped (inbox full)"], ["missing", `numbers missing, last ${status.inbox?.gap}`]].filter(([key]) => status.inbox?.[key]);
    if (lost.length) warnings.push(["warn", `Inbox, since the worker started: ${lost.map(([key, text]) => `${count(status.inbox[key])} ${text}`).join(", ")}`]);
    if (status.lock) warnings.push(["warn", `Deployments are locked by ${status.lock.who || "an operator"}: ${status.lock.why}`]);
    if (status.standby?.reason) warnings.push(["warn", `Standby ${status.standby.state}: ${status.standby.reason}`]);
    for (const item of status.notify.filter((target) => target.state === "failing")) {
      const rest = [item.waiting ? `${count(item.waiting)} waiting` : "", item.lost ? `${count(item.lost)} lost` : ""].filter(Boolean).join(", ");
      warnings.push(["bad", `Notifications to "${item.name}" have failed since ${when(item.since)}: ${item.reason}${rest ? ` (${rest})` : ""}`]);
    }
    const text = JSON.stringify(warnings);
    if (notices.dataset.text === text) return;
    notices.dataset.text = text;
    put(notices, warnings.map(([tone, line]) => h("p", { class: "notice", "data-tone": tone }, line)));
  }

  function showLast() {
    const ended = status.last;
    if (!ended) {
      put(last, h("li", { class: "soft" }, "none so far"));
      return;
    }
    const row = (label, value) => h("li", {}, h("span", {}, label), h("span", { class: "value" }, value));
    put(
      last,
      row(`Number ${ended.deployment}`, outcome(ended.outcome)),
      row("Ended", when(ended.at)),
      ended.blackout ? row("Blackout", span(ended.blackout)) : null,
      ended.blackout ? row("Ticks missed", String(ended.missed)) : null,
      ended.reason ? h("li", { class: "soft" }, ended.reason) : null,
    );
  }

  // Called once a second.
  function countDown() {
    if (!status) return;
    const at = (Date.now() + ahead) * 1e6;
    list(
      windows,
      status.windows.map((window) => {
        const open = at >= window.opens && at < window.closes;
        const left = (open ? window.closes - at : window.opens - at) / 1e9;
        const words = left < 0 ? "…" : open ? `open, ${long(left)} left` : `in ${long(left)}`;
        return [window.name + (window.protected ? "" : " (not protected)"), words];
      }),
      "none",
    );
    list(
      decisions,
      status.decisions.map((item) => [`${item.name} ${item.id}`, `${long((at - item.at) / 1e9)}`]),
      "none",
    );
  }

  function list(element, rows, none) {
    const text = JSON.stringify(rows);
    if (element.dataset.text === text) return;
    element.dataset.text = text;
    const items = rows.map(([label, value]) => h("li", {}, h("span", {}, label), h("span", { class: "value" }, value)));
    put(element, items.length ? items : h("li", { class: "soft" }, none));
  }

  return { element, show, countDown };
}

