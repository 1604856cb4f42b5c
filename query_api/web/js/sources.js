/** What is searched with: an indexed picture, pictures of this browser, or an address. */

import { ApiProblem, compareImages, comparePicture, fileOf, getImage, searchByImage, searchByName, searchByPictures, thumbnail } from "./api.js";
import { basename } from "./format.js";
import { lightened } from "./lighten.js";
import { recall, showInstead, urlOf } from "./queries.js";

/** @typedef {import("./types.js").SearchAnswer} SearchAnswer */
/** @typedef {import("./types.js").CompareAnswer} CompareAnswer */
/** @typedef {import("./compare.js").Side} Side */

/**
 * @typedef {object} Source
 * @property {Side[]} sides one for each query
 * @property {string} name
 * @property {string | null} image the id of an indexed picture
 * @property {string[]} uploads the ids of this browser's pictures
 * @property {(params: Record<string, string>, sending: import("./api.js").Sending) => Promise<SearchAnswer>} search
 * @property {(index: number, id: string) => Promise<CompareAnswer>} [compare] a query with an indexed image
 */

/** The pictures of an address, or what is wrong with it. @param {URLSearchParams} params @returns {Promise<Source>} */
export async function sourceOf(params) {
  const id = params.get("image");
  if (id) return ofImage(id);
  const url = params.get("url");
  return url ? ofUrl(url) : ofUploads((params.get("upload") ?? "").split(","));
}

/** @param {string} id @returns {Promise<Source>} */
async function ofImage(id) {
  const image = await getImage(id);
  const side = { source: fileOf(image), fallback: thumbnail(image, 640), label: "Searched with", image: id, width: image.width, height: image.height };
  return { sides: [side], name: basename(image.key), image: id, uploads: [],
    search: (params, { signal }) => searchByImage(id, { exclude_exact: "false", ...params }, signal), compare: (_index, other) => compareImages(id, other) };
}

/**
 * Remembers by which names the server knows what it was sent, and sends it again only where it has forgotten.
 *
 * @param {Side[]} sides get the server's previews of what this browser can't show
 * @param {(params: Record<string, string>, sending: import("./api.js").Sending) => Promise<SearchAnswer>} first
 * @param {(index: number, preview: string) => void} [onPreview]
 */
function remembering(sides, first, onPreview) {
  /** @type {string[]} */
  let names = [];
  /** @param {SearchAnswer} answer */
  const keep = (answer) => {
    names = answer.queries.flatMap(({ upload }) => (upload ? [upload] : []));
    if (names.length < answer.queries.length) names = [];
    answer.queries.forEach(({ preview, width, height }, index) => {
      const side = sides[index];
      side.width ??= width;
      side.height ??= height;
      if (side.source || !preview) return;
      side.source = preview;
      onPreview?.(index, preview);
    });
    return answer;
  };
  return {
    /** @param {number} index */
    nameOf: (index) => names[index],
    /** @param {Record<string, string>} params @param {import("./api.js").Sending} sending */
    search: async (params, sending) => {
      if (names.length === 0) return keep(await first(params, sending));
      try {
        return await searchByName(names.map((upload) => ({ upload })), params, sending.signal);
      } catch (error) {
        if (!(error instanceof ApiProblem) || error.code !== "upload_forgotten") throw error;
        return keep(await first(params, sending));
      }
    },
  };
}

/** @param {string} url @returns {Source} */
function ofUrl(url) {
  // The strict policy of this page forbids pictures of other hosts: what the server has fetched, it sends in small.
  const side = /** @type {Side} */ ({ source: "", label: "Your picture", width: null, height: null });
  const { nameOf, search } = remembering([side], (params, { signal }) =>
    searchByName([{ url }], { ...params, remember: "true", preview: "true" }, signal));
  return { sides: [side], name: url, image: null, uploads: [], search, compare: (index, other) => comparePicture(nameOf(index) ?? "", other) };
}

/** @param {string[]} ids @returns {Promise<Source>} */
async function ofUploads(ids) {
  const stored = (await Promise.all(ids.map(recall))).flatMap((query) => (query ? [query] : []));
  if (stored.length === 0) {
    throw new ApiProblem({ status: 410, code: "forgotten", title: "This picture isn’t in this browser any more",
      detail: "Pictures you search with stay in your own browser, so such an address works only there. Drop the picture again." });
  }
  const known = await Promise.all(stored.map((query) => lightened(query.blob)));
  // A picture that this browser can't show is shown as the server sees it.
  const sides = known.map(({ width, height }, index) => {
    const query = stored[index];
    const label = stored.length > 1 ? query.name : "Your picture";
    return /** @type {Side} */ ({ source: width || query.shown ? urlOf(query) : "", label, width, height, type: query.blob.type });
  });
  const hidden = sides.some(({ source }) => !source);
  const { nameOf, search } = remembering(sides, (params, sending) => searchByPictures(
    known.map(({ blob, sha256 }, index) => ({ blob, sha256, name: stored[index].name })),
    hidden ? { ...params, preview: "true" } : params, sending),
    (index, preview) => void showInstead(stored[index], preview));
  const name = stored.length > 1 ? `${stored.length} pictures` : stored[0].name;
  return { sides, name, image: null, uploads: stored.map(({ id }) => id), search,
    compare: (index, other) => comparePicture(nameOf(index) ?? known[index].blob, other) };
}
