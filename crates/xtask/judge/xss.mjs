// Hostile text in every field: each page is opened in Chromium with its policy switched off, so that escaping alone must
// hold. Needs nothing but Node and Chromium, so an integration test runs it too. Ends with 1 when something got out.

import { readFileSync } from "node:fs";

import { startBrowser } from "./cdp.mjs";
import { ask, xmlFault } from "./files.mjs";

const { plan } = JSON.parse(readFileSync(process.argv[2], "utf8"));

/** What Markdown makes, with the attributes it may set. */
const MARKDOWN = {
  a: ["href", "title", "rel", "class", "id"],
  blockquote: [],
  br: [],
  code: ["class"],
  del: [],
  div: ["class", "id"],
  em: [],
  figure: ["class"],
  h1: ["id"],
  h2: ["id"],
  h3: ["id"],
  h4: ["id"],
  h5: ["id"],
  h6: ["id"],
  hr: [],
  img: ["alt", "title", "src"],
  li: [],
  ol: ["start"],
  p: ["class"],
  pre: [],
  s: [],
  strong: [],
  sup: ["class", "id"],
  table: ["class"],
  tbody: [],
  td: ["class"],
  th: ["class"],
  thead: [],
  tr: [],
  ul: [],
};
const SCHEMES = ["https:", "http:", "mailto:", "tel:", "sms:"];

/** Runs in the page: elements with their attributes, and what they lead to. */
function shapeOf(markup, type) {
  const root = markup === null ? document : new DOMParser().parseFromString(markup, type);
  const shape = {};
  const links = [];
  const data = [];
  const walk = (node) => {
    for (const element of node.querySelectorAll("*")) {
      const known = (shape[element.localName] ??= []);
      for (const { name, value } of element.attributes) {
        if (!known.includes(name)) known.push(name);
        if (/(^|:)(href|src|action|data|poster)$/.test(name) || name === "formaction") links.push(value);
      }
      if (element.localName === "script") data.push([element.getAttribute("type"), element.textContent]);
      if (element.localName === "meta" && element.hasAttribute("http-equiv")) known.push("http-equiv");
      if (element.shadowRoot) known.push("#shadow");
    }
  };
  walk(root);
  return { shape, links, data, base: document.baseURI };
}

function* shapeFaults({ shape, links, data, base }, allowed) {
  for (const [element, attributes] of Object.entries(shape)) {
    const known = allowed[element];
    if (!known) yield `there is a <${element}> that no page has`;
    else {
      for (const name of attributes) {
        if (/^on/.test(name) || !known.has(name)) yield `there is a <${element} ${name}> that no page has`;
      }
    }
  }
  for (const link of links) {
    if (link.startsWith("data:image/")) continue;
    const scheme = URL.canParse(link, base) ? new URL(link, base).protocol : null;
    if (scheme && !SCHEMES.includes(scheme)) yield `a link leads to \`${link.slice(0, 100)}\``;
  }
  for (const [type, text] of data) {
    if (type !== "application/ld+json") yield `there is a script of type ${type}`;
    try {
      JSON.parse(text);
    } catch (error) {
      yield `JSON-LD is not JSON: ${error.message}`;
    }
  }
}

/** Adds what a page has to what is allowed. */
function allow(allowed, { shape }) {
  for (const [element, attributes] of Object.entries(shape)) {
    const known = (allowed[element] ??= new Set());
    for (const name of attributes) known.add(name);
  }
}

function address(path) {
  return `/${path.replace(/(^|\/)index\.html$/, "$1")}`;
}

const faults = new Map();
let pages = 0;

function fault(site, path, message) {
  const key = `${site.template}: ${message}`;
  const text = site.note.text === undefined ? "" : JSON.stringify(site.note.text);
  faults.set(key, [...(faults.get(key) ?? []), `${site.content} ${path} ${text}`]);
}

async function openAll(page, state, site, allowed) {
  for (const file of site.files) {
    const path = address(file.path);
    const url = `https://${site.host}${path}`;
    if (file.type.startsWith("text/html")) {
      pages += 1;
      state.begin(site.host);
      await page.open(url);
      // Time for what waits for a failed picture, a toggle, or a frame.
      await new Promise((done) => setTimeout(done, 15));
      const shape = await page.call(shapeOf, null, null);
      for (const message of state.end()) fault(site, path, message);
      if (site.content === "harmless") allow(allowed, shape);
      else for (const message of shapeFaults(shape, allowed)) fault(site, path, message);
      continue;
    }
    const { body } = await ask(plan, url);
    const text = body.toString("utf8");
    if (/xml/.test(file.type)) {
      const wrong = await page.call(xmlFault, text);
      if (wrong) fault(site, path, `is not XML: ${wrong}`);
      const shape = await page.call(shapeOf, text, "application/xml");
      if (site.content === "harmless") allow(allowed, shape);
      else for (const message of shapeFaults(shape, allowed)) fault(site, path, message);
      for (const html of await page.call(embeddedOf, text)) await fragment(page, site, path, html, allowed);
    }
    if (/json/.test(file.type)) {
      try {
        for (const item of JSON.parse(text).items ?? []) {
          if (item.content_html) await fragment(page, site, path, item.content_html, allowed);
        }
      } catch (error) {
        fault(site, path, `is not JSON: ${error.message}`);
      }
    }
  }
}

