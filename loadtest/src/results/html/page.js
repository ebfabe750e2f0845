// What stands on the page, from top to bottom: of one run, or of several side by side.

const { runs } = JSON.parse(document.getElementById("data").textContent);
const single = runs.length === 1;
const page = document.getElementById("page");
const VERDICTS = { VALID: "good", INTERRUPTED: "warn", "GATE-FAILED": "bad", "SERVER-ERRORS": "bad" };
const PERCENTILES = [
  ["p50", "p50"], ["p75", "p75"], ["p90", "p90"], ["p99", "p99"], ["p99_9", "p99.9"],
  ["p99_99", "p99.99"], ["max", "max"],
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
  const load = config.load;
  const parts = [
    time && `${time.slice(0, 19)} UTC`,
    `${integer(config.connections)} connections`,
    load && `${load.model} loop, ${load.payload_bytes} B ${load.kind}`,
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
  return element("ul", { class: `reasons ${kind}` }, summary.reasons.map((reason) => element("li", {}, reason)));
}

/** One switch for the time that all charts over time show. */
function rangeSwitch() {
  const names = ["whole run", "measured"];
  const switches = choice("time range", names, names[0], (name) => {
    measuredOnly = name === names[1];
    linked.forEach((chart) => chart.draw());
  });
  return element("div", { class: "range head" }, element("span", { class: "soft" }, "Charts over time:"), switches);
}

function cards({ summary, histograms }) {
  const { connections, messages, rate: rates, server, generator } = summary;
  const list = element("div", { class: "cards" });
  const add = (label, value, below, fault) => {
    const texts = [["label", label], ["value", value], ["below", below]];
    const parts = texts.map(([kind, text]) => element("div", { class: kind }, text ?? ""));
    list.append(element("div", { class: fault ? "card fault" : "card" }, parts));
  };
  const lost = connections.lost > 0 ? `${integer(connections.lost)} lost` : "none lost";
  add("Connections", of(connections.achieved, connections.requested),
    lost, connections.achieved < connections.requested || connections.lost > 0);
  add("Connected in", span(connections.connect_seconds), `${rate(connections.connects_per_second)} opened`);
  if (summary.config.load) addLoad(add, summary);
  else addHandshake(add, histograms);
  const failed = summary.errors.reduce((sum, { count }) => sum + count, 0);
  const kinds = summary.errors.map(({ stage, kind }) => `${stage}: ${kind}`);
  add("Errors", integer(failed), kinds[0] ? `${kinds[0]}${kinds.length > 1 ? " …" : ""}` : "none", failed > 0);
  if (server) {
    add("Server memory", bytes(server.resident_bytes_per_connection),
      `per connection; ${bytes(server.resident_measured_bytes)} in all`);
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
    ? `${percent(rates.ratio, 4)} of ${rate(rates.target)} due` : "closed loop";
  add("Sent", rate(rates.achieved), target);
  add("Received", rate(rates.received), `${integer(messages.received)} messages`);
  if (latency_us.count > 0) {
    for (const [key, name] of PERCENTILES.filter(([key]) => ["p50", "p99", "max"].includes(key))) {
      add(`Latency ${name}`, duration(latency_us[key], 3), `${duration(sent[key], 3)} uncorrected`);
    }
  }
  const wrong = ["duplicate", "out_of_order", "corrupt", "shed"].filter((key) => messages[key] > 0);
  const texts = wrong.map((key) => `${integer(messages[key])} ${words(key)}`);
  add("Missing", integer(messages.missing), texts.join(", ") || `of ${integer(messages.sent)} sent`,
    messages.missing > 0 || wrong.length > 0);
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
    integer(part), element("small", {}, ` of ${integer(whole)}`),
  ]);
}

