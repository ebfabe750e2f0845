// Figures as text: three significant digits, and a unit that fits the value.

/** Between a number and its unit. */
const THIN = "\u202f";
export const NONE = "–";

const time = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });

/** 1,234,567 */
export function exact(value) {
  return isNumber(value) ? grouped.format(value) : NONE;
}

/** 412,345/s; small ones with a decimal. */
export function exactRate(value) {
  return isNumber(value) ? `${exact(value < 100 ? value : Math.round(value))}/s` : NONE;
}

/** 3,565,158 B */
export function exactBytes(value) {
  return isNumber(value) ? `${exact(Math.round(value))}${THIN}B` : NONE;
}

/** 412 k of 412,345; whole numbers below 1000 as they are. */
export function count(value) {
  return withUnit(value, 1000, ["", "k", "M", "G", "T"]);
}

/** 1.20 M/s */
export function rate(value) {
  return isNumber(value) ? `${count(value)}/s` : NONE;
}

/** 3.40 MiB */
export function bytes(value) {
  return withUnit(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
}

/** 3.40 MiB/s */
export function byteRate(value) {
  return isNumber(value) ? `${bytes(value)}/s` : NONE;
}

/** 850 µs of 0.00085. */
export function duration(seconds) {
  if (!isNumber(seconds)) return NONE;
  if (seconds === 0) return `0${THIN}s`;
  if (seconds >= 0.9995) return `${significant(seconds)}${THIN}s`;
  return withUnit(seconds * 1e9, 1000, ["ns", "µs", "ms"]);
}

/** 20.0 % of 0.2. */
export function percent(share) {
  return isNumber(share) ? `${significant(share * 100)}${THIN}%` : NONE;
}

/** 3 d 4 h: the two largest units that are not zero. */
export function span(seconds) {
  if (!isNumber(seconds)) return NONE;
  const whole = Math.floor(seconds);
  const parts = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  const shown = first < 0 ? parts.slice(-1) : parts.slice(first, first + 2);
  return shown.map(([value, unit]) => `${value}${THIN}${unit}`).join(" ");
}

/** 14:03:59 of milliseconds of Unix time. */
export function clock(milliseconds) {
  return isDate(milliseconds) ? time.format(milliseconds) : NONE;
}

/** The same, with the day when that is not the day of `now`. */
export function moment(milliseconds, now) {
  if (!isDate(milliseconds)) return NONE;
  const isToday = new Date(milliseconds).toDateString() === new Date(now).toDateString();
  return isToday ? clock(milliseconds) : `${day.format(milliseconds)} ${clock(milliseconds)}`;
}

function isDate(milliseconds) {
  return isNumber(milliseconds) && !Number.isNaN(new Date(milliseconds).getTime());
}

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

function withUnit(value, step, units) {
  if (!isNumber(value)) return NONE;
  let [scaled, power] = [value, 0];
  // What would be rounded to 1000 reads better as 1.00 of the next unit.
  while (Math.abs(scaled) >= step - 0.5 && power < units.length - 1) {
    scaled /= step;
    power += 1;
  }
  const isWhole = power === 0 && Number.isInteger(value);
  const number = isWhole ? String(value) : significant(scaled);
  return units[power] ? `${number}${THIN}${units[power]}` : number;
}

/** Three digits: 1.23, 12.3, 123. */
function significant(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  return value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2);
}
