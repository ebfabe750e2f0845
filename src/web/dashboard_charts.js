// Lines over the last five minutes. Where nothing is known there is no line.

import { element, setAttributes, setText, shape, swatch } from "/dashboard_dom.js";
import { clock } from "/dashboard_format.js";

export const WINDOW_MILLISECONDS = 5 * 60 * 1000;
const MINUTE = 60_000;
/** Room for the labels of the axes, in pixels. */
const [LEFT, RIGHT, TOP, BOTTOM] = [64, 10, 8, 20];
const HEIGHT = 168;
/** Pages pass through stranger widths than anybody looks at. */
export const WIDTH_MIN = 200;
/** A pointer shows the figures of this time around it. */
const NEAR_MILLISECONDS = 1500;

/**
 * One sample of all charts: its time in milliseconds of Unix time, whether it follows on the one
 * before it without a gap, and its figures by name, null where nothing was measured.
 * @typedef {{time: number, follows: boolean, [figure: string]: number | boolean | null}} Sample
 */

/** Charts with one time axis: the pointer in one marks the same moment in all. */
export class ChartGroup {
  /** @type {Sample[]} */
  samples = [];
  end = 0;
  #charts = [];
  /** What is pointed at: a place that stays while time goes on, or a time that goes with it. */
  #pointed = null;

  add(host, options) {
    this.#charts.push(new LineChart(host, this, options));
  }

