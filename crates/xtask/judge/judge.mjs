// Judges sites that `site-lab serve` serves: `cargo xtask judge` runs this. Prints one table; ends with 1 when a bound
// is broken. What it is told is one JSON object in a file: see `Told` in judge.rs.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { startBrowser } from "./cdp.mjs";
import { checkFiles } from "./files.mjs";
import { judgeMarkup } from "./markup.mjs";
import { openPage } from "./page.mjs";
import { performanceOf } from "./performance.mjs";
import { printTable } from "./report.mjs";
import { contactSheets } from "./sheet.mjs";

const told = JSON.parse(readFileSync(process.argv[2], "utf8"));
const plan = told.plan;

/** Pages of a kind, such as posts, that axe looks at. */
const LOOKED_AT_MAX = 3;

/** Whether a check was asked for. */
const asked = (check) => told.only.length === 0 || told.only.includes(check);
const inBrowser = ["axe", "links", "weight", "requests", "layout", "markup"].some(asked) || told.contact_sheet;

/** The address of a file that holds a page. */
function address(path) {
  return `/${path === "index.html" ? "" : path.replace(/\/index\.html$/, "/")}`;
}

function kindOf(path) {
  if (path === "index.html") return "first";
  if (path === "404.html") return "missing";
  if (path === "rieng-tu/index.html") return "privacy";
  if (path === "bai-viet/index.html") return "posts";
  return path.startsWith("bai-viet/") ? "post" : "own";
}

/** The pages of a site; of each kind the largest is `typical`. */
function pagesOf(site) {
  const files = site.files.filter((file) => file.type.startsWith("text/html"));
  const pages = files.map((file) => ({
    path: file.path,
    address: address(file.path),
    url: `https://${site.host}${address(file.path)}`,
    kind: kindOf(file.path),
    bytes: file.bytes,
  }));
  for (const page of pages) {
    const before = pages.slice(0, pages.indexOf(page)).filter((other) => other.kind === page.kind);
    page.more = before.length >= LOOKED_AT_MAX;
    page.typical = pages.every((other) => other.kind !== page.kind || other.bytes < page.bytes || (other.bytes === page.bytes && pages.indexOf(other) >= pages.indexOf(page)));
    page.more &&= !page.typical;
  }
  return told.page ? pages.filter((page) => page.address === told.page) : pages;
}

const results = [];
const port = 20_000 + (process.pid % 20_000);
const browser = await startBrowser(plan, { port });
try {
  for (const site of plan.sites) {
    const began = Date.now();
    const result = { ...site, pages: pagesOf(site), faults: [], figures: {} };
    delete result.note;
    const fault = (check, page, message) => result.faults.push({ check, page, message });
    if (typeof site.note === "string") fault("markup", "/", `is not rendered: ${site.note}`);
    else if (asked("links") || asked("requests")) await checkFiles(browser, plan, site, fault);
    for (const page of result.pages) {
      if (inBrowser) await openPage(browser, told, site, page, asked, fault);
      if (asked("lighthouse") && (page.typical || told.every_page)) {
        await performanceOf(port, told, page, fault);
      }
    }
    results.push(result);
    const took = ((Date.now() - began) / 1000).toFixed(0);
    console.error(`${site.template} ${site.content}: ${result.pages.length} pages, ${took} s`);
  }
  if (asked("vnu") || asked("html-validate")) await judgeMarkup(told, results, asked);
  if (told.contact_sheet) await contactSheets(browser, told, results);
} finally {
  await browser.close();
}

const broken = printTable(results, asked);
if (told.json) {
  mkdirSync(join(told.json, ".."), { recursive: true });
  writeFileSync(told.json, `${JSON.stringify({ sites: results }, null, 1)}\n`);
}
process.exitCode = broken ? 1 : 0;
