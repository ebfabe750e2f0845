// The balance of the shards: for each figure a strip of columns, one for each shard.

import { element, setAttributes, setText, shape } from "/dashboard_dom.js";
import { WIDTH_MIN, linearAxis, placeTip, tickText } from "/dashboard_charts.js";
import { count, exact, exactRate, percent, rate } from "/dashboard_format.js";

const HEIGHT = 128;
const [LEFT, RIGHT, TOP, BOTTOM] = [48, 4, 8, 18];
const COLUMN_PIXELS_MAX = 36;

/**
 * What the strips show, `short` on their axes. `full` is the top of the axis where it has one of
 * its own.
 */
export const SHARD_FIGURES = [
  { figure: "connections", name: "Connections", format: exact, short: count, colour: 0 },
  { figure: "messagesReceived", name: "Messages in", format: exactRate, short: rate, colour: 0 },
  { figure: "messagesSent", name: "Messages out", format: exactRate, short: rate, colour: 1 },
  { figure: "cpu", name: "CPU", format: percent, short: percent, colour: 2, full: 1 },
];

export class ShardStrips {
  #strips;
  #shards = [];
  /** What is pointed at: a strip, and the place of a shard in the list. */
  #pointed = null;

  constructor(host) {
    this.#strips = SHARD_FIGURES.map((options) => new Strip(host, this, options));
  }

