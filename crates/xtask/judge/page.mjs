// One page in Chromium: what it fetches, what it says on the console, how it lays out, what axe finds, where it links.

import { createRequire } from "node:module";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { checkLinks } from "./files.mjs";

const WIDTHS = [360, 768, 1280];
const SCHEMES = ["light", "dark"];
/** How a page is looked at when another of its kind has been looked at in all ways; `more` of the kind in one way. */
const FEW_VIEWS = ["360 light", "1280 dark"];
/** Over the wire without photos, headers included, for the first page of a visit. */
export const WEIGHT_BYTES_MAX = 60_000;
/** As all samples have it. */
const ABUSE_URL = "https://hiendien.test/bao-cao";
const QUIET_MS_MAX = 3000;
const PHOTOS = /^\/anh\//;

export async function openPage(browser, told, site, at, asked, fault) {
  const page = await browser.newPage();
  const seen = watch(page);
  try {
    for (const domain of ["Page", "Network", "Runtime", "Log", "Audits"]) await page.send(`${domain}.enable`);
    await look(page, WIDTHS[0], SCHEMES[0]);
    await page.open(at.url);
    await settle(page);
    await seen.quiet();
    const facts = await page.call(factsOf);
    at.weight = seen.weight(site);
    if (asked("weight") && at.kind === "first" && at.weight.bytes > WEIGHT_BYTES_MAX) {
      const parts = Object.entries(at.weight.parts).map(([part, bytes]) => `${part} ${bytes}`);
      fault("weight", at.address, `${at.weight.bytes} bytes without photos: ${parts.join(", ")}`);
    }
    if (asked("requests")) {
      // The icon is asked for when the browser likes.
      await seen.quiet();
      for (const message of seen.faults(site)) fault("requests", at.address, message);
    }
    if (asked("markup")) for (const message of markupFaults(site, at, facts)) fault("markup", at.address, message);
    if (asked("links")) await checkLinks(told.plan, site, at, facts.links, fault);
    await page.call(layAllOut);
    for (const scheme of SCHEMES) {
      for (const width of WIDTHS) {
        const few = at.more ? FEW_VIEWS.slice(0, 1) : FEW_VIEWS;
        if (!at.typical && !few.includes(`${width} ${scheme}`)) continue;
        await look(page, width, scheme);
        if (asked("layout")) {
          for (const message of await page.call(overflowOf)) fault("layout", at.address, `${width} px: ${message}`);
        }
        if (asked("axe") && !at.more) {
          for (const message of await axe(page, told)) fault("axe", at.address, `${width} px ${scheme}: ${message}`);
        }
        if (at.typical && told.shots) await shoot(page, told, site, at, width, scheme);
      }
    }
  } catch (error) {
    fault("requests", at.address, `could not be looked at: ${error.message}`);
  } finally {
    await page.close();
  }
}

async function look(page, width, scheme) {
  await page.send("Emulation.setDeviceMetricsOverride", {
    width,
    height: width < 600 ? 740 : 900,
    deviceScaleFactor: width < 600 ? 2 : 1,
    mobile: width < 1000,
  });
  await page.send("Emulation.setEmulatedMedia", {
    features: [
      { name: "prefers-color-scheme", value: scheme },
      { name: "prefers-reduced-motion", value: "reduce" },
    ],
  });
}

/** Fonts are there, and two frames have been drawn. */
function settle(page) {
  return page.call(async () => {
    await document.fonts.ready;
    // A page that is never drawn must not be waited for.
    const frame = () => new Promise((done) => (requestAnimationFrame(done), setTimeout(done, 200)));
    await frame();
    await frame();
  });
}

