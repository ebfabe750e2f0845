// Numbers as text: groups of three digits, significant digits, units that fit the value.

/** Between a number and its unit. */
const THIN = "\u202f";
const NONE = "–";

/** With `digits` significant digits, none of them behind a whole number of that many digits. */
function digits(value, count) {
  if (value === 0) return "0";
  const whole = Math.floor(Math.log10(Math.abs(value))) + 1;
  const decimals = Math.min(12, Math.max(0, count - whole));
  const text = value.toLocaleString("en-US", { maximumFractionDigits: decimals });
  return text === "-0" ? "0" : text.replace("-", "−");
}

/** 1,234,567 */
function integer(value) {
  return isNumber(value) ? Math.round(value).toLocaleString("en-US") : NONE;
}

/** 1,234 or 12.3: three digits at least. */
function decimal(value) {
  return isNumber(value) ? digits(value, 3) : NONE;
}

/** 12.34 ms of microseconds. */
function duration(us, count = 4) {
  if (!isNumber(us)) return NONE;
  const { size, unit } = durationUnit(us);
  return `${digits(us / size, count)}${THIN}${unit}`;
}

/** The unit in which this many microseconds read best. */
function durationUnit(us) {
  if (us < 1) return { size: 1e-3, unit: "ns" };
  if (us < 1e3) return { size: 1, unit: "µs" };
  if (us < 1e6) return { size: 1e3, unit: "ms" };
  return { size: 1e6, unit: "s" };
}

/** 1.50 MiB */
function bytes(value) {
  if (!isNumber(value)) return NONE;
  const { size, unit } = bytesUnit(value);
  return `${digits(value / size, 3)}${THIN}${unit}`;
}

function bytesUnit(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  while (value >= 1024 ** (power + 1) && power < units.length - 1) power += 1;
  return { size: 1024 ** power, unit: units[power] };
}

/** 123,456/s */
function rate(value) {
  if (!isNumber(value)) return NONE;
  return `${value >= 100 ? integer(value) : digits(value, 3)}/s`;
}

/** 12.3 % of 0.123 */
function percent(share, count = 3) {
  return isNumber(share) ? `${digits(share * 100, count)}${THIN}%` : NONE;
}

/** 99.95 of a tail of 0.0005: as many digits as the tail needs. */
function percentile(tail) {
  if (tail >= 1) return "0";
  const decimals = Math.min(15, Math.max(0, Math.ceil(-Math.log10(tail) - 1e-9)));
  const text = (100 - 100 * tail).toFixed(decimals);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** 1 min 30 s */
function span(seconds) {
  if (!isNumber(seconds)) return NONE;
  if (seconds < 120) return duration(seconds * 1e6, 3);
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [
    Math.floor(whole / 3600),
    Math.floor(whole / 60) % 60,
    whole % 60,
  ];
  const parts = [
    [hours, "h"],
    [minutes, "min"],
    [rest, "s"],
  ].filter(([part]) => part > 0);
  return parts.map(([part, unit]) => `${part}${THIN}${unit}`).join(" ");
}

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/** `cpus_busy` as `CPUs busy`. */
function words(name) {
  const spaced = String(name).replaceAll(/[_-]/g, " ");
  return spaced.replaceAll(
    /\b(cpu|tcp|url)(s?)\b/g,
    (_, short, many) => short.toUpperCase() + many,
  );
}

/** The same for a name whose value is shown with its unit: `resident per connection`. */
function wordsWithoutUnit(name) {
  return words(name.replace(/_(us|ns|ms|seconds|bytes)(?=_|$)/, ""));
}

/** A value whose unit stands at the end of its name. */
function byName(name, value) {
  if (!isNumber(value)) return NONE;
  if (/_us(_|$)/.test(name)) return duration(value);
  if (/_ns(_|$)/.test(name)) return duration(value / 1e3);
  if (/_ms(_|$)/.test(name)) return duration(value * 1e3);
  if (/_seconds(_|$)/.test(name)) return value < 120 ? duration(value * 1e6) : span(value);
  if (/_bytes(_|$)/.test(name)) return bytes(value);
  if (/_per_second$|_rate$/.test(name)) return rate(value);
  if (/_ratio$|_share$/.test(name)) return percent(value);
  return Number.isInteger(value) ? integer(value) : decimal(value);
}

/** Words of a command line as a shell reads them. */
function shellWords(list) {
  const quoted = (word) =>
    /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
  return list.map(quoted).join(" ");
}
