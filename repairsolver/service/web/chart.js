// Line charts as SVG, drawn anew when data comes.

import { h, s } from "./dom.js";

const WIDTH = 560, HEIGHT = 220, LEFT = 62, RIGHT = 14, TOP = 12, BOTTOM = 34;

/**
 * A chart of one or several numbers over time.
 * `lines`: [{key, label, style}] with style `line`, `dashed` or `dots`; `percent`: values are shares.
 */
export class Chart {
  constructor({ title, lines, percent = false, lowest = null, highest = null }) {
    Object.assign(this, { title, lines, percent, lowest, highest });
    this.points = new Map(lines.map(({ key }) => [key, []]));
    this.svg = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    this.legend = h("ul", { class: "legend" });
    this.element = h("figure", { class: "chart", hidden: true }, h("figcaption", {}, title), this.svg, this.legend);
  }

  /** Take the numbers of one event. */
  add(seconds, numbers) {
    for (const { key } of this.lines) {
      if (typeof numbers[key] === "number") this.points.get(key).push([seconds, numbers[key]]);
    }
  }

  /** Forget everything: the job began anew. */
  clear() {
    for (const points of this.points.values()) points.length = 0;
  }

  draw() {
    const all = [...this.points.values()].flat();
    this.element.hidden = all.length === 0;
    if (all.length === 0) return;
    const end = Math.max(...all.map(([x]) => x), 0.1);
    const values = all.map(([, y]) => y);
    let low = this.lowest ?? Math.min(...values), high = this.highest ?? Math.max(...values);
    if (high - low < 1e-12) [low, high] = [low - Math.max(Math.abs(low), 1) / 20, high + Math.max(Math.abs(high), 1) / 20];
    const x = (value) => LEFT + (value / end) * (WIDTH - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    this.svg.replaceChildren(...this.axes(x, y, end, low, high), ...this.lines.flatMap((line, i) => this.line(line, i, x, y, end)));
    this.legend.replaceChildren(...this.lines.map((line, i) => this.entry(line, i)).filter(Boolean));
    this.svg.setAttribute("aria-label", `${this.title}. ${this.lines.map((line) => this.told(line)).filter(Boolean).join(", ")}`);
  }

  axes(x, y, end, low, high) {
    const rows = ticks(low, high, 4).map((value) => [
      s("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      s("text", { class: "tick", x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, this.shown(value)),
    ]);
    const columns = ticks(0, end, 5).map((value) =>
      s("text", { class: "tick", x: x(value), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, `${round(value)}`));
    const unit = s("text", { class: "tick", x: WIDTH - RIGHT, y: HEIGHT - 2, "text-anchor": "end" }, "seconds");
    return [...rows.flat(), ...columns, unit];
  }

  line({ key, style }, index, x, y, end) {
    const points = this.points.get(key);
    if (points.length === 0) return [];
    if (style === "dots") return points.map(([a, b]) => s("circle", { class: `series-${index} dot`, cx: x(a), cy: y(b), r: 3 }));
    const [a, b] = points[0];
    let path = `M${x(a)},${y(b)}`;
    for (const [c, d] of points.slice(1)) path += `H${x(c)}V${y(d)}`;
    return [s("path", { class: `series-${index} ${style}`, d: `${path}H${x(end)}` })];
  }

  entry(line, index) {
    const told = this.told(line);
    return told && h("li", {}, h("span", { class: `key series-${index} ${line.style}`, "aria-hidden": "true" }), told);
  }

  told({ key, label }) {
    const points = this.points.get(key);
    return points.length ? `${label}: ${this.shown(points.at(-1)[1])}` : null;
  }

  shown(value) {
    return this.percent ? `${round(100 * value)} %` : `${round(value)}`;
  }
}

function ticks(low, high, count) {
  const raw = (high - low) / count, size = 10 ** Math.floor(Math.log10(raw));
  const step = size * [1, 2, 5, 10].find((m) => m * size >= raw);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step) found.push(Math.abs(value) < step * 1e-9 ? 0 : value);
  return found;
}

function round(value) {
  return Number(value.toPrecision(4));
}
