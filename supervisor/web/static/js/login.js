// The login: tries the token before showing anything.

import { get, token } from "./api.js";
import { field, h, put, say } from "./dom.js";

export function login(root, then, words = "") {
  const secret = h("input", { type: "password", class: "mono", autocomplete: "current-password", required: true });
  const problem = h("p", { class: "notice", "data-tone": "bad", role: "alert", hidden: !words }, words);
  const form = h(
    "form",
    {
      onsubmit: async (event) => {
        event.preventDefault();
        token.set(secret.value.trim());
        try {
          then(await get("/api/me"));
        } catch (error) {
          token.drop();
          problem.hidden = false;
          say(problem, error.message);
          secret.select();
        }
      },
    },
    h("input", { type: "text", name: "username", autocomplete: "username", value: "neverblink", hidden: true }),
    field("Token", secret),
    problem,
    h("button", { class: "button first" }, "Log in"),
  );
  put(
    root,
    h(
      "main",
      { id: "main", class: "gate" },
      h("div", {}, h("h1", {}, "neverblink"), h("p", { class: "soft" }, "This page needs a token. On the bot's machine, ", h("code", {}, "neverblink token add NAME"), " creates one.")),
      form,
    ),
  );
  secret.focus();
}
