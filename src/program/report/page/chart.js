// What all charts share: a frame with title, choices, export and a table of the same numbers; drawn when scrolled near.

const charts = [];
const library = globalThis.echarts;
const quiet = matchMedia("(prefers-reduced-motion: reduce)");
const fontFamily = getComputedStyle(document.documentElement).getPropertyValue("--sans").trim().replaceAll('"', "'"); // exported SVG puts it in double quotes

// Okabe and Ito's colours, which people with any colour vision can tell apart; yellow and black where the ground allows.
const themes = {
  light: {
    ink: "#1d2127", muted: "#5a626d", line: "#e4e1da", ground: "#ffffff", soft: "#f1efe9", failed: "#c9c5bc",
    series: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1d2127", "#8a7000"],
    diverging: ["#0a5a94", "#5fa4d0", "#c3dcec", "#f6f4ef", "#f7d3ad", "#e08a3c", "#a64b00"],
  },
  dark: {
    ink: "#e8e6e1", muted: "#a5adb8", line: "#343a43", ground: "#1c2026", soft: "#242930", failed: "#4a5059",
    series: ["#56b4e9", "#ff8f4d", "#2cc295", "#e39ac4", "#f0b429", "#8aa9ff", "#e8e6e1", "#f0e442"],
    diverging: ["#7cc4f0", "#3b86b8", "#234f6e", "#2b3038", "#6e4321", "#b96a24", "#ffa95c"],
  },
};
const sequential = ["#fde725", "#90d743", "#35b779", "#21918c", "#31688e", "#443983", "#440154"].reverse(); // viridis
// Its ends would vanish in a ground as bright or as dark.
const onGround = (theme, share) => (theme === themes.dark ? 0.16 + 0.84 * share : 0.92 * share);
const currentTheme = () => themes[document.documentElement.dataset.theme === "dark" ? "dark" : "light"];

const symbols = ["circle", "rect", "triangle", "diamond", "path://M0 0h12L6 11z", "path://M4 0h4v4h4v4H8v4H4V8H0V4h4z", "path://M6 0l1.5 4.4H12L8.4 7.1 9.8 12 6 9 2.2 12 3.6 7.1 0 4.4h4.5z", "emptyCircle"];

// Black or white, whichever reads better on a colour "rgb(r, g, b)" or "#rrggbb".
function inkOn(color) {
  const channels = color.startsWith("#") ? [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16)) : color.match(/[\d.]+/g).map(Number);
  const linear = channels.slice(0, 3).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.2 ? "#14171b" : "#ffffff";
}

// The colour at `share` of a list of colours.
function ramp(colors, share) {
  const at = Math.min(Math.max(share, 0), 1) * (colors.length - 1);
  const i = Math.min(Math.floor(at), colors.length - 2);
  const mix = [1, 3, 5].map((k) => {
    const [a, b] = [colors[i], colors[i + 1]].map((c) => parseInt(c.slice(k, k + 2), 16));
    return Math.round(a + (b - a) * (at - i));
  });
  return `rgb(${mix.join(", ")})`;
}

// Axes and boxes in the page's look. A name stands in the middle of its axis, with its unit.
function axisOptions(theme, options) {
  return {
    nameLocation: "middle", nameTextStyle: { color: theme.muted, fontSize: 12 }, ...options,
    axisLabel: { color: theme.muted, fontSize: 12, hideOverlap: true, ...options.axisLabel },
    axisLine: { lineStyle: { color: theme.muted }, ...options.axisLine },
    splitLine: { lineStyle: { color: theme.line }, ...options.splitLine },
  };
}

function baseOptions(theme, paper) {
  return {
    animation: false,
    backgroundColor: paper ? "#ffffff" : "transparent", color: theme.series,
    textStyle: { fontFamily, color: theme.ink },
    grid: { left: 64, right: 20, top: 44, bottom: 52 },
    legend: { top: 2, left: 0, itemWidth: 16, itemHeight: 10, textStyle: { color: theme.ink, fontSize: 12 } },
    tooltip: { backgroundColor: theme.ground, borderColor: theme.line, textStyle: { color: theme.ink, fontSize: 13 }, confine: true, transitionDuration: quiet.matches ? 0 : 0.15 },
  };
}

// A legend takes the lines it needs: the grid begins below it.
function withLegend(option, width) {
  if (!option.legend || !option.legend.data || option.legend.show === false) return option;
  let lines = 1;
  let used = 0;
  for (const { name } of option.legend.data) {
    const item = 34 + 7.2 * name.length;
    if (used + item > width - 10 && used > 0) { ++lines; used = 0; }
    used += item;
  }
  const grid = option.grid || baseOptions(themes.light).grid;
  return { ...option, legend: { ...option.legend, width: width - 10 }, grid: { ...grid, top: 24 + 21 * lines } };
}

const tip = (title, lines) => `<strong>${escapeText(title)}</strong><br>${lines.map(escapeText).join("<br>")}`;