  draw(samples, end) {
    [this.samples, this.end] = [samples, end];
    for (const chart of this.#charts) chart.draw();
    this.#mark();
  }

  point(pointed) {
    this.#pointed = pointed;
    return this.#mark();
  }

  leave(chart) {
    if (this.#pointed?.chart === chart) this.point(null);
  }

  /** By keys: to the sample so many further. */
  step(chart, distance) {
    const { samples } = this;
    if (samples.length === 0) return undefined;
    const at = samples.findIndex(({ time }) => time === this.#pointed?.time);
    const from = at < 0 ? samples.length - 1 : at + distance;
    const next = samples[Math.max(0, Math.min(samples.length - 1, from))];
    return this.point({ chart, time: next.time });
  }

  #mark() {
    const { chart: owner, place, time } = this.#pointed ?? {};
    const wanted = time ?? (owner && owner.timeAt(place));
    const sample = wanted && nearest(this.samples, wanted);
    const isThere = sample && sample.time >= this.end - WINDOW_MILLISECONDS;
    for (const chart of this.#charts) chart.mark(isThere ? sample : null, chart === owner);
    return isThere ? sample : undefined;
  }
}

function nearest(samples, time) {
  const distance = (sample) => Math.abs(sample.time - time);
  const best = samples.reduce((a, b) => (a && distance(a) <= distance(b) ? a : b), undefined);
  return best && distance(best) <= NEAR_MILLISECONDS ? best : undefined;
}

/**
 * `options`: `label`; `series`, each `{ figure, name, colour, isFilled }`; `format(value)` for axes
 * and legends, `exactly(value)` for who asks; `isLogarithmic`; `isWhole` for what has no fractions;
 * `unit`, 1000 or 1024; `isLegendElsewhere`.
 */
class LineChart {
  #group;
  #options;
  #width = 0;
  #axis = null;

  constructor(host, group, options) {
    this.#group = group;
    this.#options = options;
    this.svg = shape("svg", { class: "lines", height: HEIGHT, tabindex: 0, role: "slider" });
    setAttributes(this.svg, {
      "aria-label": `${options.label}, chart of the last 5 minutes`,
      "aria-valuemin": -300,
      "aria-valuemax": 0,
      "aria-valuenow": 0,
      "aria-valuetext": "now",
    });
    this.axes = shape("g", { "aria-hidden": "true" });
    this.lines = options.series.map(({ figure, colour, isFilled }) => ({
      figure,
      line: shape("path", { class: `line c${colour}`, "data-figure": figure }),
      area: isFilled && shape("path", { class: `area c${colour}` }),
    }));
    this.cursor = shape("g", { class: "cursor" });
    const areas = this.lines.map(({ area }) => area).filter(Boolean);
    this.svg.append(this.axes, ...areas, ...this.lines.map(({ line }) => line), this.cursor);
    this.tip = element("div", { class: "tip", hidden: "" });
    const plot = element("div", { class: "plot" }, this.svg, this.tip);
    if (!options.isLegendElsewhere) host.append(this.#legend());
    host.append(plot);
    this.#listen();
    new ResizeObserver(() => {
      this.#width = Math.max(WIDTH_MIN, plot.clientWidth);
      this.draw();
    }).observe(plot);
  }

  /** The newest value of each line stands beside its name. */
  #legend() {
    this.values = this.#options.series.map(() => element("data"));
    const entry = ({ name, colour }, at) =>
      element("li", {}, swatch(colour), `${name} `, this.values[at]);
    return element("ul", { class: "legend" }, this.#options.series.map(entry));
  }

  timeAt(place) {
    const share = (place - LEFT) / (this.#width - LEFT - RIGHT);
    return this.#group.end - (1 - share) * WINDOW_MILLISECONDS;
  }

  #across(time) {
    const share = 1 - (this.#group.end - time) / WINDOW_MILLISECONDS;
    return LEFT + share * (this.#width - LEFT - RIGHT);
  }

  #up(value) {
    return TOP + (1 - this.#axis.place(value)) * (HEIGHT - TOP - BOTTOM);
  }

  draw() {
    if (this.#width === 0) return;
    setAttributes(this.svg, { width: this.#width, viewBox: `0 0 ${this.#width} ${HEIGHT}` });
    const { samples } = this.#group;
    const known = [];
    for (const sample of samples) {
      for (const { figure } of this.lines) if (sample[figure] !== null) known.push(sample[figure]);
    }
    this.#axis = this.#options.isLogarithmic ? logAxis(known) : linearAxis(known, this.#options);
    this.#drawAxes();
    for (const { figure, line, area } of this.lines) {
      const runs = this.#runs(figure);
      line.setAttribute("d", runs.map(linePath).join(""));
      area?.setAttribute("d", runs.map(areaPath).join(""));
    }
    const last = samples.at(-1);
    this.values?.forEach((node, at) => {
      setText(node, last ? this.#options.format(last[this.lines[at].figure]) : "");
    });
  }

  /** The unbroken runs of points of a line. */
  #runs(figure) {
    const runs = [];
    let run = null;
    for (const sample of this.#group.samples) {
      if (!sample.follows || sample[figure] === null) run = null;
      if (sample[figure] === null || sample.time < this.#group.end - WINDOW_MILLISECONDS) continue;
      if (run === null) runs.push((run = []));
      run.push([this.#across(sample.time).toFixed(1), this.#up(sample[figure]).toFixed(1)]);
    }
    return runs;
  }

  #drawAxes() {
    const [right, bottom] = [this.#width - RIGHT, HEIGHT - BOTTOM];
    const marks = [];
    for (const { value, isLabelled } of this.#axis.ticks) {
      const y = Math.round(this.#up(value)) + 0.5;
      const kind = value === 0 ? "base" : isLabelled ? "grid" : "grid minor";
      marks.push(shape("line", { class: kind, x1: LEFT, x2: right, y1: y, y2: y }));
      if (!isLabelled) continue;
      const text = tickText(value, this.#options.format);
      marks.push(shape("text", { class: "y", x: LEFT - 6, y: y + 4 }, text));
    }
    for (let minutes = 0; minutes <= 5; minutes += 1) {
      const x = Math.round(this.#across(this.#group.end - minutes * MINUTE)) + 0.5;
      const isEdge = minutes === 0;
      marks.push(shape("line", { class: "grid", x1: x, x2: x, y1: TOP, y2: bottom }));
      const place = { class: isEdge ? "y" : "x", x: isEdge ? right : x, y: bottom + 15 };
      marks.push(shape("text", place, isEdge ? "now" : `−${minutes}\u202fmin`));
    }
    this.axes.replaceChildren(...marks);
  }

  /** Marks the moment of a sample; the chart that is pointed at tells its figures, too. */
  mark(sample, isOwner) {
    this.tip.hidden = !(sample && isOwner);
    if (!sample || this.#axis === null) {
      this.cursor.replaceChildren();
      return;
    }
    const x = this.#across(sample.time).toFixed(1);
    const marks = [shape("line", { x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM })];
    for (const { figure, colour } of this.#options.series) {
      if (sample[figure] === null) continue;
      const y = this.#up(sample[figure]).toFixed(1);
      marks.push(shape("circle", { class: `dot c${colour}`, cx: x, cy: y, r: 3.5 }));
    }
    this.cursor.replaceChildren(...marks);
    if (isOwner) this.#tell(sample, Number(x));
  }

  #tell(sample, x) {
    const { series, exactly } = this.#options;
    const rows = series.map(({ figure, name, colour }) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, swatch(colour), name),
        element("td", {}, exactly(sample[figure])),
      ),
    );
    const ago = Math.round((this.#group.end - sample.time) / 1000);
    const head = `${clock(sample.time)}, ${ago}\u202fs ago`;
    this.tip.replaceChildren(element("p", {}, head), element("table", {}, rows));
    placeTip(this.tip, x, this.#width);
  }

  #listen() {
    const { svg } = this;
    const point = (event) => this.#group.point({ chart: this, place: event.offsetX });
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", () => this.#group.leave(this));
    svg.addEventListener("blur", () => this.#group.leave(this));
    svg.addEventListener("focus", () => {
      if (svg.matches(":focus-visible")) this.#say(this.#group.step(this, 0));
    });
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };
    const jumps = { PageDown: -30, PageUp: 30, Home: -Infinity, End: Infinity };
    svg.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#group.leave(this);
      const distance = { ...steps, ...jumps }[event.key];
      if (distance === undefined) return;
      event.preventDefault();
      this.#say(this.#group.step(this, distance));
    });
  }

  /** The value of the slider, for readers who do not see it. */
  #say(sample) {
    if (!sample) return;
    const { series, exactly } = this.#options;
    const figures = series.map(({ figure, name }) => `${name} ${exactly(sample[figure])}`);
    setAttributes(this.svg, {
      "aria-valuenow": Math.round((sample.time - this.#group.end) / 1000),
      "aria-valuetext": `${clock(sample.time)}: ${figures.join(", ")}`,
    });
  }
}

/** Beside the place that it tells of, on the side where there is room. */
export function placeTip(tip, x, width) {
  tip.hidden = false;
  const wide = tip.offsetWidth;
  const beside = x + 12 + wide < width ? x + 12 : x - 12 - wide;
  tip.style.left = `${Math.max(0, Math.min(beside, width - wide))}px`;
}

/** A point alone is a dot, from its round cap. */
function linePath([first, ...others]) {
  return `M${first.join(" ")}h.01${others.map((point) => `L${point.join(" ")}`).join("")}`;
}

function areaPath(run) {
  const bottom = HEIGHT - BOTTOM;
  const along = run.map((point) => `L${point.join(" ")}`).join("");
  return `M${run[0][0]} ${bottom}${along}L${run.at(-1)[0]} ${bottom}Z`;
}

/** A tick needs no digits that say nothing: `2 M/s`, not `2.00 M/s`. */
export function tickText(value, format) {
  if (value === 0) return "0";
  return format(value).replace(/\.(\d*?)0+(?!\d)/, (_, digits) => (digits ? `.${digits}` : ""));
}

/** From 0 to the first round step above all values, and never to less than 1. */
export function linearAxis(values, { unit = 1000, isWhole = false }, steps = 4) {
  const high = values.reduce((a, b) => Math.max(a, b), 1);
  let size = 1;
  while (high / size >= unit) size *= unit;
  const rough = Math.max(high / size / steps, isWhole && size === 1 ? 1 : 0);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, isWhole && power === 1 ? 3 : 2.5, 5, 10]
    .map((part) => part * power)
    .find((part) => part >= rough * 0.999);
  const count = Math.ceil(high / size / step - 1e-9);
  const ticks = Array.from({ length: count + 1 }, (_, at) => ({
    value: Number((at * step * size).toPrecision(12)),
    isLabelled: true,
  }));
  return { ticks, place: (value) => value / ticks.at(-1).value };
}

/** Whole decades around all values. */
function logAxis(values) {
  const positive = values.filter((value) => value > 0);
  const low = positive.reduce((a, b) => Math.min(a, b), positive.length ? Infinity : 1e-5);
  const high = positive.reduce((a, b) => Math.max(a, b), positive.length ? 0 : 1e-3);
  const first = Math.floor(Math.log10(low) + 1e-9);
  const last = Math.max(first + 1, Math.ceil(Math.log10(high) - 1e-9));
  const ticks = [];
  for (let decade = first; decade <= last; decade += 1) {
    for (const part of decade < last ? [1, 2, 5] : [1]) {
      ticks.push({ value: Number(`${part}e${decade}`), isLabelled: part === 1 });
    }
  }
  const reach = last - first;
  const place = (value) => Math.max(0, (Math.log10(value || 1e-12) - first) / reach);
  return { ticks, place };
}
