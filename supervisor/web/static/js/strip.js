// The tick strip: each tick a bar. Upwards how late it began, downwards how long it ran, both on a logarithmic scale;
// coloured by who ran it, with each change of the leader marked. A tick that did not run is a red gap: a handoff without
// one has left no hole.

import { h, put, say, sheet } from "./dom.js";
import { draw, grouped, index, room } from "./strip_draw.js";
import { clock, count, span } from "./words.js";

const KEEP = 6000;
const SPANS = [
  ["each", "Each tick", 0],
  ["minute", "1 minute", 60],
  ["long", "10 minutes", 600],
];

export function strip() {
  let ticks = [];
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
    const newest = ticks.length ? ticks[ticks.length - 1][0] : -1;
    ticks.push(...rows.filter((row) => row[0] > newest));
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
    const size = interval ? Math.ceil((seconds * 1e9) / interval / room(canvas)) : 1;
    const shown = draw(canvas, grouped(ticks, size), leads, cursor);
    const workers = [...new Map(shown.map((tick) => [tick[5], by(tick[5])])).entries()];
    const text = JSON.stringify(workers.map(([epoch, one]) => [epoch, one?.worker]));
    if (legend.dataset.text !== text) {
      legend.dataset.text = text;
      put(
        legend,
        workers.map(([epoch, one]) =>
          h("li", {}, h("i", { class: `worker-${index(epoch)}` }), `${one?.worker || "?"}, epoch ${epoch}`),
        ),
      );
    }
    const ran = shown.reduce((sum, tick) => sum + tick[1], 0);
    const lost = shown.slice(1).reduce((sum, tick) => sum + tick[6], 0);
    const worst = shown.reduce((most, tick) => Math.max(most, tick[3]), 0);
    const changes = workers.length - 1;
    say(
      summary,
      ran
        ? `${count(ran)} ticks, ${lost ? `${count(lost)} did not run` : "no hole"}, worst ${span(worst)} late` +
            (changes > 0 ? `, ${changes} ${changes === 1 ? "handoff" : "handoffs"} in view` : "")
        : "no tick yet",
    );
    canvas.setAttribute("aria-label", `Ticks: ${summary.textContent}`);
    Object.assign(element.dataset, { ticks: ran, lost, epochs: workers.length, leads: leads.length });
    const at = cursor < 0 ? null : shown[Math.min(cursor, shown.length - 1)];
    say(caption, at ? wordsOf(at) : "");
  }

  const by = (epoch) => leads.findLast((lead) => lead.epoch === epoch);

  function wordsOf(tick) {
    const many = tick[1] > 1 ? ` (worst of ${tick[1]})` : "";
    const lost = tick[6] ? `, ${tick[6]} before it did not run` : "";
    return `${clock(tick[2])}  tick ${count(tick[0])}${many}  ${by(tick[5])?.worker ?? "?"}  ${span(tick[3])} late  ran ${span(tick[4])}${lost}`;
  }

  function point(event) {
    const place = canvas.getBoundingClientRect();
    cursor = Math.floor((event.clientX - place.left - (canvas.bars?.left ?? 0)) / (canvas.bars?.step ?? 4));
    if (cursor < 0 || cursor >= (canvas.bars?.count ?? 0)) cursor = -1;
    redraw();
  }

  // So fast that each tick would be gone in seconds: then a minute of them is what somebody wants to see.
  function paced(ns) {
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
