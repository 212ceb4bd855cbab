"use strict";
const problems = [];
addEventListener("error", (event) => problems.push(event.message));
const R = JSON.parse(document.getElementById("data").textContent);
const WHO = Object.keys(R.policies);

// -- words ------------------------------------------------------------------------------------------------------------

const percent = (x) => (x === null ? "–" : `${(100 * x).toFixed(1)} %`.replace("-", "−"));
function number(x) {
  if (x === null || x === undefined) return "–";
  const digits = Math.abs(x) >= 1000 || Number.isInteger(x) ? 0 : Math.abs(x) >= 100 ? 1 : Math.abs(x) >= 1 ? 2 : 4;
  const text = x.toLocaleString("en", { maximumFractionDigits: digits });
  return text === "0" && x !== 0 ? x.toPrecision(2) : text.replace("-", "−");
}
const unit = (name) => (name === "-" ? "" : ` ${name}`);
const interval = (e, as = number) => (e.low === null ? "no interval" : `${as(e.low)} … ${as(e.high)}`);
const estimate = (e, as = number) => `${as(e.value)} [${interval(e, as)}]`;
const name = (key) => R.policies[key].name;
const answer = { pass: ["pass", "Passes"], fail: ["fail", "Fails"], "cannot decide": ["open", "Cannot be decided"] };
const plain = (text) => text.replaceAll("_", " ");
// A quantity with its unit behind it once: names of parameters end with theirs, as in speed_kmh and payload_kg.
const quantity = (name, unit) => {
  if (unit === "-") return plain(name);
  const said = unit.toLowerCase().replaceAll("$", "usd").replace(/[^a-z0-9/ ]/g, "").replaceAll(" ", "_");
  const end = ["_per_", ""].map((per) => `_${said.replaceAll("/", per)}`).find((one) => name.endsWith(one)) ?? "";
  return `${plain(name.slice(0, name.length - end.length))}, ${unit}`;
};
function cellTip(where, s) {
  return `${where}\nsuccess ${estimate(s.success, percent)}\nreturn ${estimate(s.return)}\n` +
    `90 % of episodes ${number(s.band[0])} … ${number(s.band[1])}\n${s.episodes} episodes`;
}

// -- elements ---------------------------------------------------------------------------------------------------------

function element(kind, attributes = {}, ...children) {
  const svg = /^(svg|g|path|line|rect|circle|text|title)$/.test(kind);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", kind) : document.createElement(kind);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.flat().filter((child) => child !== null));
  return made;
}
const h = element;
const section = (title, told, ...children) =>
  h("section", {}, h("h2", {}, title), h("p", { class: "soft" }, told), ...children);
const table = (heads, rows) => h("div", { class: "scroll" }, h("table", {},
  h("thead", {}, h("tr", {}, heads.map((head) => h("th", {}, head)))), h("tbody", {}, rows)));
const row = (...cells) => h("tr", {}, cells.map((cell) => (cell instanceof Element && cell.tagName === "TD" ? cell : h("td", {}, cell))));
const legend = () => WHO.length < 2 ? null : h("p", {}, WHO.map((key) =>
  h("span", { style: "margin-right:18px" }, h("i", { class: "key", style: `background:var(--${key})` }), name(key))));

// -- hover: every mark that can be asked carries its text ----------------------------------------------------------------

const tip = document.getElementById("tip");
function hinted(mark, text) {
  mark.dataset.tip = text;
  mark.setAttribute("tabindex", "0");
  mark.setAttribute("aria-label", text);
  return mark;
}
function show(event) {
  const mark = event.target.closest?.("[data-tip]");
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.dataset.tip;
  const box = mark.getBoundingClientRect();
  const x = event.clientX || box.left + box.width / 2, y = event.clientY || box.top;
  tip.style.left = `${Math.min(Math.max(8, x + 14), innerWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${y + 18 + tip.offsetHeight > innerHeight ? Math.max(8, y - tip.offsetHeight - 12) : y + 18}px`;
}
for (const kind of ["pointermove", "focusin"]) document.addEventListener(kind, show);
document.addEventListener("focusout", () => { tip.hidden = true; });

