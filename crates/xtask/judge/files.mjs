// All files of a site as the edge gives them out, and where they lead.

import { Agent, request } from "node:https";

const agent = new Agent({ keepAlive: true });
const answers = new Map();

/** Asks the edge, once for each address. The certificate is the browser's to check. */
export function ask(plan, url) {
  if (!answers.has(url)) answers.set(url, askNow(plan, new URL(url)));
  return answers.get(url);
}

function askNow(plan, { hostname, pathname, search }) {
  return new Promise((resolve, reject) => {
    const asked = request(
      {
        host: plan.address,
        servername: hostname,
        path: pathname + search,
        headers: { host: hostname, accept: "*/*" },
        agent,
        rejectUnauthorized: false,
      },
      (answer) => {
        const parts = [];
        answer.on("data", (part) => parts.push(part));
        answer.on("end", () => {
          const body = Buffer.concat(parts);
          resolve({ status: answer.statusCode, type: answer.headers["content-type"] ?? "", headers: answer.headers, body });
        });
      },
    );
    asked.on("error", reject);
    asked.end();
  });
}

/** Each file has its type and the headers of a page, and says what its format allows. */
export async function checkFiles(browser, plan, site, fault) {
  const page = await browser.newPage();
  try {
    for (const file of site.files) {
      const path = `/${file.path.replace(/(^|\/)index\.html$/, "$1")}`;
      const { status, type, headers, body } = await ask(plan, `https://${site.host}${path}`);
      if (status !== 200 && file.path !== "404.html") fault("links", path, `status ${status}`);
      if (type !== file.type) fault("links", path, `is served as \`${type}\``);
      if (headers["x-content-type-options"] !== "nosniff") fault("links", path, "may be sniffed");
      if (/unsafe|\*/.test(headers["content-security-policy"] ?? "*")) fault("links", path, "has no strict policy");
      const text = body.toString("utf8");
      if (/xml/.test(type)) {
        const wrong = await page.call(xmlFault, text);
        if (wrong) fault("links", path, `is not XML: ${wrong}`);
      }
      if (/json/.test(type)) {
        try {
          JSON.parse(text);
        } catch (error) {
          fault("links", path, `is not JSON: ${error.message}`);
        }
      }
      for (const link of linksIn(file, text, site)) await checkLink(plan, site, path, link, fault);
    }
    await checkMap(plan, site, fault);
  } finally {
    await page.close();
  }
}

/** Runs in a page. */
export function xmlFault(text) {
  const document = new DOMParser().parseFromString(text, "application/xml");
  return document.querySelector("parsererror")?.textContent.slice(0, 200) ?? null;
}

/** Links of files that no page shows. */
function linksIn(file, text, site) {
  const found = (pattern, more = {}) =>
    [...text.matchAll(pattern)].map((match) => {
      const written = /xml/.test(file.type) ? unescaped(match[1]) : match[1];
      return { written, url: absolute(written, file, site), ...more };
    });
  if (file.type.startsWith("text/css")) return found(/url\(\s*["']?((?!data:)[^"')]+)/g);
  if (file.path.endsWith("sitemap.xml")) return found(/<loc>([^<]+)<\/loc>/g, { element: "page" });
  if (file.path.endsWith(".webmanifest")) {
    try {
      const icons = JSON.parse(text).icons ?? [];
      return icons.map(({ src }) => ({ written: src, url: absolute(src, file, site), element: "img" }));
    } catch {
      return [];
    }
  }
  if (file.path.endsWith("feed.xml")) return found(/<link [^>]*href="([^"]+)"/g);
  if (file.path.endsWith("feed.json")) return found(/"(?:url|home_page_url|feed_url|icon|favicon)": *"([^"]+)"/g);
  return [];
}

const NAMED = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

function unescaped(text) {
  return text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (whole, hex, decimal, name) => {
    if (name) return NAMED[name] ?? whole;
    return String.fromCodePoint(hex ? Number.parseInt(hex, 16) : Number(decimal));
  });
}

function absolute(written, file, site) {
  const base = `https://${site.host}/${file.path}`;
  return URL.canParse(written, base) ? new URL(written, base).href : null;
}

/** Every page that is to be found is in the site map. */
async function checkMap(plan, site, fault) {
  const map = await ask(plan, `https://${site.host}/sitemap.xml`);
  if (map.status !== 200) return fault("links", "/sitemap.xml", "is missing");
  const text = unescaped(map.body.toString("utf8"));
  for (const file of site.files) {
    if (!file.type.startsWith("text/html") || file.path === "404.html") continue;
    const url = `https://${site.host}/${file.path.replace(/(^|\/)index\.html$/, "$1")}`;
    const page = await ask(plan, url);
    const hidden = /<meta[^>]+noindex/.test(page.body.toString("utf8"));
    if (hidden === text.includes(`<loc>${url}</loc>`)) {
      fault("links", "/sitemap.xml", `${hidden ? "has" : "lacks"} ${url}`);
    }
  }
}

export async function checkLinks(plan, site, at, links, fault) {
  for (const link of links) await checkLink(plan, site, at.address, link, fault);
}

/** What a link of this kind may lead to. */
function expected(link) {
  if (link.element === "page" || link.element === "a" || link.rel === "canonical") return /^(text\/html|application\/|image\/|text\/plain)/;
  if (link.rel === "stylesheet") return /^text\/css/;
  if (link.rel === "manifest") return /^application\/manifest\+json/;
  if (link.rel === "preload" && link.as === "font") return /^font\//;
  if (/icon/.test(link.rel) || link.element === "img" || link.element === "source") return /^image\//;
  if (link.rel === "alternate" && link.type) return new RegExp(`^${link.type.replace(/[+.]/g, "\\$&")}`);
  return /./;
}

async function checkLink(plan, site, from, link, fault) {
  const say = (message) => fault("links", from, `\`${link.written.slice(0, 200)}\` ${message}`);
  if (link.url === null) return say("is no address");
  const url = new URL(link.url);
  if (url.protocol !== "https:") {
    if (!/^(mailto|tel|sms|data|http):$/.test(url.protocol)) say("has a scheme that is not expected");
    return;
  }
  if (url.host !== site.host) return;
  const { status, type, body } = await ask(plan, `https://${site.host}${url.pathname}${url.search}`);
  if (status !== 200) return say(`answers with status ${status}`);
  if (!expected(link).test(type)) return say(`is served as \`${type}\``);
  const anchor = decodeURIComponent(url.hash.slice(1));
  if (anchor && anchor !== "top" && type.startsWith("text/html")) {
    const ids = [...body.toString("utf8").matchAll(/\sid="?([^"\s>]+)/g)].map((match) => match[1]);
    if (!ids.includes(anchor)) say("leads to no element");
  }
}
