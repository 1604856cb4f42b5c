/** How the index is doing, renewed every few seconds while the page is looked at. */

import { ApiProblem, getPatrol, getReadiness, getRejections, getStats, getThroughput, listImages } from "../api.js";
import { ThroughputChart } from "../chart.js";
import { h } from "../dom.js";
import { ago, bytes, count, counted, duration, words } from "../format.js";
import { loading, problem } from "../notice.js";
import { link } from "../router.js";
import { overlayLink } from "../tile.js";

const EVERY_MS = 3000;
const MINUTES = 60;
const LISTED = "8";

/** @typedef {import("../types.js").Image} Image */

/** @param {string} label @param {string} value @param {string} note @param {string} [tone] */
function figure(label, value, note, tone = "") {
  return h("div", { class: `figure ${tone}` }, h("dt", null, label), h("dd", null, h("span", { class: "figure-value" }, value),
    h("span", { class: "quiet" }, note)));
}

/** @param {import("../types.js").Stats} stats */
function figures(stats) {
  const away = stats.vectors === null;
  return [
    figure("Pictures", count(stats.objects), bytes(stats.bytes)),
    figure("Distinct contents", count(stats.contents), stats.objects > stats.contents ? `${counted(stats.objects - stats.contents, "file")} ${stats.objects - stats.contents === 1 ? "is a duplicate" : "are duplicates"}` : "no duplicates"),
    figure("Searchable", count(stats.indexed), stats.model ? `with the model ${stats.model}` : "no model yet", "figure-good"),
    figure("Vectors", away ? "—" : count(stats.vectors ?? 0), away ? "the vector index is away" : stats.pending ? "more are on their way" : "one for each distinct picture", away ? "figure-bad" : ""),
    figure("Lag", stats.oldest_pending_s === null ? "none" : duration(stats.oldest_pending_s), "age of the oldest that waits", stats.oldest_pending_s === null ? "" : "figure-busy"),
    figure("Pending", count(stats.pending), stats.oldest_pending_s === null ? "nothing is waiting" : `the oldest waits for ${duration(stats.oldest_pending_s)}`, stats.pending ? "figure-busy" : ""),
    figure("Rejected", count(stats.rejected), stats.rejected ? "see the reasons below" : "every file could be read", stats.rejected ? "figure-bad" : ""),
  ];
}

