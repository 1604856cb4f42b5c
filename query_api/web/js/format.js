/** Values as people read them. */

const NUMBER = new Intl.NumberFormat("en");
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

/** 12,345. @param {number} value */
export const count = (value) => NUMBER.format(value);

/** "1 picture", "1,200 pictures". @param {number} value @param {string} noun */
export const counted = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;

/** Bytes in powers of 1,000, as file managers show them. @param {number | null | undefined} bytes */
export function bytes(bytes) {
  if (bytes === null || bytes === undefined) return "unknown size";
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** A score of 0 to 100 with one decimal; never rounded up to 100. @param {number} score */
export const score = (score) => (score >= 99.95 && score < 100 ? "99.9" : score.toFixed(1).replace(/^100\.0$/, "100"));

/** 23 Nov 2026, 02:10. @param {string | null | undefined} iso */
export const moment = (iso) => (iso ? MOMENT.format(new Date(iso)) : "unknown");

/** "3 minutes ago". @param {string | null | undefined} iso @param {number} [now] milliseconds */
export function ago(iso, now = Date.now()) {
  if (!iso) return "unknown";
  const seconds = (new Date(iso).getTime() - now) / 1000;
  const steps = /** @type {[Intl.RelativeTimeFormatUnit, number][]} */ ([
    ["year", 31_536_000], ["month", 2_592_000], ["day", 86_400], ["hour", 3600], ["minute", 60],
  ]);
  for (const [unit, size] of steps) {
    if (Math.abs(seconds) >= size) return RELATIVE.format(Math.round(seconds / size), unit);
  }
  return RELATIVE.format(Math.round(seconds), "second");
}

/** "4 s", "3 min", "2 h 5 min". @param {number} seconds */
export function duration(seconds) {
  if (seconds < 1) return "under 1 s";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.round((seconds % 86_400) / 3600)} h`;
}

/** The last part of an object key. @param {string} key */
export const basename = (key) => key.slice(key.lastIndexOf("/") + 1) || key;

/** "JPEG" from "image/jpeg". @param {string | null | undefined} type */
export const format = (type) => (type ? type.replace(/^image\//, "").replace(/\+xml$/, "").toUpperCase() : "unknown");

/** "1,200 × 800". @param {number | null | undefined} width @param {number | null | undefined} height */
export const dimensions = (width, height) => (width && height ? `${count(width)} × ${count(height)}` : "size unknown");

/** A slug as words: "too_many_bytes" → "Too many bytes". @param {string} slug */
export const words = (slug) => slug.charAt(0).toUpperCase() + slug.slice(1).replaceAll(/[_-]/g, " ");
