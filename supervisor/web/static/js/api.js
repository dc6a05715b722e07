// Requests to the web process: queries, commands, and the stream of events.
//
// The token is kept in sessionStorage and sent in a header. There is no cookie, so no other page can use it.

const KEY = "neverblink-token";

export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `the server answered ${status}`);
    this.status = status;
    this.code = error?.code ?? "";
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  drop: () => sessionStorage.removeItem(KEY),
};

const headers = (more = {}) => ({ Authorization: `Bearer ${token.get()}`, ...more });

export async function get(path) {
  return answer(await fetch(path, { headers: headers(), cache: "no-store" }));
}

export async function post(op, body = {}) {
  const request = { method: "POST", headers: headers({ "Content-Type": "application/json" }), body: JSON.stringify(body) };
  return answer(await fetch(`/api/${op}`, request));
}

async function answer(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    // An answer that is not JSON is reported by its status.
  }
  if (!response.ok) throw new Refused(response.status, body?.error);
  return body;
}

// Calls hear(type, data) for each event until the returned function is called. Reconnects and resumes after a break;
// hear("reset") means that events were missed, hear("lost", error) that there is no connection.
export function listen(hear) {
  let last = "";
  let stopped = false;
  const control = new AbortController();

  async function connect() {
    const response = await fetch("/api/events", {
      headers: headers(last ? { "Last-Event-ID": last } : {}),
      cache: "no-store",
      signal: control.signal,
    });
    if (!response.ok) throw new Refused(response.status, (await response.json().catch(() => null))?.error);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) parse(block);
    }
  }

  function parse(block) {
    let type = "";
    let data = "";
    for (const line of block.split("\n")) {
      if (line.startsWith("event: ")) type = line.slice(7);
      else if (line.startsWith("data: ")) data = line.slice(6);
      else if (line.startsWith("id: ")) last = line.slice(4);
    }
    if (type) hear(type, JSON.parse(data));
  }

  (async () => {
    for (let pause = 500; !stopped; pause = Math.min(pause * 2, 8000)) {
      const since = performance.now();
      try {
        await connect();
        hear("lost", null);
      } catch (error) {
        if (stopped) return;
        hear("lost", error);
        if (error.status === 401 || error.status === 403) return;
      }
      if (performance.now() - since > 5000) pause = 500;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  })();

  return () => {
    stopped = true;
    control.abort();
  };
}