/** Notes what the page does from now on. */
function watch(page) {
  const requests = new Map();
  const said = [];
  page.on((method, params) => {
    if (method === "Network.requestWillBeSent") {
      requests.set(params.requestId, { url: params.request.url, type: params.type, bytes: 0 });
    } else if (method === "Network.responseReceived") {
      const request = requests.get(params.requestId);
      const { status, protocol, mimeType, headers } = params.response;
      if (request) Object.assign(request, { status, protocol, mimeType, coding: headers["content-encoding"] });
    } else if (method === "Network.loadingFinished") {
      const request = requests.get(params.requestId);
      if (request) Object.assign(request, { bytes: params.encodedDataLength, ended: true });
    } else if (method === "Network.loadingFailed") {
      const request = requests.get(params.requestId);
      if (request) Object.assign(request, { failed: params.errorText, ended: true });
    } else if (method === "Runtime.consoleAPICalled" && params.type !== "debug") {
      said.push(`console: ${params.args.map((value) => value.value ?? value.description).join(" ")}`);
    } else if (method === "Runtime.exceptionThrown") {
      said.push(`exception: ${params.exceptionDetails.text}`);
    } else if (method === "Log.entryAdded") {
      said.push(`log: ${params.entry.text}`);
    } else if (method === "Audits.issueAdded" && params.issue.code === "ContentSecurityPolicyIssue") {
      const details = params.issue.details.contentSecurityPolicyIssueDetails;
      said.push(`policy: ${details.violatedDirective} ${details.blockedURL ?? ""}`);
    }
  });
  return {
    /** Waits until nothing is being fetched. */
    async quiet() {
      const pending = () => [...requests.values()].some((request) => !request.ended && request.url.startsWith("https:"));
      for (let waited = 0; pending() && waited < QUIET_MS_MAX; waited += 25) {
        await new Promise((done) => setTimeout(done, 25));
      }
    },
    weight(site) {
      const parts = {};
      let bytes = 0;
      for (const request of requests.values()) {
        const { host, pathname } = new URL(request.url);
        if (host !== site.host || PHOTOS.test(pathname)) continue;
        bytes += request.bytes;
        parts[request.type] = (parts[request.type] ?? 0) + request.bytes;
      }
      return { bytes, parts, requests: requests.size };
    },
    faults(site) {
      const faults = [...said];
      for (const request of requests.values()) {
        const url = new URL(request.url);
        if (url.protocol === "data:") continue;
        if (url.host !== site.host) faults.push(`asked another host: ${request.url}`);
        else if (request.failed) faults.push(`${url.pathname}: ${request.failed}`);
        else if (request.status !== 200) faults.push(`${url.pathname}: status ${request.status}`);
        else if (request.protocol !== "h2") faults.push(`${url.pathname}: came by ${request.protocol}`);
      }
      return faults;
    },
  };
}

/** Runs in the page. */
function factsOf() {
  const all = [...document.querySelectorAll("*")];
  const links = [];
  const add = (element, attribute, url) =>
    links.push({
      element: element.localName,
      attribute,
      rel: element.rel || "",
      as: element.getAttribute("as") ?? "",
      type: element.getAttribute("type") ?? "",
      written: url,
      url: URL.canParse(url, document.baseURI) ? new URL(url, document.baseURI).href : null,
    });
  for (const element of all) {
    for (const attribute of ["href", "src", "action", "formaction", "poster", "data", "xlink:href"]) {
      if (element.hasAttribute(attribute)) add(element, attribute, element.getAttribute(attribute));
    }
    for (const candidate of (element.getAttribute("srcset") ?? "").split(/,\s+/)) {
      if (candidate.trim()) add(element, "srcset", candidate.trim().split(/\s+/)[0]);
    }
  }
  const scripts = [...document.scripts];
  const content = (selector) => document.querySelector(selector)?.content ?? null;
  const attributes = all.flatMap((element) => [...element.attributes].map((attribute) => attribute.name));
  return {
    links,
    lang: document.documentElement.lang,
    title: document.title,
    description: content("meta[name=description]"),
    robots: content("meta[name=robots]"),
    canonical: document.querySelector("link[rel=canonical]")?.getAttribute("href") ?? null,
    graph: Object.fromEntries(
      ["title", "type", "url", "image", "locale"].map((key) => [key, content(`meta[property="og:${key}"]`)]),
    ),
    headings: document.querySelectorAll("h1").length,
    mains: document.querySelectorAll("main").length,
    live: scripts.filter((script) => script.type !== "application/ld+json").length,
    data: scripts.filter((script) => script.type === "application/ld+json").map((script) => script.textContent),
    handlers: attributes.filter((name) => name.startsWith("on")),
    styled: attributes.filter((name) => name === "style").length + document.querySelectorAll("style").length,
    sheets: document.querySelectorAll("link[rel=stylesheet]").length,
    text: document.body.innerText.trim().length,
  };
}

