// The live log: its last lines first, then new ones. Polled only while it is shown.

import { get } from "./api.js";
import { h, put } from "./dom.js";

const KEEP = 1500;
const EVERY = 1500;

export function log(wanted) {
  const element = h("div", { class: "log", "aria-label": "Log" });
  let lines = [];
  let after = "";
  let timer = 0;
  let looking = false;
  let shown = "";

  async function look() {
    if (looking || document.hidden) return;
    looking = true;
    try {
      const page = await get(after ? `/api/logs?after=${encodeURIComponent(after)}` : "/api/logs?lines=300");
      after = page.next;
      if (page.lines.length) {
        lines = [...lines, ...page.lines].slice(-KEEP);
        show();
      }
    } catch {
      // The next poll may succeed; the top of the page shows a lost connection.
    } finally {
      looking = false;
    }
  }

  function on(is) {
    clearInterval(timer);
    if (!is) return;
    look();
    timer = setInterval(look, EVERY);
  }

  function show() {
    const word = wanted();
    const found = lines.filter((line) => !word || `${line.worker} ${line.release} ${line.text}`.toLowerCase().includes(word));
    const text = `${word}\n${lines.length}\n${lines.at(-1)?.text}`;
    if (text === shown && element.childElementCount) return;
    shown = text;
    const atEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
    put(element, found.length ? found.map((line) => h("p", { "data-level": line.level }, h("b", {}, line.worker), h("span", {}, `${line.time} ${line.text}`.trim()))) : h("span", { class: "soft" }, "No matches."));
    if (atEnd) element.scrollTop = element.scrollHeight;
  }

  return { element, on, show };
}
