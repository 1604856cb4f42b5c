/** The JSON API over fetch: typed calls, and every failure as one {@link ApiProblem}. */

/** @typedef {import("./types.js").Image} Image */

/** A problem+json answer, or a failure to get any answer (status 0). */
export class ApiProblem extends Error {
  /**
   * @param {{ status: number, code: string, title: string, detail: string, reason?: string,
   *   retryAfter?: number | null, checks?: Record<string, string> | null }} problem `retryAfter` in seconds; `checks`
   *   says of each dependency whether it answers
   */
  constructor({ status, code, title, detail, reason = "", retryAfter = null, checks = null }) {
    super(detail || title);
    this.name = "ApiProblem";
    this.status = status;
    this.code = code;
    this.title = title;
    this.detail = detail;
    this.reason = reason;
    this.retryAfter = retryAfter;
    this.checks = checks;
  }
}

/** Fired on the window when an answer says that an API key is needed. */
export const UNAUTHORIZED = "twinlens:unauthorized";

/**
 * Calls the API below the page's own address, so that the page also works behind a path prefix.
 *
 * @param {string} path without a leading slash
 * @param {{ params?: Record<string, string>, signal?: AbortSignal, method?: string, body?: BodyInit, json?: unknown }} [options]
 * @returns {Promise<any>} the parsed answer, or null for an empty one
 * @throws {ApiProblem}
 * @throws {DOMException} AbortError when `signal` fired
 */
export async function call(path, { params = {}, signal, method = "GET", body, json } = {}) {
  const url = new URL(path, document.baseURI);
  url.search = new URLSearchParams(params).toString();
  const headers = /** @type {Record<string, string>} */ ({ Accept: "application/json" });
  if (json !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(url, { method, headers, signal, body: json === undefined ? body : JSON.stringify(json) });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw unreachable();
  }
  if (!response.ok) {
    const retryAfter = Number(response.headers.get("Retry-After")) || null;
    throw problemOf(response.status, retryAfter, await response.json().catch(() => null));
  }
  return response.status === 204 ? null : response.json();
}

/** @param {number} status @param {number | null} retryAfter @param {any} problem the answer's JSON; ours names a code */
function problemOf(status, retryAfter, problem) {
  if (typeof problem?.code !== "string") return new ApiProblem({ ...notOurs(status), status, retryAfter });
  if (status === 401) dispatchEvent(new Event(UNAUTHORIZED));
  const field = problem.errors?.[0];
  return new ApiProblem({
    status,
    code: problem.code,
    title: problem.title ?? `The server answered ${status}`,
    detail: field ? `${field.field.replace(/^query\./, "")}: ${field.message}` : (problem.detail ?? ""),
    reason: problem.reason ?? "",
    retryAfter,
    checks: problem.checks ?? null,
  });
}

/** An answer that isn't one of Twinlens: a proxy between it and the page has its own say. @param {number} status */
function notOurs(status) {
  if (status === 413) {
    return { code: "proxy_too_large", title: "A proxy on the way refuses so large a picture",
      detail: "It lets less through than Twinlens takes. Whoever runs it can raise its limit; a smaller version of the picture may pass." };
  }
  if (status === 502 || status === 503 || status === 504) {
    return { code: "proxy_alone", title: "Twinlens does not answer",
      detail: `The proxy in front of it does, and says that it can’t reach it (${status}).` };
  }
  return { code: "not_ours", title: `Something on the way answered ${status}`, detail: "This answer is not one of Twinlens: a proxy in front of it has sent it." };
}

/** The page could not reach anything. */
const unreachable = () => new ApiProblem({
  status: 0,
  code: "unreachable",
  title: "Twinlens does not answer",
  detail: "The page could not reach the server. Check the connection, or whether the service is running.",
});

/**
 * Sends a form, and tells how far that is, which fetch doesn't.
 *
 * @param {string} path @param {[string, string][]} params @param {FormData} body
 * @param {{ signal?: AbortSignal, onProgress?: (sent: number, total: number) => void }} [options] bytes
 * @returns {Promise<any>}
 * @throws {ApiProblem}
 * @throws {DOMException} AbortError when `signal` fired
 */
function send(path, params, body, { signal, onProgress } = {}) {
  const url = new URL(path, document.baseURI);
  url.search = new URLSearchParams(params).toString();
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    request.open("POST", url);
    request.responseType = "json";
    request.setRequestHeader("Accept", "application/json");
    request.upload.onprogress = (event) => onProgress?.(event.loaded, event.total);
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve(request.response);
      else reject(problemOf(request.status, Number(request.getResponseHeader("Retry-After")) || null, request.response));
    };
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(new DOMException("The search was stopped", "AbortError"));
    request.onloadend = () => signal?.removeEventListener("abort", stop);
    signal?.addEventListener("abort", stop);
    if (signal?.aborted) reject(new DOMException("The search was stopped", "AbortError"));
    else request.send(body);
  });
}

