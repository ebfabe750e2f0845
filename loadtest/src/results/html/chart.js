// One chart: a figure with its legend, its switches, an SVG and what the pointer shows.

const SVG = "http://www.w3.org/2000/svg";
/** Pixels of one character of a tick at most; the labels are set in 11 px. */
const CHARACTER = 6.4;
/** Pixels left of the plot at least, so that most charts have their times below each other. */
const LEFT = 58;
/** Pixels between the pointer and a point that it still shows. */
const NEAR = 28;
/** Charts over time: the pointer in one marks the same moment in all. */
const linked = new Set();
let charts = 0;

/** An element with attributes and children; text goes in as text. */
function element(name, attributes = {}, ...children) {
  return build(document.createElement(name), attributes, children);
}

function shape(name, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, name), attributes, children);
}

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null));
  return node;
}

/** The stroke of a series: a class for the colour, one for the dash. */
function stroke({ colour, dash = colour, thin }) {
  return `line c${colour % 8} d${dash % 6}${thin ? " thin" : ""}`;
}

function swatch(series) {
  const box = {
    class: "swatch",
    viewBox: "0 0 34 12",
    width: 34,
    height: 12,
    "aria-hidden": "true",
  };
  const line = shape("path", { class: stroke(series), d: "M1 6H33" });
  const mark = series.mark && drawMark(series, 17, 6);
  return shape("svg", box, series.lineless ? undefined : line, mark);
}

function drawMark({ mark, colour }, x, y) {
  if (mark === "dot") return shape("circle", { class: `mark c${colour}`, cx: x, cy: y, r: 4 });
  return shape("path", { class: `line c${colour}`, d: `M${x - 4} ${y - 4}l8 8m-8 0l8 -8` });
}

/**
 * `options`: `id`, `title`, `description`, `height`; `views`, each `{ name, series }` where a
 * series is `{ name, colour, dash, points: [[x, y or null], ...] }`; `xAxis(low, high, width)`;
 * `yScale`, one of SCALES; `yTitle`; `log`, "off", "on" or "allowed"; `format(y)`; `head(x)`;
 * `bands`, each `{ from, to, name, kind }`; `domain()`, the limits of x.
 */
class Chart {
  constructor(options) {
    this.options = { height: 240, log: "off", bands: [], ...options };
    this.number = charts += 1;
    this.view = this.options.views[0];
    this.hidden = new Set();
    this.log = this.options.log === "on" || (this.options.log === "auto" && this.spreads());
    this.svg = shape("svg", { role: "img", tabindex: 0, "data-chart": options.id });
    this.svg.setAttribute("aria-labelledby", `title-${this.number} description-${this.number}`);
    this.tip = element("div", { class: "tip", role: "status", hidden: "" });
    this.legend = element("div", { class: "legend" });
    this.figure = element(
      "figure",
      { class: "chart", id: options.id },
      element("figcaption", {}, element("h3", {}, options.title), this.switches()),
      this.legend,
      element("div", { class: "plot" }, this.svg, this.tip),
    );
    this.listen();
    this.fillLegend();
    new ResizeObserver(() => this.draw()).observe(this.svg.parentNode);
  }

  /** Whether the values are so far apart that the small ones vanish on a linear axis. */
  spreads() {
    const values = this.view.series.flatMap(({ points }) => points.map(([, y]) => y));
    const sorted = values.filter((value) => value > 0).sort((a, b) => a - b);
    return sorted.length > 0 && sorted.at(-1) > 30 * sorted[Math.floor(sorted.length / 10)];
  }

  switches() {
    const groups = [];
    if (this.options.views.length > 1) {
      const names = this.options.views.map(({ name }) => name);
      groups.push(
        choice("shown", names, this.view.name, (name) => {
          this.view = this.options.views.find((view) => view.name === name);
          this.fillLegend();
          this.draw();
        }),
      );
    }
    if (this.options.log !== "off") {
      groups.push(
        choice("scale", ["linear", "log"], this.log ? "log" : "linear", (name) => {
          this.log = name === "log";
          this.draw();
        }),
      );
    }
    return element("div", { class: "switches" }, groups);
  }

  fillLegend() {
    const { series } = this.view;
    const several = series.length > 1 ? series : [];
    this.legend.replaceChildren(
      ...several.map((one) => {
        const shown = !this.hidden.has(one.name);
        const button = element("button", { type: "button", "aria-pressed": shown }, swatch(one));
        button.append(one.name);
        button.addEventListener("click", () => {
          if (!this.hidden.delete(one.name)) this.hidden.add(one.name);
          button.setAttribute("aria-pressed", !this.hidden.has(one.name));
          this.draw();
        });
        return button;
      }),
    );
  }

