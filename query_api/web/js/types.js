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
 * @property {boolean} partial whether its file was cut short
 * @property {number | null} decoded_share how much of it is there then
 * @property {number} size in bytes
 * @property {string} content_type
 * @property {string | null} created_at
 * @property {string | null} updated_at
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
 * @property {number} query the index of the query that it is nearest to
 * @property {boolean} weak no more alike than pictures that have nothing in common
 * @property {boolean} likely_copy similar, not verified, and probably a copy all the same
 * @property {Verified | null} verified what local features say
 * @property {string | null} unverified why there is nothing
 * @property {[number, number, number, number] | null} part
 */

/** @typedef {{ kind: string, value: number }} Change */

/**
 * @typedef {object} Verified
 * @property {boolean} is_copy
 * @property {number} inliers
 * @property {number} share
 * @property {number} query_overlap 0 to 1
 * @property {number} other_overlap
 * @property {boolean} mirrored
 * @property {number[] | null} transform 3 × 3, row by row, from the query's unit square to the other's
 * @property {number[][] | null} outline the query's corners in the other picture
 * @property {number[][] | null} other_outline the other's corners in the query
 * @property {Change[]} changes what makes the query of the other
 */

/**
 * @typedef {object} CompareAnswer
 * @property {number} score
 * @property {number} distance
 * @property {Verdict} verdict
 * @property {boolean} likely_copy
 * @property {Verified | null} verified
 * @property {string | null} unverified
 */

/**
 * @typedef {object} Query
 * @property {"picture" | "image" | "url" | "vector"} kind
 * @property {string | null} name
 * @property {string | null} sha256
 * @property {number | null} width
 * @property {number | null} height
 * @property {string | null} format
 * @property {string | null} upload names the picture in further requests
 * @property {string | null} preview a small JPEG as a data: URL
 */

/** @typedef {{ results: Hit[], queries: Query[], more: boolean, model: string, took_ms: number, floor: number, pending: number }} SearchAnswer
 * hits below `floor` are weak; `pending` pictures can't be found yet */
/** @typedef {{ results: Image[], next_page_token: string | null, total: number | null }} ImagePage */
/** @typedef {{ kind: "exact" | "near", bucket: string, score: number, verified: boolean, size: number, images: Image[] }} Group */
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
