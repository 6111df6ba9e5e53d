// All points: sorted by a column, filtered by words and by axes, saved as CSV.

const rowsAtFirst = 250; // more rows are a click away

// Columns: value for sorting and CSV, text for people.
const tableColumns = [
  ...[patchAxis, streamsAxis, ...sliceAxes.map(({ index }) => index)].map((a, c) => ({ name: axes[a].label, axis: a, number: a === streamsAxis, value: (p) => p.at[a], text: (_, p) => valueOf(p, a), cell: c === 0 ? pointLink : null })),
  { name: "status", value: (p) => p.status, cell: statusCell },
  { name: "median, ms", number: true, value: (p) => p.median, text: (v) => short(v, 4) },
  { name: "95% interval, ms", number: true, value: (p) => p.high - p.low, text: (v, p) => `${short(p.low, 4)} to ${short(p.high, 4)}`, csv: [["low, ms", (p) => p.low], ["high, ms", (p) => p.high]] },
  { name: "against unpatched", number: true, value: ratioOf, text: times },
  { name: "images/s", number: true, value: (p) => (p.status === "ok" ? (1000 * p.images) / p.median : null), text: (v) => short(v, 4) },
  { name: "repeated work", number: true, value: (p) => p.halo, text: (v) => percent(v) },
  { name: "maps and tiles", number: true, value: (p) => (p.status === "ok" ? p.maps + p.scratch : null), text: bytes, csv: [["maps and tiles, bytes", (p) => p.maps + p.scratch]] },
  { name: "process peak", number: true, value: (p) => p.peak, text: bytes, csv: [["process peak, bytes", (p) => p.peak]] },
  { name: "order", number: true, value: (p) => p.sequence, text: String },
];

function pointLink(point) {
  return [el("button", { type: "button", title: "Show this point in detail", "aria-label": `Show ${settingName(point)} in detail`, onclick: () => openPoint(point) }, patchName(valueOf(point, patchAxis)))];
}

function statusCell(point) {
  const words = { ok: "same bits", different: "other bits", error: "error" };
  const cell = [el("span", { class: point.status === "ok" ? "tag" : "tag bad" }, words[point.status])];
  if (point.message) cell.push(el("span", { class: "reason" }, point.message));
  if (point.disturbances && point.disturbances.length) cell.push(" ", el("span", { class: "tag bad", title: point.disturbances.join("; ") }, "disturbed"));
  return cell;
}

function openPoint(point) {
  showSliceOf(point);
  state.point = points.indexOf(point);
  changed("slice");
  const panel = document.getElementById("point");
  panel.scrollIntoView({ behavior: quiet.matches ? "auto" : "smooth", block: "start" });
  panel.setAttribute("tabindex", "-1");
  panel.focus({ preventScroll: true });
}

class PointTable {
  constructor() {
    this.sort = { column: tableColumns.findIndex((c) => c.name === "median, ms"), up: true };
    this.filters = new Map(); // axis or "status" -> value
    this.words = "";
    this.all = false;
    this.searchable = points.map((p) => `${settingName(p)} ${p.status} ${p.message} ${(p.disturbances || []).join(" ")}`.toLowerCase());
    const search = el("input", { type: "search", placeholder: "for example: fused 64 px", oninput: () => { this.words = search.value.toLowerCase(); this.fill(); } });
    const choice = (label, key, values) => select(label, [["", "all"], ...values], "", (value) => { if (value === "") this.filters.delete(key); else this.filters.set(key, value); this.fill(); });
    this.heads = tableColumns.map((column, c) => el("th", { scope: "col", class: column.number ? "number" : null }, el("button", { type: "button", onclick: () => this.sortBy(c) }, column.name)));
    this.body = el("tbody");
    this.count = el("p", { class: "count", role: "status" });
    this.more = el("button", { type: "button", hidden: true, onclick: () => { this.all = true; this.fill(); } });
    this.element = el("section", { class: "panel wide", id: "points-panel", "aria-labelledby": "points-title" },
      el("h3", { id: "points-title", class: "visually-hidden" }, "All points"),
      el("form", { class: "filters", role: "search", "aria-label": "Filter the points", onsubmit: (event) => event.preventDefault() },
        el("label", { class: "select" }, "Words in a row", search),
        ...axes.map((axis, a) => choice(axis.label, a, axis.values.map((v, i) => [i, a === patchAxis ? patchName(v) : v]))),
        choice("status", "status", [["ok", "same bits"], ["different", "other bits"], ["error", "error"]]),
        el("button", { type: "button", id: "csv", onclick: () => this.saveCsv() }, "Save these rows as CSV")),
      el("div", { class: "scroll points", tabindex: 0, role: "region", "aria-label": "Table of all points" },
        el("table", { id: "points" }, el("caption", { class: "visually-hidden" }, "All points; the buttons in the head sort"), el("thead", {}, el("tr", {}, ...this.heads)), this.body)),
      this.count, this.more);
    this.rows = points.map(() => null);
    onChange(() => this.markCurrent());
    this.fill();
  }

