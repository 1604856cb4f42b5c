/** The JSON API over fetch: typed calls, and every failure as one {@link ApiProblem}. */

/** @typedef {import("./types.js").Image} Image */

/** A problem+json answer, or a failure to get any answer (status 0). */
export class ApiProblem extends Error {
  /**
   * @param {{ status: number, code: string, title: string, detail: string, reason?: string,
   *   retryAfter?: number | null }} problem `retryAfter` in seconds
   */
  constructor({ status, code, title, detail, reason = "", retryAfter = null }) {
    super(detail || title);
    this.name = "ApiProblem";
    this.status = status;
    this.code = code;
    this.title = title;
    this.detail = detail;
    this.reason = reason;
    this.retryAfter = retryAfter;
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
    throw new ApiProblem({
      status: 0,
      code: "unreachable",
      title: "Twinlens does not answer",
      detail: "The page could not reach the server. Check the connection, or whether the service is running.",
    });
  }
  if (!response.ok) throw await problemOf(response);
  return response.status === 204 ? null : response.json();
}

/** @param {Response} response @returns {Promise<ApiProblem>} */
async function problemOf(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  const type = response.headers.get("Content-Type") ?? "";
  const problem = type.includes("json") ? await response.json().catch(() => ({})) : {};
  if (response.status === 401) dispatchEvent(new Event(UNAUTHORIZED));
  const field = problem.errors?.[0];
  return new ApiProblem({
    status: response.status,
    code: problem.code ?? "",
    title: problem.title ?? `The server answered ${response.status}`,
    detail: field ? `${field.field.replace(/^query\./, "")}: ${field.message}` : (problem.detail ?? ""),
    reason: problem.reason ?? "",
    retryAfter,
  });
}

/** @param {Blob} file @param {string} name @param {Record<string, string>} params @param {AbortSignal} signal
 * @returns {Promise<import("./types.js").SearchAnswer>} */
export function searchByPicture(file, name, params, signal) {
  const body = new FormData();
  body.append("file", file, name);
  return call("v1/search", { method: "POST", params, body, signal });
}

/** @param {string} url @param {Record<string, string>} params @param {AbortSignal} signal
 * @returns {Promise<import("./types.js").SearchAnswer>} */
export function searchByUrl(url, params, signal) {
  return call("v1/search", { method: "POST", params, json: { queries: [{ url }] }, signal });
}

/** @param {string} id @param {Record<string, string>} params @param {AbortSignal} signal
 * @returns {Promise<import("./types.js").SearchAnswer>} */
export function searchByImage(id, params, signal) {
  return call(`v1/images/${encodeURIComponent(id)}/similar`, { params, signal });
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

/** Trades an API key for a cookie, so that pictures load too. @param {string} key */
export const openSession = (key) => call("v1/session", { method: "POST", json: { api_key: key } });

/** A thumbnail whose longest side is at most `size` pixels. @param {Image} image @param {160 | 320 | 640} size */
export function thumbnail(image, size) {
  return `${image.thumbnail_url}${image.thumbnail_url.includes("?") ? "&" : "?"}size=${size}`;
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
