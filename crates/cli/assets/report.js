// What a page gains by script: charts with zoom and values, the graph over time, a filter, and buttons that copy.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const make = (tag, props = {}, ...inside) => {
    const element = Object.assign(document.createElement(tag), props);
    element.append(...inside);
    return element;
  };
  const show = (value, digits, unit) => (value == null ? "–" : value.toFixed(digits) + unit);
  const GUTTER = 112;
  const LANES = { o: "--bad", h: "--fair", e: "--c3", u: "--c5" };
  const WORDS = { o: "open", h: "half-open", e: "ejected", u: "unhealthy", ".": "in service" };

  // Values step from the left edge of a bin to the left edge of the next; the last one needs an end.
  const xs = (d) => d.requests.map((_, bin) => bin * d.bin).concat([d.duration]);
  const steps = (values) => values.concat([values[values.length - 1]]);
  const bands = (d) => (u) => {
    const { ctx } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    ctx.clip();
    ctx.fillStyle = css("--fault");
    for (const fault of d.faults) {
      const from = u.valToPos(fault.from, "x", true);
      ctx.fillRect(from, u.bbox.top, Math.max(1, u.valToPos(fault.to, "x", true) - from), u.bbox.height);
    }
    ctx.restore();
  };
  const heat = (d) => (u) => {
    const { ctx } = u;
    let peak = 1;
    for (const cells of d.heat) for (let i = 1; i < cells.length; i += 2) peak = Math.max(peak, cells[i]);
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    ctx.clip();
    d.heat.forEach((cells, bin) => {
      const left = u.valToPos(bin * d.bin, "x", true);
      const right = u.valToPos(Math.min((bin + 1) * d.bin, d.duration), "x", true);
      for (let i = 0; i < cells.length; i += 2) {
        const high = d.buckets[cells[i]];
        const low = cells[i] ? d.buckets[cells[i] - 1] : high * 0.6;
        const top = u.valToPos(Math.max(high, 1e-6), "y", true);
        ctx.fillStyle = `rgba(${css("--heat")}, ${0.12 + 0.7 * Math.sqrt(cells[i + 1] / peak)})`;
        ctx.fillRect(left, top, right - left + 0.5, u.valToPos(Math.max(low, 1e-6), "y", true) - top);
      }
    });
    ctx.restore();
  };
  const paintLanes = (d) => (u) => {
    const { ctx } = u;
    const tall = u.bbox.height / d.lanes.length;
    d.lanes.forEach((lane, row) => {
      [...lane.states].forEach((state, bin) => {
        if (!LANES[state]) return;
        const left = Math.max(u.bbox.left, u.valToPos(bin * d.bin, "x", true));
        const right = Math.min(u.bbox.left + u.bbox.width, u.valToPos(Math.min((bin + 1) * d.bin, d.duration), "x", true));
        if (right <= left) return;
        ctx.fillStyle = css(LANES[state]);
        ctx.fillRect(left, u.bbox.top + row * tall + 2, right - left + 0.5, tall - 4);
      });
    });
  };

  function panels(d) {
    const ratio = (part, whole) => part.map((value, bin) => (whole[bin] ? value / whole[bin] : null));
    const percent = ratio(d.succeeded, d.requests).map((value) => (value == null ? null : value * 100));
    const amplification = ratio(d.attempts, d.firsts);
    const positive = (values) => values.map((value, bin) => (d.requests[bin] ? Math.max(value, 1e-6) : null));
    const least = Math.max((d.buckets[0] || 1) * 0.6, 1e-6);
    const most = Math.max(d.buckets[d.buckets.length - 1] || 1, least * 10);
    const list = [
      { title: "Success rate", height: 110, range: [0, 100], unit: " %", digits: 2, lines: [["success", "--c2", percent]] },
      { title: "Requests per second", height: 90, unit: "/s", digits: 1, lines: [
        ["arrived", "--c0", d.requests.map((n, bin) => n / (Math.min(d.bin, d.duration - bin * d.bin) || d.bin))],
        ["in flight", "--c4", d.inFlight]] },
      { title: "Latency; the stronger the colour, the more requests", height: 190, log: [least, most], unit: " ms", digits: 2, under: heat(d), lines: [
        ["p50", "--p50", positive(d.p50)], ["p90", "--c4", positive(d.p90)], ["p99", "--p99", positive(d.p99)]] },
      { title: "Amplification: attempts for each call", height: 90, unit: "×", digits: 2, floor: 1, lines: [["amplification", "--c3", amplification]] },
    ];
    if (d.queues.length) {
      const lines = d.queues.map((index, rank) => [d.services[index].name, `--c${rank}`, d.services[index].queue]);
      list.push({ title: "Queue depth", height: 100, unit: "", digits: 0, lines });
    }
    if (d.lanes.length) list.push({ title: "Breakers, ejections and health", height: 8 + 18 * d.lanes.length, lanes: true, lines: [] });
    return list;
  }

  function draw(box, d) {
    const charts = [];
    let moving = false;
    const follow = (from) => {
      if (moving) return;
      moving = true;
      const { min, max } = from.scales.x;
      for (const chart of charts) if (chart !== from) chart.setScale("x", { min, max });
      moving = false;
    };
    const said = make("p", { className: "faint", ariaLive: "polite" });
    said.textContent = "Drag to zoom, double click for all. With the keyboard: arrows move, + and − zoom, 0 shows all.";
    box.replaceChildren(said);
    const x = xs(d);
    const list = panels(d);
    list.forEach((panel, place) => {
      const last = place === list.length - 1;
      const grid = { stroke: css("--line"), width: 1 };
      const hooks = { drawClear: [bands(d)], setScale: [(u, key) => key === "x" && u.status === 1 && follow(u)] };
      if (panel.under) hooks.drawAxes = [panel.under];
      if (panel.lanes) hooks.draw = [paintLanes(d)];
      const y = panel.lanes
        ? { range: () => [0, d.lanes.length] }
        : panel.log ? { distr: 3, range: () => panel.log }
        : { range: (_, low, high) => panel.range || [panel.floor || 0, Math.max((panel.floor || 0) + 1, high || 0)] };
      const yAxis = { stroke: css("--faint"), grid, ticks: { show: false }, size: GUTTER, font: "11px system-ui, sans-serif" };
      if (panel.lanes) {
        yAxis.splits = () => d.lanes.map((_, row) => d.lanes.length - row - 0.5);
        yAxis.values = () => d.lanes.map((lane) => (lane.name.length > 17 ? lane.name.slice(0, 16) + "…" : lane.name));
        yAxis.grid = { show: false };
      } else {
        yAxis.values = (u, splits) => splits.map((v) => (v == null ? "" : v + (panel.unit === "/s" ? "" : panel.unit)));
      }
      const series = [{ label: "time", value: (_, v) => show(v, 2, " s") }];
      const values = [x];
      for (const [label, color, line] of panel.lines) {
        series.push({ label, stroke: css(color), width: 1.5, spanGaps: true, points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }),
          value: (_, v) => show(v, panel.digits, panel.unit) });
        values.push(steps(line));
      }
      if (panel.lanes) {
        d.lanes.forEach((lane) => {
          series.push({ label: lane.name, stroke: "transparent", points: { show: false }, paths: () => null,
            value: (_, v, __, at) => (at == null ? "–" : WORDS[lane.states[Math.min(at, lane.states.length - 1)]]) });
          values.push(x.map(() => 0));
        });
      }
      const options = {
        width: Math.max(280, box.clientWidth), height: panel.height + (last ? 28 : 0), padding: [8, 22, last ? 0 : 6, 0],
        legend: { show: true, live: true },
        cursor: { sync: { key: `scenario ${box.dataset.charts}` }, drag: { x: true, y: false }, points: { size: 6 }, y: false },
        scales: { x: { time: false, range: (_, low, high) => [low, high] }, y },
        axes: [{ show: last, size: 28, stroke: css("--faint"), grid, ticks: { show: false }, values: (_, at) => at.map((v) => v + " s") }, yAxis],
        series, hooks,
      };
      const holder = make("div", { tabIndex: 0 });
      holder.setAttribute("role", "group");
      holder.setAttribute("aria-label", `${panel.title}, a chart over time. Arrow keys move, plus and minus zoom, 0 shows all.`);
      box.append(make("h4", { textContent: panel.title }), holder);
      const chart = new uPlot(options, values, holder);
      chart.setScale("x", { min: 0, max: d.duration });
      charts.push(chart);
      keys(holder, chart, d);
    });
    return charts;
  }

  function keys(holder, chart, d) {
    let at = 0;
    holder.addEventListener("keydown", (event) => {
      const { min, max } = chart.scales.x;
      const first = Math.ceil(min / d.bin), end = Math.floor((max - d.bin / 2) / d.bin);
      const zoom = (factor) => {
        const middle = Math.min(max, Math.max(min, at * d.bin)), half = Math.max(d.bin, (max - min) * factor) / 2;
        chart.setScale("x", { min: Math.max(0, middle - half), max: Math.min(d.duration, middle + half) });
      };
      if (event.key === "ArrowRight") at += event.shiftKey ? 10 : 1;
      else if (event.key === "ArrowLeft") at -= event.shiftKey ? 10 : 1;
      else if (event.key === "+" || event.key === "=") zoom(0.5);
      else if (event.key === "-") zoom(2);
      else if (event.key === "0") chart.setScale("x", { min: 0, max: d.duration });
      else return;
      event.preventDefault();
      at = Math.min(end, Math.max(first, at));
      chart.setCursor({ left: chart.valToPos((at + 0.5) * d.bin, "x"), top: 10 });
    });
  }

  function overTime(box, d) {
    const svg = box.parentElement.querySelector("svg.graph");
    if (!svg || !d.edges.length) return;
    const bins = d.requests.length;
    const range = make("input", { type: "range", min: -1, max: bins - 1, value: -1 });
    range.setAttribute("aria-label", "Time of the graph; the leftmost place is the whole run");
    const label = make("output");
    const sum = (values) => values.reduce((one, other) => one + other, 0);
    const most = (bin) => Math.max(1, ...d.edges.map((edge) => (bin < 0 ? sum(edge.requests) : edge.requests[bin])));
    const proof = (edge, of) => {
      const proven = of(edge.proven), all = proven + of(edge.unproven);
      return !all ? "nothing came through" : !proven ? "no mTLS" : `mTLS ${(Math.floor((10000 * proven) / all) / 100).toFixed(2)} %`;
    };
    const update = () => {
      const bin = Number(range.value);
      const of = (values) => (bin < 0 ? sum(values) : values[bin]);
      const peak = most(bin);
      label.textContent = bin < 0 ? "the whole run" : `${(bin * d.bin).toFixed(2)} s to ${Math.min(d.duration, (bin + 1) * d.bin).toFixed(2)} s`;
      range.setAttribute("aria-valuetext", label.textContent);
      d.edges.forEach((edge, number) => {
        const path = svg.querySelector(`[data-edge="${number}"]`);
        const requests = of(edge.requests), failed = of(edge.failed);
        path.setAttribute("class", "edge " + (!requests ? "idle" : !failed ? "good" : failed * 100 < requests ? "fair" : "bad"));
        path.setAttribute("stroke-width", (1 + 5 * Math.sqrt(requests / peak)).toFixed(1));
        path.querySelector("title").textContent = `${edge.from} → ${edge.to}: ${requests} requests, ${failed} failed, ${of(edge.attempts)} attempts, ${proof(edge, of)}`;
        const unproven = of(edge.unproven) > 0;
        svg.querySelector(`[data-proof="${number}"]`).textContent = unproven ? proof(edge, of) : "";
      });
      for (const service of d.services) {
        const node = [...svg.querySelectorAll("[data-node]")].find((node) => node.dataset.node === service.name);
        if (!node) continue;
        const proven = of(service.proven), all = proven + of(service.unproven);
        node.querySelector(".proof").textContent = all ? `mTLS ${(Math.floor((10000 * proven) / all) / 100).toFixed(2)} %` : "no requests";
      }
    };
    range.addEventListener("input", update);
    box.replaceChildren(make("span", { textContent: "Time" }), range, label);
    box.hidden = false;
    update();
  }

  const drawn = new Map();
  function open(chapter) {
    const number = Number(chapter.dataset.scenario);
    const d = data.details[number];
    if (!d || drawn.has(number)) return;
    const box = chapter.querySelector("[data-charts]");
    box.hidden = false;
    chapter.querySelector(".still").hidden = true;
    drawn.set(number, draw(box, d));
    overTime(chapter.querySelector("[data-graph]"), d);
  }
  const again = () => {
    for (const number of [...drawn.keys()]) {
      const box = document.querySelector(`[data-charts="${number}"]`);
      drawn.get(number).forEach((chart) => chart.destroy());
      drawn.set(number, draw(box, data.details[number]));
    }
  };
  const chapters = [...document.querySelectorAll("details.scenario")];
  for (const chapter of chapters) {
    chapter.addEventListener("toggle", () => chapter.open && open(chapter));
    if (chapter.open) open(chapter);
  }
  const toHash = () => {
    const chapter = location.hash && document.getElementById(location.hash.slice(1));
    if (chapter && chapter.tagName === "DETAILS") chapter.open = true;
  };
  addEventListener("hashchange", toHash);
  toHash();
  let width = innerWidth, wait;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(wait);
    wait = setTimeout(again, 150);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  // Browsers that cannot open them for paper by style alone.
  const onPaper = () => document.querySelectorAll("details.scenario, details.printed");
  addEventListener("beforeprint", () => onPaper().forEach((one) => {
    one.dataset.was = one.open;
    one.open = true;
  }));
  addEventListener("afterprint", () => onPaper().forEach((one) => {
    one.open = one.dataset.was === "true";
  }));

  for (const command of document.querySelectorAll("pre.command")) {
    const button = make("button", { type: "button", textContent: "Copy" });
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(command.querySelector("code").textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(command.querySelector("code"));
        button.textContent = "Selected";
      }
    });
    command.append(button);
  }
  const table = document.querySelector("table.overview");
  if (chapters.length > 3) {
    const input = make("input", { type: "search", placeholder: "part of a name" });
    const label = make("label", {}, "Filter ", input);
    const onlyFailed = make("input", { type: "checkbox" });
    const filter = () => {
      for (const row of table.tBodies[0].rows) {
        const link = row.querySelector("a");
        const out = !link.textContent.includes(input.value) || (onlyFailed.checked && !row.querySelector(".fail"));
        row.hidden = out;
        document.getElementById(link.hash.slice(1)).hidden = out;
      }
    };
    input.addEventListener("input", filter);
    onlyFailed.addEventListener("change", filter);
    const box = make("label", {}, onlyFailed, " only what failed");
    onlyFailed.style.minWidth = "0";
    table.parentElement.before(make("div", { className: "tools" }, label, box));
  }
})();
