// What settings cost: time by component, memory, memory against time, and the drift of the reference point.

// A point's layers with their words: {name, kind, ms, gflop, megabytes, launches}.
const layersOf = (point) => point.layers.map(([word, time, gflop, megabytes, launches]) => ({ name: data.words[word][0], kind: data.words[word][1], ms: time, gflop, megabytes, launches }));

const kindNames = {
  conv: "convolution", fully_connected: "fully connected", lrn: "normalization", max_pool: "max pooling", avg_pool: "average pooling", adaptive_avg_pool: "average pooling",
  relu: "ReLU", pack: "packing tiles", place: "placing cores", host_to_device: "copies to the device", device_to_host: "copies to the host", allocation: "allocation",
};
const kindName = (kind) => kindNames[kind] || kind;

// The kinds that take the most time have colours of their own; the last colour is for all others.
function kindsOf(list) {
  const totals = new Map();
  for (const point of list) for (const layer of layersOf(point)) totals.set(kindName(layer.kind), (totals.get(kindName(layer.kind)) || 0) + layer.ms);
  const sorted = [...totals].sort((a, b) => b[1] - a[1]).filter(([, total]) => total > 0).map(([kind]) => kind);
  return sorted.length > 7 ? [...sorted.slice(0, 6), "other"] : sorted;
}

let costStreams = null; // place on the streams' axis
const costPoints = () => {
  if (costStreams === null) costStreams = points[state.point].at[streamsAxis];
  return slicePoints().filter((p) => p.status === "ok" && p.at[streamsAxis] === costStreams).sort((a, b) => a.at[patchAxis] - b.at[patchAxis]);
};
const costControls = () => [streamsSelect("Streams", costStreams ?? points[state.point].at[streamsAxis], (place) => { costStreams = place; changed("streams"); })];
const costEmpty = { empty: "No point with this number of streams was timed." };

function barOptions(theme, shown, names, colors, values, { yName, format }) {
  return {
    legend: { ...baseOptions(theme).legend, data: names.map((name) => ({ name })) },
    xAxis: axisOptions(theme, { type: "category", data: shown.map((p) => patchName(valueOf(p, patchAxis))), name: "patch size", nameGap: 30 }),
    yAxis: axisOptions(theme, { type: "value", name: yName, nameGap: 48, axisLabel: { formatter: plain } }),
    series: names.map((name, i) => ({ type: "bar", stack: "all", name, data: values[i], barMaxWidth: 72, itemStyle: { color: colors[i], borderColor: theme.ground, borderWidth: 1 } })),
    tooltip: { ...baseOptions(theme).tooltip, trigger: "axis", axisPointer: { type: "shadow" },
      formatter: (items) => tip(settingName(shown[items[0].dataIndex]), items.filter((i) => i.value > 0).map((i) => `${i.seriesName}: ${format(i.value)}`)) },
  };
}

function drawComponents(theme) {
  const shown = costPoints();
  if (!shown.length) return costEmpty;
  const kinds = kindsOf(shown);
  const timeOf = (point, kind) => layersOf(point).filter((l) => (kinds.includes(kindName(l.kind)) ? kindName(l.kind) : "other") === kind).reduce((sum, l) => sum + l.ms, 0);
  const values = kinds.map((kind) => shown.map((p) => timeOf(p, kind)));
  // A GPU's layers are timed in runs of their own, which last longer: idle time is what those runs had.
  const work = shown.map((_, i) => values.reduce((sum, v) => sum + v[i], 0));
  const busy = shown.map((p) => (p.busy.length ? Math.min(1, p.busy.reduce((sum, b) => sum + b, 0) / p.busy.length) : 1));
  const idle = work.map((w, i) => (busy[i] > 0 ? w / busy[i] - w : 0));
  const names = [...kinds, "streams idle"];
  const option = barOptions(theme, shown, names, [...kinds.map((_, i) => theme.series[i]), theme.soft], [...values, idle], { yName: "streams' time per run, ms", format: ms });
  option.series[names.length - 1].itemStyle = { color: theme.soft, borderColor: theme.muted, borderWidth: 1, borderType: "dashed" };
  const most = shown.map((p, i) => [p, 1 - busy[i]]).reduce((a, b) => (b[1] > a[1] ? b : a));
  return { option, label: `One bar per patch size. Most idle: ${settingName(most[0])}, ${percent(most[1])} of its streams' time.`,
    table: { head: ["patch", ...names.map((n) => `${n}, ms`)], rows: shown.map((p, i) => [patchName(valueOf(p, patchAxis)), ...[...values, idle].map((v) => short(v[i]))]) } };
}