  /** Limits, axes and margins for the width that there is. */
  layOut() {
    const { xAxis, yScale, yTitle, height, format, domain } = this.options;
    const width = Math.max(240, Math.round(this.svg.parentNode.clientWidth));
    const shown = this.view.series.filter(({ name }) => !this.hidden.has(name));
    const all = shown.flatMap(({ points }) => points);
    const xs = (all.length ? all : this.view.series.flatMap(({ points }) => points)).map(
      ([x]) => x,
    );
    const [low, high] = domain?.() ?? [least(xs), most(xs)];
    const inside = all.filter(([x, y]) => x >= low && x <= high && y !== null).map(([, y]) => y);
    const positive = inside.filter((value) => value > 0);
    const top = this.options.bands.length ? 40 : 26,
      bottom = 40,
      right = 18;
    const plot = { top, height: height - top - bottom };
    const y =
      this.log && positive.length
        ? logAxis(least(positive), most(positive), yTitle, (value) => format(value, 3))
        : linearAxis(most([0, ...inside]), Math.max(2, Math.floor(plot.height / 30)), yScale);
    const longest = most(y.ticks.map(({ text }) => text.length));
    plot.left = Math.max(LEFT, Math.ceil(longest * CHARACTER + 12));
    plot.width = width - plot.left - right;
    const x = xAxis(low, high, Math.max(2, Math.floor(plot.width / 80)));
    const at = (value) => plot.left + x.place(value) * plot.width;
    const up = (value) => plot.top + (1 - y.place(value)) * plot.height;
    Object.assign(this, { width, shown, plot, x, y, at, up, low, high });
  }

  draw() {
    this.layOut();
    const { svg, width, plot, number } = this;
    const { height, title, description } = this.options;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const frame = { x: plot.left, y: plot.top, width: plot.width, height: plot.height };
    // Only charts over time can have lines that go on outside of what is shown.
    const clipped = this.options.linked ? { "clip-path": `url(#clip-${number})` } : {};
    this.cursor = shape("g", { class: "cursor" });
    svg.replaceChildren(
      shape("title", { id: `title-${number}` }, title),
      shape("desc", { id: `description-${number}` }, description),
      shape(
        "clipPath",
        { id: `clip-${number}` },
        shape("rect", { ...frame, y: frame.y - 2, height: frame.height + 4 }),
      ),
      ...this.drawBands(),
      ...this.drawAxes(),
      shape(
        "g",
        clipped,
        this.shown.map((one) => this.drawLine(one)),
      ),
      this.cursor,
    );
    this.hide();
  }

  drawBands() {
    const { plot } = this;
    return this.options.bands.flatMap(({ from, to, name, kind }) => {
      const left = Math.max(plot.left, this.at(from));
      const width = Math.min(plot.left + plot.width, this.at(to)) - left;
      if (!(width > 0)) return [];
      const place = { x: left, y: plot.top, width, height: plot.height };
      const fits = width > name.length * CHARACTER + 4;
      return [
        shape("rect", { class: `band ${kind}`, ...place }),
        fits && shape("text", { class: "band", x: left + width / 2, y: plot.top - 5 }, name),
      ].filter(Boolean);
    });
  }

  drawAxes() {
    const { plot, x, y, width } = this;
    const bottom = plot.top + plot.height;
    const marks = [];
    let free = Infinity;
    for (const { value, text, major } of y.ticks) {
      const place = this.up(value);
      const line = { x1: plot.left, x2: plot.left + plot.width, y1: place, y2: place };
      marks.push(shape("line", { class: major ? "grid" : "grid minor", ...line }));
      if (!text || free - place < 14) continue;
      free = place;
      marks.push(shape("text", { class: "tick y", x: plot.left - 7, y: place + 4 }, text));
    }
    marks.push(...this.xTicks(bottom));
    const base = {
      class: "base",
      x1: plot.left,
      x2: plot.left + plot.width,
      y1: bottom,
      y2: bottom,
    };
    marks.push(shape("line", base));
    marks.push(shape("text", { class: "axis y", x: 0, y: 12 }, y.title));
    const middle = plot.left + plot.width / 2;
    marks.push(shape("text", { class: "axis x", x: middle, y: bottom + 35 }, x.title));
    return marks.filter(() => width > 0);
  }

  xTicks(bottom) {
    const { plot, x, width } = this;
    const marks = [];
    let free = -Infinity;
    for (const { value, text } of x.ticks) {
      const place = this.at(value);
      const half = (text.length * CHARACTER) / 2;
      const line = { x1: place, x2: place, y1: plot.top, y2: bottom + 4 };
      marks.push(shape("line", { class: "grid", ...line }));
      const middle = Math.min(place, width - half);
      if (middle - half < free) continue;
      free = middle + half + 8;
      marks.push(shape("text", { class: "tick x", x: middle, y: bottom + 17 }, text));
    }
    return marks;
  }

  /** A line that breaks where nothing is known; a point alone is a dot, from its round cap. */
  drawLine(series) {
    const line = shape("g", { "data-series": series.name });
    let path = "";
    let before = null;
    for (const [x, y] of series.points) {
      if (y === null) before = null;
      else {
        const place = `${this.at(x).toFixed(1)} ${this.up(y).toFixed(1)}`;
        path += before === null ? `M${place}h.01` : "";
        path += `L${place}`;
        before = y;
        if (series.mark) line.append(drawMark(series, this.at(x), this.up(y)));
      }
    }
    if (!series.lineless) line.prepend(shape("path", { class: stroke(series), d: path }));
    return line;
  }

