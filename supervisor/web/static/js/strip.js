// The tick strip: each tick a bar. Upwards how late it began, downwards how long it ran, both on a logarithmic scale;
// coloured by who ran it, with each change of the leader marked. A tick that did not run is a red gap: a handoff without
// one has left no hole.

import { h, put, say, sheet } from "./dom.js";
import { COUNT, DUE, EPOCH, LATE, MISSED, SEQ, SKIPPED, TOOK, draw, grouped, index, room } from "./strip_draw.js";
import { clock, count, span } from "./words.js";

const KEEP = 6000;
const SPANS = [
  ["each", "Each tick", 0],
  ["minute", "1 minute", 60],
  ["long", "10 minutes", 600],
];

export function strip() {
  let ticks = [];
  let heartbeats = false;
  let leads = [];
  let cursor = -1;
  let wanted = false;
  const canvas = h("canvas", { tabindex: "0", role: "img", "aria-label": "Ticks" });
  const legend = h("ul", { class: "legend small soft" });
  const caption = h("p", { class: "small mono" });
  const summary = h("p", { class: "small soft" });
  const zoom = h("select", { class: "span", "aria-label": "How much the strip shows" }, SPANS.map(([value, words]) => h("option", { value }, words)));
  let interval = 0;
  const element = sheet(
    "Every tick",
    { id: "strip", aside: [summary, zoom] },
    h("figure", { class: "strip" }, canvas, h("figcaption", { class: "caption" }, legend, caption)),
  );

  function begin(seen) {
    ticks = seen.ticks.slice(-KEEP);
    leads = seen.leads;
    redraw();
  }

  function more(rows) {
    const newest = ticks.length ? ticks[ticks.length - 1][SEQ] : -1;
    ticks.push(...rows.filter((row) => row[SEQ] > newest));
    if (ticks.length > KEEP + 500) ticks.splice(0, ticks.length - KEEP);
    redraw();
  }

  function lead(one) {
    if (!leads.some((known) => known.epoch === one.epoch && known.worker === one.worker)) leads.push(one);
    redraw();
  }

  function redraw() {
    if (wanted) return;
    wanted = true;
    requestAnimationFrame(() => {
      wanted = false;
      show();
    });
  }

  function show() {
    const seconds = SPANS.find(([value]) => value === zoom.value)[2];
    const size = interval ? Math.max(1, Math.ceil((seconds * 1e9) / interval / room(canvas))) : 1;
    const shown = draw(canvas, grouped(ticks, size), leads, cursor);
    const at = cursor < 0 ? null : shown[Math.min(cursor, shown.length - 1)];
    const workers = [...new Set(shown.map((tick) => tick[EPOCH]))];
    showLegend(workers, at);
    const sum = (at) => shown.filter((tick) => tick[COUNT]).reduce((all, tick, place) => all + (place || at === COUNT ? tick[at] : 0), 0);
    const [ran, skipped, missed] = [COUNT, SKIPPED, MISSED].map(sum);
    const worst = shown.reduce((most, tick) => Math.max(most, tick[LATE]), 0);
    const changes = workers.length - 1;
    const words = [`${count(ran)} ${heartbeats ? "heartbeats" : "ticks"}`, missed ? `${count(missed)} missed` : "no hole", `worst ${span(worst)} late`];
    if (skipped) words.push(`${count(skipped)} skipped by the bot`);
    if (changes > 0) words.push(`${changes} ${changes === 1 ? "change" : "changes"} of leader`);
    say(summary, ran ? words.join(", ") : `no ${heartbeats ? "heartbeat" : "tick"} yet`);
    canvas.setAttribute("aria-label", `Ticks: ${summary.textContent}`);
    Object.assign(element.dataset, { ticks: ran, skipped, missed, epochs: workers.length, leads: leads.length });
    say(caption, at ? wordsOf(at) : "");
  }

  // In the order of time, the newest last, and no two that look alike: those before are named when one points at
  // their ticks.
  function showLegend(workers, at) {
    const named = [];
    for (const epoch of workers.toReversed()) {
      if (named.some((other) => index(other) === index(epoch))) break;
      named.unshift(epoch);
    }
    const here = at?.[COUNT] ? at[EPOCH] : -1;
    const told = named.map((epoch) => {
      const one = by(epoch);
      return [epoch, `${one?.worker || "?"}, epoch ${epoch}${one?.at ? `, since ${clock(one.at)}` : ""}`];
    });
    const text = JSON.stringify([told, workers.length, here]);
    if (legend.dataset.text === text) return;
    legend.dataset.text = text;
    put(
      legend,
      workers.length > named.length
        ? h("li", {}, `${count(workers.length - named.length)} before these`)
        : null,
      told.map(([epoch, words]) =>
        h("li", { "aria-current": epoch === here ? "true" : null }, h("i", { class: `worker-${index(epoch)}` }), words),
      ),
    );
  }

  const by = (epoch) => leads.findLast((lead) => lead.epoch === epoch);

  function wordsOf(tick) {
    if (!tick[COUNT]) return `${count(tick[MISSED])} ticks before ${clock(tick[DUE])} missed`;
    const many = tick[COUNT] > 1 ? ` (worst of ${tick[COUNT]})` : "";
    const lost = tick[SKIPPED] ? `, skipped ${tick[SKIPPED]} before it` : "";
    return `${clock(tick[DUE])}, tick ${count(tick[SEQ])}${many}, ${by(tick[EPOCH])?.worker ?? "?"}: ${span(tick[LATE])} late, ran ${span(tick[TOOK])}${lost}`;
  }

  function point(event) {
    const place = canvas.getBoundingClientRect();
    cursor = Math.floor((event.clientX - place.left - (canvas.bars?.left ?? 0)) / (canvas.bars?.step ?? 4));
    if (cursor < 0 || cursor >= (canvas.bars?.count ?? 0)) cursor = -1;
    redraw();
  }

  // So fast that each tick would be gone in seconds: then show a minute of them.
  function paced(ns, eventDriven) {
    heartbeats = eventDriven;
    if (!ns || ns === interval) return;
    if (!interval && (ns * room(canvas)) / 1e9 < 30) zoom.value = "minute";
    interval = ns;
    redraw();
  }

  zoom.addEventListener("change", redraw);
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointerleave", () => {
    cursor = -1;
    redraw();
  });
  canvas.addEventListener("keydown", (event) => {
    const last = (canvas.bars?.count ?? 1) - 1;
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape") cursor = -1;
    else if (step === undefined) return;
    else cursor = Math.min(last, Math.max(0, (cursor < 0 ? last : cursor) + step));
    event.preventDefault();
    redraw();
  });
  new ResizeObserver(redraw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  return { element, begin, more, lead, paced };
}