function drawMemory(theme) {
  const shown = costPoints();
  if (!shown.length) return costEmpty;
  const mib = (v) => v / 2 ** 20;
  const parts = [["maps", (p) => mib(p.maps)], ["tiles in flight", (p) => mib(p.scratch)]];
  const option = barOptions(theme, shown, parts.map(([name]) => name), theme.series, parts.map(([, value]) => shown.map(value)), { yName: "MiB", format: (v) => `${short(v)} MiB` });
  const least = shown.reduce((a, b) => (a.maps + a.scratch <= b.maps + b.scratch ? a : b));
  return { option, label: `Least for maps and tiles: ${settingName(least)}, ${bytes(least.maps + least.scratch)}.`,
    table: { head: ["patch", "maps, MiB", "tiles in flight, MiB", "process peak, MiB"], rows: shown.map((p) => [patchName(valueOf(p, patchAxis)), ...[p.maps, p.scratch, p.peak].map((v) => short(mib(v), 4))]) } };
}

// Points that no other beats in both time and memory, by memory.
function frontier(list) {
  const sorted = [...list].sort((a, b) => a.maps + a.scratch - b.maps - b.scratch || a.median - b.median);
  let least = Infinity;
  return sorted.filter((p) => p.median < least && ((least = p.median), true));
}

function drawTradeOff(theme) {
  // Everything of the group, so that stages and dispatch can be compared as well.
  const group = data.groups.indexOf(groupOfSlice());
  const shown = points.filter((p) => p.group === group && p.status === "ok");
  if (!shown.length) return { empty: "No point was timed." };
  const place = (p) => [(p.maps + p.scratch) / 2 ** 20, p.median];
  const patches = axes[patchAxis].values.map((value, i) => ({ name: patchName(value), list: shown.filter((p) => p.at[patchAxis] === i) })).filter((s) => s.list.length);
  const front = frontier(shown);
  const option = {
    legend: { ...baseOptions(theme).legend, data: [...patches.map((s, i) => ({ name: s.name, icon: symbols[i % symbols.length] })), { name: "nothing better in both" }] },
    xAxis: axisOptions(theme, { type: "value", name: "maps and tiles in flight, MiB", nameGap: 30, scale: true, axisLabel: { formatter: plain } }),
    yAxis: axisOptions(theme, { type: "value", name: "median time, ms", nameGap: 46, scale: true, axisLabel: { formatter: plain } }),
    series: [
      ...patches.map((s, i) => ({ type: "scatter", name: s.name, data: s.list.map(place), symbol: symbols[i % symbols.length], symbolSize: 10, itemStyle: { color: theme.series[i % theme.series.length], opacity: 0.85 } })),
      { type: "line", name: "nothing better in both", data: front.map(place), step: "end", symbol: "none", lineStyle: { color: theme.muted, type: "dashed", width: 1.5 }, itemStyle: { color: theme.muted }, silent: true, z: 1 },
    ],
    tooltip: { ...baseOptions(theme).tooltip, trigger: "item", formatter: ({ seriesIndex, dataIndex }) => (patches[seriesIndex] ? pointTip(patches[seriesIndex].list[dataIndex]) : "") },
  };
  return { option, patches, label: `${shown.length} settings; ${front.length} of them are beaten by none in both time and memory, from ${settingName(front[0])} to ${settingName(front.at(-1))}.`,
    table: { head: ["setting that nothing beats in both", "MiB", "median, ms"], rows: front.map((p) => [settingName(p), short(place(p)[0], 4), short(p.median, 4)]) } };
}

