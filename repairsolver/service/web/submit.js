// The form for a new job, made from what the server says can be asked.

import { ask, json } from "./api.js";
import { bytes, h, say, show } from "./dom.js";

/** Show the form; `done(job)` when a job was submitted. */
export async function submitPage(place, done) {
  const kinds = await json("/api/kinds");
  const form = h("div", { class: "card" });
  const choose = (kind) => show(form, formOf(kind, done));
  const choices = kinds.map((kind, index) =>
    h("label", { class: "choice" },
      h("input", { type: "radio", name: "kind", value: kind.name, checked: index === 0, onchange: () => choose(kind) }),
      h("span", { class: "title" }, kind.title), h("span", { class: "about" }, kind.about)));
  show(place, h("h1", {}, "New job"), h("fieldset", { class: "choices" }, h("legend", {}, "What shall be done?"), choices), form);
  choose(kinds[0]);
}

function formOf(kind, done) {
  const error = h("p", { class: "error", role: "alert" });
  const button = h("button", { type: "submit", class: "main" }, "Submit");
  const properties = kind.options.properties;
  const fields = Object.entries(properties).map(([name, field]) => optionField(name, field));
  const simple = fields.filter(({ name }) => ["seconds", "decision", "norm"].includes(name)).map(({ element }) => element);
  const others = fields.filter(({ name }) => !["seconds", "decision", "norm"].includes(name)).map(({ element }) => element);
  const form = h("form", { novalidate: false },
    h("h2", {}, kind.title),
    h("div", { class: "fields" }, kind.slots.map(slotField)),
    h("div", { class: "fields" }, simple),
    others.length ? h("details", {}, h("summary", {}, "More options"), h("div", { class: "fields" }, others)) : null,
    h("label", { class: "check" }, h("input", { type: "checkbox", name: "fresh" }), "Run it even if the same was asked before"),
    error, button,
    h("p", { class: "hint" }, `At most ${bytes(kind.limits.upload)} a job; a job may use ${kind.limits.memory_gb} GB of memory.`));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    error.textContent = "";
    try {
      const data = body(form, kind, fields);
      const fresh = form.elements.fresh.checked ? "?fresh=true" : "";
      const job = await (await ask(`/api/jobs/${kind.name}${fresh}`, { method: "POST", body: data })).json();
      say(job.duplicate ? "The same was asked before: here is its job" : "Submitted");
      done(job);
    } catch (problem) {
      error.textContent = problem.message;
      button.disabled = false;
    }
  });
  return form;
}

function slotField(slot) {
  const id = `slot-${slot.name}`;
  return h("div", { class: "field" },
    h("label", { for: id }, slot.title, slot.required ? null : h("span", { class: "optional" }, " (optional)")),
    h("input", { type: "file", id, name: slot.name, accept: slot.endings.join(","), required: slot.required, multiple: slot.most > 1, "aria-describedby": `${id}-about` }),
    h("p", { class: "hint", id: `${id}-about` }, slot.endings.join(", "), slot.most > 1 ? `; up to ${slot.most}` : ""));
}

/** One option as a field: {name, element, value()}; value undefined means the default. */
function optionField(name, field) {
  const id = `option-${name}`, about = `${id}-about`;
  const plain = field.anyOf?.find((f) => f.type !== "null") ?? field;
  const input = inputOf(id, about, plain, field.default);
  const element = plain.type === "boolean"
    ? h("div", { class: "field" }, h("label", { class: "check", for: id }, input, field.title ?? name), h("p", { class: "hint", id: about }, field.description ?? ""))
    : h("div", { class: "field" }, h("label", { for: id }, field.title ?? name), input, h("p", { class: "hint", id: about }, field.description ?? ""));
  const value = () => {
    if (plain.type === "boolean") return input.checked;
    if (input.value === "") return undefined;
    return plain.type === "number" || plain.type === "integer" ? Number(input.value) : input.value;
  };
  return { name, element, value };
}

function inputOf(id, about, field, initial) {
  const common = { id, "aria-describedby": about };
  if (field.enum) return h("select", common, field.enum.map((v) => h("option", { value: v, selected: v === initial }, v)));
  if (field.type === "boolean") return h("input", { type: "checkbox", ...common, checked: initial });
  if (field.type === "number" || field.type === "integer") {
    const step = field.type === "integer" ? 1 : "any";
    return h("input", { type: "number", step, min: field.minimum ?? field.exclusiveMinimum, max: field.maximum, value: initial, ...common });
  }
  return h("input", { type: "text", maxlength: field.maxLength ?? 200, pattern: field.pattern, value: initial ?? "", ...common });
}

function body(form, kind, fields) {
  const data = new FormData();
  for (const slot of kind.slots) for (const file of form.elements[slot.name].files) data.append(slot.name, file);
  const options = Object.fromEntries(fields.map(({ name, value }) => [name, value()]).filter(([, v]) => v !== undefined));
  data.append("options", JSON.stringify(options));
  return data;
}
