// What stands on the page, from top to bottom: of one run, or of several side by side.

const { runs } = JSON.parse(document.getElementById("data").textContent);
const single = runs.length === 1;
const page = document.getElementById("page");
const VERDICTS = {
  VALID: "good",
  INTERRUPTED: "warn",
  "GATE-FAILED": "bad",
  "SERVER-ERRORS": "bad",
};
const PERCENTILES = [
  ["p50", "p50"],
  ["p75", "p75"],
  ["p90", "p90"],
  ["p99", "p99"],
  ["p99_9", "p99.9"],
  ["p99_99", "p99.99"],
  ["max", "max"],
];
/** Latencies counted from the intended time, and from when each was really sent. */
const HEADLINES = { latency: "corrected", latency_uncorrected: "uncorrected" };
let measuredOnly = false;

runs.forEach((run, index) => {
  run.style = { colour: index, dash: index };
  run.start = phaseStart(run.series, "measure") ?? 0;
});
page.replaceChildren(
  header(),
  single ? cards(runs[0]) : comparison(),
  meaning(),
  section("Latency", latencyCharts),
  section("Rate and connections", rateCharts),
  section("Server", serverPart),
  section("Generator", generatorPart),
  section("Search", searchPart),
  section("Histograms", histogramTable),
  section("Figures of the scenario", figuresTable),
  section("Errors", errorTable),
  section("Configuration", configuration),
  section("Environment", environment),
  section("Notes", notes),
);

/** A heading and what `fill` puts below it; nothing when that is nothing. */
function section(title, fill) {
  const body = element("section", {});
  fill(body);
  if (body.childElementCount === 0) return "";
  body.prepend(element("h2", { id: title.toLowerCase().replaceAll(" ", "-") }, title));
  return body;
}

function header() {
  const { config, verdict } = runs[0].summary;
  const scenarios = [...new Set(runs.map(({ summary }) => summary.config.scenario))].join(", ");
  const heading = single ? `${config.scenario} ${config.url}` : `${scenarios}: ${runs.length} runs`;
  document.title = `${heading} – loadtest`;
  const title = single
    ? element("h1", {}, config.scenario, " ", element("code", { class: "url" }, config.url))
    : element("h1", {}, heading);
  const head = element("div", { class: "head" }, title, single ? badge(verdict) : undefined);
  const parts = [head];
  if (single) {
    parts.push(element("div", { class: "soft" }, subtitle(runs[0].summary)));
    parts.push(reasons(runs[0].summary));
  }
  const phases = runs.some(({ series }) => series.t.length > 1);
  if (phases) parts.push(rangeSwitch());
  return element("header", {}, parts);
}

function subtitle({ config, started_unix_seconds, latency_of, version, messages }) {
  const started = new Date(started_unix_seconds * 1000);
  const time = Number.isNaN(started.getTime()) ? "" : started.toISOString().replace("T", " ");
  const { load, rooms } = config;
  const parts = [
    time && `${time.slice(0, 19)} UTC`,
    `${integer(config.connections)} connections`,
    load && `${load.model} loop, ${load.payload_bytes} B ${load.kind}`,
    rooms && `${integer(rooms.rooms)} rooms of ${integer(rooms.members)} members`,
    rooms && `each room on ${integer(rooms.nodes_per_room)} of ${integer(rooms.nodes)} nodes`,
    rooms && `order of the ${rooms.order}`,
    messages.measured_seconds > 0 ? `measured for ${span(messages.measured_seconds)}` : "",
    load && latency_of && `latency: ${latency_of}`,
    `loadtest ${version}`,
  ];
  return parts.filter(Boolean).join(" · ");
}

function badge(verdict) {
  return element("span", { class: `badge ${VERDICTS[verdict] ?? "warn"}` }, verdict);
}

function reasons(summary) {
  if (summary.reasons.length === 0) return undefined;
  const kind = VERDICTS[summary.verdict] ?? "warn";
  return element(
    "ul",
    { class: `reasons ${kind}` },
    summary.reasons.map((reason) => element("li", {}, reason)),
  );
}

/** One switch for the time that all charts over time show. */
function rangeSwitch() {
  const names = ["whole run", "measured"];
  const switches = choice("time range", names, names[0], (name) => {
    measuredOnly = name === names[1];
    linked.forEach((chart) => chart.draw());
  });
  return element(
    "div",
    { class: "range head" },
    element("span", { class: "soft" }, "Charts over time:"),
    switches,
  );
}

function cards({ summary, histograms }) {
  const { connections, server, generator } = summary;
  const list = element("div", { class: "cards" });
  const add = (label, value, below, fault) => {
    const texts = [
      ["label", label],
      ["value", value],
      ["below", below],
    ];
    const parts = texts.map(([kind, text]) => element("div", { class: kind }, text ?? ""));
    list.append(element("div", { class: fault ? "card fault" : "card" }, parts));
  };
  const lost = connections.lost > 0 ? `${integer(connections.lost)} lost` : "none lost";
  add(
    "Connections",
    of(connections.achieved, connections.requested),
    lost,
    connections.achieved < connections.requested || connections.lost > 0,
  );
  add(
    "Connected in",
    span(connections.connect_seconds),
    `${rate(connections.connects_per_second)} opened`,
  );
  if (summary.config.load) addLoad(add, summary);
  else addHandshake(add, histograms);
  const failed = summary.errors.reduce((sum, { count }) => sum + count, 0);
  const kinds = summary.errors.map(({ stage, kind }) => `${stage}: ${kind}`);
  add(
    "Errors",
    integer(failed),
    kinds[0] ? `${kinds[0]}${kinds.length > 1 ? " …" : ""}` : "none",
    failed > 0,
  );
  if (server) {
    add(
      "Server memory",
      bytes(server.resident_bytes_per_connection),
      `per connection; ${bytes(server.resident_measured_bytes)} in all`,
    );
    const cpu = server.cpu_seconds_per_million_messages;
    if (isNumber(cpu)) add("Server CPU", `${decimal(cpu)}${THIN}s`, "per million messages");
  }
  const busiest = most([0, ...generator.threads.map(({ busy }) => busy)]);
  if (generator.threads.length) {
    add("Generator", percent(busiest), "busy, its busiest thread");
  }
  return list;
}

