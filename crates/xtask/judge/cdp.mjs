// A Chromium without a window, spoken to by its debugging protocol over a pipe. Needs nothing but Node.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ANSWER_MS_MAX = 60_000;

/** Starts Chromium. `plan` names the edge's address and the key it is to trust; no other host is ever found. */
export async function startBrowser(plan, { port } = {}) {
  const profile = mkdtempSync(join(tmpdir(), "hiendien-judge-"));
  const flags = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--mute-audio",
    "--no-first-run",
    "--no-proxy-server",
    "--force-color-profile=srgb",
    `--user-data-dir=${profile}`,
    `--ignore-certificate-errors-spki-list=${plan.key_pin}`,
    `--host-resolver-rules=MAP *.biz.vn ${plan.address}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1`,
    "--remote-debugging-pipe",
    ...(port ? [`--remote-debugging-port=${port}`] : []),
    "about:blank",
  ];
  const child = spawn("chromium", flags, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
  const browser = new Browser(child, profile);
  child.on("error", () => browser.end(new Error("chromium does not run: apt-get install chromium")));
  child.on("exit", (code) => browser.end(new Error(`chromium has ended (${code})`)));
  await browser.send("Browser.getVersion");
  return browser;
}

class Browser {
  constructor(child, profile) {
    this.child = child;
    this.profile = profile;
    this.next = 1;
    this.waiting = new Map();
    this.pages = new Map();
    let rest = [];
    child.stdio[4].on("data", (chunk) => {
      let end;
      while ((end = chunk.indexOf(0)) >= 0) {
        rest.push(chunk.subarray(0, end));
        this.take(JSON.parse(Buffer.concat(rest).toString()));
        rest = [];
        chunk = chunk.subarray(end + 1);
      }
      rest.push(chunk);
    });
    child.stdio[3].on("error", () => {});
  }

  take(message) {
    if (message.id === undefined) {
      this.pages.get(message.sessionId)?.take(message);
      return;
    }
    const waiting = this.waiting.get(message.id);
    this.waiting.delete(message.id);
    clearTimeout(waiting?.timer);
    if (message.error) waiting?.reject(new Error(`${waiting.method}: ${message.error.message}`));
    else waiting?.resolve(message.result);
  }

  send(method, params = {}, sessionId) {
    if (this.fault) return Promise.reject(this.fault);
    const id = this.next++;
    return new Promise((resolve, reject) => {
      const late = () => reject(new Error(`${method}: no answer in ${ANSWER_MS_MAX / 1000} s`));
      const timer = setTimeout(late, ANSWER_MS_MAX);
      this.waiting.set(id, { resolve, reject, method, timer });
      this.child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  end(fault) {
    this.fault ??= fault;
    for (const { reject, timer } of this.waiting.values()) {
      clearTimeout(timer);
      reject(this.fault);
    }
    this.waiting.clear();
  }

  /** A page of a profile of its own: no cache, no state of others. */
  async newPage() {
    const { browserContextId } = await this.send("Target.createBrowserContext");
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank", browserContextId });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, sessionId, browserContextId);
    this.pages.set(sessionId, page);
    return page;
  }

  async close() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    await this.send("Browser.close").catch(() => {});
    const kill = setTimeout(() => this.child.kill("SIGKILL"), 5000);
    await ended;
    clearTimeout(kill);
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

class Page {
  constructor(browser, session, context) {
    this.browser = browser;
    this.session = session;
    this.context = context;
    this.listeners = [];
  }

  send(method, params) {
    return this.browser.send(method, params, this.session);
  }

  take(message) {
    for (const listener of this.listeners) listener(message.method, message.params);
  }

  on(listener) {
    this.listeners.push(listener);
  }

  once(method) {
    return new Promise((resolve) => {
      const listener = (name, params) => {
        if (name !== method) return;
        this.listeners.splice(this.listeners.indexOf(listener), 1);
        resolve(params);
      };
      this.listeners.push(listener);
    });
  }

  /** Goes there and waits until all of it has loaded and been drawn. */
  async open(url) {
    const loaded = this.once("Page.loadEventFired");
    const { errorText } = await this.send("Page.navigate", { url });
    if (errorText) throw new Error(`${url}: ${errorText}`);
    await loaded;
  }

  /** The value of an expression, or of the promise it makes. */
  async evaluate(expression) {
    const answer = await this.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (answer.exceptionDetails) {
      const { exception, text } = answer.exceptionDetails;
      throw new Error(exception?.description ?? text);
    }
    return answer.result.value;
  }

  /** Calls a function that knows nothing from outside but its arguments. */
  call(work, ...values) {
    return this.evaluate(`(${work})(...${JSON.stringify(values)})`);
  }

  async close() {
    this.browser.pages.delete(this.session);
    await this.browser.send("Target.disposeBrowserContext", { browserContextId: this.context });
  }
}
