/** Scaling pictures down before they are sent: the search looks at a few hundred pixels, and uplinks are slow. */

import { h } from "./dom.js";
import { sha256 } from "./sha256.js";

/** What is smaller is sent as it is, in bytes. */
const LIGHT = 400_000;
/** Pixels of the longer side: enough for small parts of the picture to be found by themselves. */
const LONGEST = 1600;
const QUALITY = 0.9;
/** A smaller version that saves less than this share isn't worth a second compression. */
const WORTH = 0.3;
/** Of which browsers show one picture only, as the server does; the rest is sent as it is. */
const SCALABLE = /^image\/(jpeg|png|webp|avif|bmp|heic|heif)$/;

/** @typedef {{ blob: Blob, sha256: string, width: number | null, height: number | null }} Light
 * what to send, and of the picture itself the digest and, where this browser can tell them, the sides */

/** @param {HTMLCanvasElement} canvas the picture, without anything beneath it */
function isTransparent(canvas) {
  const pixels = canvas.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height).data ?? new Uint8ClampedArray();
  for (let at = 3; at < pixels.length; at += 4) if (pixels[at] < 255) return true;
  return false;
}

/** @param {ImageBitmap} bitmap @returns {Promise<Blob | null>} null for what only the server knows to put on a ground */
async function smaller(bitmap) {
  const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
  const canvas = h("canvas", { width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale)) });
  const context = canvas.getContext("2d");
  if (!context) return null;
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  if (isTransparent(canvas)) return null;
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
}

/** What to send of a picture in its place. @param {Blob} blob @returns {Promise<Light>} */
export async function lightened(blob) {
  const digest = await sha256(await blob.arrayBuffer());
  const bitmap = await createImageBitmap(blob).catch(() => null);
  const { width = null, height = null } = bitmap ?? {};
  const small = bitmap && blob.size > LIGHT && SCALABLE.test(blob.type) ? await smaller(bitmap) : null;
  bitmap?.close();
  const better = small !== null && small.size <= blob.size * (1 - WORTH);
  return { blob: better ? small : blob, sha256: digest, width, height };
}