/** @param {Image[]} images @param {"pending" | "rejected"} state @param {number} total */
function imageList(images, state, total) {
  return h("div", null,
    h("ul", { class: "status-list", role: "list" }, images.map((image) => {
      const [slug, ...sentence] = (image.reason ?? "").split(": ");
      return h("li", null, overlayLink(link("status", { open: image.id }), { open: image.id }, {}, document.createTextNode(image.key)),
        h("span", { class: "quiet" }, state === "pending" ? `put there ${ago(image.updated_at)}`
          : `${sentence.join(": ") || words(slug || "rejected")} (${ago(image.decided_at)})`));
    })),
    total > images.length ? h("a", { class: "more-link", href: link("browse", { state }) }, `All ${count(total)}`) : null);
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const PARTS = /** @type {Record<string, string>} */ ({ catalog: "Database", vectors: "Vector index", objects: "Object store", model: "Model" });

/** @param {Record<string, string>} checks what each dependency answered, "ok" or what is wrong */
function dependencies(checks) {
  return Object.entries(checks).map(([name, answer]) => h("li", { class: answer === "ok" ? "part-ok" : "part-away" },
    h("b", null, PARTS[name] ?? words(name)), answer === "ok" ? "answers" : answer));
}

/** @param {{ finished: string }[]} rounds one for each bucket */
function comparedWhen(rounds) {
  const oldest = rounds.map(({ finished }) => finished).sort()[0];
  return oldest ? `; the catalog was last compared with the bucket${rounds.length === 1 ? "" : "s"} ${ago(oldest)}` : "";
}

class Status {
  constructor() {
    this.title = "Status";
    this.figures = h("dl", { class: "figures" });
    this.chart = new ThroughputChart();
    this.pending = h("div");
    this.rejected = h("div");
    this.reasons = h("ul", { class: "reasons", role: "list" });
    this.trouble = h("div");
    this.fresh = h("p", { class: "quiet live", role: "status" }, "Asking");
    this.parts = h("ul", { class: "parts", role: "list", "aria-label": "What it depends on" });
    this.version = h("p", { class: "quiet" });
    this.content = h("div", { hidden: true }, this.parts, this.figures, this.chart.element,
      h("div", { class: "status-columns" },
        h("section", null, h("h2", null, "Waiting"), this.pending),
        h("section", null, h("h2", null, "Rejected"), this.reasons, this.rejected)), this.version);
    this.element = h("div", { class: "status" },
      h("div", { class: "results-head" }, h("h1", { class: "summary" }, "Status"), this.fresh), this.trouble, this.content);
    this.trouble.append(loading("Asking the server"));
    this.onVisible = () => {
      if (!document.hidden) void this.refresh();
    };
  }

  update() {}

  enter() {
    document.addEventListener("visibilitychange", this.onVisible);
    void this.refresh();
  }

  leave() {
    document.removeEventListener("visibilitychange", this.onVisible);
    clearTimeout(this.timer);
  }

  async refresh() {
    clearTimeout(this.timer);
    if (this.asking || document.hidden || !this.element.isConnected) return;
    this.asking = true;
    let wait = EVERY_MS;
    try {
      this.parts.replaceChildren(...dependencies(await getReadiness()));
      const [stats, throughput, reasons, pending, rejected, patrol] = await Promise.all([getStats(), getThroughput(MINUTES), getRejections(),
        listImages({ state: "pending", limit: LISTED, order: "oldest" }), listImages({ state: "rejected", limit: LISTED }), getPatrol()]);
      this.show(stats, throughput, reasons, pending.results, rejected.results);
      this.version.textContent = `Twinlens ${stats.version}${comparedWhen(patrol.results)}`;
      this.trouble.replaceChildren();
      this.content.hidden = false;
      this.isLive(true);
    } catch (error) {
      this.isLive(false, error instanceof ApiProblem && (error.status === 0 || error.code === "proxy_alone"));
      this.trouble.replaceChildren(problem(error, () => void this.refresh()));
      wait = EVERY_MS * 3;
    } finally {
      this.asking = false;
    }
    this.timer = setTimeout(() => void this.refresh(), wait);
  }

  /** @param {boolean} live @param {boolean} [down] whether nobody answers at all */
  isLive(live, down = false) {
    if (live) this.seen = Date.now();
    this.fresh.classList.toggle("live-on", live);
    this.fresh.classList.toggle("live-off", !live);
    const since = this.seen ? `; the figures are of ${CLOCK.format(this.seen)}` : "";
    const text = live ? "Live" : `${down ? "The server does not answer" : "Not live"}${since}`;
    if (this.fresh.textContent !== text) this.fresh.textContent = text;
    if (down) this.parts.replaceChildren();
  }

  /**
   * @param {import("../types.js").Stats} stats @param {import("../types.js").Throughput} throughput
   * @param {import("../types.js").Rejections} reasons @param {Image[]} pending @param {Image[]} rejected
   */
  show(stats, throughput, reasons, pending, rejected) {
    this.figures.replaceChildren(...figures(stats));
    this.chart.show(throughput.results);
    if (this.content.contains(document.activeElement)) return;
    this.pending.replaceChildren(pending.length ? imageList(pending, "pending", stats.pending) : h("p", { class: "quiet" }, "Nothing is waiting."));
    this.rejected.replaceChildren(rejected.length ? imageList(rejected, "rejected", stats.rejected) : h("p", { class: "quiet" }, "Nothing was rejected."));
    this.reasons.replaceChildren(...reasons.results.map(({ reason, objects }) => h("li", null, h("b", null, count(objects)), words(reason))));
  }
}

/** @returns {import("../router.js").View} */
export function statusView() {
  return new Status();
}
