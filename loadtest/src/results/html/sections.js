// The sections of the page: what was measured, chart by chart and table by table.

function latencyCharts(body) {
  const of = single ? runs[0].summary.latency_of : "";
  const named = (name) =>
    runs.map((run) => ({ run, found: run.histograms.find((one) => one.name === name) }));
  const curves = (name, style) =>
    named(name)
      .filter(({ found }) => found)
      .map(({ run, found }) => ({
        name: single ? (HEADLINES[name] ?? words(name)) : run.name,
        ...(single ? style : run.style),
        points: curve(found),
      }));
  const headlines = Object.keys(HEADLINES).map((name, index) => ({
    name: HEADLINES[name],
    series: curves(name, { colour: index }),
  }));
  const hasLatency = headlines.some(({ series }) => series.some(({ points }) => points.length > 0));
  const shared = {
    yScale: SCALES.duration("latency"),
    yTitle: "latency (log scale)",
    format: duration,
    log: "auto",
    xAxis: (low) => percentileAxis(low),
    height: 360,
    head: (tail) => `${percentile(tail)}${THIN}% · 1 in ${digits(1 / tail, 3)} slower`,
  };
  addChart(body, {
    ...shared,
    id: "percentiles",
    title: `Latency by percentile${of ? `: ${of}` : ""}`,
    description: "How many messages were answered within which time, corrected and uncorrected.",
    views: single ? [{ name: "", series: headlines.flatMap(({ series }) => series) }] : headlines,
  });
  addTimeChart(body, {
    id: "latency",
    title: "Latency over time",
    height: 280,
    log: "auto",
    format: duration,
    description: "The latency of each interval: median, 99th percentile and maximum, corrected.",
    yScale: SCALES.duration("latency"),
    yTitle: "latency (log scale)",
    columns: [
      ["p99", "p99_us", 0, 0],
      ["max", "max_us", 1, 1],
      ["p50", "p50_us", 2, 4],
    ],
  });
  const others = [...new Set(runs.flatMap(({ histograms }) => histograms.map(({ name }) => name)))]
    .filter((name) => !(name in HEADLINES))
    .map((name, index) => ({ name: words(name), series: curves(name, { colour: index }) }));
  addChart(body, {
    ...shared,
    id: "distributions",
    height: 300,
    title: hasLatency ? "Everything else that was timed, by percentile" : "Durations by percentile",
    description: "The distribution of every other duration of the run.",
    yScale: SCALES.duration("duration"),
    yTitle: "duration (log scale)",
    views: single ? [{ name: "", series: others.flatMap(({ series }) => series) }] : others,
  });
}

function curve({ curve: points }) {
  return points.map(([tail, us], index) =>
    index === points.length - 1 ? [tail, us, "max"] : [tail, us],
  );
}

function rateCharts(body) {
  const pair = element("div", { class: "pair" });
  addTimeChart(pair, {
    id: "rate",
    title: "Rate over time",
    format: rate,
    yScale: SCALES.count("messages per second"),
    description: "Messages due, sent and received per second.",
    columns: [
      ["sent", "achieved_rate", 0, 0],
      ["received", "received_rate", 2, 2],
      ["target", "target_rate", 7, 1],
    ],
  });
  addTimeChart(pair, {
    id: "connections",
    title: "Connections over time",
    format: integer,
    yScale: SCALES.count("open connections"),
    description: "Connections open at the end of each interval.",
    columns: [["open", "connections", 0, 0]],
  });
  addTimeChart(pair, {
    id: "opened",
    title: "Handshakes over time",
    format: rate,
    yScale: SCALES.count("handshakes per second"),
    description: "Opening handshakes that succeeded, per second.",
    columns: [["opened", "opened_rate", 0, 0]],
  });
  addTimeChart(pair, {
    id: "errors",
    title: "Errors over time",
    format: integer,
    yScale: SCALES.count("errors and messages per interval"),
    description: "Errors, and messages scheduled but not sent, in each interval.",
    columns: [
      ["errors", "errors", 1, 0],
      ["not sent", "shed", 3, 1],
    ],
  });
  if (pair.childElementCount > 0) body.append(pair);
}

function serverPart(body) {
  const pair = element("div", { class: "pair" });
  addTimeChart(pair, {
    id: "server-cpu",
    title: "CPU of the server",
    format: (value) => `${decimal(value)} CPUs`,
    yScale: SCALES.amount("processors busy", "CPUs"),
    description: "Processors that the server kept busy.",
    columns: [["server", "server_cpus", 0, 0]],
  });
  addTimeChart(pair, {
    id: "server-memory",
    title: "Memory of the server",
    format: bytes,
    yScale: SCALES.bytes("resident memory"),
    description: "Resident memory of the server's process.",
    columns: [["resident", "server_resident_bytes", 0, 0]],
  });
  addTimeChart(pair, {
    id: "tcp-buffers",
    title: "TCP buffers of the host",
    format: bytes,
    yScale: SCALES.bytes("in socket buffers"),
    description: "What TCP sockets of the generator's host held in their buffers.",
    columns: [["buffers", "tcp_buffer_bytes", 0, 0]],
  });
  if (pair.childElementCount > 0) body.append(pair);
  const kernel = flat(
    "kernel: ",
    runs.map(({ summary }) => summary.kernel),
  );
  const server = flat(
    "",
    runs.map(({ summary }) => summary.server ?? {}),
  );
  addFacts(body, [...server, ...kernel]);
}

