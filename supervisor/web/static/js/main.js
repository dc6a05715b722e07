// The page: creates its parts and passes events to them.

import { get, listen, token } from "./api.js";
import { controls } from "./controls.js";
import { deployment } from "./deployment.js";
import { h, put, say } from "./dom.js";
import { login } from "./login.js";
import { now, tone } from "./now.js";
import { past } from "./past.js";
import { state as book } from "./state.js";
import { strip } from "./strip.js";

const root = document.getElementById("app");
const STORY = new Set(["deployment-started", "phase", "step", "output", "deployment-ended"]);
const PAST = new Set(["deployment-started", "deployment-ended", "command", "outage"]);

function open(me) {
  const panel = controls(me);
  const parts = { now: now(), strip: strip(), deployment: deployment(panel.redeploy), controls: panel };
  const held = book();
  const before = past((number) => {
    parts.deployment.load(number).then(() => parts.deployment.element.scrollIntoView({ block: "nearest" }));
  });
  const state = h("span", { class: "pill", role: "status" }, "…");
  const link = h("span", { class: "pill", role: "status" }, "connecting");
  document.title = me.bot;
  put(
    root,
    h(
      "header",
      { class: "top" },
      h("h1", {}, me.bot),
      state,
      h(
        "div",
        { class: "who" },
        link,
        h("a", { class: "small", href: "/docs" }, "HTTP"),
        h("span", { class: "small soft" }, `${me.name}, ${me.role}`),
        h("button", { type: "button", class: "button plain", onclick: leave }, "Log out"),
      ),
    ),
    h(
      "main",
      { id: "main", tabindex: "-1" },
      parts.now.element,
      parts.strip.element,
      h("div", { class: "pair" }, h("div", { class: "column" }, parts.deployment.element, parts.controls.settings), parts.controls.element),
      held.element,
      before.element,
    ),
  );

  let waiting = null; // ticks that arrived before the first load
  let later = 0;

  function show(status) {
    say(state, status.state);
    state.dataset.tone = tone(status.state);
    document.title = `${status.state === "running" ? "" : `${status.state}: `}${me.bot}`;
    for (const part of [parts.now, parts.controls]) part.show(status);
    parts.deployment.status(status);
    parts.strip.paced(status.interval, status.event_driven);
  }

  function look() {
    waiting = [];
    get("/api/status").then(show, () => {});
    get("/api/ticks?limit=20000&pieces=4000")
      .then((seen) => {
        const come = waiting ?? [];
        waiting = null;
        parts.strip.begin(seen);
        come.forEach((rows) => parts.strip.more(rows));
      })
      .catch(() => {});
    before.load().catch(() => {});
  }

  function hear(type, data) {
    if (type === "lost") {
      if (data?.status === 401 || data?.status === 403) return leave(data.message);
      say(link, "no connection");
      link.dataset.tone = "bad";
      return undefined;
    }
    if (link.dataset.tone !== "good") {
      say(link, "live");
      link.dataset.tone = "good";
    }
    if (type === "begin" || type === "reset") look();
    else if (type === "ticks") waiting ? waiting.push(data) : parts.strip.more(data);
    else if (type === "lead") parts.strip.lead(data);
    else if (type === "status") show(data);
    else if (STORY.has(type)) parts.deployment.hear(type, data);
    if (PAST.has(type)) {
      clearTimeout(later);
      later = setTimeout(() => before.load().catch(() => {}), 300);
    }
    return undefined;
  }

  const stop = listen(hear);
  const timer = setInterval(() => {
    parts.now.countDown();
    parts.deployment.tick();
  }, 1000);

  function leave(words = "") {
    stop();
    clearInterval(timer);
    token.drop();
    document.title = "neverblink";
    login(root, open, typeof words === "string" ? words : "");
  }
}

if (token.get()) get("/api/me").then(open, (error) => login(root, open, error.status === 401 ? "" : error.message));
else login(root, open);