/** Copies are verified for people; programs ask for it. */
const VERIFIED = { verify: "true" };

/** @typedef {{ signal: AbortSignal, onProgress?: (sent: number, total: number) => void }} Sending */

/** Searches with pictures that are sent, and has them remembered, so that another filter needs no second upload.
 * @param {{ blob: Blob, name: string, sha256: string }[]} pictures `sha256` of the file that each was made of
 * @param {Record<string, string>} params @param {Sending} sending
 * @returns {Promise<import("./types.js").SearchAnswer>} */
export function searchByPictures(pictures, params, sending) {
  const body = new FormData();
  for (const { blob, name } of pictures) body.append("file", blob, name);
  const originals = pictures.map(({ sha256 }) => /** @type {[string, string]} */ (["original_sha256", sha256]));
  return send("v1/search", [...Object.entries({ ...params, ...VERIFIED, remember: "true" }), ...originals], body, sending);
}

/** Searches with what needs no upload. @param {({ url: string } | { upload: string })[]} queries
 * @param {Record<string, string>} params @param {AbortSignal} signal @returns {Promise<import("./types.js").SearchAnswer>} */
export function searchByName(queries, params, signal) {
  return call("v1/search", { method: "POST", params: { ...params, ...VERIFIED }, json: { queries }, signal });
}

/** @param {string} id @param {Record<string, string>} params @param {AbortSignal} signal
 * @returns {Promise<import("./types.js").SearchAnswer>} */
export function searchByImage(id, params, signal) {
  return call(`v1/images/${encodeURIComponent(id)}/similar`, { params: { ...params, ...VERIFIED }, signal });
}

/** @param {string} a @param {string} b ids @returns {Promise<import("./types.js").CompareAnswer>} */
export const compareImages = (a, b) => call("v1/compare", { params: { a, b, ...VERIFIED } });

/** @param {Blob | string} picture or the name of a remembered one @param {string} b an id
 * @returns {Promise<import("./types.js").CompareAnswer>} */
export function comparePicture(picture, b) {
  const body = new FormData();
  if (picture instanceof Blob) body.append("a", picture, "a");
  else body.append("a", picture);
  body.append("b", b);
  return call("v1/compare", { method: "POST", params: VERIFIED, body });
}

/** @param {Record<string, string>} params @param {AbortSignal} [signal]
 * @returns {Promise<import("./types.js").ImagePage>} */
export const listImages = (params, signal) => call("v1/images", { params, signal });

/** @param {string} id @param {AbortSignal} [signal] @returns {Promise<Image>} */
export const getImage = (id, signal) => call(`v1/images/${encodeURIComponent(id)}`, { signal });

/** @param {Record<string, string>} params @param {AbortSignal} [signal]
 * @returns {Promise<import("./types.js").GroupPage>} */
export const listDuplicates = (params, signal) => call("v1/duplicates", { params, signal });

/** @param {AbortSignal} [signal] @returns {Promise<import("./types.js").Stats>} */
export const getStats = (signal) => call("v1/stats", { signal });

/** @param {number} minutes @param {AbortSignal} [signal] @returns {Promise<import("./types.js").Throughput>} */
export const getThroughput = (minutes, signal) =>
  call("v1/stats/throughput", { params: { minutes: String(minutes) }, signal });

/** @param {AbortSignal} [signal] @returns {Promise<import("./types.js").Rejections>} */
export const getRejections = (signal) => call("v1/stats/rejections", { signal });

/** What each dependency answers, "ok" or what is wrong with it. @returns {Promise<Record<string, string>>} */
export async function getReadiness() {
  try {
    return (await call("readyz")).checks;
  } catch (error) {
    if (error instanceof ApiProblem && error.checks) return error.checks;
    throw error;
  }
}

/** @param {AbortSignal} [signal] @returns {Promise<{ results: { finished: string }[] }>} */
export const getPatrol = (signal) => call("v1/stats/patrol", { signal });

/** Trades an API key for a cookie, so that pictures load too. @param {string} key */
export const openSession = (key) => call("v1/session", { method: "POST", json: { api_key: key } });

/** An address of an answer as one of the page's own host, below its own path: answers may name another host or prefix
 * (`api.public_url`), which this page may not load from. @param {string} url */
const beside = (url) => new URL(url.slice(url.lastIndexOf("/v1/images/") + 1), document.baseURI).href;

/** The picture as it was uploaded. @param {Image} image */
export const fileOf = (image) => beside(image.file_url);

/** A thumbnail whose longest side is at most `size` pixels. @param {Image} image @param {160 | 320 | 640} size */
export function thumbnail(image, size) {
  const url = new URL(beside(image.thumbnail_url));
  url.searchParams.set("size", String(size));
  return url.href;
}

/** @type {Promise<import("./types.js").Stats> | null} */
let server = null;

/** What the server says of itself (limits, features, buckets), asked once; asked again after a failure. */
export function aboutServer() {
  server ??= getStats().catch((error) => {
    server = null;
    throw error;
  });
  return server;
}
