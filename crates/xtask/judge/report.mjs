// One table: for each template and content the worst of its pages.

import { WEIGHT_BYTES_MAX } from "./page.mjs";

const FAULTS_SHOWN_MAX = 8;

export function printTable(results, asked) {
  const scores = [["perf", "performance"], ["a11y", "accessibility"], ["best", "best-practices"], ["seo", "seo"]];
  const counts = ["axe", "vnu", "html-validate", "markup", "links", "requests", "layout"].filter(asked);
  const head = ["template", "content", "pages"];
  if (asked("lighthouse")) head.push(...scores.map(([short]) => short));
  head.push(...counts);
  if (asked("weight")) head.push("kB");
  const rows = results.map((result) => {
    const row = [result.template, result.content, `${result.pages.length}`];
    if (asked("lighthouse")) {
      for (const [, category] of scores) {
        const all = result.pages.filter((page) => page.scores).map((page) => page.scores[category]);
        row.push(all.length ? `${Math.min(...all)}` : "-");
      }
    }
    for (const check of counts) row.push(`${result.faults.filter((fault) => fault.check === check).length}`);
    if (asked("weight")) {
      const first = result.pages.find((page) => page.kind === "first");
      row.push(first?.weight ? (first.weight.bytes / 1000).toFixed(1) : "-");
    }
    return row;
  });
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column].length)));
  const line = (row) => row.map((cell, column) => (column < 2 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join("  ");
  console.log([head, ...rows].map(line).join("\n"));
  console.log(`\nlighthouse: 0 to 100, the worst page; kB: the first page over the wire without photos, at most ${WEIGHT_BYTES_MAX / 1000}; the rest: faults`);
  const grouped = new Map();
  for (const { template, content, faults } of results) {
    for (const { check, page, message } of faults) {
      const key = `${template} ${check}`;
      if (!grouped.has(key)) grouped.set(key, new Map());
      const place = `${content} ${page}`;
      const places = grouped.get(key);
      places.set(message, [...(places.get(message) ?? []), place]);
    }
  }
  for (const [key, messages] of grouped) {
    console.log(`\n${key}`);
    for (const [message, places] of [...messages].slice(0, FAULTS_SHOWN_MAX)) {
      console.log(`  ${message.replace(/\s+/g, " ").slice(0, 500)}\n    at ${places.slice(0, 3).join(", ")}${places.length > 3 ? ` and ${places.length - 3} more` : ""}`);
    }
    if (messages.size > FAULTS_SHOWN_MAX) console.log(`  and ${messages.size - FAULTS_SHOWN_MAX} more`);
  }
  return results.some((result) => result.faults.length > 0);
}
