// One point in detail: why it is fast or slow, its samples, and its layers under the machine's ceilings.

function findingItem([topic, text, cost]) {
  const bar = el("span", { class: "cost-bar", "aria-hidden": "true" });
  bar.style.setProperty("--share", percent(Math.min(cost, 1)));
  return el("li", {}, el("div", { class: "cost" }, cost >= 0.005 ? percent(cost, 0) : cost > 0 ? "< 1%" : "\u2013", cost > 0 ? bar : null), el("div", {}, el("b", {}, topic), text));
}

function pointFacts(point) {
  const facts = [["status", { ok: "verified, then timed", different: "other bits than the unpatched run", error: "could not be run" }[point.status]]];
  if (point.status === "ok") {
    const ratio = ratioOf(point);
    facts.push(["median", ms(point.median)], ["95% interval", `${short(point.low, 4)} to ${short(point.high, 4)} ms`], ["quartiles", `${short(point.q1, 4)} to ${short(point.q3, 4)} ms`],
      ["runs", `${point.samples.length}, ${point.stop === "tight" ? "until the interval was tight" : "until time was up"}`],
      ["images per second", short((1000 * point.images) / point.median, 4)], ["against unpatched", ratio === null ? "not measured" : times(ratio)], ["repeated work", percent(point.halo)],
      ["streams at work", point.busy.map((b) => percent(b, 0)).join(", ")], ["host idle", ms(point.idle)],
      ["maps; tiles in flight", `${bytes(point.maps)}; ${bytes(point.scratch)}`], ["process peak", bytes(point.peak)], ["elements verified", integers.format(point.verified)]);
  } else {
    facts.push(["reason", point.message]);
  }
  facts.push(["measured", `${point.started}, number ${point.sequence}`], ["config", point.hash]);
  return el("dl", { class: "facts" }, ...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

// The layers in full, for people who want the numbers.
function layerTable(point) {
  const head = ["layer", "kind", "ms", "GFLOP", "MB", "GFLOP/s", "launches"];
  return simpleTable({ caption: "Layers, summed over streams and tiles, per run", head,
    rows: layersOf(point).map((l) => [l.name, kindName(l.kind), short(l.ms), short(l.gflop), short(l.megabytes), l.ms > 0 && l.gflop > 0 ? short((1000 * l.gflop) / l.ms) : "", l.launches]) });
}

function stageTable(point) {
  return simpleTable({ caption: "Stages, for the whole batch", head: ["stage", "tiles", "GFLOP", "of it repeated, GFLOP", "repeated"],
    rows: point.stages.map(([word, rows, columns, gflop, again]) => [data.words[word], `${rows} x ${columns}`, short(gflop), short(again), percent(gflop > 0 ? again / gflop : 0)]) });
}

class PointPanel {
  constructor() {
    this.heading = el("h3", { id: "point-title" });
    this.body = el("div");
    this.element = el("section", { class: "panel wide", id: "point", "aria-labelledby": "point-title" }, this.heading, this.body);
    onChange(() => this.show());
    this.show();
  }

  show() {
    if (this.shown === state.point) return;
    this.shown = state.point;
    const point = points[state.point];
    this.heading.textContent = settingName(point);
    const findings = point.findings.length
      ? el("div", {}, el("p", { class: "hint" }, "Why it takes this long; the shares are of the streams' time and may overlap."), el("ul", { class: "findings", "aria-label": "Why this setting is fast or slow" }, ...point.findings.map(findingItem)))
      : el("p", { class: "note" }, point.status === "ok" ? "Nothing stands out in what was measured." : "This point was not timed, so there is nothing to explain.");
    const details = (title, make) => el("details", { class: "data", ontoggle: (event) => { if (event.target.open && event.target.children.length === 1) event.target.append(el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title }, make(point))); } }, el("summary", {}, title));
    this.body.replaceChildren(findings, pointFacts(point), ...(point.status === "ok" ? [details("Layers", layerTable), details("Stages and tiles", stageTable)] : []));
  }
}

