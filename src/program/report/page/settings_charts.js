// How settings compare: the heat map of patches and streams, and the curves by streams and by batch.

const axisLabels = (axis) => axes[axis].values.map((value) => (axis === patchAxis ? patchName(value) : value));

const heatMetrics = {
  ratio: { name: "Time against unpatched", value: ratioOf, text: times, low: "or faster", high: "or slower" },
  median: { name: "Median time", value: (p) => p.median, text: ms },
  halo: { name: "Repeated work", value: (p) => p.halo, text: (v) => percent(v) },
  memory: { name: "Memory of maps and tiles", value: (p) => p.maps + p.scratch, text: bytes },
};
let heatMetric = "ratio";

const failureWord = (point) => (point.status === "different" ? "\u2260 bits" : "\u2715 error");

// The colour of a value: around 1 for ratios, on a logarithmic scale; else from the least to the most.
function heatScale(theme, metric, values) {
  if (metric === "ratio") {
    // The farthest few may not wash out the others: they share the scale's end.
    const distances = values.map((v) => Math.abs(Math.log2(v))).sort((a, b) => a - b);
    const reach = Math.max(0.07, distances[Math.floor(0.85 * (distances.length - 1))] || 0);
    return { color: (v) => ramp(theme.diverging, 0.5 + Math.log2(v) / (2 * reach)), ends: [2 ** -reach, 2 ** reach], colors: theme.diverging };
  }
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return { color: (v) => ramp(sequential, high > low ? (v - low) / (high - low) : 0.5), ends: [low, high], colors: sequential };
}

function drawHeatMap(theme) {
  const metric = heatMetrics[heatMetric];
  const shown = slicePoints();
  const measured = shown.filter((p) => p.status === "ok" && metric.value(p) !== null);
  if (!measured.length && !shown.some((p) => p.status !== "ok")) return { empty: "There is no unpatched run on one stream to compare with; choose another measure." };
  const scale = heatScale(theme, heatMetric, measured.map(metric.value));
  const best = fastest(shown);
  const cells = shown.map((point) => {
    const value = point.status === "ok" ? metric.value(point) : null;
    const color = value === null ? theme.failed : scale.color(value);
    const text = value === null ? failureWord(point) : metric.text(value);
    return { value: [point.at[streamsAxis], point.at[patchAxis]], point, color, text: point === best ? `\u2605 ${text}` : text };
  });
  const rows = axes[patchAxis].values.length;
  const renderCell = (params, api) => {
    const cell = cells[params.dataIndex];
    const [width, height] = api.size([1, 1]);
    const [x, y] = api.coord(cell.value);
    return {
      type: "group",
      children: [
        { type: "rect", shape: { x: x - width / 2 + 1, y: y - height / 2 + 1, width: width - 2, height: height - 2, r: 4 },
          style: { fill: cell.color, stroke: cell.point === best ? theme.ink : "none", lineWidth: 2.5 } },
        { type: "text", silent: true, style: { x, y, text: width < 58 ? cell.text.replace("\u2605 ", "").replace(" error", "") : cell.text, fill: inkOn(cell.color), align: "center", verticalAlign: "middle",
          font: `${cell.point === best ? "700" : "400"} ${width < 60 ? 10.5 : 12.5}px ${fontFamily}` } },
      ],
    };
  };
  const option = {
    grid: { left: 76, right: 16, top: 8, bottom: 92 },
    xAxis: axisOptions(theme, { type: "category", data: axisLabels(streamsAxis), name: "streams", nameGap: 28, splitLine: { show: false }, axisLine: { show: false }, axisTick: { show: false } }),
    yAxis: axisOptions(theme, { type: "category", data: axisLabels(patchAxis), name: "patch size", nameGap: 58, axisLine: { show: false }, axisTick: { show: false } }),
    series: [{ type: "custom", data: cells.map((c) => c.value), renderItem: renderCell, encode: { x: 0, y: 1 } }],
    graphic: legendBar(theme, scale, metric),
    tooltip: { ...baseOptions(theme).tooltip, formatter: ({ dataIndex }) => pointTip(cells[dataIndex].point) },
  };
  const label = best ? `Patch sizes down, streams across. The fastest cell: ${settingName(best)}, ${ms(best.median)}.` : "No setting was timed.";
  return { option, label, height: Math.max(300, 110 + 46 * rows), cells,
    table: { head: ["patch", ...axes[streamsAxis].values.map((v) => `${v} stream${v === "1" ? "" : "s"}`)],
      rows: axes[patchAxis].values.map((value, y) => [patchName(value), ...axes[streamsAxis].values.map((_, x) => cells.find((c) => c.value[0] === x && c.value[1] === y)?.text ?? "")]) } };
}

// The scale below the map.
function legendBar(theme, scale, metric) {
  const stops = scale.colors.map((color, i) => ({ offset: i / (scale.colors.length - 1), color }));
  const text = (x, align, end, word) => ({ type: "text", x, y: 16, style: { text: [metric.text(end), word].filter(Boolean).join(" "), fill: theme.muted, font: `12px ${fontFamily}`, align } });
  return [{ type: "group", left: 76, bottom: 4, children: [
    { type: "rect", shape: { x: 0, y: 0, width: 220, height: 10, r: 3 }, style: { fill: { type: "linear", x: 0, y: 0, x2: 1, y2: 0, colorStops: stops } } },
    text(0, "left", scale.ends[0], metric.low), text(220, "right", scale.ends[1], metric.high),
  ] }];
}

