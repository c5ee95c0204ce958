// The files of all sites before the Nu checker (one process for all) and html-validate.

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

/** Rules of html-validate that are ours: all that it recommends, less what is no fault of a page. */
const RULES = {
  extends: ["html-validate:recommended"],
  rules: {
    // Titles hold what owners call things; search engines shorten them themselves.
    "long-title": "off",
    // Owners' numbers are shown as they are written; the template keeps them on one line.
    "tel-non-breaking": "off",
  },
};

export async function judgeMarkup(told, results, asked) {
  const sites = new Map(results.map((result) => [`${result.template}/${result.content}`, result]));
  const place = (file) => {
    const [template, content, ...path] = relative(told.sites, file).split("/");
    return { result: sites.get(`${template}/${content}`), page: `/${path.join("/")}` };
  };
  const files = results.flatMap((result) =>
    result.files
      .filter(({ path, type }) => /^(text\/html|text\/css|image\/svg)/.test(type) && (!told.page || type.startsWith("text/css") || result.pages.some((page) => page.path === path)))
      .map(({ path }) => join(told.sites, result.template, result.content, path)),
  );
  const modules = createRequire(join(told.modules, "x.js"));
  if (asked("vnu")) {
    const jar = join(dirname(modules.resolve("vnu-jar/package.json")), "build/dist/vnu.jar");
    const options = ["-Xss4m", "-jar", jar, "--format", "json", "--stdout", "--exit-zero-always", "--also-check-css", "--also-check-svg"];
    const ran = spawnSync("java", [...options, ...files], { encoding: "utf8", maxBuffer: OUTPUT_BYTES_MAX });
    if (ran.error || ran.status !== 0) throw new Error(`vnu did not run: ${ran.error?.message ?? ran.stderr}`);
    for (const message of JSON.parse(ran.stdout).messages) {
      if (message.type === "info" && message.subType !== "warning") continue;
      const { result, page } = place(new URL(message.url).pathname);
      const text = `line ${message.lastLine}: ${message.message} ${(message.extract ?? "").replace(/\s+/g, " ").slice(0, 120)}`;
      result.faults.push({ check: "vnu", page, message: text });
    }
  }
  if (asked("html-validate")) {
    const { HtmlValidate, StaticConfigLoader } = modules("html-validate");
    const validator = new HtmlValidate(new StaticConfigLoader(RULES));
    for (const file of files.filter((file) => file.endsWith(".html"))) {
      const report = await validator.validateString(readFileSync(file, "utf8"), file);
      const { result, page } = place(file);
      for (const message of report.results.flatMap((found) => found.messages)) {
        const text = `line ${message.line}: ${message.ruleId}: ${message.message}`;
        result.faults.push({ check: "html-validate", page, message: text });
      }
    }
  }
}
