// Which page is shown: by what stands behind the # of the address, and whether there is a token.

import { json, token } from "./api.js";
import { h, show } from "./dom.js";
import { jobPage } from "./job.js";
import { jobsPage } from "./jobs.js";
import { submitPage } from "./submit.js";

const place = document.getElementById("content"), leave = document.getElementById("leave");
let current = new AbortController();

const go = (hash) => { if (location.hash === hash) route(); else location.hash = hash; };

async function route() {
  if (location.hash === "#content") return;
  current.abort();
  current = new AbortController();
  const { signal } = current, path = location.hash.replace(/^#/, "") || "/";
  const given = path.match(/^token=(.+)$/);
  if (given) {
    token.set(decodeURIComponent(given[1]));
    history.replaceState(null, "", "#/");
    return route();
  }
  leave.hidden = !token.get();
  if (!token.get()) return tokenPage();
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${path}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  try {
    const job = path.match(/^\/jobs\/([0-9a-f]{32})$/);
    if (job) await jobPage(place, job[1], signal, () => go("#/"));
    else if (path === "/new") await submitPage(place, ({ id }) => go(`#/jobs/${id}`));
    else await jobsPage(place, signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.status === 401) { token.forget(); return tokenPage("This token is not the server's."); }
    show(place, h("p", { class: "error", role: "alert" }, error.message), h("p", {}, h("a", { href: "#/" }, "All jobs")));
  }
}

function tokenPage(problem = "") {
  leave.hidden = true;
  const input = h("input", { type: "password", id: "token", autocomplete: "off", required: true, "aria-describedby": "token-about" });
  const error = h("p", { class: "error", role: "alert" }, problem);
  const form = h("form", { class: "card narrow" }, h("h1", {}, "Token"),
    h("p", { class: "hint", id: "token-about" }, "The server prints it when it starts, at the end of its address."),
    h("div", { class: "field" }, h("label", { for: "token" }, "Token"), input), error,
    h("button", { type: "submit", class: "main" }, "Go on"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    token.set(input.value.trim());
    try { await json("/api/kinds"); route(); } catch (failed) {
      token.forget();
      error.textContent = failed.status === 401 ? "This token is not the server's." : failed.message;
    }
  });
  show(place, form);
  input.focus();
}

leave.addEventListener("click", () => { token.forget(); go("#/"); });
window.addEventListener("hashchange", () => { route(); place.focus({ preventScroll: true }); window.scrollTo(0, 0); });
route();