function pointTip(point) {
  if (point.status !== "ok") return tip(settingName(point), [point.status === "different" ? "other bits than the unpatched run: not timed" : "could not be run", point.message]);
  const ratio = ratioOf(point);
  return tip(settingName(point), [
    `median ${ms(point.median)}, 95% interval ${short(point.low)} to ${short(point.high)}`,
    ratio === null ? "" : `${times(ratio)} the unpatched time`, `repeated work ${percent(point.halo)}`,
    `maps and tiles in flight ${bytes(point.maps + point.scratch)}`, ...point.disturbances.map((d) => `disturbed: ${d}`)].filter(Boolean));
}

// Curves with the interval of each median as a band: one line for each value of `lineAxis`.
function drawCurves(theme, { shown, xAxis, lineAxis, value, unit, xName, yName }) {
  const lines = axes[lineAxis].values.map((name, place) => ({
    name: lineAxis === patchAxis ? patchName(name) : name,
    points: shown.filter((p) => p.status === "ok" && p.at[lineAxis] === place).sort((a, b) => a.at[xAxis] - b.at[xAxis]),
  })).filter((line) => line.points.length > 0);
  if (!lines.length) return { empty: "No point of this choice was timed." };
  const series = lines.flatMap((line, i) => {
    const color = theme.series[i % theme.series.length];
    const at = line.points.map((p) => p.at[xAxis]);
    const band = (params, api) => {
      if (params.dataIndex > 0) return null;
      const upper = line.points.map((p, k) => api.coord([at[k], value(p, p.high)]));
      const lower = line.points.map((p, k) => api.coord([at[k], value(p, p.low)])).reverse();
      return { type: "polygon", silent: true, shape: { points: [...upper, ...lower] }, style: { fill: color, opacity: 0.18 } };
    };
    return [
      { type: "custom", name: line.name, renderItem: band, data: line.points.map((p, k) => [at[k], value(p, p.low), value(p, p.high)]), encode: { x: 0, y: [1, 2] }, silent: true, z: 1, itemStyle: { color }, tooltip: { show: false } },
      { type: "line", name: line.name, data: line.points.map((p, k) => [at[k], value(p, p.median)]), symbol: symbols[i % symbols.length], symbolSize: 8, lineStyle: { width: 2, color }, itemStyle: { color }, z: 3, emphasis: { focus: "series" } },
    ];
  });
  const option = {
    legend: { ...baseOptions(theme).legend, data: lines.map((line, i) => ({ name: line.name, icon: symbols[i % symbols.length] })) },
    xAxis: axisOptions(theme, { type: "category", data: axisLabels(xAxis), name: xName, nameGap: 30, boundaryGap: true }),
    yAxis: axisOptions(theme, { type: "value", name: yName, nameGap: 46, scale: true, axisLabel: { formatter: plain } }),
    series,
    tooltip: { ...baseOptions(theme).tooltip, trigger: "item", formatter: ({ seriesIndex, dataIndex }) => pointTip(lines[Math.floor(seriesIndex / 2)].points[dataIndex]) },
  };
  const all = lines.flatMap((line) => line.points.map((p) => ({ line, p })));
  const least = all.reduce((a, b) => (value(a.p, a.p.median) <= value(b.p, b.p.median) ? a : b));
  return { option, label: `${lines.length} lines. Least: ${short(value(least.p, least.p.median))} ${unit} at ${xName} ${valueOf(least.p, xAxis)}, ${least.line.name}.`,
    table: { head: ["patch", xName, `median, ${unit}`, `from, ${unit}`, `to, ${unit}`], rows: all.map(({ line, p }) => [line.name, valueOf(p, xAxis), ...[p.median, p.low, p.high].map((v) => short(value(p, v), 4))]) } };
}

const drawStreams = (theme) => drawCurves(theme, { shown: slicePoints(), xAxis: streamsAxis, lineAxis: patchAxis, value: (p, v) => v, unit: "ms", xName: "streams", yName: "median time, ms" });

let batchStreams = null; // place on the streams' axis
function drawBatch(theme) {
  if (batchAxis < 0) return { empty: "All points have the same batch. A sweep with input.batch as an axis draws its curve here." };
  if (batchStreams === null) batchStreams = points[state.point].at[streamsAxis];
  const shown = slicePoints(batchAxis).filter((p) => p.at[streamsAxis] === batchStreams);
  return drawCurves(theme, { shown, xAxis: batchAxis, lineAxis: patchAxis, value: (p, v) => v / p.images, unit: "ms an image", xName: "images per batch", yName: "median time per image, ms" });
}

const streamsSelect = (label, chosen, onchange) => select(label, axes[streamsAxis].values.map((v, i) => [i, v]), chosen, (place) => onchange(Number(place)));

function settingsCharts() {
  return [
    new Chart({ id: "heat", title: "Patches and streams", lead: "Each cell is one setting. The star marks the fastest; grey cells failed. Click a cell to see why it is fast or slow.",
      redraw: ["slice"], draw: drawHeatMap, onclick: ({ dataIndex }) => choose(slicePoints()[dataIndex]),
      controls: (again) => [select("Colour shows", Object.entries(heatMetrics).map(([key, m]) => [key, m.name]), heatMetric, (key) => { heatMetric = key; again(); })] }),
    new Chart({ id: "by-streams", title: "Time by streams", lead: "Medians; the bands are their 95% intervals. The time axis does not begin at zero.", height: 440, redraw: ["slice"], draw: drawStreams }),
    new Chart({ id: "by-batch", title: "Time by batch", lead: "Per image, with 95% intervals.", wide: true, redraw: ["slice"], draw: drawBatch,
      controls: (again) => (batchAxis < 0 ? [] : [streamsSelect("Streams", batchStreams ?? points[state.point].at[streamsAxis], (place) => { batchStreams = place; again(); })]) }),
  ];
}