function generatorPart(body) {
  const pair = element("div", { class: "pair" });
  addTimeChart(pair, {
    id: "generator-cpu",
    title: "CPU of the generator",
    format: (value) => `${decimal(value)} CPUs`,
    yScale: SCALES.amount("processors busy", "CPUs"),
    description: "Processors that the generator kept busy.",
    columns: [["generator", "generator_cpus", 0, 0]],
  });
  addTimeChart(pair, {
    id: "schedule-lag",
    title: "Schedule lag of the generator",
    format: duration,
    log: "allowed",
    yScale: SCALES.duration("latest message of an interval"),
    yTitle: "latest message of an interval (log scale)",
    description: "The most that a message was sent late by the generator's own doing.",
    columns: [["lag", "schedule_lag_us", 1, 0]],
  });
  if (pair.childElementCount > 0) body.append(pair);
  const rows = runs.flatMap((run) =>
    run.summary.generator.threads.map((share, index) => [
      ...runCell(run),
      integer(index),
      integer(share.cpu),
      bar(share.busy),
      bar(share.waiting),
    ]),
  );
  addTable(body, ["thread", "CPU", "busy", "ready, but waiting"], rows, 2);
  const processors = runs.flatMap((run) =>
    run.summary.generator.cpus.map((share) => [
      ...runCell(run),
      integer(share.cpu),
      bar(share.busy),
      bar(share.waiting),
    ]),
  );
  addTable(body, ["CPU", "all threads on it busy", "ready, but waiting"], processors, 1);
  const own = runs.map(({ summary }) => ({
    ...summary.generator,
    threads: undefined,
    cpus: undefined,
  }));
  addFacts(body, flat("", own));
}

function searchPart(body) {
  for (const run of runs.filter(({ summary }) => summary.steps?.length)) searchOf(run, body);
}

function searchOf(run, body) {
  const { steps } = run.summary;
  const byRate = new Set(steps.map(({ connections }) => connections)).size === 1;
  const x = (step) => (byRate ? (step.rate ?? step.achieved) : step.connections);
  const series = (name, passed, style) => ({
    name,
    ...style,
    points: steps
      .filter((step) => step.passed === passed && step.latency_us.count > 0)
      .map((step) => [x(step), step.latency_us.p99])
      .sort(([a], [b]) => a - b),
  });
  addChart(body, {
    id: single ? "search" : `search-${runs.indexOf(run)}`,
    title: single ? "Steps of the search" : `Steps of the search: ${run.name}`,
    description: "The 99th percentile of the latency at each step.",
    log: "auto",
    height: 280,
    format: duration,
    yScale: SCALES.duration("latency p99"),
    yTitle: "latency p99 (log scale)",
    xAxis: (low, high, count) =>
      linearAxis(high, count, SCALES.count(byRate ? "messages per second" : "connections")),
    head: (value) => (byRate ? rate(value) : `${integer(value)} connections`),
    views: [
      {
        name: "",
        series: [
          series("passed", true, { colour: 0, mark: "dot" }),
          series("failed", false, { colour: 1, mark: "cross", lineless: true }),
        ],
      },
    ],
  });
  const heads = ["step", "connections", "rate", "sent", "p50", "p99", "max", "result"];
  const rows = steps.map((step, index) => [
    integer(index + 1),
    integer(step.connections),
    isNumber(step.rate) ? rate(step.rate) : "closed loop",
    rate(step.achieved),
    ...["p50", "p99", "max"].map((key) => duration(known(step.latency_us)[key])),
    step.passed ? "passed" : `failed: ${step.reason}`,
  ]);
  addTable(body, heads, rows, 7, false);
}

function histogramTable(body) {
  const heads = [
    "histogram",
    "of",
    "count",
    "min",
    "mean",
    "stdev",
    ...PERCENTILES.map(([, name]) => name),
  ];
  const keys = ["min", "mean", "stdev", ...PERCENTILES.map(([key]) => key)];
  const rows = runs.flatMap((run) =>
    run.histograms.map(({ name, of, us }) => [
      ...runCell(run),
      words(name),
      of,
      integer(us.count),
      ...keys.map((key) => duration(known(us)[key])),
    ]),
  );
  addTable(body, heads, rows, (column) => column > (single ? 1 : 2));
}

function figuresTable(body) {
  const labels = new Map();
  for (const { summary } of runs) {
    for (const { name, label } of summary.figures) labels.set(name, label);
  }
  addFacts(
    body,
    [...labels].map(([name, label]) => [
      label,
      runs.map(({ summary }) => {
        const figure = summary.figures.find((one) => one.name === name);
        return figure ? byName(name, figure.value) : NONE;
      }),
    ]),
  );
}

function errorTable(body) {
  const rows = runs.flatMap((run) =>
    run.summary.errors.map(({ stage, kind, count }) => [
      ...runCell(run),
      stage,
      kind,
      integer(count),
    ]),
  );
  addTable(body, ["stage", "kind", "count"], rows, (column) => column === (single ? 2 : 3));
}

function configuration(body) {
  addFacts(
    body,
    flat(
      "",
      runs.map(({ summary }) => summary.config),
    ),
  );
  for (const { name, summary } of runs) {
    const { command } = summary.environment;
    if (command.length === 0) continue;
    const label = single ? "Command line" : `Command line of ${name}`;
    body.append(
      element("h3", {}, label),
      element("pre", {}, element("code", {}, shellWords(command))),
    );
  }
}

function environment(body) {
  const shown = runs.map(({ summary }) => ({
    ...summary.environment,
    command: undefined,
    run_id: summary.run_id,
    loadtest: summary.version,
    exit_code: summary.exit_code,
  }));
  addFacts(body, flat("", shown));
}

function notes(body) {
  for (const { name, summary } of runs) {
    if (summary.notes.length === 0) continue;
    if (!single) body.append(element("h3", {}, name));
    body.append(
      element(
        "ul",
        {},
        summary.notes.map((note) => element("li", {}, note)),
      ),
    );
  }
}