/** What readers of a feed will show. */
async function fragment(page, site, path, html, allowed) {
  const shape = await page.call(shapeOf, html, "text/html");
  if (site.content === "harmless") return allow(allowed, shape);
  for (const message of shapeFaults(shape, allowed)) fault(site, path, `in a feed, ${message}`);
}

/** Runs in a page. */
function embeddedOf(text) {
  const document = new DOMParser().parseFromString(text, "application/xml");
  return [...document.querySelectorAll("[type=html]")].map((element) => element.textContent);
}

/** Notes everything that only runs, or is only fetched, when text was taken for more. */
async function guard(page) {
  let host = null;
  let seen = [];
  page.on((method, params) => {
    if (method === "Runtime.bindingCalled") seen.push("a script of the text has run");
    if (method === "Page.javascriptDialogOpening") {
      seen.push("a dialog has opened");
      page.send("Page.handleJavaScriptDialog", { accept: false }).catch(() => {});
    }
    if (method === "Runtime.exceptionThrown") seen.push(`a script has failed: ${params.exceptionDetails.text}`);
    if (method === "Network.requestWillBeSent" && host) {
      const url = new URL(params.request.url);
      if (url.protocol !== "data:" && url.host !== host) seen.push(`another host was asked: ${params.request.url}`);
    }
    if (method === "Page.frameAttached") seen.push("a frame has opened");
    if (method === "Page.frameRequestedNavigation" || method === "Page.navigatedWithinDocument") seen.push("the page leads away");
  });
  for (const domain of ["Page", "Runtime", "Network"]) await page.send(`${domain}.enable`);
  await page.send("Page.setBypassCSP", { enabled: true });
  await page.send("Runtime.addBinding", { name: "hdTell" });
  await page.send("Page.addScriptToEvaluateOnNewDocument", { source: "globalThis.hdCanary = () => hdTell('')" });
  await page.send("Emulation.setDeviceMetricsOverride", { width: 800, height: 4000, deviceScaleFactor: 1, mobile: false });
  return {
    begin(of) {
      host = of;
      seen = [];
    },
    end() {
      host = null;
      return [...new Set(seen)];
    },
  };
}

/** That the guard sees what it is there to see: a page with the simplest hole. */
async function proveGuard(page, state) {
  state.begin("nowhere.biz.vn");
  await page.evaluate(
    `document.body.innerHTML = '<img src="https://canary.invalid/x" onerror="hdCanary(1)"><iframe></iframe>';0`,
  );
  await new Promise((done) => setTimeout(done, 500));
  const seen = state.end().join();
  for (const sign of ["script of the text", "another host", "frame"]) {
    if (!seen.includes(sign)) throw new Error(`the browser does not tell of what it should: ${sign}; it told: ${seen}`);
  }
}

const browser = await startBrowser(plan);
const allowed = {};
try {
  const page = await browser.newPage();
  const state = await guard(page);
  const [first] = plan.sites;
  await page.open(`https://${first.host}/`);
  await proveGuard(page, state);
  for (const [element, attributes] of Object.entries(MARKDOWN)) allow(allowed, { shape: { [element]: attributes } });
  const harmless = plan.sites.filter((site) => site.content === "harmless");
  for (const site of [...harmless, ...plan.sites.filter((site) => site.content !== "harmless")]) {
    await openAll(page, state, site, allowed);
  }
} finally {
  await browser.close();
}

for (const [message, places] of faults) {
  console.log(`${message}\n    at ${places[0]}${places.length > 1 ? ` and ${places.length - 1} more` : ""}`);
}
for (const site of plan.sites.filter((site) => site.note.about)) {
  const { open, refused_by_type, refused_by_renderer } = site.note.about;
  console.log(
    `${site.template}: ${open.length} fields take any text, ${refused_by_type.length} are refused by their type, ${refused_by_renderer.length} by the renderer`,
  );
}
console.log(`${plan.sites.length} sites, ${pages} pages: ${faults.size} faults`);
process.exitCode = faults.size ? 1 : 0;