/** The headlines of all runs, with what has changed since the first. */
function comparison() {
  const rows = [
    ["verdict", (run) => badge(run.summary.verdict)],
    ["connections", ({ summary: { connections: c } }) => `${integer(c.achieved)} of ${integer(c.requested)}`],
    ["target", ({ summary }) => (isNumber(summary.rate.target) ? rate(summary.rate.target) : "closed loop")],
    ["sent", ({ summary }) => summary.rate.achieved, rate],
    ["received", ({ summary }) => summary.rate.received, rate],
    ...PERCENTILES.map(([key, name]) => [`latency ${name}`, ({ summary }) => known(summary.latency_us)[key], duration]),
    ["missing", ({ summary }) => integer(summary.messages.missing)],
    ["shed", ({ summary }) => integer(summary.messages.shed)],
    ["errors", ({ summary }) => integer(summary.errors.reduce((sum, { count }) => sum + count, 0))],
    ["server memory per connection", ({ summary }) => summary.server?.resident_bytes_per_connection, bytes],
    ["server CPU per million messages",
      ({ summary }) => summary.server?.cpu_seconds_per_million_messages, (value) => `${decimal(value)}${THIN}s`],
  ];
  const table = rows.map(([name, value, format]) => {
    const values = runs.map(value);
    if (!values.some((one) => one !== undefined && one !== null)) return undefined;
    const cells = values.map((one) => element("td", { class: "number" }, ...cell(one, values[0], format)));
    return element("tr", {}, element("th", { scope: "row" }, name), cells);
  });
  const box = scroll(element("table", {}, runHeads(true), element("tbody", {}, table.filter(Boolean))));
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
    ...runCell(run), run.summary.reasons.join("; ") || "–", run.summary.latency_gap || "–",
  ]);
  const body = element("div");
  addTable(body, ["reasons of the verdict", "corrected and uncorrected latency"], rows, 0);
  return body;
}

function latencyCharts(body) {
  const of = single ? runs[0].summary.latency_of : "";
  const named = (name) => runs.map((run) => ({ run, found: run.histograms.find((one) => one.name === name) }));
  const curves = (name, style) => named(name).filter(({ found }) => found).map(({ run, found }) => ({
    name: single ? HEADLINES[name] ?? words(name) : run.name, ...(single ? style : run.style), points: curve(found),
  }));
  const headlines = Object.keys(HEADLINES).map((name, index) => ({
    name: HEADLINES[name], series: curves(name, { colour: index }),
  }));
  const shared = {
    yScale: SCALES.duration("latency"), yTitle: "latency (log scale)", format: duration, log: "auto",
    xAxis: (low) => percentileAxis(low), height: 360,
    head: (tail) => `${percentile(tail)}${THIN}% · 1 in ${digits(1 / tail, 3)} slower`,
  };
  addChart(body, {
    ...shared, id: "percentiles", title: `Latency by percentile${of ? `: ${of}` : ""}`,
    description: "How many messages were answered within which time, corrected and uncorrected.",
    views: single ? [{ name: "", series: headlines.flatMap(({ series }) => series) }] : headlines,
  });
  addTimeChart(body, {
    id: "latency", title: "Latency over time", height: 280, log: "auto", format: duration,
    description: "The latency of each interval: median, 99th percentile and maximum, corrected.",
    yScale: SCALES.duration("latency"), yTitle: "latency (log scale)",
    columns: [["p99", "p99_us", 0, 0], ["max", "max_us", 1, 1], ["p50", "p50_us", 2, 4]],
  });
  const others = [...new Set(runs.flatMap(({ histograms }) => histograms.map(({ name }) => name)))]
    .filter((name) => !(name in HEADLINES))
    .map((name, index) => ({ name: words(name), series: curves(name, { colour: index }) }));
  addChart(body, {
    ...shared, id: "distributions", height: 300, title: "Everything else that was timed, by percentile",
    description: "The distribution of every other duration of the run.", yScale: SCALES.duration("duration"),
    yTitle: "duration (log scale)",
    views: single ? [{ name: "", series: others.flatMap(({ series }) => series) }] : others,
  });
}

function curve({ curve: points }) {
  return points.map(([tail, us], index) => (index === points.length - 1 ? [tail, us, "max"] : [tail, us]));
}