// -- charts -----------------------------------------------------------------------------------------------------------

function ticks(low, high, count = 4) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((k) => k * power).find((k) => k >= raw - 1e-12 * raw);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + 1e-9 * step; at += step) found.push(Math.abs(at) < step / 1e6 ? 0 : at);
  return found;
}
const scale = (from, to, a, b) => (x) => a + ((x - from) / (to - from || 1)) * (b - a);
const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");

function frame(width, height, left = 46) {
  const area = { left, right: width - 10, top: 10, bottom: height - 24 };
  return [h("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" }), area];
}
function axes(svg, area, x, y, xs, ys, asY = number, labels = null) {
  for (const at of ys) {
    svg.append(h("line", { class: "gridline", x1: area.left, x2: area.right, y1: y(at), y2: y(at) }),
      h("text", { x: area.left - 6, y: y(at) + 4, "text-anchor": "end" }, asY(at)));
  }
  xs.forEach((at, i) => svg.append(h("text", { x: x(at), y: area.bottom + 16, "text-anchor": "middle" }, labels ? labels[i] : number(at))));
  svg.append(h("line", { class: "axis", x1: area.left, x2: area.right, y1: area.bottom, y2: area.bottom }));
}

function curve(c, what) {
  const [svg, area] = frame(370, 190);
  const success = what === "success";
  const all = WHO.flatMap((key) => c.policies[key].points.flatMap((p) => p.band));
  const [low, high] = success ? [0, 1] : [Math.min(...all), Math.max(...all)];
  const x = scale(c.bounds[0], c.bounds[1], area.left + 4, area.right - 4), y = scale(low, high, area.bottom, area.top);
  if (c.trained) svg.append(h("rect", { class: "trained", x: x(c.trained[0]), width: Math.max(1.5, x(c.trained[1]) - x(c.trained[0])),
    y: area.top, height: area.bottom - area.top, fill: "var(--trained)" }));
  const names = c.choices.length ? c.choices : null;
  axes(svg, area, x, y, names ? names.map((_, i) => i) : ticks(c.bounds[0], c.bounds[1], 5), success ? [0, 0.25, 0.5, 0.75, 1] : ticks(low, high),
    success ? (v) => `${100 * v} %` : number, names);
  svg.append(h("line", { class: "nominal", x1: x(c.nominal), x2: x(c.nominal), y1: area.top, y2: area.bottom }));
  for (const key of WHO) {
    const points = c.policies[key].points;
    const middle = (p) => (success ? p.success.value : p.return.value);
    const ends = (p) => (success ? [p.success.low, p.success.high] : p.band);
    const band = path([...points.map((p) => [x(p.at), y(ends(p)[0])]), ...points.toReversed().map((p) => [x(p.at), y(ends(p)[1])])]);
    svg.append(h("path", { d: `${band}Z`, fill: `var(--${key})`, "fill-opacity": 0.16 }),
      h("path", { d: path(points.map((p) => [x(p.at), y(middle(p))])), fill: "none", stroke: `var(--${key})`, "stroke-width": 2 }),
      ...points.map((p) => h("circle", { cx: x(p.at), cy: y(middle(p)), r: 2.6, fill: `var(--${key})` })));
  }
  const points = c.policies[WHO[0]].points;
  points.forEach((p, i) => {
    const from = i ? (x(points[i - 1].at) + x(p.at)) / 2 : area.left, to = i < points.length - 1 ? (x(p.at) + x(points[i + 1].at)) / 2 : area.right;
    const text = WHO.map((key) => cellTip(WHO.length > 1 ? name(key) : "", c.policies[key].points[i]).trim()).join("\n\n");
    const at = c.choices.length ? c.choices[p.at] : number(p.at) + unit(c.unit);
    svg.append(hinted(h("rect", { class: "hit", x: from, width: to - from, y: area.top, height: area.bottom - area.top }),
      `${c.name} = ${at}\n${text}`));
  });
  return svg;
}
function marginOf(c, key) {
  const m = c.policies[key].margin, told = [];
  if (m.below !== null) told.push(`−${number(m.below)}`);
  if (m.above !== null) told.push(`+${number(m.above)}`);
  return told.length ? `margin ${told.join(", ")}${unit(c.unit)}` : "holds over all bounds";
}
function curves() {
  const holder = h("div", { class: "grid" });
  function draw(what) {
    holder.replaceChildren(...R.curves.map((c) => h("figure", { class: "card chart" }, h("h3", {}, quantity(c.name, c.unit)), curve(c, what),
      h("figcaption", {}, WHO.map((key) => (WHO.length > 1 ? `${name(key)}: ` : "") + marginOf(c, key)).join(" · ")))));
  }
  const buttons = ["success", "return"].map((what) => h("button", { type: "button", "aria-pressed": what === "success" }, what));
  buttons.forEach((button) => button.addEventListener("click", () => {
    buttons.forEach((other) => other.setAttribute("aria-pressed", other === button));
    draw(button.textContent);
  }));
  draw("success");
  return [h("div", { class: "switch" }, buttons), holder];
}

