// One job: how it goes, and what came of it.

import { ask, fileUrl, follow, json } from "./api.js";
import { Chart } from "./chart.js";
import { bytes, h, say, seconds, show, when } from "./dom.js";
import { badge } from "./jobs.js";

const OPEN = ["queued", "running"], WAITING = "Waiting for its turn";

/** Show a job until the signal aborts. */
export async function jobPage(place, id, signal, gone) {
  let job = await json(`/api/jobs/${id}`, { signal });
  const head = h("div", { class: "head" }), about = h("div", {}), live = h("section", { class: "card", "aria-label": "Progress", hidden: true });
  const result = h("div", {}), error = h("p", { class: "error", role: "alert" });
  show(place, h("p", { class: "crumb" }, h("a", { href: "#/" }, "Jobs"), " / "), head, error, about, live, result);
  const act = (work) => async () => {
    try { await work(); } catch (problem) { error.textContent = problem.message; }
  };
  const charts = chartsOf();
  const last = h("p", { class: "now" }, WAITING);
  show(live, h("h2", {}, "Progress"), last, h("div", { class: "charts" }, charts.map((chart) => chart.element)));
  const draw = throttled(() => charts.forEach((chart) => chart.draw()));
  const drawHead = () => {
    show(head, h("h1", {}, `${job.kind} ${job.number} `, badge(job)), h("div", { class: "actions" },
      OPEN.includes(job.state) ? h("button", { type: "button", onclick: act(async () => { job = await json(`/api/jobs/${id}/cancel`, { method: "POST" }); drawHead(); }) }, "Cancel") : null,
      OPEN.includes(job.state) ? null : h("button", { type: "button", class: "quiet", onclick: act(async () => { await ask(`/api/jobs/${id}`, { method: "DELETE" }); gone(); }) }, "Delete")));
    show(about, aboutOf(job));
  };
  drawHead();
  live.hidden = !OPEN.includes(job.state);
  await follow(id, (event, data) => {
    if (event === "job" && data !== null) {
      if (data.state !== job.state) say(`Job ${data.state}`);
      job = data;
      if (job.state === "running" && last.textContent === WAITING) last.textContent = "Starting";
      drawHead();
    } else if (event === "progress") {
      live.hidden = false;
      last.textContent = `${seconds(data.seconds)} · ${data.stage}: ${data.message}`;
      if (data.stage === "start") charts.forEach((chart) => chart.clear());
      charts.forEach((chart) => chart.add(data.seconds, data.numbers));
      draw();
    }
  }, signal).catch((problem) => { error.textContent = problem.message; });
  if (!signal.aborted && !OPEN.includes(job.state)) await showResult(result, job, signal, act);
}

function chartsOf() {
  return [
    new Chart({ title: "Norm of the change", lines: [
      { key: "cost", label: "candidates", style: "dots" }, { key: "best", label: "proved", style: "line" },
      { key: "lower_bound", label: "lower bound", style: "dashed" }] }),
    new Chart({ title: "Verified volume", percent: true, lowest: 0, highest: 1, lines: [{ key: "proved_volume", label: "proved", style: "line" }] }),
    new Chart({ title: "Best proved bound (positive: proved)", lines: [{ key: "bound", label: "bound", style: "line" }] }),
    new Chart({ title: "Counterexamples found at a time", lowest: 0, lines: [{ key: "points", label: "points", style: "dots" }] }),
    new Chart({ title: "Open boxes", lowest: 0, lines: [{ key: "open", label: "open", style: "line" }] }),
  ];
}

function aboutOf(job) {
  const files = Object.entries(job.inputs).flatMap(([slot, found]) => found.map((file) => [slot, `${file.name} (${bytes(file.size)})`]));
  const options = Object.entries(job.options).filter(([, v]) => v !== null).map(([k, v]) => [k.replaceAll("_", " "), String(v)]);
  const facts = [...files, ["submitted", when(job.created)],
    ...(job.ended && job.started ? [["took", seconds(job.ended - job.started)]] : []),
    ...(job.restarts ? [["restarted", `${job.restarts} time${job.restarts > 1 ? "s" : ""}`]] : [])];
  const failed = job.message ? h("p", { class: "error" }, job.reason ? `${job.reason}: ` : "", job.message) : null;
  return [failed, factsOf(facts), h("details", {}, h("summary", {}, "Options"), factsOf(options))];
}

function factsOf(facts) {
  return h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

async function showResult(place, job, signal, act) {
  if (job.files.length === 0) return;
  const downloads = job.files.map((name) => h("button", { type: "button", class: "download", onclick: act(() => download(job, name)) }, name));
  const parts = [h("section", { class: "card" }, h("h2", {}, "Files"), h("div", { class: "actions" }, downloads))];
  if (job.files.includes("result.json")) {
    const record = await (await ask(`/api/jobs/${job.id}/files/result.json`, { signal })).json();
    parts.unshift(h("section", { class: "card" }, h("h2", {}, "In plain words"), (record.explanation ?? []).map((line) => h("p", { class: "line" }, line))));
  }
  if (job.files.includes("report.html")) {
    const url = await fileUrl(job.id, "report.html");
    signal.addEventListener("abort", () => URL.revokeObjectURL(url));
    parts.push(h("section", { class: "report" }, h("div", { class: "head" }, h("h2", {}, "Report"),
      h("a", { class: "button", href: url, target: "_blank", rel: "noopener" }, "Open in a tab of its own")),
      h("iframe", { src: url, title: "Report of the job", sandbox: "" })));
  }
  show(place, parts);
}

async function download(job, name) {
  const url = await fileUrl(job.id, name);
  h("a", { href: url, download: `${job.kind}-${job.number}-${name}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** Call a function at most once a frame. */
function throttled(work) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; work(); });
  };
}