function rateCharts(body) {
  const pair = element("div", { class: "pair" });
  addTimeChart(pair, {
    id: "rate", title: "Rate over time", format: rate, yScale: SCALES.count("messages per second"),
    description: "Messages due, sent and received per second.",
    columns: [["sent", "achieved_rate", 0, 0], ["received", "received_rate", 2, 2], ["target", "target_rate", 7, 1]],
  });
  addTimeChart(pair, {
    id: "connections", title: "Connections over time", format: integer, yScale: SCALES.count("open connections"),
    description: "Connections open at the end of each interval.", columns: [["open", "connections", 0, 0]],
  });
  addTimeChart(pair, {
    id: "opened", title: "Handshakes over time", format: rate, yScale: SCALES.count("handshakes per second"),
    description: "Opening handshakes that succeeded, per second.", columns: [["opened", "opened_rate", 0, 0]],
  });
  addTimeChart(pair, {
    id: "errors", title: "Errors over time", format: integer, yScale: SCALES.count("errors and messages per interval"),
    description: "Errors, and messages scheduled but not sent, in each interval.",
    columns: [["errors", "errors", 1, 0], ["not sent", "shed", 3, 1]],
  });
  if (pair.childElementCount > 0) body.append(pair);
}

function serverPart(body) {
  const pair = element("div", { class: "pair" });
  addTimeChart(pair, {
    id: "server-cpu", title: "CPU of the server", format: (value) => `${decimal(value)} CPUs`,
    yScale: SCALES.amount("processors busy", "CPUs"), description: "Processors that the server kept busy.",
    columns: [["server", "server_cpus", 0, 0]],
  });
  addTimeChart(pair, {
    id: "server-memory", title: "Memory of the server", format: bytes, yScale: SCALES.bytes("resident memory"),
    description: "Resident memory of the server's process.", columns: [["resident", "server_resident_bytes", 0, 0]],
  });
  addTimeChart(pair, {
    id: "tcp-buffers", title: "TCP buffers of the host", format: bytes, yScale: SCALES.bytes("in socket buffers"),
    description: "What TCP sockets of the generator's host held in their buffers.",
    columns: [["buffers", "tcp_buffer_bytes", 0, 0]],
  });
  if (pair.childElementCount > 0) body.append(pair);
  const kernel = flat("kernel: ", runs.map(({ summary }) => summary.kernel));
  const server = flat("", runs.map(({ summary }) => summary.server ?? {}));
  addFacts(body, [...server, ...kernel]);
}

function generatorPart(body) {
  const pair = element("div", { class: "pair" });
  addTimeChart(pair, {
    id: "generator-cpu", title: "CPU of the generator", format: (value) => `${decimal(value)} CPUs`,
    yScale: SCALES.amount("processors busy", "CPUs"), description: "Processors that the generator kept busy.",
    columns: [["generator", "generator_cpus", 0, 0]],
  });
  addTimeChart(pair, {
    id: "schedule-lag", title: "Schedule lag of the generator", format: duration, log: "allowed",
    yScale: SCALES.duration("latest message of an interval"), yTitle: "latest message of an interval (log scale)",
    description: "The most that a message was sent late by the generator's own doing.",
    columns: [["lag", "schedule_lag_us", 1, 0]],
  });
  if (pair.childElementCount > 0) body.append(pair);
  const rows = runs.flatMap((run) => run.summary.generator.threads.map((share, index) => [
    ...runCell(run), integer(index), integer(share.cpu), bar(share.busy), bar(share.waiting),
  ]));
  addTable(body, ["thread", "CPU", "busy", "ready, but waiting"], rows, 2);
  const processors = runs.flatMap((run) => run.summary.generator.cpus.map((share) => [
    ...runCell(run), integer(share.cpu), bar(share.busy), bar(share.waiting),
  ]));
  addTable(body, ["CPU", "all threads on it busy", "ready, but waiting"], processors, 1);
  const own = runs.map(({ summary }) => ({ ...summary.generator, threads: undefined, cpus: undefined }));
  addFacts(body, flat("", own));
}

function searchPart(body) {
  for (const run of runs.filter(({ summary }) => summary.steps?.length)) searchOf(run, body);
}

