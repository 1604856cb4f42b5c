/** The shapes that the API answers with (see /docs); times are ISO 8601 in UTC. */

/**
 * @typedef {object} Image
 * @property {string} id
 * @property {string} bucket
 * @property {string} key
 * @property {string | null} external_id
 * @property {string | null} sha256
 * @property {string | null} md5
 * @property {number | null} width
 * @property {number | null} height
 * @property {string | null} format
 * @property {number} size in bytes
 * @property {string} content_type
 * @property {string} created_at
 * @property {string} updated_at
 * @property {string | null} last_modified
 * @property {"pending" | "indexed" | "rejected"} state
 * @property {string | null} reason "slug: sentence"
 * @property {string | null} decided_at when it was indexed or rejected
 * @property {number} attempts that have not led to a vector
 * @property {Record<string, string>} metadata
 * @property {string} file_url
 * @property {string} thumbnail_url
 */

/** @typedef {"exact" | "copy" | "similar"} Verdict */

/**
 * @typedef {object} Hit
 * @property {Image} image
 * @property {number} score 0 to 100
 * @property {number} distance
 * @property {Verdict} verdict
 * @property {string[]} keys
 * @property {number} keys_total
 */

/**
 * @typedef {object} Query
 * @property {"picture" | "image" | "url" | "vector"} kind
 * @property {string | null} name
 * @property {string | null} sha256
 * @property {number | null} width
 * @property {number | null} height
 * @property {string | null} format
 */

/** @typedef {{ results: Hit[], queries: Query[], more: boolean, model: string, took_ms: number }} SearchAnswer */
/** @typedef {{ results: Image[], next_page_token: string | null, total: number | null }} ImagePage */
/** @typedef {{ kind: "exact" | "near", bucket: string, score: number, size: number, images: Image[] }} Group */
/** @typedef {{ results: Group[], next_page_token: string | null, scanned: number }} GroupPage */

/**
 * @typedef {object} Stats
 * @property {number} objects
 * @property {number} contents
 * @property {number | null} vectors
 * @property {number} indexed
 * @property {number} pending
 * @property {number} rejected
 * @property {number} bytes
 * @property {number | null} oldest_pending_s
 * @property {string | null} model
 * @property {string[]} buckets
 * @property {{ max_picture_bytes: number, max_pictures: number, max_request_bytes: number }} limits
 * @property {{ search_by_url: boolean, api_keys: boolean }} features
 * @property {string} version
 */

/** @typedef {{ results: { minute: string, indexed: number }[], total: number }} Throughput */
/** @typedef {{ results: { reason: string, objects: number }[] }} Rejections */

export {};
