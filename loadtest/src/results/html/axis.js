// Axes: where their ticks are, what these say, and how values become places.

/** The smallest round number that is no less than `rough`; a whole one, if need be. */
function roundStep(rough, whole = false) {
  const power = 10 ** Math.floor(Math.log10(rough));
  const steps = [1, 2, 2.5, 5, 10].map((step) => Number((step * power).toPrecision(12)));
  return steps.find((step) => step >= rough * 0.999 && !(whole && step > 1 && step % 1 > 0));
}

/** The multiples of `step` from the index `first` to the index `last`, without noise of floats. */
function multiples(step, first, last) {
  const count = Math.min(100, last - first + 1);
  return Array.from({ length: count }, (_, at) => Number(((first + at) * step).toPrecision(12)));
}

/** A linear axis from 0 to the first round tick above all values. `scale` gives the unit. */
function linearAxis(high, count, scale) {
  const { size, title, whole } = scale(high);
  const reach = (high || 1) / size;
  const step = roundStep(whole ? Math.max(1, reach / count) : reach / count, whole);
  const ticks = multiples(step, 0, Math.ceil(reach / step - 1e-9));
  const most = ticks.at(-1);
  return {
    title,
    ticks: ticks.map((tick) => ({ value: tick * size, text: plain(tick), major: true })),
    place: (value) => value / size / most,
    invert: (at) => at * size * most,
  };
}

/** A logarithmic axis between 1, 2 or 5 of a decade; each tick has its own unit. */
function logAxis(low, high, title, label) {
  const rounds = [];
  const last = Math.ceil(Math.log10(high)) + 1;
  for (let decade = Math.floor(Math.log10(low)) - 1; decade <= last; decade += 1) {
    for (const part of [1, 2, 5]) rounds.push(Number(`${part}e${decade}`));
  }
  const from = rounds.findLast((value) => value <= low * 1.000001);
  const to = rounds.find((value) => value >= high * 0.999999 && value > from);
  const reach = Math.log10(to / from);
  const ticks = [];
  for (let decade = Math.floor(Math.log10(from)); 10 ** decade <= to; decade += 1) {
    for (let part = 1; part < 10; part += 1) {
      const value = Number(`${part}e${decade}`);
      if (value < from || value > to) continue;
      const major = part === 1 || (reach <= 2 && (part === 2 || part === 5));
      ticks.push({ value, text: major ? label(value) : "", major });
    }
  }
  const place = (value) => Math.log10(Math.max(value, from) / from) / reach;
  return { title, ticks, place };
}

/** Percentiles, with as much room for the slowest tenth as for the slowest hundredth. */
function percentileAxis(smallestTail) {
  const reach = Math.max(1, -Math.log10(smallestTail));
  const ticks = [
    { value: 1, text: "0", major: true },
    { value: 0.5, text: "50", major: true },
  ];
  for (let decade = 1; decade <= reach + 1e-9; decade += 1) {
    const value = Number(`1e-${decade}`);
    ticks.push({ value, text: percentile(value), major: true });
  }
  const place = (tail) => -Math.log10(tail) / reach;
  return { title: "percentile (%)", ticks, place, invert: (at) => 10 ** (-at * reach) };
}

/** Seconds, minutes or hours, whichever gives short numbers. */
function timeAxis(low, high, count, title) {
  const reach = high - low || 1;
  const [size, unit] = reach <= 300 ? [1, "s"] : reach <= 3 * 3600 ? [60, "min"] : [3600, "h"];
  const step = roundStep(reach / size / count, reach / size > 2 * count);
  const first = Math.ceil(low / size / step - 1e-9);
  const ticks = multiples(step, first, Math.floor(high / size / step + 1e-9));
  return {
    title: `${title} (${unit})`,
    ticks: ticks.map((tick) => ({ value: tick * size, text: plain(tick), major: true })),
    place: (value) => (value - low) / reach,
    invert: (at) => low + at * reach,
  };
}

/** The scales of linear axes: the unit in the title, numbers alone at the ticks. */
const SCALES = {
  duration: (name) => (high) => {
    const { size, unit } = durationUnit(high);
    return { size, title: `${name} (${unit})` };
  },
  bytes: (name) => (high) => {
    const { size, unit } = bytesUnit(high);
    return { size, title: `${name} (${unit})` };
  },
  count:
    (name, unit = "") =>
    (high) => {
      const [size, prefix] = high >= 2e6 ? [1e6, "million"] : [1, ""];
      const inside = [prefix, unit].filter(Boolean).join(" ");
      return { size, title: inside ? `${name} (${inside})` : name, whole: size === 1 };
    },
  amount: (name, unit) => () => ({ size: 1, title: `${name} (${unit})` }),
};

function plain(value) {
  return digits(value, 12);
}
