// Puts the page together.

function card(title, figure, text, tone) {
  return el("div", { class: "card" }, el("h3", {}, title), el("p", { class: `figure ${tone || ""}` }, figure), el("p", {}, text));
}

function cards(group) {
  const list = [];
  const at = (place) => (place === null ? null : points[place]);
  const [best, patched, least, whole] = [group.best, group.best_patched, group.least_memory, group.whole].map(at);
  const mine = points.filter((p) => data.groups[p.group] === group);
  if (best) list.push(card("Fastest", ms(best.median), settingName(best, mine)));
  if (patched && whole && whole.status === "ok") {
    const ratio = patched.median / whole.median;
    const apart = patched.high < whole.low || patched.low > whole.high;
    list.push(card("Best patched, against unpatched", times(ratio), `${ratio < 1 ? "of the" : "the"} unpatched time (${ms(whole.median)}): ${settingName(patched, mine)}`, apart ? (ratio < 1 ? "good" : "bad") : ""));
  }
  if (least) list.push(card("Least memory", bytes(least.maps + least.scratch), settingName(least, mine)));
  const failed = mine.filter((p) => p.status !== "ok").length;
  list.push(card("Verified bit for bit", `${integers.format(mine.length - failed)} / ${integers.format(mine.length)}`, failed ? `${failed} failed; none of them was timed` : "all points", failed ? "bad" : "good"));
  return list;
}

const topics = { best: "Best setting", patches: "Patches", memory: "Memory", halos: "Halos", drift: "Drift", checks: "Verified", progress: "Progress", disturbance: "Disturbance" };
const statements = (group) => group.summary.map(([topic, text]) => el("li", {}, el("b", {}, topics[topic] || topic), el("span", {}, text)));

