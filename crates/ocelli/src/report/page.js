// The page's script: theme, learning curves with a cursor shared by the charts of a stage, and the gallery's tools.
// The page is readable without it; nothing here builds markup out of text.
"use strict";

// The namespace of SVG elements, read from one that the parser made.
const svgNamespace = document.getElementById("mark").namespaceURI;

/** A new SVG element with attributes, under `parent`. */
function shape(parent, name, attributes, text) {
  const element = document.createElementNS(svgNamespace, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

/** A new HTML element with a class and text, under `parent`. */
function piece(parent, name, className, text) {
  const element = document.createElement(name);
  element.className = className;
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

// Theme: auto follows the system. The choice is kept where the browser lets a file keep something.
(() => {
  const button = document.getElementById("theme");
  const order = ["auto", "light", "dark"];
  let theme = "auto";
  try { theme = localStorage.getItem("ocelli-theme") ?? "auto"; } catch { /* storage is off */ }
  const apply = () => {
    if (!order.includes(theme)) theme = "auto";
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    document.getElementById("theme-name").textContent = theme;
    button.setAttribute("aria-label", `Theme: ${theme}`);
  };
  button.addEventListener("click", () => {
    theme = order[(order.indexOf(theme) + 1) % order.length];
    try { localStorage.setItem("ocelli-theme", theme); } catch { /* storage is off */ }
    apply();
  });
  apply();
  button.hidden = false;
})();

// The run's date in the reader's own time zone.
for (const time of document.querySelectorAll("time[data-seconds]")) {
  const date = new Date(Number(time.dataset.seconds) * 1000);
  if (Number.isNaN(date.getTime())) continue;
  time.dateTime = date.toISOString();
  time.title = time.textContent;
  time.textContent = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeStyle: "short" }).format(date);
}

// Numbers

/**
 * At most `digits` significant digits, with a true minus sign; an exponent only where zeros would hide the number.
 * `padded` keeps zeros at the end of a fraction, so that numbers side by side are equally exact.
 */
function numberText(value, digits, padded) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  let text;
  if (size < 1e-3) text = value.toExponential(digits - 1).replace(/\.?0*e/, "e");
  else if (size >= 1e6) text = value.toLocaleString("en", { maximumSignificantDigits: digits, notation: "compact" });
  else {
    const minimumSignificantDigits = padded && !Number.isInteger(value) ? digits : 1;
    text = value.toLocaleString("en", { maximumSignificantDigits: digits, minimumSignificantDigits });
  }
  return text.replaceAll("-", "\u2212");
}

/** About `count` round numbers within [low, high]. */
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
  const values = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index += 1) {
    values.push(Number((index * step).toPrecision(12)));
  }
  return values;
}

// Curves

const plotHeight = 150;
const margin = { top: 8, right: 8, bottom: 22 };

/** Position in the sorted `steps` that is nearest to `step`. */
function nearest(steps, step) {
  let low = 0;
  let high = steps.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle; else high = middle;
  }
  return Math.abs(steps[high] - step) < Math.abs(steps[low] - step) ? high : low;
}

