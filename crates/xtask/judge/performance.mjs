// Lighthouse, as a phone sees a page, in the Chromium that runs already.

import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const CATEGORIES = ["performance", "accessibility", "best-practices", "seo"];
/** What the page that is shown for no page must not do. */
const NOT_FOR_MISSING = ["is-crawlable", "http-status-code"];

let lighthouse;

/**
 * Scores of a page. A page that has less than 100 anywhere is looked at again, `runs` times in all, and the median
 * counts: a busy machine takes points that the page has earned, but gives none.
 */
export async function performanceOf(port, told, page, fault) {
  const modules = createRequire(join(told.modules, "x.js"));
  lighthouse ??= (await import(pathToFileURL(modules.resolve("lighthouse")))).default;
  const runs = [];
  for (let run = 0; run < told.runs; run++) {
    const seen = await once(port, page).catch((error) => ({ scores: {}, lost: [`could not run: ${error.message}`] }));
    runs.push(seen);
    if (run === 0 && CATEGORIES.every((category) => seen.scores[category] === 100)) break;
  }
  page.scores = {};
  for (const category of CATEGORIES) {
    const scores = runs.map((run) => run.scores[category] ?? 0).sort((a, b) => a - b);
    page.scores[category] = scores[Math.floor((scores.length - 1) / 2)];
    if (page.scores[category] < 100) {
      const lost = runs.at(-1).lost.filter((text) => text.startsWith(category) || text.startsWith("could"));
      fault("lighthouse", page.address, `${category} ${scores.join("/")}: ${lost.join("; ")}`);
    }
  }
}

async function once(port, page) {
  const flags = { port, logLevel: "silent", output: "json" };
  const settings = {
    onlyCategories: CATEGORIES,
    formFactor: "mobile",
    skipAudits: ["full-page-screenshot", "screenshot-thumbnails", ...(page.kind === "missing" ? NOT_FOR_MISSING : [])],
  };
  const { lhr } = await lighthouse(page.url, flags, { extends: "lighthouse:default", settings });
  if (lhr.runtimeError) throw new Error(lhr.runtimeError.message);
  const scores = {};
  const lost = [];
  for (const category of CATEGORIES) {
    scores[category] = Math.round((lhr.categories[category].score ?? 0) * 100);
    for (const { id, weight } of lhr.categories[category].auditRefs) {
      const audit = lhr.audits[id];
      if (weight > 0 && audit.score !== null && audit.score < 1) {
        const items = (audit.details?.items ?? []).slice(0, 2).map((item) => item.node?.snippet ?? item.url ?? item.message ?? item.line ?? item.description ?? "");
        lost.push(`${category} ${id} ${audit.displayValue ?? ""} ${audit.explanation ?? audit.errorMessage ?? ""} ${items.join(" ").slice(0, 300)}`);
      }
    }
  }
  return { scores, lost };
}
