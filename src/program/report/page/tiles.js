// The tiles of the fastest patched point on the image they are cut from: cores, halos, and one tile in full.

const svgElement = (tag, attributes = {}, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

const tileColors = { core: "#ffffff", halo: "#ffc733", chosen: "#33d9ff" };
const mostHalos = 400; // dashed outlines that a picture can bear

class TilePicture {
  constructor(picture) {
    this.picture = picture;
    this.stage = 0;
    this.text = el("p", { class: "note", "aria-live": "polite" });
    this.holder = el("div");
    this.controls = el("div", { class: "controls" });
    const keys = [["core", "cores: what each tile owns", ""], ["halo", "dashed: what each tile reads, its halo included", "4 3"], ["chosen", "the chosen tile, its halo filled", ""]];
    const sample = (name, dash) => svgElement("svg", { viewBox: "0 0 26 14", "aria-hidden": "true" }, svgElement("rect", { x: 1, y: 1, width: 24, height: 12, fill: "#565b62", stroke: tileColors[name], "stroke-width": 2, "stroke-dasharray": dash }));
    const tools = el("div", { class: "tools" },
      el("button", { type: "button", "aria-label": "Tiles: save as SVG", onclick: () => saveSvg("tiles", this.svgText()) }, "SVG"),
      el("button", { type: "button", "aria-label": "Tiles: save as PNG", onclick: () => savePng("tiles", this.svgText()) }, "PNG"));
    this.element = el("section", { class: "panel wide", id: "tiles-panel", "aria-labelledby": "tiles-title" },
      el("div", { class: "chart-head" }, el("div", {}, el("h3", { id: "tiles-title" }, "Tiles and halos"), el("p", {}, `The fastest patched setting: ${settingName(points[picture.point])}. Point at a tile, or focus the picture and use the arrow keys.`)), tools),
      this.controls,
      el("div", { class: "tiles" }, this.holder, el("div", {}, el("ul", { class: "key" }, ...keys.map(([name, text, dash]) => el("li", {}, sample(name, dash), text))), this.text, picture.note ? el("p", { class: "note" }, picture.note) : null)));
    this.showStage(0);
  }

  showStage(stage) {
    this.stage = stage;
    const { rows, columns } = this.picture.stages[stage];
    this.tile = [Math.floor((rows.length - 1) / 2), Math.floor((columns.length - 1) / 2)];
    this.controls.replaceChildren(select("Stage", this.picture.stages.map((s, i) => [i, s.name]), stage, (i) => this.showStage(Number(i))));
    this.draw();
  }

  draw() {
    const { rows, columns, input, name } = this.picture.stages[this.stage];
    // The picture is as wide as 900 units, whatever the stage's input.
    const [height, width] = input;
    const scale = 900 / width;
    const rect = (top, bottom, left, right, attributes) => svgElement("rect", { x: left * scale, y: top * scale, width: Math.max(0, (right - left) * scale), height: Math.max(0, (bottom - top) * scale), fill: "none", ...attributes });
    const svg = svgElement("svg", { viewBox: `0 0 900 ${height * scale}`, width: 900, height: height * scale, tabindex: 0, role: "img", "aria-label": `${name}: ${rows.length} by ${columns.length} tiles on its input of ${height} by ${width} positions` });
    svg.append(svgElement("rect", { width: 900, height: height * scale, fill: "#565b62" }));
    if (this.picture.image) svg.append(svgElement("image", { href: this.picture.image, width: 900, height: height * scale, preserveAspectRatio: "none" }));
    const halos = svgElement("g", { stroke: tileColors.halo, "stroke-width": 1.5, "stroke-dasharray": "7 5", "stroke-opacity": 0.9 });
    const cores = svgElement("g", { stroke: tileColors.core, "stroke-width": 2 });
    const few = rows.length * columns.length <= mostHalos;
    rows.forEach((r) => columns.forEach((c) => {
      if (few) halos.append(rect(r[0], r[1], c[0], c[1], {}));
      if (few) cores.append(rect(r[2], r[3], c[2], c[3], {}));
    }));
    if (!few) {
      for (const r of rows) cores.append(svgElement("path", { d: `M0 ${r[2] * scale}H900`, "stroke-width": 1 }));
      for (const c of columns) cores.append(svgElement("path", { d: `M${c[2] * scale} 0V${height * scale}`, "stroke-width": 1 }));
    }
    this.mark = svgElement("g");
    svg.append(halos, cores, this.mark);
    svg.addEventListener("pointermove", (event) => this.pointAt(event, svg, scale));
    svg.addEventListener("click", (event) => this.pointAt(event, svg, scale));
    svg.addEventListener("keydown", (event) => this.move(event));
    this.svg = svg;
    this.scale = scale;
    this.holder.replaceChildren(svg);
    this.markTile();
  }

  pointAt(event, svg, scale) {
    const box = svg.getBoundingClientRect();
    const stage = this.picture.stages[this.stage];
    const x = ((event.clientX - box.left) / box.width) * 900 / scale;
    const y = ((event.clientY - box.top) / box.height) * stage.input[0];
    const find = (list, at) => { const i = list.findIndex((t) => at >= t[2] && at < t[3]); return i < 0 ? null : i; };
    const tile = [find(stage.rows, y), find(stage.columns, x)];
    if (tile.includes(null) || (tile[0] === this.tile[0] && tile[1] === this.tile[1])) return;
    this.tile = tile;
    this.markTile();
  }

  move(event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const { rows, columns } = this.picture.stages[this.stage];
    this.tile = [Math.min(Math.max(this.tile[0] + step[0], 0), rows.length - 1), Math.min(Math.max(this.tile[1] + step[1], 0), columns.length - 1)];
    this.markTile();
  }

  markTile() {
    const { rows, columns, name } = this.picture.stages[this.stage];
    const [r, c] = [rows[this.tile[0]], columns[this.tile[1]]];
    const s = this.scale;
    const box = (top, bottom, left, right) => `M${left * s} ${top * s}H${right * s}V${bottom * s}H${left * s}Z`;
    this.mark.replaceChildren(
      svgElement("path", { d: box(r[0], r[1], c[0], c[1]) + box(r[2], r[3], c[2], c[3]), "fill-rule": "evenodd", fill: tileColors.chosen, "fill-opacity": 0.45 }),
      svgElement("path", { d: box(r[2], r[3], c[2], c[3]), fill: "none", stroke: tileColors.chosen, "stroke-width": 4 }));
    const reads = (r[1] - r[0]) * (c[1] - c[0]);
    const owns = (r[3] - r[2]) * (c[3] - c[2]);
    this.text.textContent = `Tile row ${this.tile[0]}, column ${this.tile[1]} of ${rows.length} x ${columns.length} in ${name}: its own share is ${r[3] - r[2]} x ${c[3] - c[2]} positions; it reads ${r[2] - r[0]} more above, ${c[2] - c[0]} left, ${r[1] - r[3]} below, ${c[1] - c[3]} right, ${times(reads / Math.max(1, owns))} its share.`;
  }

  svgText() { return new XMLSerializer().serializeToString(this.svg); }
}

function tilesPanel() {
  if (!data.picture) return [el("p", { class: "note wide" }, "No patched point was timed, so there are no tiles to draw.")];
  if (!data.picture.stages.length) return [el("p", { class: "note wide" }, data.picture.note)];
  return [new TilePicture(data.picture).element];
}