function searchOf(run, body) {
  const { steps } = run.summary;
  const byRate = new Set(steps.map(({ connections }) => connections)).size === 1;
  const x = (step) => (byRate ? step.rate ?? step.achieved : step.connections);
  const series = (name, passed, style) => ({
    name, ...style,
    points: steps.filter((step) => step.passed === passed && step.latency_us.count > 0)
      .map((step) => [x(step), step.latency_us.p99]).sort(([a], [b]) => a - b),
  });
  addChart(body, {
    id: single ? "search" : `search-${runs.indexOf(run)}`, title: single ? "Steps of the search" : `Steps of the search: ${run.name}`,
    description: "The 99th percentile of the latency at each step.", log: "auto", height: 280, format: duration,
    yScale: SCALES.duration("latency p99"), yTitle: "latency p99 (log scale)",
    xAxis: (low, high, count) => linearAxis(high, count, SCALES.count(byRate ? "messages per second" : "connections")),
    head: (value) => (byRate ? rate(value) : `${integer(value)} connections`),
    views: [{ name: "", series: [
      series("passed", true, { colour: 0, mark: "dot" }),
      series("failed", false, { colour: 1, mark: "cross", lineless: true }),
    ] }],
  });
  const heads = ["step", "connections", "rate", "sent", "p50", "p99", "max", "result"];
  const rows = steps.map((step, index) => [
    integer(index + 1), integer(step.connections), isNumber(step.rate) ? rate(step.rate) : "closed loop",
    rate(step.achieved), ...["p50", "p99", "max"].map((key) => duration(known(step.latency_us)[key])),
    step.passed ? "passed" : `failed: ${step.reason}`,
  ]);
  addTable(body, heads, rows, 7, false);
}

function histogramTable(body) {
  const heads = ["histogram", "of", "count", "min", "mean", "stdev", ...PERCENTILES.map(([, name]) => name)];
  const keys = ["min", "mean", "stdev", ...PERCENTILES.map(([key]) => key)];
  const rows = runs.flatMap((run) => run.histograms.map(({ name, of, us }) => [
    ...runCell(run), words(name), of, integer(us.count), ...keys.map((key) => duration(known(us)[key])),
  ]));
  addTable(body, heads, rows, (column) => column > (single ? 1 : 2));
}

function figuresTable(body) {
  const labels = new Map();
  for (const { summary } of runs) {
    for (const { name, label } of summary.figures) labels.set(name, label);
  }
  addFacts(body, [...labels].map(([name, label]) => [label, runs.map(({ summary }) => {
    const figure = summary.figures.find((one) => one.name === name);
    return figure ? byName(name, figure.value) : NONE;
  })]));
}

function errorTable(body) {
  const rows = runs.flatMap((run) => run.summary.errors.map(({ stage, kind, count }) => [
    ...runCell(run), stage, kind, integer(count),
  ]));
  addTable(body, ["stage", "kind", "count"], rows, (column) => column === (single ? 2 : 3));
}

function configuration(body) {
  addFacts(body, flat("", runs.map(({ summary }) => summary.config)));
  for (const { name, summary } of runs) {
    const { command } = summary.environment;
    if (command.length === 0) continue;
    const label = single ? "Command line" : `Command line of ${name}`;
    body.append(element("h3", {}, label), element("pre", {}, element("code", {}, shellWords(command))));
  }
}

function environment(body) {
  const shown = runs.map(({ summary }) => ({
    ...summary.environment, command: undefined, run_id: summary.run_id,
    loadtest: summary.version, exit_code: summary.exit_code,
  }));
  addFacts(body, flat("", shown));
}

function notes(body) {
  for (const { name, summary } of runs) {
    if (summary.notes.length === 0) continue;
    if (!single) body.append(element("h3", {}, name));
    body.append(element("ul", {}, summary.notes.map((note) => element("li", {}, note))));
  }
}

/** A chart of columns of the series, one line each; of several runs, one line per run. */
function addTimeChart(parent, { columns, ...options }) {
  const line = (run, [name, column, colour, dash]) => {
    const values = run.series[column];
    const points = run.series.t.map((t, index) => [single ? t : t - run.start, values[index] ?? null]);
    const nothing = values.every((value) => !value);
    const style = single ? { name, colour, dash } : { name: run.name, ...run.style };
    return { ...style, points: nothing ? [] : points };
  };
  const views = single
    ? [{ name: "", series: columns.map((column) => line(runs[0], column)) }]
    : columns.map((column) => ({ name: column[0], series: runs.map((run) => line(run, column)) }));
  const title = single ? "time since the first connection" : "time since measuring began";
  addChart(parent, {
    ...options, views, linked: true, domain: timeDomain,
    xAxis: (low, high, count) => timeAxis(low, high, count, title),
    head: momentText, bands: single ? bands(runs[0].series) : [],
  });
}