// Success from red over pale to blue; every cell also says its number, so the colour is never needed to read it.
const STOPS = [[0, [178, 40, 50]], [0.5, [232, 152, 116]], [0.8, [246, 232, 214]], [0.9, [196, 219, 240]], [1, [66, 133, 200]]];
function colour(rate) {
  const k = Math.max(1, STOPS.findIndex(([at]) => rate <= at)), [[p, from], [q, to]] = [STOPS[k - 1], STOPS[k]];
  return from.map((v, i) => Math.round(v + ((rate - p) / (q - p)) * (to[i] - v)));
}
const paint = (rate) => `rgb(${colour(rate).join(",")})`;
const inkOn = (rate) => { const [r, g, b] = colour(rate); return 0.3 * r + 0.59 * g + 0.11 * b > 135 ? "#16202c" : "#ffffff"; };

function heatmap(key) {
  const [ax, ay] = R.heatmap.axes, size = 640, height = 470;
  const [svg, area] = frame(size, height, 66);
  area.bottom -= 18;
  const w = (area.right - area.left) / ax.values.length, t = (area.bottom - area.top) / ay.values.length;
  const skip = Math.ceil(ax.values.length / 9);
  R.heatmap.cells[key].forEach((cells, j) => cells.forEach((cell, i) => {
    const x = area.left + i * w, y = area.bottom - (j + 1) * t, rate = cell.success.value;
    svg.append(hinted(h("rect", { class: "cell", x: x + 1, y: y + 1, width: w - 2, height: t - 2, rx: 3, fill: paint(rate) }),
      cellTip(`${ax.name} = ${number(ax.values[i])}${unit(ax.unit)}\n${ay.name} = ${number(ay.values[j])}${unit(ay.unit)}`, cell)),
      h("text", { x: x + w / 2, y: y + t / 2 + 4, "text-anchor": "middle", style: `fill:${inkOn(rate)};pointer-events:none` }, `${Math.round(100 * rate)}`));
  }));
  ax.values.forEach((v, i) => i % skip || svg.append(h("text", { x: area.left + (i + 0.5) * w, y: area.bottom + 15, "text-anchor": "middle" }, number(v))));
  ay.values.forEach((v, j) => svg.append(h("text", { x: area.left - 6, y: area.bottom - (j + 0.5) * t + 4, "text-anchor": "end" }, number(v))));
  const along = (axis, from, step) => { // where a value lies between the middles of cells
    const v = axis.values, n = v.length;
    return (value) => from + step * (0.5 + ((value - v[0]) / (v[n - 1] - v[0])) * (n - 1));
  };
  const x = along(ax, area.left, w), y = along(ay, area.bottom, -t);
  if (ax.trained && ay.trained) svg.append(h("rect", { class: "trained", x: x(ax.trained[0]), width: x(ax.trained[1]) - x(ax.trained[0]),
    y: y(ay.trained[1]), height: y(ay.trained[0]) - y(ay.trained[1]), fill: "none", stroke: "#16202c", "stroke-width": 2.5, style: "pointer-events:none" }));
  const cx = x(ax.nominal), cy = y(ay.nominal);
  svg.append(h("path", { d: `M${cx - 6},${cy}H${cx + 6}M${cx},${cy - 6}V${cy + 6}`, stroke: "#16202c", "stroke-width": 2.5, style: "pointer-events:none" }),
    h("text", { x: (area.left + area.right) / 2, y: height - 6, "text-anchor": "middle" }, quantity(ax.name, ax.unit)),
    h("text", { x: 12, y: (area.top + area.bottom) / 2, transform: `rotate(-90 12 ${(area.top + area.bottom) / 2})`, "text-anchor": "middle" }, quantity(ay.name, ay.unit)));
  return h("figure", { class: "chart" }, WHO.length > 1 ? h("h3", {}, name(key)) : null, svg);
}

