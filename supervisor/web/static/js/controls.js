// The operator's controls, and the outcome of each action.

import { get, post } from "./api.js";
import { field, h, put, say, sheet } from "./dom.js";
import { confirmHalt } from "./halt.js";
import { settings } from "./settings.js";
import { release, unit, when } from "./words.js";

export function controls(me) {
  const message = h("p", { class: "notice", role: "status", hidden: true });
  const operator = me.role === "operator";
  const which = h("select", { class: "mono", disabled: !operator });
  const why = h("input", { type: "text", maxlength: "200", disabled: !operator });
  const outages = h("div", { hidden: true });
  const note = h("p", { class: "small soft", id: "deploy-note", role: "status", hidden: true });
  const form = settings(operator, act);
  let status = null;
  let kept = [];

  const button = (name, words, kind, run) =>
    h("button", { type: "button", class: `button ${kind}`, disabled: !operator, "data-do": name, onclick: run }, words);
  const buttons = {
    deploy: button("deploy", "Deploy", "first", () =>
      act(() => post("deploy", { release: which.value, why: why.value }), (got) => `Deployment ${got.deployment} has begun.`),
    ),
    rollback: button("rollback", "Roll back", "", () =>
      act(() => post("rollback", { why: why.value }), (got) => `Rolling back to ${release(got.release)}.`),
    ),
    abort: button("abort", "Abort the deployment", "", () =>
      act(() => post("abort", { why: why.value }), () => "Cancelling the deployment; the bot goes on."),
    ),
    pause: button("pause", "Pause", "", () =>
      act(() => post("pause", { why: why.value }), (got) => `Paused at tick ${got.seq}: no new entries, exits go on.`),
    ),
    resume: button("resume", "Resume", "", () =>
      act(() => post("resume", { why: why.value }), (got) => `Resumed at tick ${got.seq}.`),
    ),
    halt: button("halt", "Halt…", "grave", async () => {
      if (await confirmHalt(me.bot)) {
        act(
          () => post("halt", { confirm: me.bot, why: why.value }),
          (got) => `Halted at tick ${got.seq}: ${got.halted ? "positions closed" : "the bot is paused; it has no on_halt"}.`,
        );
      }
    }),
  };

  for (const button of [buttons.deploy, buttons.rollback]) button.setAttribute("aria-describedby", note.id);

  const element = sheet(
    "Controls",
    { id: "controls", aside: h("p", { class: "aside small soft" }, operator ? "" : "Read-only: changes need an operator's token.") },
    h(
      "div",
      { class: "stack" },
      message,
      outages,
      h(
        "section",
        {},
        h("h3", {}, "Deploy a release that is kept"),
        h("div", { class: "stack" }, field("Release", which), field("Why (for the history)", why), h("div", { class: "buttons" }, buttons.deploy, buttons.rollback, buttons.abort), note),
      ),
      h(
        "section",
        {},
        h("h3", {}, "The bot"),
        h("div", { class: "buttons" }, buttons.pause, buttons.resume, buttons.halt),
      ),
    ),
  );

  async function act(run, words) {
    try {
      report("", words(await run()));
      return true;
    } catch (error) {
      report("bad", error.message);
      return false;
    }
  }

  // Deploys a release, or rolls back to it, and drops these fields of the state.
  const redeploy = (kind, id, drop) =>
    act(
      () => post(kind === "rollback" ? "rollback" : "deploy", { release: id, drop, why: why.value }),
      () => `${kind === "rollback" ? "Rolling back to" : "Deploying"} ${release(id)}; drops ${drop.join(", ")}.`,
    );

  function report(tone, text) {
    message.hidden = !text;
    message.dataset.tone = tone;
    say(message, text);
    // On a phone the message may be far from the button.
    if (tone === "bad") message.scrollIntoView({ block: "nearest" });
  }

  async function releases() {
    const got = await get("/api/releases");
    kept = got.releases;
    const chosen = which.value;
    put(
      which,
      kept.map((item) =>
        h(
          "option",
          { value: item.id },
          `${release(item.id)}, ${when(item.made_at)}${item.subject ? `, ${item.subject}` : ""}${item.current ? " (leads)" : item.id === got.previous ? " (before)" : ""}`,
        ),
      ),
    );
    // Never preselect the release that leads.
    const good = chosen !== got.current && kept.some((item) => item.id === chosen);
    const other = kept.find((item) => !item.current)?.id;
    which.value = good ? chosen : (got.previous || other || got.current || "");
  }

  function show(now) {
    const before = status;
    status = now;
    const busy = Boolean(now.deployment);
    const may = room(now);
    buttons.deploy.disabled = !operator || !may.deploy;
    buttons.rollback.disabled = !operator || !may.rollback;
    buttons.abort.hidden = !busy;
    note.hidden = !operator || !may.words;
    say(note, may.words);
    buttons.pause.disabled = !operator || now.paused || !now.worker;
    buttons.resume.disabled = !operator || !now.paused;
    buttons.halt.disabled = !operator || !now.worker;
    if (!before || before.release !== now.release || Boolean(before.deployment) !== busy) {
      releases().catch(() => {});
      if (now.worker) form.load();
    }
    form.status(now);
    showOutages(now.outages);
  }

  function showOutages(list) {
    const text = JSON.stringify(list);
    if (outages.dataset.text === text) return;
    outages.dataset.text = text;
    outages.hidden = !list.length;
    put(
      outages,
      list.map((item) =>
        h(
          "div",
          { class: "notice", "data-tone": item.until ? "warn" : "bad" },
          h("p", {}, `Outage ${item.id}, ${when(item.since)}: ${item.cause || "the leader died"}; ${item.missed} ${unit(item)}s missed`),
          item.in_doubt.length ? h("p", {}, `In doubt: ${item.in_doubt.map((doubt) => `${doubt.name} ${doubt.id}`).join(", ")}`) : null,
          item.until
            ? h(
                "button",
                {
                  type: "button",
                  class: "button",
                  disabled: !operator,
                  onclick: () => act(() => post("acknowledge", { outage: item.id, why: why.value }), () => `Outage ${item.id} is acknowledged.`),
                },
                "Acknowledge",
              )
            : null,
        ),
      ),
    );
  }

  return { element, settings: form.element, show, redeploy: operator ? redeploy : null };
}

// Which actions the supervisor accepts now, and why not. As in deployments.py: a deployment may be prepared while another
// is in its probation.
export function room(now) {
  const last = now.deployment;
  const proving = now.probation ?? (["probation", "retiring"].includes(last?.phase) ? last : null);
  const rollback = !last || proving?.phase === "probation";
  if (now.lock) return { deploy: false, rollback, words: `Deployments are locked by ${now.lock.who || "an operator"}: ${now.lock.why}` };
  if (!last) return { deploy: true, rollback, words: "" };
  if (last === proving) {
    return { deploy: true, rollback, words: `Deployment ${last.deployment} is in its probation: a new one is prepared meanwhile, and takes over when the probation has ended.` };
  }
  const after = proving ? `deployment ${proving.deployment} is in its probation, and only one more can be prepared` : "the next can begin during its probation";
  return { deploy: false, rollback, words: `Deployment ${last.deployment} is under way (${last.phase}): ${after}. Abort it to deploy another.` };
}
