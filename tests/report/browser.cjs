// What a person does with the page, by a real browser. Each line of output is a claim that held.
"use strict";
const assert = require("node:assert");
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const out = process.env.OUT;
const { chromium } = require(path.join(out, "node_modules/playwright-core"));
const file = (name) => path.join(out, name);
const SCENARIOS = [
  "scenarios/retry-layers", "scenarios/policies/breaker-success-rate.yaml", "scenarios/policies/outlier-success-rate.yaml",
  "scenarios/policies/peer-authentication.yaml",
];
let held = 0;
const claim = (text) => console.log(`ok ${++held} ${text}`);

function squall(page, csv, more = []) {
  const args = ["test", ...SCENARIOS, "--seeds", "1,2", "--quiet", "--html", file(page), "--csv", file(csv), ...more];
  const done = spawnSync(process.env.SQUALL, args, { encoding: "utf8" });
  assert.ok(done.status <= 1, done.stderr);
}

/** The rows of a CSV whose cells may be quoted, by column. */
function rows(text) {
  const all = [];
  let row = [], cell = "", quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted && c === '"' && text[i + 1] === '"') { cell += '"'; i++; }
    else if (c === '"') quoted = !quoted;
    else if (!quoted && c === ",") { row.push(cell); cell = ""; }
    else if (!quoted && c === "\n") { row.push(cell); all.push(row); row = []; cell = ""; }
    else cell += c;
  }
  const [head, ...body] = all;
  return body.map((cells) => Object.fromEntries(head.map((name, at) => [name, cells[at]])));
}

async function look(browser, name, options, act) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const errors = [], asked = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("request", (request) => asked.push(request.url()));
  await page.goto(`file://${file("report.html")}`);
  await act(page);
  await page.screenshot({ path: file(`${name}.png`) });
  assert.deepEqual(errors, [], `${name}: errors`);
  assert.deepEqual(asked.filter((url) => !/^(file|data):/.test(url)), [], `${name}: asked a network`);
  await context.close();
  claim(`${name}: no error, no request`);
}

async function main() {
  squall("report.html", "report.csv");
  squall("again.html", "again.csv", ["--jobs", "1"]);
  const text = fs.readFileSync(file("report.html"), "utf8");
  assert.equal(text, fs.readFileSync(file("again.html"), "utf8"));
  claim("the same runs give the same page, byte for byte, on any number of threads");
  assert.ok(text.length <= 5_000_000, `${text.length} bytes`);
  claim(`the page has ${text.length} bytes`);

  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  const csv = rows(fs.readFileSync(file("report.csv"), "utf8"));
  await look(browser, "light", { colorScheme: "light" }, async (page) => {
    const data = JSON.parse(await page.locator("#data").textContent());
    assert.deepEqual(data.runs, csv);
    claim(`the ${csv.length} runs of the page are the rows of the CSV`);
    const sum = (values) => values.reduce((one, other) => one + other, 0);
    const names = await page.locator("details.scenario").evaluateAll((all) => all.map((one) => Number(one.dataset.scenario)));
    for (const number of names) {
      const detail = data.details[number];
      const row = csv[number * 2 + (detail.seed - 1)];
      assert.equal(sum(detail.requests), Number(row.requests), row.scenario);
      assert.equal(sum(detail.succeeded), Number(row.succeeded), row.scenario);
      assert.equal((sum(detail.attempts) / sum(detail.firsts)).toFixed(6), row.amplification_ratio, row.scenario);
      assert.equal(Math.max(...detail.max).toFixed(6), row.latency_max_ms, row.scenario);
      const shown = page.locator(`#s${number} tr.shown`);
      assert.ok((await shown.textContent()).includes(row.requests) && (await shown.textContent()).includes(row.digest));
    }
    claim("the bins of each timeline add up to its row of the CSV, and the table shows it");

    const open = page.locator("details.scenario").first();
    if (!(await open.evaluate((one) => one.open))) await open.locator("summary").first().click();
    await page.waitForFunction(() => document.querySelectorAll(".uplot canvas").length >= 4);
    claim("charts are drawn when their scenario opens");
    const chart = open.locator("[role=group]").first();
    const legend = open.locator(".u-legend").first();
    await chart.focus();
    for (let i = 0; i < 6; i++) await page.keyboard.press("ArrowRight");
    assert.match(await legend.textContent(), /time\s*:?\s*\d/, "the arrows move to a value");
    claim("arrow keys show values");
    const before = await open.locator("canvas").nth(1).evaluate((canvas) => canvas.toDataURL());
    await page.keyboard.press("+");
    await page.waitForTimeout(100);
    const zoomed = await open.locator("canvas").nth(1).evaluate((canvas) => canvas.toDataURL());
    assert.notEqual(before, zoomed);
    await page.keyboard.press("0");
    await page.waitForTimeout(100);
    assert.equal(before, await open.locator("canvas").nth(1).evaluate((canvas) => canvas.toDataURL()));
    claim("a zoom in one chart moves the others, and 0 brings all back");
    const slider = open.locator("input[type=range]");
    await slider.focus();
    await page.keyboard.press("ArrowRight");
    assert.match(await open.locator("output").textContent(), /0\.00 s to/);
    claim("the graph follows its slider");
    const story = open.locator("details.story").nth(1);
    await story.locator("summary").first().click();
    assert.ok(await story.locator("tr").count() > 1);
    assert.ok((await open.locator(".waterfall").allTextContents()).join().includes("first attempt"));
    claim("a request opens with its attempts and their reasons");
    await page.locator("pre.command button").first().click();
    await page.waitForFunction(() => /Copied|Selected/.test(document.querySelector("pre.command button").textContent));
    claim("the command is copied");
    await page.screenshot({ path: file("light-whole.png"), fullPage: true });
  });
  await look(browser, "dark", { colorScheme: "dark" }, async (page) => {
    for (const one of await page.locator("details.scenario").all()) await one.evaluate((it) => { it.open = true; });
    await page.waitForTimeout(300);
    await page.screenshot({ path: file("dark-whole.png"), fullPage: true });
  });
  await look(browser, "narrow", { viewport: { width: 390, height: 844 } }, async (page) => {
    await page.locator("details.scenario").first().evaluate((it) => { it.open = true; });
    await page.waitForTimeout(300);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "scrolls sideways");
    claim("a narrow page does not scroll sideways");
    await page.screenshot({ path: file("narrow-whole.png"), fullPage: true });
  });
  await look(browser, "no-script", { javaScriptEnabled: false }, async (page) => {
    await page.locator("details.scenario > summary").last().click();
    assert.ok(await page.locator("svg.timeline").last().isVisible());
    assert.ok(await page.locator("svg.graph").last().isVisible());
    claim("without script the pictures are there");
    await page.emulateMedia({ media: "print" });
    const hidden = await page.locator("details.scenario h3, details.printed pre, details.printed table").evaluateAll(
      (all) => all.filter((one) => one.getBoundingClientRect().height === 0).length);
    assert.equal(hidden, 0, "not on paper");
    claim("on paper every scenario is open, with its story and the numbers of its calls, without script too");
    await page.pdf({ path: file("printed.pdf") });
  });
  await browser.close();
  console.log(`${held} passed, 0 failed`);
}

main().catch((error) => {
  console.error(error);
  console.log(`${held} passed, 1 failed`);
  process.exit(1);
});
