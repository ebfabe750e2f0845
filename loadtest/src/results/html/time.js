// Charts over time: of one run with its phases, of several from the start of measuring.

/** A chart of columns of the series, one line each; of several runs, one line per run. */
function addTimeChart(parent, { columns, ...options }) {
  const line = (run, [name, column, colour, dash]) => {
    const values = run.series[column];
    const points = run.series.t.map((t, index) => [
      single ? t : t - run.start,
      values[index] ?? null,
    ]);
    const nothing = values.every((value) => !value);
    const style = single ? { name, colour, dash } : { name: run.name, ...run.style };
    return { ...style, points: nothing ? [] : points };
  };
  const views = single
    ? [{ name: "", series: columns.map((column) => line(runs[0], column)) }]
    : columns.map((column) => ({ name: column[0], series: runs.map((run) => line(run, column)) }));
  const title = single ? "time since the first connection" : "time since measuring began";
  addChart(parent, {
    ...options,
    views,
    linked: true,
    domain: timeDomain,
    xAxis: (low, high, count) => timeAxis(low, high, count, title),
    head: momentText,
    bands: single ? bands(runs[0].series) : [],
  });
}

/** The time that charts show: all intervals, or those from measuring to settling. */
function timeDomain() {
  const limits = runs.flatMap(({ series, start }) => {
    const rows = series.t.map((t, index) => ({
      from: t - series.length[index],
      to: t,
      phase: series.phase[index],
    }));
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
    if (found.at(-1)?.name !== name)
      found.push({ name, kind: series.phase[index], from: t - series.length[index] });
    found.at(-1).to = t;
  });
  return found;
}

function phaseStart(series, phase) {
  const index = series.phase.indexOf(phase);
  return index < 0 ? undefined : series.t[index] - series.length[index];
}
