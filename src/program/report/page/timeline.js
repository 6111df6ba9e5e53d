// One run's timeline: a track for each stream, tiles coloured by their key.

function drawTimeline(theme) {
  const { tracks, slices, file, left_out: leftOut } = data.timeline;
  const rows = Math.max(0, ...slices.map((s) => s[5])) + 1;
  const columns = Math.max(0, ...slices.map((s) => s[6])) + 1;
  const colorOf = ([, , , , , row, column]) => (row < 0 ? theme.muted : ramp(sequential, onGround(theme, rows * columns > 1 ? (row * columns + column) / (rows * columns - 1) : 0)));
  let drawnTo = {}; // of each track, in pixels: what is narrower than a pixel is drawn once a pixel
  const render = (params, api) => {
    if (params.dataIndexInside === 0) drawnTo = {};
    const slice = slices[params.dataIndex];
    const [left, y] = api.coord([slice[1] / 1e6, slice[0]]);
    const [right] = api.coord([(slice[1] + slice[2]) / 1e6, slice[0]]);
    const height = Math.min(30, api.size([0, 1])[1] * 0.7);
    const { x, width } = params.coordSys;
    const begin = Math.max(left, x);
    const end = Math.min(Math.max(right, left + 0.6), x + width);
    if (end <= begin || end < (drawnTo[slice[0]] ?? -1) + 0.6) return null;
    drawnTo[slice[0]] = end;
    return { type: "rect", shape: { x: begin, y: y - height / 2, width: end - begin, height }, style: { fill: colorOf(slice), stroke: theme.ground, lineWidth: end - begin > 3 ? 0.8 : 0 } };
  };
  const end = Math.max(...slices.map((s) => s[1] + s[2])) / 1e6;
  const busy = tracks.map((_, t) => slices.filter((s) => s[0] === t).reduce((sum, s) => sum + s[2], 0) / 1e6);
  const height = 130 + 44 * tracks.length;
  const option = {
    grid: { left: 96, right: 20, top: 12, bottom: 88 },
    xAxis: axisOptions(theme, { type: "value", name: "time, ms", nameGap: 28, min: 0, max: end, axisLabel: { formatter: plain, showMaxLabel: false } }),
    yAxis: axisOptions(theme, { type: "category", data: tracks, inverse: true, splitLine: { show: false }, axisTick: { show: false }, axisLabel: { width: 84, overflow: "truncate", hideOverlap: false, formatter: (track) => track.replace(/ \(.*/, "") } }),
    dataZoom: [
      { type: "slider", xAxisIndex: 0, bottom: 8, height: 22, filterMode: "none", borderColor: theme.line, fillerColor: `${theme.series[0]}33`, handleStyle: { color: theme.ground, borderColor: theme.muted }, moveHandleStyle: { color: theme.muted, opacity: 0.6 }, labelFormatter: (v) => `${short(v)} ms`, textStyle: { color: theme.muted } },
      { type: "inside", xAxisIndex: 0, filterMode: "none", zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false },
    ],
    series: [{ type: "custom", renderItem: render, progressive: 0, data: slices.map((s) => [s[1] / 1e6, s[0]]), encode: { x: 0, y: 1 }, clip: true }],
    tooltip: { ...baseOptions(theme).tooltip, formatter: ({ dataIndex }) => tip(slices[dataIndex][3], [`begins at ${short(slices[dataIndex][1] / 1e6, 4)} ms`, `takes ${short(slices[dataIndex][2] / 1e3)} \u00b5s`, tracks[slices[dataIndex][0]]]) },
  };
  return { option, height, note: leftOut > 0 ? `The ${integers.format(leftOut)} shortest slices of ${file} are left out.` : "",
    label: `${slices.length} slices of ${file} on ${tracks.length} tracks over ${ms(end)}; ${tracks.map((t, i) => `${t} at work ${percent(busy[i] / end, 0)}`).join(", ")}.`,
    table: { head: ["track", "slices", "at work, ms", "share"], rows: tracks.map((t, i) => [t, slices.filter((s) => s[0] === i).length, short(busy[i]), percent(busy[i] / end)]) } };
}

function timelineCharts() {
  if (!data.timeline || !data.timeline.slices.length) {
    return [el("p", { class: "note wide" }, "No trace was given. Make one with measure.trace=trace.json and write the report with --trace trace.json to see each stream's tiles here.")];
  }
  return [new Chart({ id: "timeline", title: "Timeline of one run", wide: true, lead: `From ${data.timeline.file}: one track per stream. A tile keeps its colour through all stages, from the top left (dark) to the bottom right (bright); grey is work of no one tile. Drag the slider, or Ctrl and the wheel, to look closer.`, redraw: [], draw: drawTimeline })];
}