function drawDrift(theme) {
  const sweeps = [...new Set(data.drift.map(([sweep]) => sweep))];
  if (!sweeps.length) return { empty: "The sweeps kept no repeated reference point." };
  const lines = sweeps.map((sweep) => {
    const samples = data.drift.filter((d) => d[0] === sweep && d[3] > 0);
    const first = samples[0]?.[3] ?? 1;
    return { name: data.sweeps.find((s) => s.id === sweep)?.name ?? `sweep ${sweep}`, samples: samples.map(([, sequence, time, ...values]) => ({ sequence, time, values: values.map((v) => 100 * (v / first - 1)), median: values[0] })) };
  });
  const all = lines.flatMap((line) => line.samples.flatMap((s) => s.values));
  const series = lines.flatMap((line, i) => {
    const color = theme.series[i % theme.series.length];
    const at = (s) => Date.parse(s.time);
    const whisker = (params, api) => {
      const [low, high] = [line.samples[params.dataIndex].values[1], line.samples[params.dataIndex].values[2]].map((v) => api.coord([at(line.samples[params.dataIndex]), v]));
      return { type: "line", shape: { x1: low[0], y1: low[1], x2: high[0], y2: high[1] }, style: { stroke: color, lineWidth: 1.5 } };
    };
    return [
      { type: "line", name: line.name, data: line.samples.map((s) => [at(s), s.values[0]]), symbolSize: 6, symbol: symbols[i % symbols.length], lineStyle: { width: 1.5 }, itemStyle: { color },
        markLine: i > 0 ? undefined : { silent: true, symbol: "none", data: [{ yAxis: 0 }], label: { show: false }, lineStyle: { color: theme.muted, type: "dashed" } } },
      { type: "custom", name: line.name, data: line.samples.map((s) => [at(s), s.values[0]]), renderItem: whisker, silent: true, itemStyle: { color } },
    ];
  });
  const option = {
    legend: { ...baseOptions(theme).legend, show: lines.length > 1 },
    grid: { left: 64, right: 20, top: lines.length > 1 ? 44 : 16, bottom: 52 },
    xAxis: axisOptions(theme, { type: "time", name: "time, UTC", nameGap: 30, axisLine: { onZero: false }, axisLabel: { formatter: (t) => new Date(t).toISOString().slice(11, 16) } }),
    yAxis: axisOptions(theme, { type: "value", name: "against the first, %", nameGap: 42, min: Math.floor(Math.min(...all)), max: Math.ceil(Math.max(...all)), axisLabel: { formatter: plain } }),
    series,
    tooltip: { ...baseOptions(theme).tooltip, trigger: "item", formatter: ({ seriesIndex, dataIndex }) => {
      const s = lines[Math.floor(seriesIndex / 2)].samples[dataIndex];
      return tip(s.time, [`median ${ms(s.median)}`, `${s.values[0].toFixed(2)}% against the first`]);
    } },
  };
  const medians = lines.flatMap((line) => line.samples.map((s) => s.values[0]));
  return { option, label: `${medians.length} measurements of the reference point, between ${Math.min(...medians).toFixed(1)}% and ${Math.max(...medians).toFixed(1)}% of the first.`,
    table: { head: ["time", "median, ms", "against the first, %"], rows: lines.flatMap((line) => line.samples.map((s) => [s.time, short(s.median, 4), s.values[0].toFixed(2)])) } };
}

function timeCharts() {
  return [new Chart({ id: "components", title: "Time by component", wide: true, lead: "What the streams do in one run, summed over streams, so that overlapping work counts twice; the dashed part is time in which they wait.",
    height: 380, redraw: ["slice", "streams"], draw: drawComponents, controls: costControls })];
}

function memoryCharts() {
  return [
    new Chart({ id: "memory", title: "Memory", lead: "What the run plans for maps and for tiles in flight; the table has the whole process at its peak as well.", redraw: ["slice", "streams"], height: 380, draw: drawMemory, controls: costControls }),
    new Chart({ id: "trade-off", title: "Memory against time", lead: "All settings of this experiment. Down and to the left is better; the dashed line joins those that no other beats in both.", redraw: ["slice"], height: 428, draw: drawTradeOff }),
  ];
}

const driftCharts = () => [new Chart({ id: "drift", title: "Drift of the reference point", wide: true, lead: "One setting measured again and again between the others. If it moves, so did the machine; whiskers are 95% intervals.", height: 280, redraw: [], draw: drawDrift })];
