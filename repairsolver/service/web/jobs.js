// The list of jobs.

import { json } from "./api.js";
import { h, say, seconds, show, when } from "./dom.js";

const EVERY = 2000;
export const WORDS = { unsat: "holds", sat: "violated" };

/** Show the list, and keep it fresh until the signal aborts. */
export async function jobsPage(place, signal) {
  const table = h("div", {}), counts = h("p", { class: "counts" });
  show(place, h("div", { class: "head" }, h("h1", {}, "Jobs"), h("a", { class: "button main", href: "#/new" }, "New job")), counts, table);
  let most = 50, before = "";
  const refresh = async () => {
    const page = await json(`/api/jobs?most=${most}`, { signal });
    const told = Object.entries(page.counts).filter(([, n]) => n).map(([state, n]) => `${n} ${state}`).join(", ");
    counts.textContent = told || "No jobs yet.";
    const now = JSON.stringify(page.jobs);
    if (now !== before) show(table, tableOf(page.jobs), page.jobs.length === most && most < 200 ? more() : null);
    if (before && now !== before) say(`Jobs: ${told}`);
    before = now;
  };
  const more = () => h("button", { type: "button", class: "quiet", onclick: () => { most = 200; refresh(); } }, "Show older jobs");
  await refresh();
  const timer = setInterval(() => document.hidden || refresh().catch((error) => { counts.textContent = error.message; }), EVERY);
  signal.addEventListener("abort", () => clearInterval(timer));
}

function tableOf(jobs) {
  if (jobs.length === 0) {
    return h("div", { class: "card empty" }, h("p", {}, "Submit a network and a property: they are verified, or repaired, here."));
  }
  const head = ["Job", "Files", "State", "Submitted", "Time"].map((text) => h("th", { scope: "col" }, text));
  return h("div", { class: "wide", role: "region", "aria-label": "Jobs", tabindex: "0" },
    h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, jobs.map(rowOf))));
}

function rowOf(job) {
  const files = Object.values(job.inputs).flat().map((file) => file.name).join(", ");
  const end = job.ended ?? Date.now() / 1000;
  return h("tr", {},
    h("td", {}, h("a", { href: `#/jobs/${job.id}` }, `${job.kind} ${job.number}`)),
    h("td", { class: "files" }, files),
    h("td", {}, badge(job)),
    h("td", {}, when(job.created)),
    h("td", { class: "number" }, job.started ? seconds(end - job.started) : ""));
}

/** The state of a job; of one that is done, its answer. */
export function badge(job) {
  const answer = job.state === "done" ? (WORDS[job.answer] ?? job.answer) : job.state;
  return h("span", { class: `badge ${job.state} answer-${job.answer}` }, answer);
}