  draw(shards) {
    this.#shards = shards;
    for (const strip of this.#strips) strip.draw(shards);
    this.#mark();
  }

  point(strip, at) {
    this.#pointed = at === null ? null : { strip, at };
    this.#mark();
  }

  /** By keys: to the shard so many further. */
  step(strip, distance) {
    const from = this.#pointed?.strip === strip ? this.#pointed.at + distance : 0;
    const at = Math.max(0, Math.min(this.#shards.length - 1, from));
    this.point(strip, at);
    return at;
  }

  leave(strip) {
    if (this.#pointed?.strip === strip) this.point(strip, null);
  }

  #mark() {
    const { strip: owner, at } = this.#pointed ?? {};
    const shard = this.#shards[at];
    for (const strip of this.#strips) strip.mark(shard ? at : null, strip === owner, shard);
  }
}

class Strip {
  #strips;
  #options;
  #width = 0;
  #shards = [];
  #columns = [];

  constructor(host, strips, options) {
    this.#strips = strips;
    this.#options = options;
    this.svg = shape("svg", { class: "columns", height: HEIGHT, tabindex: 0, role: "slider" });
    setAttributes(this.svg, {
      "aria-label": `${options.name} of each shard`,
      "aria-valuemin": 0,
      "aria-valuemax": 0,
      "aria-valuenow": 0,
    });
    this.axes = shape("g", { "aria-hidden": "true" });
    this.bars = shape("g", { class: `bars c${options.colour}` });
    this.mean = shape("line", { class: "mean" });
    this.svg.append(this.axes, this.bars, this.mean);
    this.tip = element("div", { class: "tip", hidden: "" });
    this.balance = element("span", { class: "soft" });
    const plot = element("div", { class: "plot" }, this.svg, this.tip);
    const head = element("p", { class: "strip-head" }, element("strong", {}, options.name));
    head.append(this.balance);
    host.append(element("div", { class: "strip" }, head, plot));
    this.#listen();
    new ResizeObserver(() => {
      this.#width = Math.max(WIDTH_MIN, plot.clientWidth);
      this.draw(this.#shards);
    }).observe(plot);
  }

  draw(shards) {
    this.#shards = shards;
    if (this.#width === 0 || shards.length === 0) return;
    const { figure, full } = this.#options;
    setAttributes(this.svg, { width: this.#width, viewBox: `0 0 ${this.#width} ${HEIGHT}` });
    this.svg.setAttribute("aria-valuemax", shards.at(-1).number);
    const values = shards.map((shard) => shard[figure]);
    const most = values.reduce((a, b) => Math.max(a, b), 0);
    const isWhole = figure === "connections";
    const axis = linearAxis(full ? [full, most] : values, { isWhole }, 2);
    const up = (value) => TOP + (1 - axis.place(value)) * (HEIGHT - TOP - BOTTOM);
    this.#drawAxes(axis, up);
    this.#drawColumns(values, up);
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const y = up(mean).toFixed(1);
    this.mean.classList.toggle("alone", values.length === 1);
    setAttributes(this.mean, { x1: LEFT, x2: this.#width - RIGHT, y1: y, y2: y });
    this.#say(mean, most);
  }

  #say(mean, most) {
    const isCompared = this.#shards.length > 1 && mean > 0;
    const ratio = isCompared ? `, highest ${(most / mean).toFixed(2)}×` : "";
    setText(this.balance, `mean ${this.#options.short(mean)}${ratio}`);
  }

  #slot() {
    return (this.#width - LEFT - RIGHT) / this.#shards.length;
  }

  #middle(at) {
    return LEFT + (at + 0.5) * this.#slot();
  }

  #drawColumns(values, up) {
    while (this.#columns.length > values.length) this.#columns.pop().remove();
    while (this.#columns.length < values.length) {
      const column = shape("rect");
      this.#columns.push(column);
      this.bars.append(column);
    }
    const slot = this.#slot();
    const wide = Math.min(COLUMN_PIXELS_MAX, slot - (slot > 6 ? 3 : 1));
    values.forEach((value, at) => {
      const y = up(value);
      const x = (this.#middle(at) - wide / 2).toFixed(1);
      const height = Math.max(0, HEIGHT - BOTTOM - y).toFixed(1);
      setAttributes(this.#columns[at], { x, y: y.toFixed(1), width: wide.toFixed(1), height });
    });
  }

  #drawAxes(axis, up) {
    const marks = [];
    for (const { value } of axis.ticks) {
      const y = Math.round(up(value)) + 0.5;
      const line = { x1: LEFT, x2: this.#width - RIGHT, y1: y, y2: y };
      marks.push(shape("line", { class: value === 0 ? "base" : "grid", ...line }));
      const text = tickText(value, this.#options.short);
      marks.push(shape("text", { class: "y", x: LEFT - 6, y: y + 4 }, text));
    }
    // As many numbers as have room.
    const every = [1, 2, 4, 8, 16, 32].find((step) => step * this.#slot() >= 18) ?? 64;
    this.#shards.forEach(({ number }, at) => {
      if (at % every !== 0) return;
      const place = { class: "x", x: this.#middle(at).toFixed(1), y: HEIGHT - BOTTOM + 14 };
      marks.push(shape("text", place, String(number)));
    });
    this.axes.replaceChildren(...marks);
  }

  mark(at, isOwner, shard) {
    this.#columns.forEach((column, index) => column.classList.toggle("marked", index === at));
    this.tip.hidden = !(isOwner && shard);
    if (at === null || !isOwner) return;
    const rows = SHARD_FIGURES.map(({ figure, name, format }) => [name, format(shard[figure])]);
    rows.push(["Turns", exactRate(shard.turns)]);
    const makeRow = ([name, text]) =>
      element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, text));
    const table = element("table", {}, rows.map(makeRow));
    this.tip.replaceChildren(element("p", {}, `Shard ${shard.number}`), table);
    placeTip(this.tip, this.#middle(at), this.#width);
  }

  #listen() {
    const { svg } = this;
    const point = ({ offsetX }) => {
      const at = Math.floor((offsetX - LEFT) / this.#slot());
      this.#strips.point(this, at >= 0 && at < this.#shards.length ? at : null);
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", () => this.#strips.leave(this));
    svg.addEventListener("blur", () => this.#strips.leave(this));
    svg.addEventListener("focus", () => {
      if (svg.matches(":focus-visible")) this.#step(0);
    });
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };
    const jumps = { Home: -Infinity, End: Infinity };
    svg.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#strips.leave(this);
      const distance = { ...steps, ...jumps }[event.key];
      if (distance === undefined) return;
      event.preventDefault();
      this.#step(distance);
    });
  }

  /** Also tells readers who do not see the columns. */
  #step(distance) {
    if (this.#shards.length === 0) return;
    const at = this.#strips.step(this, distance);
    const { number, [this.#options.figure]: value } = this.#shards[at];
    const text = `shard ${number}: ${this.#options.format(value)}`;
    setAttributes(this.svg, { "aria-valuenow": number, "aria-valuetext": text });
  }
}