function provenance() {
  const rows = (object) => Object.entries(object).filter(([, v]) => v !== null && v !== "").map(([name, value]) => el("div", {}, el("dt", {}, name.replaceAll("_", " ")), el("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value))));
  const machines = data.machines.map((m) => el("section", { class: "panel wide", "aria-label": `Machine ${m.id}` }, el("h3", {}, `Build and machine ${m.hash}`), el("dl", { class: "facts" }, ...rows(m.provenance))));
  const ceilings = data.groups.map((g) => g.ceiling).filter(Boolean).map((c) => [c.device, c.precision, rate(c.flops, "FLOP/s"), rate(c.bytes, "B/s"), c.copy > 0 ? rate(c.copy, "B/s") : "none"]);
  const unique = [...new Map(ceilings.map((c) => [c.join(), c])).values()];
  const sweeps = el("section", { class: "panel wide", "aria-label": "Sweeps" }, el("h3", {}, "Sweeps"),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Sweeps" }, simpleTable({ caption: "Times are UTC", head: ["sweep", "started", "finished", "planned", "axes"],
      rows: data.sweeps.map((s) => [s.name, s.started, s.finished || "not finished", s.points, s.axes.map((a) => `${a.keys.join(" with ")}: ${a.values.map((v) => (Array.isArray(v) ? v.map((x) => (typeof x === "string" ? x : JSON.stringify(x))).join(" ") : JSON.stringify(v))).join(", ")}`).join("; ")]) })),
    unique.length ? el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Ceilings" }, simpleTable({ caption: "Measured ceilings", head: ["device", "precision", "arithmetic", "memory", "copies to the device"], rows: unique })) : null);
  const config = el("pre", { tabindex: 0, "aria-label": "Config" });
  const show = () => { config.textContent = JSON.stringify(groupOfSlice().config, null, 2); };
  onChange((what) => { if (what === "slice") show(); });
  show();
  return [...machines, sweeps, el("section", { class: "panel wide", "aria-label": "Config" }, el("details", { class: "data" }, el("summary", {}, "The config, resolved, with the first point's settings"), config))];
}

const sections = [
  ["summary", "Summary", "", () => [summaryPanel()]],
  ["settings", "Patches and streams", "Which settings are fast, and by how much one can trust it.", settingsCharts],
  ["time", "Where time goes", "", timeCharts],
  ["memory-section", "Memory", "On a machine that arithmetic keeps busy, memory is what patches buy.", memoryCharts],
  ["detail", "One point", "", () => [pointChooser(), new PointPanel().element, ...pointCharts()]],
  ["timeline-section", "Timeline", "", timelineCharts],
  ["tiles-section", "Tiles", "", tilesPanel],
  ["drift-section", "Drift", "", driftCharts],
  ["provenance", "Provenance", "What was measured, where, with which build.", provenance],
  ["table", "All points", "", () => [new PointTable().element]],
];

function summaryPanel() {
  const list = el("ul", { class: "statements" });
  const show = () => {
    list.replaceChildren(...statements(groupOfSlice()));
    document.getElementById("cards").replaceChildren(...cards(groupOfSlice()));
  };
  onChange((what) => { if (what === "slice") show(); });
  show();
  return el("div", { class: "wide" }, list);
}

function pointChooser() {
  const holder = el("div", { class: "wide chooser" });
  const show = () => holder.replaceChildren(select("Point", slicePoints().map((p) => [points.indexOf(p), settingName(p) + (p.status === "ok" ? `: ${ms(p.median)}` : " (failed)")]), state.point, (i) => choose(points[Number(i)])));
  onChange(show);
  show();
  return holder;
}

function sliceBar() {
  const bar = document.getElementById("slice");
  bar.hidden = sliceAxes.length === 0;
  bar.addEventListener("submit", (event) => event.preventDefault());
  const show = () => {
    const focused = document.activeElement?.dataset?.axis;
    bar.replaceChildren(el("span", { class: "slice-title" }, "Showing"), ...sliceAxes.map((axis) => {
      const label = select(axis.label, axis.values.map((v, i) => [i, v]), state.slice[axis.index], (place) => chooseSlice(axis.index, Number(place)));
      label.querySelector("select").dataset.axis = axis.key;
      return label;
    }));
    if (focused) bar.querySelector(`[data-axis="${CSS.escape(focused)}"]`)?.focus();
  };
  onChange((what) => { if (what === "slice") show(); });
  show();
}

function themeButton() {
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  let wish = null; // of the reader, over the system's
  const apply = () => {
    const dark = wish ?? system.matches;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    button.textContent = dark ? "Light mode" : "Dark mode";
    changed("theme");
  };
  button.addEventListener("click", () => { wish = document.documentElement.dataset.theme !== "dark"; apply(); });
  system.addEventListener("change", apply);
  addEventListener("beforeprint", () => { document.documentElement.dataset.theme = "light"; changed("theme"); });
  addEventListener("afterprint", apply);
  apply();
}

function heading() {
  const ok = points.filter((p) => p.status === "ok");
  const first = ok[0] || points[0];
  const times_ = points.map((p) => p.started).filter(Boolean).sort();
  const day = (time) => time.slice(0, 10);
  const days = times_.length ? [...new Set([day(times_[0]), day(times_.at(-1))])].join(" to ") : "";
  const machine = data.machines.find((m) => m.id === first.machine)?.provenance ?? {};
  const engines = [...new Set(points.map((p) => p.engine).filter(Boolean))];
  const gpu = /cuda/.test(first.device) && Array.isArray(machine.cuda) ? machine.cuda[0]?.name : null;
  document.getElementById("eyebrow").textContent = ["Sweep report", days].filter(Boolean).join(", ");
  document.getElementById("lede").textContent = `${integers.format(points.length)} settings of ${first.network || "one network"} on ${gpu || machine.cpu || first.device || "one machine"}${machine.cores && !gpu ? ` (${machine.cores} cores)` : ""}, engine ${engines.length ? engines.join(" and ") : "unknown"}. Each was first compared with the unpatched run, bit for bit, and then timed.`;
  const promises = engines.map((e) => data.engines[e]).filter(Boolean);
  document.getElementById("footer").textContent = `${promises.map((p) => p + " ").join("")}Written by halotile ${data.version} from ${data.store} at ${data.written}. This file needs no network.${library ? " Charts: Apache ECharts, Apache License 2.0." : ""}`;
}

// What the page shows first: of the choices with the most points, that of the fastest.
function firstPoint() {
  const mine = points.filter((p) => p.group === 0);
  const sizes = new Map();
  const sliceOf = (p) => sliceAxes.map(({ index }) => p.at[index]).join(" ");
  for (const p of mine) sizes.set(sliceOf(p), (sizes.get(sliceOf(p)) ?? 0) + 1);
  const most = Math.max(...sizes.values());
  const largest = mine.filter((p) => sizes.get(sliceOf(p)) === most);
  return fastest(largest) ?? largest[0];
}

function build() {
  const first = firstPoint();
  state.point = points.indexOf(first);
  showSliceOf(first);
  heading();
  sliceBar();
  const root = document.getElementById("sections");
  const nav = document.getElementById("nav");
  for (const [id, title, lead, make] of sections) {
    const grid = el("div", { class: "grid" });
    const section = el("section", { class: "section", id, "aria-labelledby": `heading-${id}` }, el("h2", { id: `heading-${id}` }, title), lead ? el("p", {}, lead) : null, grid);
    root.append(section);
    grid.append(...make().map((part) => part.element || part));
    nav.append(el("li", {}, el("a", { href: `#${id}` }, title)));
  }
  themeButton();
}

build();
