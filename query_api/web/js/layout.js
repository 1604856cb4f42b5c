/** Justified rows: pictures side by side at equal height, every row as wide as the page. */

/**
 * @typedef {object} Cell
 * @property {number} index which item
 * @property {number} left
 * @property {number} width in CSS pixels
 */

/**
 * @typedef {object} Row
 * @property {number} top
 * @property {number} height of the pictures, without what is written under them
 * @property {Cell[]} cells
 */

/** Very wide and very tall pictures are shown cropped, so that one of them cannot ruin its row. */
const ASPECT_LIMITS = /** @type {const} */ ([0.5, 2.6]);

/** @param {number | null | undefined} width @param {number | null | undefined} height */
export function aspectOf(width, height) {
  if (!width || !height) return 1;
  return Math.min(ASPECT_LIMITS[1], Math.max(ASPECT_LIMITS[0], width / height));
}

/**
 * Breaks pictures into rows. A row is closed where its height comes nearest to the target; the last row keeps the
 * target height instead of being blown up.
 *
 * @param {number[]} aspects width / height of each picture
 * @param {{ width: number, target: number, gap: number, caption: number }} options CSS pixels; `caption` is the
 *   height of the text under each picture
 * @returns {{ rows: Row[], height: number }}
 */
export function justify(aspects, { width, target, gap, caption }) {
  /** @type {Row[]} */
  const rows = [];
  let top = 0;
  let start = 0;
  let sum = 0;

  const close = (/** @type {number} */ end, /** @type {number} */ height) => {
    rows.push({ top, height, cells: cells(aspects, start, end, height, gap, width) });
    top += height + caption + gap;
    start = end;
    sum = 0;
  };

  for (let index = 0; index < aspects.length; index += 1) {
    const aspect = aspects[index];
    const without = rowHeight(sum, index - start, width, gap);
    const height = rowHeight(sum + aspect, index - start + 1, width, gap);
    if (height > target) {
      sum += aspect;
    } else if (index > start && without - target < target - height) {
      close(index, without);
      sum = aspect;
    } else {
      close(index + 1, height);
    }
  }
  if (start < aspects.length) {
    close(aspects.length, Math.min(target, rowHeight(sum, aspects.length - start, width, gap)));
  }
  return { rows, height: Math.max(0, top - gap) };
}

/** @param {number} sum of aspects @param {number} pictures @param {number} width @param {number} gap */
function rowHeight(sum, pictures, width, gap) {
  return sum === 0 ? Infinity : (width - gap * (pictures - 1)) / sum;
}

/**
 * @param {number[]} aspects @param {number} start @param {number} end @param {number} height
 * @param {number} gap @param {number} limit
 * @returns {Cell[]}
 */
function cells(aspects, start, end, height, gap, limit) {
  const row = [];
  let left = 0;
  for (let index = start; index < end; index += 1) {
    const width = Math.min(aspects[index] * height, limit - left);
    row.push({ index, left, width });
    left += width + gap;
  }
  return row;
}

/** The first row that ends below `y`, by bisection. @param {Row[]} rows @param {number} y @param {number} caption */
export function rowAt(rows, y, caption) {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].top + rows[middle].height + caption < y) low = middle + 1;
    else high = middle;
  }
  return low;
}