function drawSamples(theme) {
  const point = points[state.point];
  if (point.status !== "ok") return { empty: "This point was not timed." };
  const option = {
    grid: { left: 64, right: 20, top: 16, bottom: 52 },
    xAxis: axisOptions(theme, { type: "value", name: "run, in the order taken", nameGap: 30, min: 0, max: point.samples.length + 1, minInterval: 1, splitLine: { show: false }, axisLabel: { showMaxLabel: false } }),
    yAxis: axisOptions(theme, { type: "value", name: "time, ms", nameGap: 46, scale: true, axisLabel: { formatter: plain } }),
    series: [{ type: "scatter", data: point.samples.map((v, i) => [i + 1, v]), symbolSize: 8, itemStyle: { color: theme.series[0], opacity: 0.8 },
      markArea: { silent: true, itemStyle: { color: theme.series[4], opacity: 0.2 }, data: [[{ yAxis: point.low }, { yAxis: point.high }]] },
      markLine: { silent: true, symbol: "none", label: { show: false }, lineStyle: { color: theme.series[1], type: "solid", width: 2 }, data: [{ yAxis: point.median }] } }],
    tooltip: { ...baseOptions(theme).tooltip, formatter: ({ value }) => (value ? tip(`run ${value[0]}`, [ms(value[1])]) : "") },
  };
  return { option, label: `${point.samples.length} runs, median ${ms(point.median)}, from ${ms(Math.min(...point.samples))} to ${ms(Math.max(...point.samples))}.`,
    table: { head: ["run", "ms"], rows: point.samples.map((v, i) => [i + 1, short(v, 5)]) } };
}

// Layers that compute: place by flops per byte, and the device's rate if its streams share it evenly.
function roofPoints(point) {
  const together = Math.max(1, point.busy.length);
  return layersOf(point).filter((l) => l.gflop > 0 && l.megabytes > 0 && l.ms > 0)
    .map((l) => ({ ...l, intensity: (1000 * l.gflop) / l.megabytes, rate: (1e12 * l.gflop * together) / l.ms }));
}