/** One figure. `draw(theme)` returns {option, label, table} or {empty: "why there is nothing to see"}. */
class Chart {
  constructor({ id, title, lead, height = 340, wide = false, controls = null, redraw = ["slice", "point"], draw, onclick = null }) {
    Object.assign(this, { id, title, height, draw, redraw, makeControls: controls, onclick });
    this.controls = el("div", { class: "controls" });
    this.canvas = el("div", { class: "canvas", role: "img", id: `canvas-${id}` });
    this.canvas.style.height = `${height}px`;
    this.note = el("p", { class: "note", hidden: true });
    this.table = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${title}: data` });
    this.details = el("details", { class: "data", ontoggle: () => this.fillTable() }, el("summary", {}, "The same as a table"), this.table);
    this.tools = el("div", { class: "tools" },
      el("button", { type: "button", "aria-label": `${title}: save as SVG`, onclick: () => this.saveSvg() }, "SVG"),
      el("button", { type: "button", "aria-label": `${title}: save as PNG`, onclick: () => this.savePng() }, "PNG"));
    this.element = el("section", { class: wide ? "chart wide" : "chart", id, "aria-labelledby": `title-${id}` },
      el("div", { class: "chart-head" }, el("div", {}, el("h3", { id: `title-${id}` }, title), el("p", {}, lead)), this.tools),
      this.controls, this.canvas, this.note, this.details);
    this.stale = true;
    this.near = false;
    charts.push(this);
    nearby.observe(this.element);
  }

  update(what) {
    if (what !== "theme" && !this.redraw.includes(what)) return;
    this.stale = true;
    this.show();
  }

  show() {
    if (!this.near || !this.stale) return;
    this.stale = false;
    if (this.makeControls) this.controls.replaceChildren(...this.makeControls(() => { this.stale = true; this.show(); }));
    const drawn = this.draw(currentTheme(), false);
    this.drawn = drawn;
    this.note.hidden = !drawn.empty && !drawn.note && Boolean(library);
    this.note.textContent = drawn.empty || (library ? drawn.note || "" : "");
    if (!drawn.empty && !library) this.note.textContent = "Charts need the chart library: run ./setup.sh, build again, and write the report again. Until then the numbers are in the table.";
    this.canvas.hidden = Boolean(drawn.empty) || !library;
    this.tools.hidden = this.canvas.hidden;
    this.details.hidden = Boolean(drawn.empty);
    if (!library && !drawn.empty) this.details.open = true;
    this.fillTable();
    if (this.canvas.hidden) return;
    this.canvas.style.height = `${drawn.height || this.height}px`;
    this.canvas.setAttribute("aria-label", `${this.title}. ${drawn.label}`);
    if (!this.view) {
      this.view = library.init(this.canvas, null, { renderer: "svg" });
      if (this.onclick) this.view.on("click", this.onclick);
      new ResizeObserver(() => this.resize()).observe(this.canvas);
    }
    this.view.resize();
    this.width = this.view.getWidth();
    this.view.setOption({ ...baseOptions(currentTheme(), false), ...withLegend(drawn.option, this.width) }, true);
  }

  resize() {
    if (this.canvas.hidden || this.canvas.clientWidth === this.width) return;
    this.stale = true;
    this.show();
  }

  fillTable() {
    if (this.details.open && this.drawn && this.drawn.table) this.table.replaceChildren(simpleTable({ caption: this.title, ...this.drawn.table }));
  }

  // For paper: white ground, light colours, a size of its own.
  svgText() {
    const drawn = this.draw(themes.light, true);
    const view = library.init(null, null, { renderer: "svg", ssr: true, width: 800, height: Math.max(drawn.height || this.height, 400) });
    view.setOption({ ...baseOptions(themes.light, true), ...withLegend(drawn.option, 800) });
    const text = view.renderToSVGString();
    view.dispose();
    return text;
  }

  saveSvg() { saveSvg(this.id, this.svgText()); }
  savePng() { return savePng(this.id, this.svgText()); }
}

function saveSvg(id, text) {
  download(`${fileName(id)}.svg`, new Blob([text], { type: "image/svg+xml" }));
  say("SVG saved");
}

// Twice the size, so that it is sharp on paper.
async function savePng(id, text) {
  const image = new Image();
  const url = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  image.src = url;
  await image.decode();
  const canvas = el("canvas", { width: 2 * image.width, height: 2 * image.height });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(url);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  download(`${fileName(id)}.png`, blob);
  say("PNG saved");
}

const nearby = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const chart = charts.find((c) => c.element === entry.target);
    chart.near = entry.isIntersecting || printing;
    if (chart.near) chart.show();
  }
}, { rootMargin: "400px" });

let printing = false;
addEventListener("beforeprint", () => {
  printing = true;
  for (const chart of charts) { chart.near = true; chart.show(); }
});
addEventListener("afterprint", () => { printing = false; });
onChange((what) => charts.forEach((chart) => chart.update(what)));