function worst(key) {
  const found = R.worst[key], returns = found.returns, [svg, area] = frame(520, 210, 58);
  const x = scale(0, 1, area.left, area.right), y = scale(returns[0], returns[returns.length - 1], area.bottom, area.top);
  axes(svg, area, x, y, [0, 0.25, 0.5, 0.75, 1], ticks(returns[0], returns[returns.length - 1]), number, ["worst", "25 %", "50 %", "75 %", "best"]);
  const points = returns.map((r, i) => [x((i + 0.5) / returns.length), y(r)]);
  svg.append(h("rect", { x: x(0), width: x(found.share) - x(0), y: area.top, height: area.bottom - area.top, fill: "var(--fail)", "fill-opacity": 0.13 }),
    h("path", { d: path(points), fill: "none", stroke: `var(--${key})`, "stroke-width": 2 }),
    hinted(h("rect", { class: "hit", x: x(0), width: x(found.share) - x(0), y: area.top, height: area.bottom - area.top }),
      `worst ${percent(found.share)}: ${found.count} episodes\nmean return ${estimate(found.cvar)}`));
  return h("figure", { class: "card chart" }, h("h3", {}, `Returns in distribution${WHO.length > 1 ? `, ${name(key)}` : ""}`), svg,
    h("figcaption", {}, `mean of the worst 5 %: ${estimate(found.cvar)}`));
}
function box(key) {
  const sides = R.worst[key].box.toSorted((p, q) => Math.abs(q.shift) - Math.abs(p.shift)).slice(0, 7);
  const [svg, area] = frame(520, 30 + 26 * sides.length, 150);
  sides.forEach((side, k) => {
    const x = scale(side.all[0], side.all[1], area.left, area.right), y = 14 + 26 * k;
    svg.append(h("text", { x: area.left - 8, y: y + 8, "text-anchor": "end" }, plain(side.name)),
      h("rect", { x: area.left, width: area.right - area.left, y, height: 10, rx: 3, fill: "var(--grid)" }),
      h("rect", { x: x(side.worst[0]), width: Math.max(2, x(side.worst[1]) - x(side.worst[0])), y, height: 10, rx: 3, fill: `var(--${key})`, "fill-opacity": 0.35 + 1.1 * Math.abs(side.shift) }),
      hinted(h("rect", { class: "hit", x: 0, width: 520, y: y - 6, height: 24 }),
        `${side.name}\nworst 5 %: ${number(side.worst[0])} … ${number(side.worst[1])}${unit(side.unit)}\nall: ${number(side.all[0])} … ${number(side.all[1])}${unit(side.unit)}\n` +
        `median moved by ${percent(side.shift)} of the ranks`));
  });
  return h("figure", { class: "card chart" }, h("h3", {}, "Where their parameters lay"), svg, h("figcaption", {}, "strong colour: far from where all episodes lay"));
}
function rule(key) {
  const found = R.worst[key].rule;
  if (!found) return "Nothing was drawn, so no parameter tells the worst episodes from the others.";
  const said = found.conditions.map((c) => `${plain(c.name)} ${c.sign} ${number(c.at)}`).join(" and ");
  const sure = found.p <= 0.05 ? `No shuffle of the episodes gave as good a rule as often as chance would (p = ${number(found.p)}).`
    : `Shuffled episodes give as good a rule (p = ${number(found.p)}): do not believe it.`;
  return `${said}: ${percent(found.covers)} of the worst episodes, and ${percent(found.precision)} of the episodes where this holds are among the worst. ${sure}`;
}

