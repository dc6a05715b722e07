// Draws the strip. Knows ticks and pixels, and nothing else.

import { clock } from "./words.js";

// A tick is an array: see `Tick` in ticks.py.
export const [SEQ, COUNT, DUE, LATE, TOOK, EPOCH, SKIPPED, MISSED] = [0, 1, 2, 3, 4, 5, 6, 7];

const COLOURS = 8;
const MOST_HOLES = 40;
const LEFT = 52;
const FOOT = 18;
const HEAD = 28;
const LEAST = 1e4; // 10 µs is the base line
const MARKS = [
  [1e5, "0.1 ms"],
  [1e6, "1 ms"],
  [1e7, "10 ms"],
  [1e8, "100 ms"],
];

// Which of the colours a leader's ticks have: so many in a row differ.
export const index = (epoch) => epoch % COLOURS;

// Ticks as bars: put together by `size`, with the worst of each, and always the same ones, so that bars stand still
// while more come. A missed tick is an empty bar, one for each `size` of them.
export function grouped(ticks, size) {
  const bars = [];
  for (const tick of ticks) {
    const last = bars.at(-1);
    const alone = tick[SKIPPED] || tick[MISSED];
    if (last && !alone && last[EPOCH] === tick[EPOCH] && part(last, size) === part(tick, size)) {
      last[SEQ] = tick[SEQ];
      last[COUNT] += tick[COUNT];
      last[DUE] = tick[DUE];
      last[LATE] = Math.max(last[LATE], tick[LATE]);
      last[TOOK] = Math.max(last[TOOK], tick[TOOK]);
      continue;
    }
    if (last && tick[MISSED]) {
      const holes = Math.min(MOST_HOLES, Math.ceil(tick[MISSED] / size));
      for (let hole = 0; hole < holes; hole++) bars.push([tick[SEQ], 0, tick[DUE], 0, 0, tick[EPOCH], 0, tick[MISSED]]);
    }
    bars.push([...tick]);
  }
  return bars;
}

const part = (tick, size) => Math.floor(tick[SEQ] / size);

// How many bars there is room for.
export function room(canvas) {
  const step = canvas.clientWidth > 700 ? 4 : 3;
  return Math.max(1, Math.floor((canvas.clientWidth - LEFT - 6) / step));
}

// Draws as many of the newest ticks as there is room for, and returns them.
export function draw(canvas, ticks, leads, cursor) {
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  const scale = window.devicePixelRatio || 1;
  if (!width || !height) return [];
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const step = width > 700 ? 4 : 3;
  const places = room(canvas);
  const shown = ticks.slice(-places);
  // The newest is at the right edge, where an instrument has it.
  const left = LEFT + (places - shown.length) * step;
  canvas.bars = { left, step, count: shown.length };

  const middle = HEAD + (height - HEAD - FOOT) * 0.58;
  const up = middle - HEAD;
  const down = height - FOOT - middle;
  const most = Math.max(1e7, ...shown.map((tick) => Math.max(tick[LATE], tick[TOOK])));
  const share = (ns) => Math.max(0, Math.log10(Math.max(ns, LEAST) / LEAST) / Math.log10(most / LEAST));

  grid();
  shown.forEach(bar);
  changes();
  words();
  return shown;

  function grid() {
    pen.font = `11px ${style.getPropertyValue("--mono")}`;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    pen.strokeStyle = colour("line");
    pen.lineWidth = 1;
    for (const [ns, label] of MARKS) {
      const lift = share(ns) * up;
      if (ns > most) break;
      line(middle - lift);
      pen.fillStyle = colour("soft");
      pen.fillText(label, LEFT - 8, middle - lift);
      line(middle + share(ns) * down);
    }
    pen.strokeStyle = colour("edge");
    line(middle);
  }

  function line(y) {
    const at = Math.round(y) + 0.5;
    pen.beginPath();
    pen.moveTo(LEFT, at);
    pen.lineTo(width, at);
    pen.stroke();
  }

  function bar(tick, place) {
    const x = left + place * step;
    if (!tick[COUNT]) {
      // Missed ticks are drawn large.
      pen.fillStyle = colour("bad");
      pen.globalAlpha = cursor === place ? 0.9 : 0.6;
      pen.fillRect(x - 1, HEAD, step, height - HEAD - FOOT);
      pen.globalAlpha = 1;
      return;
    }
    if (tick[SKIPPED] && place) {
      pen.fillStyle = colour("warn");
      pen.fillRect(x - 1, HEAD, 1, height - HEAD - FOOT);
    }
    pen.fillStyle = colour(`worker-${index(tick[EPOCH])}`);
    pen.globalAlpha = cursor === place ? 1 : cursor < 0 ? 0.95 : 0.5;
    const lift = Math.max(2, share(tick[LATE]) * up);
    pen.fillRect(x, middle - lift, step - 1, lift);
    pen.globalAlpha *= 0.55;
    pen.fillRect(x, middle + 1, step - 1, Math.max(1.5, share(tick[TOOK]) * down));
    pen.globalAlpha = 1;
  }

  function changes() {
    let free = LEFT;
    for (const lead of leads) {
      const place = shown.findIndex((tick) => tick[EPOCH] === lead.epoch);
      if (place < 1 || !lead.at) continue;
      const x = left + place * step - 1;
      // The first leader has no predecessor; a first one with a predecessor was started after a death.
      const failed = lead.cause !== "handoff";
      pen.strokeStyle = colour(failed ? "bad" : "ink");
      pen.setLineDash(failed ? [] : [3, 3]);
      pen.beginPath();
      pen.moveTo(x + 0.5, 4);
      pen.lineTo(x + 0.5, height - FOOT + 4);
      pen.stroke();
      pen.setLineDash([]);
      const name = lead.deployment ? `deploy ${lead.deployment}` : lead.cause === "first" ? "restart" : lead.cause;
      const label = `${name}: ${lead.before || "?"} → ${lead.worker}`;
      pen.font = `600 11.5px ${style.getPropertyValue("--sans")}`;
      const wide = pen.measureText(label).width;
      const right = x + 6 + wide < width;
      if (right ? x + 6 < free : x - 6 - wide < free) continue;
      pen.textAlign = right ? "left" : "right";
      pen.fillStyle = colour(failed ? "bad" : "ink");
      pen.fillText(label, right ? x + 6 : x - 6, 9);
      free = right ? x + 12 + wide : x;
    }
  }

  function words() {
    pen.font = `11px ${style.getPropertyValue("--sans")}`;
    pen.fillStyle = colour("soft");
    pen.textAlign = "right";
    pen.fillText("late ↑", LEFT - 8, 9);
    pen.fillText("ran ↓", LEFT - 8, height - FOOT - 4);
    if (!shown.length) return;
    pen.textAlign = "left";
    if (shown.length * step > 160) pen.fillText(clock(shown[0][DUE]), left, height - 7);
    pen.textAlign = "right";
    pen.fillText(clock(shown.at(-1)[DUE]), left + shown.length * step, height - 7);
  }
}