/** The time that charts show: all intervals, or those from measuring to settling. */
function timeDomain() {
  const limits = runs.flatMap(({ series, start }) => {
    const rows = series.t.map((t, index) => ({ from: t - series.length[index], to: t, phase: series.phase[index] }));
    const measured = rows.filter(({ phase }) => phase === "measure" || phase === "settle");
    const shown = measuredOnly && measured.length ? measured : rows;
    return shown.flatMap(({ from, to }) => [from, to]).map((t) => (single ? t : t - start));
  });
  return [least(limits), most(limits)];
}

function momentText(t) {
  if (!single) return `${digits(t, 4)}${THIN}s since measuring began`;
  const { series } = runs[0];
  const index = series.t.indexOf(t);
  const from = digits(t - series.length[index], 4);
  return `${from} to ${digits(t, 4)}${THIN}s · ${words(series.phase[index])}`;
}

/** The phases of a run, from the first interval of each to its last. */
function bands(series) {
  const found = [];
  series.t.forEach((t, index) => {
    const name = words(series.phase[index]);
    if (found.at(-1)?.name !== name) found.push({ name, kind: series.phase[index], from: t - series.length[index] });
    found.at(-1).to = t;
  });
  return found;
}

function phaseStart(series, phase) {
  const index = series.phase.indexOf(phase);
  return index < 0 ? undefined : series.t[index] - series.length[index];
}

/** The fields of each run's object as rows of facts; objects and lists inside included. */
function flat(prefix, objects) {
  const names = [...new Set(objects.flatMap((object) => Object.keys(object)))];
  return names.flatMap((name) => {
    const values = objects.map((object) => object[name]);
    const nested = values.filter((value) => value && typeof value === "object" && !Array.isArray(value));
    if (nested.length) return flat(name === "load" ? "" : prefix, values.map((value) => value ?? {}));
    if (values.every((value) => value === undefined || value === null)) return [];
    const label = values.some((value) => typeof value === "number") ? wordsWithoutUnit(name) : words(name);
    return [[prefix + label, values.map((value) => factText(name, value))]];
  });
}

function factText(name, value) {
  if (value === undefined || value === null) return NONE;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (name === "masking_key") return value.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  if (Array.isArray(value)) return value.join(", ") || "none";
  return typeof value === "number" ? byName(name, value) : String(value);
}

/** A list of facts; of several runs a table, a column each, with a mark where they differ. */
function addFacts(parent, rows) {
  if (rows.length === 0) return;
  if (single) {
    parent.append(element("dl", {}, rows.map(([label, [value]]) => (
      element("div", {}, element("dt", {}, label), element("dd", {}, value))
    ))));
    return;
  }
  const body = rows.map(([label, values]) => {
    const differs = new Set(values).size > 1;
    const cells = values.map((value) => element("td", {}, value));
    return element("tr", { class: differs && "differs" }, element("th", { scope: "row" }, label), cells);
  });
  parent.append(scroll(element("table", { class: "facts" }, runHeads(), element("tbody", {}, body))));
}

function runHeads(numbers = false) {
  const heads = runs.map((run) => element("th", { scope: "col", class: numbers && "number" }, ...runCell(run)));
  return element("thead", {}, element("tr", {}, element("td"), heads));
}

/** The name of a run with its line, where there are several. */
function runCell(run) {
  return single ? [] : [element("span", { class: "run" }, swatch(run.style), run.name)];
}

/** A table; `numbers` says how many columns hold numbers, or which. */
function addTable(parent, heads, rows, numbers, perRun = true) {
  if (rows.length === 0) return;
  const shift = single || !perRun ? 0 : 1;
  const isNumeric = typeof numbers === "function" ? numbers : (column) => column >= shift && column < shift + numbers;
  const all = shift ? ["run", ...heads] : heads;
  const kind = (column) => ({ class: isNumeric(column) && "number" });
  const head = all.map((text, column) => element("th", { scope: "col", ...kind(column) }, text));
  const body = rows.map((row) => element("tr", {}, row.map((value, column) => element("td", kind(column), value))));
  parent.append(scroll(element("table", { class: "data" }, element("thead", {}, element("tr", {}, head)), element("tbody", {}, body))));
}

function scroll(table) {
  return element("div", { class: "scroll", tabindex: 0 }, table);
}

function bar(share) {
  const inside = element("span");
  inside.style.width = `${Math.min(100, Math.max(0, share * 100))}%`;
  return element("span", {}, element("span", { class: "bar" }, inside), percent(share));
}
