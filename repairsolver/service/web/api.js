// The interface: requests with the token, and events as they come.

const KEY = "repairsolver-token";

/** An answer that is an error; `status` as HTTP has it. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** A request; raises Refused. */
export async function ask(path, options = {}) {
  const headers = { Authorization: `Bearer ${token.get() ?? ""}`, ...options.headers };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server does not answer. Does it still run?");
  }
  if (!answer.ok) throw new Refused(answer.status, await reason(answer));
  return answer;
}

export const json = async (path, options) => (await ask(path, options)).json();

async function reason(answer) {
  try {
    const { detail } = await answer.json();
    return typeof detail === "string" ? detail : detail.map((d) => `${d.loc?.join(".")}: ${d.msg}`).join("; ");
  } catch {
    return `the server answered ${answer.status}`;
  }
}

/** Call `got(event, data)` for every event of a job until the last; goes on where it was after a broken connection. */
export async function follow(job, got, signal) {
  let last = "0";
  for (let tries = 0; ; tries++) {
    try {
      const answer = await ask(`/api/jobs/${job}/events`, { signal, headers: { "Last-Event-ID": last } });
      for await (const { id, event, data } of parsed(answer.body)) {
        tries = 0;
        last = id ?? last;
        if (event === "end") return;
        got(event, JSON.parse(data));
      }
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return;
      if (error instanceof Refused && error.status >= 400) throw error;
    }
    if (tries >= 20) throw new Refused(0, "The connection is lost. Reload the page to try again.");
    await new Promise((done) => setTimeout(done, Math.min(500 * 2 ** tries, 8000)));
  }
}

/** The events of a stream of server-sent events. */
async function* parsed(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = {};
      for (const line of block.split("\n")) {
        const cut = line.indexOf(": ");
        if (cut > 0) fields[line.slice(0, cut)] = line.slice(cut + 2);
      }
      if (fields.event) yield fields;
    }
  }
}

/** A file of a job as a URL of this page; give it back with URL.revokeObjectURL. */
export async function fileUrl(job, name) {
  return URL.createObjectURL(await (await ask(`/api/jobs/${job}/files/${encodeURIComponent(name)}`)).blob());
}