const coloured = (where, s, more = "") => hinted(h("td", { class: "cell", style: `background:${paint(s.success.value)};color:${inkOn(s.success.value)}` },
  percent(s.success.value), h("small", {}, `return ${number(s.return.value)}`)), cellTip(where, s) + more);

// -- parts ------------------------------------------------------------------------------------------------------------

function head() {
  const [kind, word] = answer[R.verdict], gates = R.gates.filter((g) => g.decides), held = gates.filter((g) => g.answer === "pass").length;
  const worse = R.baseline?.worse ? ` It got worse than its baseline: ${R.baseline.told[0]}.` : "";
  const told = gates.length ? `${held} of ${gates.length} gates that decide hold.${worse}` : `No gate is set.${worse}`;
  const H = R.header, facts = [["environment", H.id], ["dynamics", `${H.fingerprint.exact.slice(0, 16)} (${H.fingerprint.platform}), specification ${H.fingerprint.specification.slice(0, 16)}`],
    ["engine", H.engine || "compiled kernel"], ["success", H.success], ["seeds from", H.first_seed], ["episodes", number(H.episodes)],
    ["episodes that are not a number", H.errors], ["wall time", `${number(H.seconds)} s`], ["parameters set", JSON.stringify(H.params)], ["data", JSON.stringify(H.data)],
    ["trained for", `${Object.keys(R.trained.params).length} parameters drawn, sha256 ${H.trained.slice(0, 16)}`], ["specification", `sha256 ${H.spec.slice(0, 16)}`],
    ...WHO.map((key) => [`policy ${key.toUpperCase()}`, `${R.policies[key].source}, ${R.policies[key].deterministic ? "deterministic" : "stochastic"}, ${R.policies[key].digest}`]),
    ["versions", `rlops ${H.rlops}, ${Object.entries(H.versions).map(([k, v]) => `${k} ${v}`).join(", ")}`]];
  return [h("h1", {}, `${name("a")} on ${H.id}`), h("div", { class: "soft" }, `Robustness report, ${number(H.episodes)} episodes${WHO.length > 1 ? `, against ${name("b")}` : ""}`),
    h("div", { class: `card verdict ${kind}` }, h("strong", {}, word), h("span", {}, told)),
    h("details", {}, h("summary", {}, "What this report depends on"), table(["", ""], facts.map(([key, value]) => row(key, h("code", {}, String(value))))))];
}
function gates() {
  const rows = R.gates.map((g) => {
    const as = g.figure === "success" || g.statistic === "degradation" ? percent : number;
    const [kind] = answer[g.answer];
    return row(h("b", { class: kind }, g.answer), g.name + (g.decides ? "" : " (informs)"), estimate(g.estimate, as), g.episodes,
      g.answer === "cannot decide" ? g.reason : "");
  });
  const how = R.spec.gates.primary ? `One gate is primary: ${R.spec.gates.primary}.` : "Corrected for the number of gates (Holm).";
  return section("Gates", `What must hold, shown with ${percent(R.spec.gates.confidence)} confidence. ${how}`,
    R.gates.length ? h("div", { class: "card" }, table(["answer", "demand", "found [one-sided bounds]", "episodes", "why undecided"], rows)) : h("p", {}, "The specification sets none."));
}
const tile = (title, value, small) => h("div", { class: "card tile" }, h("small", {}, title), h("b", {}, value), h("small", {}, small));
function floor() {
  return section("Nominal floor", `The world as it is declared, ${R.nominal.a.episodes} seeds, nothing perturbed. Every later figure is to be read against this.`, WHO.map((key) => {
    const n = R.nominal[key];
    return h("div", {}, WHO.length > 1 ? h("h3", { style: "margin-top:12px" }, name(key)) : null, h("div", { class: "tiles" },
      tile("success", percent(n.success.value), `95 %: ${interval(n.success, percent)}`), tile("mean return", number(n.return.value), `95 %: ${interval(n.return)}`),
      tile("interquartile mean", number(n.iqm.value), `95 %: ${interval(n.iqm)}`), tile("90 % of episodes", `${number(n.band[0])} … ${number(n.band[1])}`, "5th to 95th percentile")),
      h("details", {}, h("summary", {}, "All figures"), table(["figure", "mean", "95 % interval"], Object.entries(n.figures).map(([k, e]) => row(plain(k), number(e.value), interval(e))))));
  }));
}
function inDistribution() {
  const drawn = Object.keys(R.trained.params).length;
  return section("In distribution", `Every episode draws ${drawn} parameters from what the policy was trained for. Losses are paired with the floor, seed by seed.`, WHO.map((key) => {
    const n = R.in_distribution[key];
    return h("div", {}, WHO.length > 1 ? h("h3", { style: "margin-top:12px" }, name(key)) : null, h("div", { class: "tiles" },
      tile("success", percent(n.success.value), `95 %: ${interval(n.success, percent)}`), tile("mean return", number(n.return.value), `95 %: ${interval(n.return)}`),
      tile("interquartile mean", number(n.iqm.value), `95 %: ${interval(n.iqm)}`), tile("mean of the worst 5 %", number(n.cvar5.value), n.cvar5.low === null ? `needs 200 episodes for an interval` : `95 %: ${interval(n.cvar5)}`),
      tile("success lost", percent(n.lost_success.value), `95 %: ${interval(n.lost_success, percent)}`), tile("return lost", number(n.lost_return.value), `95 %: ${interval(n.lost_return)}`)));
  }), comparison());
}
function comparison() {
  if (!R.comparison) return null;
  return h("div", { class: "card", style: "margin-top:14px" }, h("h3", {}, `${name("a")} less ${name("b")}, in the same worlds`), table(["", "return", "success", "better in"],
    Object.entries(R.comparison).map(([part, c]) => row(plain(part), estimate(c.return), estimate(c.success, percent), percent(c.better)))));
}
function failures() {
  const rows = R.failures.map((f) => row(h("b", {}, String(f.episode)), `${plain(f.part)}${f.label ? `: ${f.label}` : ""}`, h("span", {}, f.class, h("br"), h("span", { class: "soft" }, `behind in ${plain(f.term)}`)),
    f.first_bad_step === null ? "never" : `${f.first_bad_step} of ${f.steps}`, number(f.return),
    h("span", {}, Object.entries(f.changed).slice(0, 4).map(([k, v]) => `${k} ${number(v)}`).join(", ") + (Object.keys(f.changed).length > 4 ? ` and ${Object.keys(f.changed).length - 4} more` : ""), h("br"),
      h("code", {}, `rlops replay report.json --episode ${f.episode} --out ${f.episode}.mp4`))));
  return section("Failure catalogue", "The worst failures of every place, then the successes nearest to failing. The first bad step is the first by which the reward term that fell behind had added up to less than in any of 16 usual episodes by then.",
    rows.length ? h("div", { class: "card" }, table(["episode", "where", "what", "first bad step", "return", "not nominal, and how to see it"], rows)) : h("p", {}, "No episode failed."));
}
function transfer() {
  const T = R.transfer, rows = WHO.map((key) => row(name(key), ...T.cells[key].map((s, i) => coloured(`${name(key)} in ${T.columns[i]}`, s, `\nreturn lost ${estimate(s.lost_return)}`))));
  let gap = "This family has one engine: the columns are levels of randomization.";
  if (T.gap) {
    gap = `One step of ${T.gap.engines[1]} differs from one of ${T.gap.engines[0]} by ${T.gap.share.toExponential(1)} of what a step changes, over ${T.gap.states} states that the policy visits. ` +
      (T.gap.equivalents.length ? `That is as much as ${T.gap.equivalents.slice(0, 3).map((e) => `${e.name} ${number(e.value)} instead of ${number(e.nominal)}`).join(", or ")}.`
        : "That is round-off: the other engine says nothing about reality that the first does not.");
  }
  return section("Transfer", `The same seeds elsewhere; the first column is the floor's world. ${gap}`, h("div", { class: "card" }, table(["policy", ...T.columns], rows)));
}
function battery() {
  const rows = R.battery.flatMap((b) => WHO.map((key) => row(`${plain(b.name)}${WHO.length > 1 ? ` · ${name(key)}` : ""}`, h("span", { class: "soft" }, b.kind),
    ...b.policies[key].map((s) => coloured(`${b.name} = ${number(s.at)}${unit(b.unit)} (${s.severity})`, s, `\nreturn lost ${estimate(s.lost_return)}`)))));
  return section("Disturbance battery", "One disturbance at a time: at the end of what is plausible, half-way to what is possible, and at the end of that.",
    rows.length ? h("div", { class: "card" }, table(["disturbance", "kind", "mild", "strong", "extreme"], rows)) : h("p", {}, "This environment declares no latency, noise, disturbance or payload."));
}
function baseline() {
  const B = R.baseline;
  if (!B) return null;
  const rows = B.regions.toSorted((p, q) => p.p - q.p).slice(0, 12).map((r) => row(h("b", { class: r.worse ? "fail" : "pass" }, r.worse ? "worse" : "not worse"),
    `${plain(r.part)}${r.region ? `: ${r.region}` : ""}`, r.figure, number(r.before), number(r.now), estimate(r.change), number(r.p)));
  return section("Against the baseline", `${B.policy.name} of rlops ${B.rlops}, ${number(B.episodes)} episodes in the same worlds, ${B.regions.length / 2} regions. The twelve most suspicious; p is corrected for all (Holm).`,
    h("div", { class: "card" }, table(["", "where", "figure", "before", "now", "change", "p"], rows)));
}