/** One chart: `draw` lays it out for its width, `show` moves the cursor to a step or takes it away. */
class Chart {
  constructor(parent, curve, stage, moveAll) {
    this.curve = curve;
    this.steps = curve.steps ?? stage.steps;
    this.moveAll = moveAll;
    const card = piece(parent, "div", "chart");
    const head = piece(card, "div", "chart-head");
    piece(head, "span", "chart-label", curve.label);
    this.value = piece(head, "span", "chart-value");
    const detail = piece(card, "div", "chart-detail");
    piece(detail, "code", "", curve.name === curve.label ? "" : curve.name).title = curve.name;
    this.detail = piece(detail, "span", "");
    this.svg = shape(card, "svg", {
      tabindex: 0, role: "slider", "aria-label": `${curve.label}: cursor over the steps`,
      "aria-valuemin": this.steps[0], "aria-valuemax": this.steps.at(-1), "aria-valuenow": this.steps.at(-1),
    });
    this.svg.addEventListener("pointermove", (event) => this.pointAt(event));
    this.svg.addEventListener("pointerdown", (event) => this.pointAt(event));
    this.svg.addEventListener("pointerleave", () => moveAll(null));
    this.svg.addEventListener("blur", () => moveAll(null));
    this.svg.addEventListener("keydown", (event) => this.pressKey(event));
    this.show(null);
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  draw() {
    const width = this.svg.clientWidth;
    if (width < 60) return;
    const { raw, smooth } = this.curve;
    let low = Math.min(...raw);
    let high = Math.max(...raw);
    const constant = high === low;
    const room = constant ? Math.abs(high) * 0.5 || 1 : (high - low) * 0.06;
    low -= room;
    high += room;
    const values = constant ? [raw[0]] : ticks(low, high, 4);
    const labels = values.map((value) => numberText(value, 3, false));
    const left = 10 + 6.4 * Math.max(...labels.map((label) => label.length));
    const [first, last] = [this.steps[0], this.steps.at(-1)];
    const bottom = plotHeight - margin.bottom;
    this.x = (step) => first === last
      ? (left + width - margin.right) / 2
      : left + (step - first) / (last - first) * (width - margin.right - left);
    this.y = (value) => bottom - (value - low) / (high - low) * (bottom - margin.top);
    this.stepAt = (x) => first + (x - left) / (width - margin.right - left) * (last - first);

    this.svg.replaceChildren();
    this.svg.setAttribute("viewBox", `0 0 ${width} ${plotHeight}`);
    values.forEach((value, index) => {
      const y = this.y(value).toFixed(1);
      shape(this.svg, "line", { class: "grid", x1: left, x2: width - margin.right, y1: y, y2: y });
      shape(this.svg, "text", { x: left - 6, y, dy: "0.35em", "text-anchor": "end" }, labels[index]);
    });
    const stepTicks = first === last
      ? [first]
      : ticks(first, last, Math.max(2, width / 90)).filter((step) => Number.isInteger(step));
    for (const step of stepTicks) {
      const label = step.toLocaleString("en");
      // A label that would leave the chart on the right ends there.
      const x = Math.min(this.x(step), width - 1 - 3.2 * label.length);
      shape(this.svg, "text", { x: x.toFixed(1), y: plotHeight - 5, "text-anchor": "middle" }, label);
    }
    const at = (value, index) => `${this.x(this.steps[index]).toFixed(1)} ${this.y(value).toFixed(1)}`;
    const line = (list) => `M${list.map(at).join("L")}`;
    // Few points are shown as points; many would be a blot, so they become a thin line.
    if (raw.length <= 250) {
      shape(this.svg, "path", { class: "points", d: raw.map((value, index) => `M${at(value, index)}h0`).join("") });
    } else {
      shape(this.svg, "path", { class: "raw-line", d: line(raw) });
    }
    if (raw.length > 1) shape(this.svg, "path", { class: "mean", d: line(smooth) });
    this.cursor = shape(this.svg, "line", { class: "cursor", y1: margin.top, y2: bottom, visibility: "hidden" });
    this.point = shape(this.svg, "circle", { class: "cursor-point", r: 4.5, visibility: "hidden" });
  }

  show(step) {
    const { raw, smooth, window: points } = this.curve;
    if (this.cursor) {
      const visibility = step === null ? "hidden" : "visible";
      this.cursor.setAttribute("visibility", visibility);
      this.point.setAttribute("visibility", visibility);
    }
    if (step === null) {
      this.place = undefined;
      const [first, last] = [numberText(smooth[0], 3, true), numberText(smooth.at(-1), 3, true)];
      this.value.textContent = first === last ? last : `${first} → ${last}`;
      this.detail.textContent = "";
      return;
    }
    const place = nearest(this.steps, step);
    this.place = place;
    const mean = points > 1 ? `, mean ${numberText(smooth[place], 4, true)}` : "";
    this.value.textContent = numberText(raw[place], 4, true);
    this.detail.textContent = `step ${this.steps[place].toLocaleString("en")}${mean}`;
    this.svg.setAttribute("aria-valuenow", this.steps[place]);
    this.svg.setAttribute("aria-valuetext", `step ${this.steps[place]}: ${numberText(raw[place], 4, true)}${mean}`);
    if (this.cursor) {
      const x = this.x(this.steps[place]).toFixed(1);
      this.cursor.setAttribute("x1", x);
      this.cursor.setAttribute("x2", x);
      this.point.setAttribute("cx", x);
      this.point.setAttribute("cy", this.y(raw[place]).toFixed(1));
    }
  }

  pointAt(event) {
    if (!this.stepAt) return;
    this.moveAll(this.stepAt(event.clientX - this.svg.getBoundingClientRect().left));
  }

  pressKey(event) {
    const end = this.steps.length - 1;
    const place = this.place ?? end;
    const page = Math.max(1, Math.round(end / 10));
    const target = {
      ArrowLeft: place - 1, ArrowDown: place - 1, ArrowRight: place + 1, ArrowUp: place + 1,
      PageDown: place - page, PageUp: place + page, Home: 0, End: end,
    }[event.key];
    if (event.key === "Escape") this.moveAll(null);
    if (target === undefined) return;
    event.preventDefault();
    this.moveAll(this.steps[Math.min(end, Math.max(0, target))]);
  }
}

(() => {
  const { stages } = JSON.parse(document.getElementById("curve-data").textContent);
  stages.forEach((stage, position) => {
    const charts = [];
    const moveAll = (step) => charts.forEach((chart) => chart.show(step));
    for (const place of document.querySelectorAll(`.charts[data-stage="${position}"]`)) {
      const known = place.dataset.known === "true";
      for (const curve of stage.curves.filter((curve) => curve.known === known)) {
        charts.push(new Chart(place, curve, stage, moveAll));
      }
    }
  });
})();

// Gallery

(() => {
  const tools = document.getElementById("gallery-tools");
  if (!tools) return;
  const fields = tools.elements;
  const place = document.getElementById("cases");
  const shown = document.getElementById("gallery-shown");
  const cases = [...place.children].map((card) => ({ card, scores: JSON.parse(card.dataset.scores) }));

  const kinds = {
    improved: (change) => change > 1e-6,
    worsened: (change) => change < -1e-6,
    unchanged: (change) => Math.abs(change) <= 1e-6,
  };

  const update = () => {
    const [score, from, to] = [fields.score.value, fields.from.value, fields.to.value];
    const filter = fields.filter.value;
    const counts = { all: cases.length, improved: 0, worsened: 0, unchanged: 0 };
    let visible = 0;
    for (const item of cases) {
      const before = item.scores[from]?.[score];
      const after = item.scores[to]?.[score];
      item.change = before === undefined || after === undefined ? undefined : after - before;
      item.kind = Object.keys(kinds).find((kind) => kinds[kind](item.change)) ?? "";
      if (item.kind) counts[item.kind] += 1;
      const verdict = item.card.querySelector(".verdict");
      verdict.className = `verdict ${item.kind}`;
      const fixed = (value) => value.toFixed(2).replace("-", "\u2212");
      verdict.textContent = !item.kind ? "" : item.kind === "unchanged"
        ? `= unchanged at ${fixed(after)}`
        : `${item.change > 0 ? "▲" : "▼"} ${item.kind}: ${fixed(before)} → ${fixed(after)}`;
      item.card.hidden = filter !== "all" && item.kind !== filter;
      if (!item.card.hidden) visible += 1;
    }
    for (const [kind, count] of Object.entries(counts)) tools.querySelector(`[data-count="${kind}"]`).textContent = count;
    shown.textContent = filter === "all" ? "" : `${visible} of ${cases.length} pictures shown`;
    const sign = { file: 0, gain: -1, loss: 1 }[fields.order.value];
    // Pictures that cannot be compared come last.
    const key = (item) => item.change === undefined ? Infinity : sign * item.change;
    const ordered = sign === 0 ? cases : cases.toSorted((a, b) => key(a) === key(b) ? 0 : key(a) - key(b));
    if (ordered.some((item, index) => place.children[index] !== item.card)) place.append(...ordered.map((item) => item.card));
  };

  tools.addEventListener("change", (event) => {
    if (event.target === fields.open) {
      for (const answer of place.querySelectorAll("details.answer")) answer.open = fields.open.checked;
    }
    update();
  });
  tools.addEventListener("submit", (event) => event.preventDefault());
  for (const button of place.querySelectorAll(".enlarge")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const large = button.closest(".case").classList.toggle("large");
      button.setAttribute("aria-pressed", large);
      button.textContent = large ? "Shrink" : "Enlarge";
    });
  }
  if (fields.score.options.length === 0) {
    // Without scores nothing can be compared; only the switch for reasoning is of use.
    for (const part of tools.querySelectorAll("fieldset, label:not(.check)")) part.hidden = true;
    tools.hidden = false;
    return;
  }
  tools.hidden = false;
  update();
})();