function addLoad(add, { rate: rates, messages, latency_us, latency_uncorrected_us: sent }) {
  const target = isNumber(rates.target)
    ? `${percent(rates.ratio, 4)} of ${rate(rates.target)} due`
    : "closed loop";
  add("Sent", rate(rates.achieved), target);
  add("Received", rate(rates.received), `${integer(messages.received)} messages`);
  if (latency_us.count > 0) {
    for (const [key, name] of PERCENTILES.filter(([key]) => ["p50", "p99", "max"].includes(key))) {
      add(`Latency ${name}`, duration(latency_us[key], 3), `${duration(sent[key], 3)} uncorrected`);
    }
  }
  const wrong = ["duplicate", "out_of_order", "corrupt", "shed"].filter((key) => messages[key] > 0);
  const texts = wrong.map((key) => `${integer(messages[key])} ${words(key)}`);
  add(
    "Missing",
    integer(messages.missing),
    texts.join(", ") || `of ${integer(messages.sent)} sent`,
    messages.missing > 0 || wrong.length > 0,
  );
}

function addHandshake(add, histograms) {
  const handshake = histograms.find(({ name }) => name === "handshake");
  if (!handshake || handshake.us.count === 0) return;
  for (const key of ["p50", "p99", "max"]) {
    add(`Handshake ${key}`, duration(handshake.us[key], 3), handshake.of);
  }
}

function of(part, whole) {
  return build(document.createDocumentFragment(), {}, [
    integer(part),
    element("small", {}, ` of ${integer(whole)}`),
  ]);
}

/** The headlines of all runs, with what has changed since the first. */
function comparison() {
  const rows = [
    ["verdict", (run) => badge(run.summary.verdict)],
    [
      "connections",
      ({ summary: { connections: c } }) => `${integer(c.achieved)} of ${integer(c.requested)}`,
    ],
    [
      "target",
      ({ summary }) => (isNumber(summary.rate.target) ? rate(summary.rate.target) : "closed loop"),
    ],
    ["sent", ({ summary }) => summary.rate.achieved, rate],
    ["received", ({ summary }) => summary.rate.received, rate],
    ...PERCENTILES.map(([key, name]) => [
      `latency ${name}`,
      ({ summary }) => known(summary.latency_us)[key],
      duration,
    ]),
    ["missing", ({ summary }) => integer(summary.messages.missing)],
    ["shed", ({ summary }) => integer(summary.messages.shed)],
    ["errors", ({ summary }) => integer(summary.errors.reduce((sum, { count }) => sum + count, 0))],
    [
      "server memory per connection",
      ({ summary }) => summary.server?.resident_bytes_per_connection,
      bytes,
    ],
    [
      "server CPU per million messages",
      ({ summary }) => summary.server?.cpu_seconds_per_million_messages,
      (value) => `${decimal(value)}${THIN}s`,
    ],
  ];
  const table = rows.map(([name, value, format]) => {
    const values = runs.map(value);
    if (!values.some((one) => one !== undefined && one !== null)) return undefined;
    const cells = values.map((one) =>
      element("td", { class: "number" }, ...cell(one, values[0], format)),
    );
    return element("tr", {}, element("th", { scope: "row" }, name), cells);
  });
  const box = scroll(
    element("table", {}, runHeads(true), element("tbody", {}, table.filter(Boolean))),
  );
  return element("div", {}, box);
}

function cell(value, first, format) {
  if (!format) return [value];
  if (!isNumber(value)) return [NONE];
  const change = isNumber(first) && first !== 0 ? value / first - 1 : 0;
  const sign = change > 0 ? "+" : "−";
  const text = Math.abs(change) < 0.0005 ? "" : `${sign}${percent(Math.abs(change), 2)}`;
  return [format(value), text ? element("span", { class: "delta" }, text) : undefined];
}

/** The percentiles of a histogram, unless it is empty. */
function known(us) {
  return us.count > 0 ? us : {};
}

/** What the figures mean, in the words of the summary. */
function meaning() {
  if (single) {
    const text = runs[0].summary.latency_gap;
    return text ? element("p", { class: "gap" }, text) : "";
  }
  const told = runs.filter(({ summary }) => summary.reasons.length > 0 || summary.latency_gap);
  const rows = told.map((run) => [
    ...runCell(run),
    run.summary.reasons.join("; ") || "–",
    run.summary.latency_gap || "–",
  ]);
  const body = element("div");
  addTable(body, ["reasons of the verdict", "corrected and uncorrected latency"], rows, 0);
  return body;
}
