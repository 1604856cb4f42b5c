/**
 * Pictures that were searched with, kept in this browser only (IndexedDB), so that a reload, the back button and the
 * list of recent pictures work. Where storage is forbidden they last as long as the page.
 */

/** @typedef {{ id: string, name: string, blob: Blob, at: number, shown?: string }} StoredQuery
 * `shown` is the address (data:) of what an <img> can show, where that is not the picture itself. */

const DATABASE = "twinlens";
const STORE = "queries";
const KEPT = 12;

/** @type {Map<string, StoredQuery>} */
const memory = new Map();
/** @type {Map<string, string>} */
const urls = new Map();

/** @returns {Promise<IDBDatabase | null>} */
function open() {
  return new Promise((resolve) => {
    try {
      const request = indexedDB.open(DATABASE, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => resolve(null);
    } catch {
      resolve(null);
    }
  });
}

/**
 * @template T
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<T>} work
 * @returns {Promise<T | null>} null where storage is forbidden or full
 */
async function withStore(mode, work) {
  const database = await open();
  if (!database) return null;
  return new Promise((resolve) => {
    const request = work(database.transaction(STORE, mode).objectStore(STORE));
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => resolve(null);
  });
}

/** Remembers a picture and returns the id that names it in the address. @param {File | Blob} file
 * @returns {Promise<string>} */
export async function remember(file) {
  const name = file instanceof File && file.name ? file.name : "pasted picture";
  // The bytes are copied: a File from disk becomes unreadable when the file behind it changes.
  const blob = new Blob([await file.arrayBuffer()], { type: file.type });
  const id = Array.from(crypto.getRandomValues(new Uint8Array(6)), (b) => b.toString(16).padStart(2, "0")).join("");
  const query = { id, name, blob, at: Date.now() };
  memory.set(id, query);
  await withStore("readwrite", (store) => store.put(query));
  for (const old of (await recent()).slice(KEPT)) {
    drop(old.id);
    await withStore("readwrite", (store) => store.delete(old.id));
  }
  return id;
}

/** Remembers what is shown in a picture's place. @param {StoredQuery} query @param {string} shown a data: address */
export async function showInstead(query, shown) {
  query.shown = shown;
  await withStore("readwrite", (store) => store.put(query));
}

/** Lets go of a picture's bytes. @param {string} id */
function drop(id) {
  memory.delete(id);
  const url = urls.get(id);
  if (url) URL.revokeObjectURL(url);
  urls.delete(id);
}

/** @param {string} id @returns {Promise<StoredQuery | null>} null when this browser does not hold it (any more) */
export async function recall(id) {
  const known = memory.get(id);
  if (known) return known;
  const stored = /** @type {StoredQuery | null} */ (await withStore("readonly", (store) => store.get(id)));
  if (stored) memory.set(id, stored);
  return stored ?? null;
}

/** Newest first. @returns {Promise<StoredQuery[]>} */
export async function recent() {
  const stored = /** @type {StoredQuery[] | null} */ (await withStore("readonly", (store) => store.getAll()));
  return (stored ?? [...memory.values()]).sort((a, b) => b.at - a.at);
}

/** Forgets all of them. */
export async function forgetAll() {
  for (const id of [...memory.keys(), ...urls.keys()]) drop(id);
  await withStore("readwrite", (store) => store.clear());
}

/** An address under which an <img> can show the picture, the same for the page's life. @param {StoredQuery} query */
export function urlOf(query) {
  const known = typeof query.shown === "string" ? query.shown : urls.get(query.id);
  if (known) return known;
  const url = URL.createObjectURL(query.blob);
  urls.set(query.id, url);
  return url;
}