const parts = [...head(), gates(), baseline(), floor(), inDistribution(),
  section("One parameter at a time", "Each over its hard bounds, all others nominal. Shaded: what the policy was trained for; dashed: nominal. The margin is how far the parameter may go from nominal before success falls below "
    + `${percent(R.spec.curves.floor)} of the floor of the same seeds. Band: 95 % interval of success, or 90 % of returns.`, legend(), ...curves()),
  R.heatmap ? section("The two most sensitive, together", "Success in percent over both parameters' hard bounds. Frame: what the policy was trained for; cross: nominal.",
    h("div", { class: WHO.length > 1 ? "grid" : "heat", style: WHO.length > 1 ? "grid-template-columns:repeat(auto-fit,minmax(430px,1fr))" : "" }, WHO.map(heatmap),
      h("div", {}, h("h3", {}, "Most sensitive first"), h("ol", { style: "margin:4px 0;padding-left:20px" }, R.most_sensitive.map((n) => h("li", {}, plain(n))))))) : null,
  section("The worst 5 %", "Of the episodes in distribution, by return.", ...WHO.map((key) => h("div", { style: "margin-bottom:14px" }, h("p", {}, WHO.length > 1 ? h("b", {}, `${name(key)}: `) : null, rule(key)),
    h("div", { class: "grid", style: "grid-template-columns:repeat(auto-fit,minmax(420px,1fr))" }, worst(key), R.worst[key].box.length ? box(key) : null)))),
  failures(), transfer(), battery()];
document.getElementById("report").append(...parts.filter((part) => part !== null));

// With #check in its address the page asks every mark for its text, and says what it found in the document itself.
if (location.hash === "#check") {
  const said = {};
  const marks = [...document.querySelectorAll("[data-tip]")];
  for (const mark of marks) {
    mark.dispatchEvent(new FocusEvent("focusin", { bubbles: true }));
    if (tip.hidden || tip.textContent !== mark.dataset.tip) problems.push(`no hint on ${mark.dataset.tip}`);
    const lines = mark.dataset.tip.split("\n");
    said[lines[0].includes("=") && lines[1]?.includes("=") ? lines.slice(0, 2).join("; ") : lines[0]] = mark.dataset.tip;
  }
  const empty = [...document.querySelectorAll(".chart svg")].filter((svg) => { const b = svg.getBBox(); return !(b.width > 50 && b.height > 30); }).length;
  const told = { problems, marks: marks.length, charts: document.querySelectorAll(".chart svg").length, empty, wide: document.documentElement.scrollWidth > innerWidth, said, titles: [...document.querySelectorAll(".chart h3")].map((title) => title.textContent) };
  document.body.append(h("script", { type: "application/json", id: "checked" }, JSON.stringify(told)));
}