  sortBy(column) {
    this.sort = { column, up: this.sort.column === column ? !this.sort.up : true };
    this.fill();
    say(`Sorted by ${tableColumns[column].name}, ${this.sort.up ? "ascending" : "descending"}`);
  }

  row(index) {
    if (!this.rows[index]) {
      const point = points[index];
      this.rows[index] = el("tr", {}, ...tableColumns.map((column, c) => {
        const value = column.value(point);
        const children = column.cell ? column.cell(point) : [value === null || value === undefined || Number.isNaN(value) ? "" : column.text(value, point)];
        return el(c === 0 ? "th" : "td", { class: column.number ? "number" : null, scope: c === 0 ? "row" : null }, ...children);
      }));
    }
    return this.rows[index];
  }

  // Points that pass the filters, sorted; those without a value come last.
  shown() {
    const words = this.words.split(/\s+/).filter(Boolean);
    const passes = (point, index) => [...this.filters].every(([key, value]) => (key === "status" ? point.status === value : String(point.at[key]) === value)) && words.every((word) => this.searchable[index].includes(word));
    const { value } = tableColumns[this.sort.column];
    const sign = this.sort.up ? 1 : -1;
    const compare = (a, b) => {
      const [x, y] = [value(points[a]), value(points[b])].map((v) => (Number.isNaN(v) ? null : v ?? null));
      if (x === null || y === null) return (x === null) - (y === null);
      return (x < y ? -1 : x > y ? 1 : 0) * sign;
    };
    return points.map((_, i) => i).filter((i) => passes(points[i], i)).sort((a, b) => compare(a, b) || a - b);
  }

  fill() {
    const shown = this.shown();
    const visible = this.all ? shown : shown.slice(0, rowsAtFirst);
    this.body.replaceChildren(...visible.map((i) => this.row(i)));
    this.heads.forEach((head, c) => (c === this.sort.column ? head.setAttribute("aria-sort", this.sort.up ? "ascending" : "descending") : head.removeAttribute("aria-sort")));
    this.count.textContent = `${integers.format(shown.length)} of ${integers.format(points.length)} points`;
    this.more.hidden = visible.length === shown.length;
    this.more.textContent = `Show the other ${integers.format(shown.length - visible.length)} rows`;
    this.markCurrent();
  }

  markCurrent() {
    this.current?.removeAttribute("aria-current");
    this.current = this.rows[state.point];
    this.current?.setAttribute("aria-current", "true");
  }

  saveCsv() {
    const quote = (value) => (/[",\n\r]/.test(String(value ?? "")) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? ""));
    const columns = [...axes.map((axis, a) => [axis.key, (p) => axis.values[p.at[a]]]), ...tableColumns.filter((c) => c.axis === undefined).flatMap((c) => c.csv || [[c.name, c.value]]), ["message", (p) => p.message], ["disturbances", (p) => (p.disturbances || []).join("; ")], ["config hash", (p) => p.hash], ["started", (p) => p.started]];
    const value = (p, read) => { const v = read(p); return Number.isNaN(v) ? "" : v; };
    const lines = [columns.map(([name]) => quote(name)), ...this.shown().map((i) => columns.map(([, read]) => quote(value(points[i], read))))];
    download(`${fileName("points")}.csv`, new Blob([lines.map((line) => line.join(",")).join("\r\n"), "\r\n"], { type: "text/csv" }));
    say("CSV saved");
  }
}