  listen() {
    const { svg } = this;
    const place = (event) => {
      const box = svg.getBoundingClientRect();
      return ((event.clientX - box.left) / box.width) * this.width;
    };
    svg.addEventListener("pointermove", (event) => this.show(place(event)));
    svg.addEventListener("pointerdown", (event) => this.show(place(event)));
    svg.addEventListener("pointerleave", () => this.leave());
    svg.addEventListener("blur", () => this.leave());
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") this.leave();
      if (!step) return;
      event.preventDefault();
      const xs = [...new Set(this.shown.flatMap(({ points }) => points.map(([x]) => this.at(x))))];
      xs.sort((a, b) => a - b);
      const next =
        step > 0
          ? xs.find((x) => x > (this.marked ?? -1) + 0.5)
          : xs.findLast((x) => x < (this.marked ?? Infinity) - 0.5);
      if (next !== undefined) this.show(next);
    });
  }

  /** Shows the values of the points nearest to this place of the drawing. */
  show(place) {
    const found = this.shown
      .map((series) => ({ series, point: this.nearest(series.points, place) }))
      .filter(({ point }) => point && Math.abs(this.at(point[0]) - place) < NEAR);
    if (found.length === 0) return this.leave();
    const distance = ({ point }) => Math.abs(this.at(point[0]) - place);
    const [x] = found.reduce((a, b) => (distance(b) < distance(a) ? b : a)).point;
    this.mark(this.at(x));
    for (const { series, point } of found) {
      const dot = { cx: this.at(point[0]), cy: this.up(point[1]), r: 3.5 };
      this.cursor.append(shape("circle", { class: `mark c${series.colour % 8}`, ...dot }));
    }
    this.fillTip(x, found);
    if (this.options.linked) for (const other of linked) if (other !== this) other.markTime(x);
  }

  fillTip(x, found) {
    const rows = found.map(({ series, point }) =>
      element(
        "tr",
        {},
        element("td", {}, swatch(series)),
        element("th", { scope: "row" }, series.name),
        element("td", { class: "number" }, this.options.format(point[1])),
        point[2] ? element("td", {}, point[2]) : undefined,
      ),
    );
    const { tip, plot, width } = this;
    tip.replaceChildren(element("strong", {}, this.options.head(x)), element("table", {}, rows));
    tip.hidden = false;
    const box = this.svg.getBoundingClientRect();
    const left = (this.at(x) / width) * box.width;
    const wide = tip.offsetWidth;
    const beside = left + 14 + wide < box.width ? left + 14 : left - 14 - wide;
    tip.style.left = `${Math.max(0, Math.min(beside, box.width - wide))}px`;
    tip.style.top = `${plot.top}px`;
  }

  /** The point nearest to a place, by halving: points come in the order of x. */
  nearest(points, place) {
    const known = points.filter(([x, y]) => y !== null && x >= this.low && x <= this.high);
    let [low, high] = [0, known.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.at(known[middle][0]) < place) low = middle + 1;
      else high = middle;
    }
    const [before, after] = [known[low - 1], known[low]];
    if (!before || !after) return after ?? before;
    return place - this.at(before[0]) < this.at(after[0]) - place ? before : after;
  }

  mark(place) {
    const { plot } = this;
    this.marked = place;
    const line = { x1: place, x2: place, y1: plot.top, y2: plot.top + plot.height };
    this.cursor.replaceChildren(shape("line", line));
  }

  markTime(x) {
    this.hide();
    if (this.plot && x >= this.low && x <= this.high) this.mark(this.at(x));
  }

  leave() {
    for (const chart of this.options.linked ? linked : [this]) chart.hide();
  }

  hide() {
    this.marked = null;
    this.cursor?.replaceChildren();
    this.tip.hidden = true;
  }
}

/** Adds a chart to a parent, unless no view of it has anything to show. */
function addChart(parent, options) {
  const known = ({ points }) => points.some(([, y]) => y !== null);
  const views = options.views
    .map((view) => ({ ...view, series: view.series.filter(known) }))
    .filter(({ series }) => series.length > 0);
  if (views.length === 0) return;
  const chart = new Chart({ ...options, views });
  if (options.linked) linked.add(chart);
  parent.append(chart.figure);
}

/** Buttons of which one is pressed. */
function choice(label, names, chosen, choose) {
  const buttons = names.map((name) => {
    const button = element("button", { type: "button", "aria-pressed": name === chosen }, name);
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", other === button);
      choose(name);
    });
    return button;
  });
  return element("div", { class: "choice", role: "group", "aria-label": label }, buttons);
}

function least(values) {
  return values.reduce((a, b) => Math.min(a, b), Infinity);
}

function most(values) {
  return values.reduce((a, b) => Math.max(a, b), -Infinity);
}
