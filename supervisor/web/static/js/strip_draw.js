// Draws the strip. Knows ticks and pixels, and nothing else.

import { clock } from "./words.js";

const WORKERS = 4;
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

// Which of the colours a leader's ticks have: neighbours in time differ.
export const index = (epoch) => epoch % WORKERS;

// Ticks put together by `size`, with the worst of each: always the same ones, so that bars stand still while more come.
// What did not run, and a change of the leader, begin a bar of their own.
export function grouped(ticks, size) {
  if (size <= 1) return ticks;
  const bars = [];
  for (const tick of ticks) {
    const last = bars.at(-1);
    const same = last && last[5] === tick[5] && !tick[6] && Math.floor(last[0] / size) === Math.floor(tick[0] / size);
    if (!same) bars.push([...tick]);
    else {
      last[0] = tick[0];
      last[1] += tick[1];
      last[2] = tick[2];
      last[3] = Math.max(last[3], tick[3]);
      last[4] = Math.max(last[4], tick[4]);
    }
  }
  return bars;
}

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
  const most = Math.max(1e7, ...shown.map((tick) => Math.max(tick[3], tick[4])));
  const part = (ns) => Math.max(0, Math.log10(Math.max(ns, LEAST) / LEAST) / Math.log10(most / LEAST));

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
      const lift = part(ns) * up;
      if (ns > most) break;
      line(middle - lift);
      pen.fillStyle = colour("soft");
      pen.fillText(label, LEFT - 8, middle - lift);
      line(middle + part(ns) * down);
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
    if (tick[6] && place) {
      // What did not run is to be seen from across the room.
      pen.fillStyle = colour("bad");
      pen.fillRect(x - 1, HEAD, 2, height - HEAD - FOOT);
    }
    pen.fillStyle = colour(`worker-${index(tick[5])}`);
    pen.globalAlpha = cursor === place ? 1 : cursor < 0 ? 0.95 : 0.5;
    const lift = Math.max(2, part(tick[3]) * up);
    pen.fillRect(x, middle - lift, step - 1, lift);
    pen.globalAlpha *= 0.55;
    pen.fillRect(x, middle + 1, step - 1, Math.max(1.5, part(tick[4]) * down));
    pen.globalAlpha = 1;
  }

  function changes() {
    let free = LEFT;
    for (const lead of leads) {
      const place = shown.findIndex((tick) => tick[5] === lead.epoch);
      if (place < 1 || shown[place - 1][5] === lead.epoch || !lead.at) continue;
      const x = left + place * step - 1;
      const failed = lead.cause === "failover" || lead.cause === "takeback";
      pen.strokeStyle = colour(failed ? "bad" : "ink");
      pen.setLineDash(failed ? [] : [3, 3]);
      pen.beginPath();
      pen.moveTo(x + 0.5, 4);
      pen.lineTo(x + 0.5, height - FOOT + 4);
      pen.stroke();
      pen.setLineDash([]);
      const name = lead.deployment ? `deploy ${lead.deployment}` : lead.cause;
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
    if (shown.length * step > 160) pen.fillText(clock(shown[0][2]), left, height - 7);
    pen.textAlign = "right";
    pen.fillText(clock(shown.at(-1)[2]), left + shown.length * step, height - 7);
  }
}