function drawRoofline(theme) {
  const point = points[state.point];
  if (point.status !== "ok") return { empty: "This point was not timed." };
  const layers = roofPoints(point);
  if (!layers.length) return { empty: "The point keeps no flops and bytes of its layers." };
  const whole = wholeOf(point);
  const compared = whole && whole !== point ? roofPoints(whole) : [];
  const ceiling = data.groups[point.group].ceiling;
  const all = [...layers, ...compared];
  const xs = [...all.map((l) => l.intensity), ...(ceiling ? [ceiling.flops / ceiling.bytes] : [])];
  const ends = [10 ** Math.floor(Math.log10(Math.min(...xs) / 1.2)), 10 ** Math.ceil(Math.log10(Math.max(...xs) * 1.2))];
  const rates = [...all.map((l) => l.rate), ...(ceiling ? [ceiling.flops] : [])];
  const ys = [10 ** Math.floor(Math.log10(Math.min(...rates) / 1.2)), 10 ** Math.ceil(Math.log10(Math.max(...rates) * 1.1))];
  const kinds = [...new Set(layers.map((l) => kindName(l.kind)))];
  const colorOf = (l) => theme.series[Math.max(0, kinds.indexOf(kindName(l.kind))) % theme.series.length];
  const roof = ceiling ? [ends[0], ceiling.flops / ceiling.bytes, ends[1]].map((x) => [x, Math.min(ceiling.flops, x * ceiling.bytes)]) : [];
  const option = {
    legend: { ...baseOptions(theme).legend, data: [...kinds.map((name, i) => ({ name, icon: symbols[i % symbols.length] })), ...(ceiling ? [{ name: "measured ceiling" }] : []), ...(compared.length ? [{ name: "unpatched", icon: "emptyCircle" }] : [])] },
    grid: { left: 84, right: 24, top: 44, bottom: 52 },
    xAxis: axisOptions(theme, { type: "log", name: "arithmetic intensity, FLOP per byte", nameGap: 30, min: ends[0], max: ends[1], axisLabel: { formatter: plain } }),
    yAxis: axisOptions(theme, { type: "log", name: "achieved rate", nameGap: 66, min: ys[0], max: ys[1], axisLabel: { formatter: (v) => rate(v, "FLOP/s").replace(/\.0+ /, " ") } }),
    series: [
      ...(ceiling ? [{ type: "line", name: "measured ceiling", data: roof, symbol: "none", lineStyle: { color: theme.ink, width: 2 }, itemStyle: { color: theme.ink }, silent: true,
        markPoint: { symbol: "circle", symbolSize: 1, silent: true, data: [{ coord: [ends[1], ceiling.flops] }], label: { formatter: rate(ceiling.flops, "FLOP/s"), position: "left", offset: [0, -10], color: theme.ink } } }] : []),
      ...(compared.length ? [{ type: "scatter", name: "unpatched", symbol: "emptyCircle", symbolSize: 9, data: compared.map((l) => [l.intensity, l.rate]), itemStyle: { color: theme.muted } }] : []),
      ...kinds.map((name, i) => ({ type: "scatter", name, symbol: symbols[i % symbols.length], symbolSize: 12, itemStyle: { color: theme.series[i % theme.series.length] },
        labelLayout: { moveOverlap: "shiftY", hideOverlap: true }, label: { show: true, position: "bottom", color: theme.ink, fontSize: 11, formatter: ({ data: d }) => d.layer.name },
        data: layers.filter((l) => kindName(l.kind) === name).map((l) => ({ value: [l.intensity, l.rate], layer: l })) })),
    ],
    tooltip: { ...baseOptions(theme).tooltip, formatter: ({ seriesName, dataIndex, data: d }) => {
      const l = d.layer || compared[dataIndex];
      return l ? tip(`${l.name}, ${d.layer ? kindName(l.kind) : seriesName}`, [rate(l.rate, "FLOP/s"), `${short(l.intensity)} FLOP per byte`, `${ms(l.ms)} at work`, ...roofShare(l, ceiling)]) : "";
    } },
  };
  const top = layers.reduce((a, b) => (b.rate > a.rate ? b : a));
  return { option, note: ceiling ? "" : "The store has no measured ceilings of this machine, device and precision.",
    label: `Layers of ${settingName(point)}. The highest rate: ${top.name} with ${rate(top.rate, "FLOP/s")}${ceiling ? ` under a ceiling of ${rate(ceiling.flops, "FLOP/s")} and ${rate(ceiling.bytes, "B/s")}` : ""}.`,
    table: { head: ["layer", "kind", "FLOP per byte", "rate, GFLOP/s", "of its ceiling"], rows: layers.map((l) => [l.name, kindName(l.kind), short(l.intensity), short(l.rate / 1e9), ceiling ? percent(l.rate / Math.min(ceiling.flops, l.intensity * ceiling.bytes), 0) : ""]) } };
}

const roofShare = (layer, ceiling) => (ceiling ? [`${percent(layer.rate / Math.min(ceiling.flops, layer.intensity * ceiling.bytes), 0)} of its ceiling`] : []);

function pointCharts() {
  return [
    new Chart({ id: "roofline", title: "Roofline", lead: "Layers of this point: to the left memory limits, to the right arithmetic. Rates are of the whole device, if its streams share it evenly.", height: 420, redraw: ["slice", "point"], draw: drawRoofline }),
    new Chart({ id: "samples", title: "Samples", lead: "Every counted run of this point; the line is the median, the band its 95% interval.", height: 420, redraw: ["slice", "point"], draw: drawSamples }),
  ];
}