function* markupFaults(site, at, facts) {
  const url = at.url;
  if (!/^(vi|en)$/.test(facts.lang)) yield `its language is \`${facts.lang}\``;
  if (!facts.title) yield "it has no title";
  if (!facts.text) yield "it says nothing";
  if (facts.headings !== 1) yield `it has ${facts.headings} first headings`;
  if (facts.mains !== 1) yield `it has ${facts.mains} main parts`;
  if (facts.live) yield `it has ${facts.live} scripts that run`;
  if (facts.handlers.length) yield `it has handlers: ${facts.handlers.join(", ")}`;
  if (facts.styled) yield `it has ${facts.styled} inline styles`;
  if (facts.sheets !== 1) yield `it loads ${facts.sheets} stylesheets`;
  for (const text of facts.data) {
    try {
      const data = JSON.parse(text);
      if (!JSON.stringify(data).includes("schema.org")) yield "its JSON-LD is not of schema.org";
    } catch {
      yield "its JSON-LD is not JSON";
    }
  }
  if (!facts.links.some((link) => link.written.startsWith(ABUSE_URL))) yield "it has no link to report abuse";
  if (at.kind === "missing") {
    if (!/noindex/.test(facts.robots ?? "")) yield "it does not ask to be left out of indexes";
    return;
  }
  if (!facts.links.some((link) => link.written === "/rieng-tu/")) yield "it has no link to the privacy page";
  if (!facts.description) yield "it has no description";
  if (facts.canonical !== url) yield `its canonical address is \`${facts.canonical}\``;
  for (const [key, value] of Object.entries(facts.graph)) if (!value) yield `it has no \`og:${key}\``;
  if (facts.graph.url && facts.graph.url !== url) yield `its \`og:url\` is \`${facts.graph.url}\``;
  if (at.kind === "first" && facts.data.length === 0) yield "it has no JSON-LD";
}

/** Runs in the page: what is laid out late, and cut off at its edges, is laid out and shown whole. */
function layAllOut() {
  for (const element of document.querySelectorAll(".later")) element.style.contentVisibility = "visible";
}

/** Runs in the page: what is wider than the window. */
function overflowOf() {
  const root = document.documentElement;
  const width = root.clientWidth;
  const faults = [];
  if (root.scrollWidth > width) {
    const wide = [...document.body.querySelectorAll("*")]
      .filter((element) => element.getBoundingClientRect().right > width + 1)
      .slice(0, 3)
      .map((element) => `<${element.localName} class="${element.getAttribute("class") ?? ""}">`);
    faults.push(`the page is ${root.scrollWidth} px wide: ${wide.join(" ")}`);
  }
  return faults;
}

let source;

async function axe(page, told) {
  source ??= readFileSync(createRequire(join(told.modules, "x.js")).resolve("axe-core/axe.min.js"), "utf8");
  if (!(await page.evaluate("typeof axe === 'object'"))) await page.evaluate(`${source};0`);
  return page.call(async () => {
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    return violations.map(({ id, help, nodes }) => {
      const where = nodes.slice(0, 2).map((node) => node.html.slice(0, 160));
      const more = nodes[0].any[0]?.message ?? "";
      return `${id}: ${help} (${nodes.length}) ${more} ${where.join(" ")}`;
    });
  });
}

async function shoot(page, told, site, at, width, scheme) {
  await page.call(async () => {
    // Pictures that wait until they are near the window.
    for (const image of document.images) image.loading = "eager";
    await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
  });
  const { cssContentSize } = await page.send("Page.getLayoutMetrics");
  const height = Math.min(Math.ceil(cssContentSize.height), 6000);
  const { data } = await page.send("Page.captureScreenshot", {
    format: "png",
    captureBeyondViewport: true,
    clip: { x: 0, y: 0, width, height, scale: width < 600 ? 0.5 : 1 },
  });
  const directory = join(told.out, "shots", site.template, site.content);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, `${at.kind}-${width}-${scheme}.png`), Buffer.from(data, "base64"));
}

