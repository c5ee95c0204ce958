// A contact sheet for each template: its first page as people meet it, one picture of modest size.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const BYTES_MAX = 500_000;
const HEIGHT = 900;
/** Width in the sheet of each view. */
const VIEWS = [
  ["first-360-light", 300],
  ["first-360-dark", 300],
  ["first-768-light", 420],
  ["first-1280-light", 640],
  ["first-1280-dark", 640],
];

export async function contactSheets(browser, told, results) {
  mkdirSync(told.contact_sheet, { recursive: true });
  for (const { template, content } of results.filter((result) => result.content === "sample")) {
    const page = await browser.newPage();
    const shots = join(told.out, "shots", template, content);
    const views = VIEWS.filter(([view]) => existsSync(join(shots, `${view}.png`))).map(([view, width]) => ({
      width,
      source: `data:image/png;base64,${readFileSync(join(shots, `${view}.png`)).toString("base64")}`,
    }));
    const width = views.reduce((sum, view) => sum + view.width + 20, 20);
    await page.send("Emulation.setDeviceMetricsOverride", { width, height: HEIGHT + 40, deviceScaleFactor: 1, mobile: false });
    await page.call(
      async (views, height) => {
        document.body.style.cssText = "margin:20px;display:flex;gap:20px;background:#888";
        for (const { width, source } of views) {
          const frame = document.createElement("div");
          frame.style.cssText = `width:${width}px;height:${height}px;overflow:hidden;flex:none`;
          const image = document.createElement("img");
          image.style.width = "100%";
          image.src = source;
          frame.append(image);
          document.body.append(frame);
          await image.decode();
        }
      },
      views,
      HEIGHT,
    );
    let picture;
    for (const quality of [80, 65, 50, 35]) {
      const { data } = await page.send("Page.captureScreenshot", { format: "webp", quality });
      picture = Buffer.from(data, "base64");
      if (picture.length <= BYTES_MAX) break;
    }
    writeFileSync(join(told.contact_sheet, `${template}.webp`), picture);
    await page.close();
  }
}
