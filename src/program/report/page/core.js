// The data, what of it the page shows now, and how numbers and elements are made.

const data = JSON.parse(document.getElementById("data").textContent);
const points = data.points;
const axes = data.axes;

// Axes that the heat map does not show: one value of each is chosen.
const sliceAxes = axes.map((axis, index) => ({ ...axis, index })).filter((axis) => !["patch.size", "streams"].includes(axis.key));
const patchAxis = axes.findIndex((axis) => axis.key === "patch.size");
const streamsAxis = axes.findIndex((axis) => axis.key === "streams");
const batchAxis = axes.findIndex((axis) => axis.key === "input.batch");

const valueOf = (point, axis) => axes[axis].values[point.at[axis]];
const patchName = (value) => (value === "whole" ? "whole" : value.startsWith("grid ") ? value : `${value} px`);

// What is chosen: a place on each slice axis, and a point.
const state = { slice: {}, point: 0 };
const listeners = [];
const onChange = (listener) => listeners.push(listener);
const changed = (what) => listeners.forEach((listener) => listener(what));

const inSlice = (point, except = -1) => sliceAxes.every(({ index }) => index === except || point.at[index] === state.slice[index]);
const slicePoints = (except = -1) => points.filter((point) => inSlice(point, except));
const groupOfSlice = () => data.groups[(slicePoints()[0] || points[0]).group];

// The unpatched run on one stream that a point is compared with.
const wholeOf = (point) => {
  const place = data.groups[point.group].whole;
  return place === null || points[place].status !== "ok" ? null : points[place];
};
const ratioOf = (point) => {
  const whole = wholeOf(point);
  return whole && point.status === "ok" ? point.median / whole.median : null;
};
const fastest = (list) => list.filter((p) => p.status === "ok").reduce((best, p) => (best && best.median <= p.median ? best : p), null);

function choose(point) {
  state.point = points.indexOf(point);
  changed("point");
}

function chooseSlice(axis, place) {
  state.slice[axis] = place;
  if (!slicePoints().length) {
    // Not every combination was measured: take the nearest point that has the wished value.
    const agreeing = (point) => sliceAxes.filter(({ index }) => point.at[index] === state.slice[index]).length;
    const candidates = points.filter((point) => point.at[axis] === place);
    showSliceOf(candidates.reduce((best, p) => (agreeing(p) > agreeing(best) ? p : best)));
  }
  const best = fastest(slicePoints()) || slicePoints()[0];
  state.point = points.indexOf(best);
  changed("slice");
}

function showSliceOf(point) {
  for (const { index } of sliceAxes) state.slice[index] = point.at[index];
}

// In words; `among`: only what the points of this list differ in.
function settingName(point, among = points) {
  const streams = valueOf(point, streamsAxis);
  const patch = valueOf(point, patchAxis);
  const differ = ({ index }) => among.some((p) => p.at[index] !== point.at[index]);
  const rest = sliceAxes.filter((axis) => axis.key !== "machine" && (among === points || differ(axis))).map(({ label, index }) => `${label} ${valueOf(point, index)}`);
  return [patch === "whole" ? "whole maps" : `patch ${patchName(patch)}`, `${streams} stream${streams === "1" ? "" : "s"}`, ...rest].join(", ");
}

// Numbers: a few significant digits, thousands apart, no exponents.
const formats = [1, 2, 3, 4, 5].map((digits) => new Intl.NumberFormat("en-GB", { maximumSignificantDigits: digits, minimumSignificantDigits: digits }));
const integers = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const short = (value, digits = 3) => {
  if (value === 0) return "0";
  return Math.abs(value) >= 10 ** digits ? integers.format(value) : formats[digits - 1].format(value);
};
// For axes: no zeros that say nothing.
const plain = (value) => new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 4 }).format(value);
const ms = (value) => (value >= 10000 ? `${short(value / 1000)} s` : `${short(value)} ms`);
const times = (value) => `${value >= 0.1 && value < 10 ? value.toFixed(2) : short(value)}\u00d7`;
const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;
function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; value >= 1024 && unit + 1 < units.length; ++unit) value /= 1024;
  return `${short(value)} ${units[unit]}`;
}
function rate(value, unit) {
  const prefixes = ["", "k", "M", "G", "T", "P"];
  let prefix = 0;
  for (; value >= 1000 && prefix + 1 < prefixes.length; ++prefix) value /= 1000;
  return `${short(value)} ${prefixes[prefix]}${unit}`;
}
const escapeText = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

// el("p", {class: "note"}, "text", child): text is never read as HTML.
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function select(label, options, chosen, onchange) {
  const list = el("select", { onchange: () => onchange(list.value) });
  for (const [value, text] of options) list.append(el("option", { value, selected: String(value) === String(chosen) }, text));
  return el("label", { class: "select" }, label, list);
}

// A plain table: head and rows of text; cells that are numbers to the right.
function simpleTable({ caption, head, rows }) {
  const numeric = head.map((_, c) => rows.length > 0 && rows.every((row) => row[c] === "" || /^[-+\u2212]?[\d.,]+( ?[%\u00d7])?( [A-Za-z/]+)?$/.test(String(row[c]))));
  const cls = (c) => (numeric[c] ? "number" : null);
  return el("table", {}, el("caption", {}, caption),
    el("thead", {}, el("tr", {}, ...head.map((text, c) => el("th", { scope: "col", class: cls(c) }, text)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((cell, c) => el(c === 0 ? "th" : "td", { class: cls(c), scope: c === 0 ? "row" : null }, String(cell)))))));
}

function download(name, blob) {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

const say = (text) => { document.getElementById("live").textContent = text; };
const fileName = (id) => `${document.querySelector("h1").textContent.replace(/[^\w.-]+/g, "_")}-${id}`;
