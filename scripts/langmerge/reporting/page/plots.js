// Plots: scores against the weight, one score against another, and intervals one below the other.

const SYMBOLS = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "star", "pentagon", "hexagram"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const REFERENCE_SYMBOLS = {base: "circle-open", instruct: "star", adapted: "x", joint: "cross"};
const FONT = {family: "system-ui, sans-serif", size: 13, color: "#1a1a1a"};

/** The look of the line with this index: colour, symbol and dash together tell any two apart. */
const lookOf = (index) => {
  const round = Math.floor(index / DATA.palette.length);
  return {color: DATA.palette[index % DATA.palette.length], symbol: SYMBOLS[(index + round) % SYMBOLS.length], dash: DASHES[round % DASHES.length]};
};

/** A text as Plotly shows it as it is. */
const plotText = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

/** What is said of a point: model, scores with intervals, recipe. */
function hoverText(number, scored) {
  const model = DATA.models[number];
  const lines = [modelName(model), ...scored.map(([name, score]) => `${name}: ${scoreText(score)}${score.n ? `, n = ${score.n}` : ""}`)];
  const remarks = unique(scored.map(([, score]) => score.remarks).filter(Boolean));
  return [...lines, ...remarks.map((text) => `† ${text}`), ...recipeLines(model)].map(plotText).join("<br>");
}

const errors = (scores, visible, color) => ({
  type: "data", symmetric: false, visible, color, thickness: 1, width: 2,
  array: scores.map((score) => score.high === null ? 0 : score.high - score.value),
  arrayminus: scores.map((score) => score.low === null ? 0 : score.value - score.low),
});

/** A view with controls above a plot, and the numbers of the plot below it. `draw` gives {traces, layout, points}. */
function plotView(title, text, controls, draw) {
  const plot = el("div", {class: "plot", role: "img", "aria-label": `${title}. The numbers are in the table below the plot.`});
  const numbers = el("div");
  const show = () => {
    const {traces, layout, points, height = 520} = draw();
    const common = {font: FONT, hovermode: "closest", hoverlabel: {align: "left", bgcolor: "#fff", font: FONT}, height,
      margin: {l: 70, r: 20, t: 50, b: 60}, paper_bgcolor: "#fff", plot_bgcolor: "#fff", legend: {itemsizing: "constant"}};
    plot.style.height = `${height}px`; // when the window changes, as for print, Plotly takes the height of the element
    Plotly.react(plot, traces, {...common, ...layout}, {responsive: true, displaylogo: false, modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
      toImageButtonOptions: {format: "svg", filename: `${DATA.run}-${title.toLowerCase().replace(/\W+/g, "-")}`}});
    plot.removeAllListeners?.("plotly_click");
    plot.on("plotly_click", ({points: [point]}) => {
      if (point?.customdata !== undefined) location.hash = address({view: "cell", model: DATA.models[point.customdata].id});
    });
    numbers.replaceChildren(numbersTable(points));
  };
  const view = el("section", {}, el("h2", {text: title}), el("p", {text}),
    el("form", {class: "controls", onsubmit: (event) => event.preventDefault()}, ...controls(show).filter(Boolean)),
    plot, el("details", {}, el("summary", {text: "The numbers of this plot"}), numbers));
  requestAnimationFrame(show);
  return view;
}

/** The points of a plot as a table: [[number of a model, [[name, score], ...]], ...]. */
function numbersTable(points) {
  const names = unique(points.flatMap(([, scored]) => scored.map(([name]) => name)));
  return el("div", {class: "scroll"}, el("table", {},
    el("thead", {}, el("tr", {}, el("th", {scope: "col", text: "Model"}), ...names.map((name) => el("th", {scope: "col", class: "number", text: name})))),
    el("tbody", {}, ...points.map(([number, scored]) => el("tr", {}, el("th", {scope: "row"}, cellLink(number, modelName(DATA.models[number]))),
      ...names.map((name) => { const own = scored.find(([other]) => other === name); return own ? scoreCell(own[1]) : el("td", {class: "number", text: MISSING}); }))))));
}

/** Panels side by side: {layout, axes(index)}; `titles` are above them. */
function panels(titles, x, y) {
  const columns = Math.min(titles.length, titles.length > 4 ? 3 : 2) || 1;
  const rows = Math.ceil(titles.length / columns) || 1;
  const height = Math.max(480, rows * 330 + 90);
  const gapX = columns > 1 ? 0.07 : 0, gapY = rows > 1 ? 70 / (height - 110) : 0;
  const [width, tall] = [(1 - gapX * (columns - 1)) / columns, (1 - gapY * (rows - 1)) / rows];
  const layout = {annotations: []};
  const suffix = (index) => index ? String(index + 1) : "";
  titles.forEach((title, index) => {
    const [column, row] = [index % columns, Math.floor(index / columns)];
    const left = column * (width + gapX), top = 1 - row * (tall + gapY);
    const line = {gridcolor: "#e6e6e6", zeroline: false, linecolor: "#767676", ticks: "outside", automargin: true};
    const isLast = index + columns >= titles.length;
    layout[`xaxis${suffix(index)}`] = {...line, domain: [left, left + width], anchor: `y${suffix(index)}`, title: isLast ? {text: plotText(x)} : undefined, matches: index ? "x" : undefined};
    layout[`yaxis${suffix(index)}`] = {...line, domain: [Math.max(0, top - tall), top], anchor: `x${suffix(index)}`, title: column === 0 ? {text: plotText(y)} : undefined, matches: index ? "y" : undefined};
    layout.annotations.push({text: `<b>${plotText(title)}</b>`, x: left, xanchor: "left", xref: "paper", y: top, yanchor: "bottom", yref: "paper", showarrow: false});
  });
  return {layout, height, axes: (index) => ({xaxis: `x${suffix(index)}`, yaxis: `y${suffix(index)}`})};
}

const SPLITS = {
  target: {text: "language merged in", of: (model) => model.target.join("+"), name: (value) => targetName(value ? value.split("+") : [])},
  method: {text: "method", of: (model) => model.method, name: (value) => labelOf("methods", value)},
  backbone: {text: "backbone", of: (model) => model.backbone, name: (value) => labelOf("backbones", value)},
  none: {text: "nothing", of: () => "", name: () => ""},
};
const splitOptions = (names) => names.filter((name) => name !== "backbone" || BACKBONES.length > 1).map((name) => ({value: name, text: SPLITS[name].text}));
const MERGE_TARGETS = unique(DATA.models.filter(isMerge).map((model) => model.target.join("+")));

/** The instruct model of a backbone, by its number. */
const instructOf = (backbone) => DATA.models.findIndex((model) => model.backbone === backbone && model.method === "instruct");

// ---- scores against the weight

function sweepView() {
  return plotView("Scores against the weight",
    "Each merge is tested in its own languages, unless another is chosen. Dotted: the instruct model in the same languages. Choose a point to see the cell.",
    (show) => [
      selectField("sweepScore", "Score", scoredOptions(), show),
      selectField("tested", "Tested in", testedOptions(), show),
      selectField("sweepLines", "One line per", splitOptions(["target", "method", "backbone"]), show),
      selectField("sweepPanels", "One panel per", splitOptions(["method", "target", "backbone", "none"]), show),
      tick("intervals", "95% intervals", show, MERGE_TARGETS.length < 7),
      ...modelBoxes("plotted", MERGE_METHODS, MERGE_TARGETS, show),
    ], drawSweep);
}

function drawSweep() {
  const what = scoredBy(CHOSEN.sweepScore), [byLine, byPanel] = [SPLITS[CHOSEN.sweepLines], SPLITS[CHOSEN.sweepPanels]];
  const found = shownModels("plotted", MERGE_METHODS, MERGE_TARGETS).filter((number) => isMerge(DATA.models[number]))
    .map((number) => ({number, model: DATA.models[number], score: meanScore(what, number, testedIn(DATA.models[number], CHOSEN.tested))}))
    .filter(({score}) => score);
  const titles = unique(found.map(({model}) => byPanel.of(model)));
  const lines = unique(DATA.models.filter(isMerge).map((model) => byLine.of(model)));
  const {layout, height, axes} = panels(titles.map(byPanel.name), "weight w", what.axis);
  // What differs beside line and panel is told by dashes.
  const rest = ["target", "method", "backbone"].map((name) => SPLITS[name]).filter((split) => split !== byLine && split !== byPanel);
  const restOf = (model) => rest.map((split) => split.of(model)).join("|");
  const rests = unique(found.map(({model}) => restOf(model)));
  const restName = (model) => rests.length > 1 ? rest.filter((split) => unique(found.map((one) => split.of(one.model))).length > 1).map((split) => `, ${split.name(split.of(model))}`).join("") : "";
  const series = new Map();
  for (const one of found) {
    const key = [byPanel.of(one.model), byLine.of(one.model), restOf(one.model)].join("|");
    series.set(key, [...series.get(key) ?? [], one]);
  }
  const traces = [], inLegend = new Set(), drawn = new Set();
  const weights = found.map(({model}) => model.weight);
  // Side by side, so that intervals can be told apart.
  const span = Math.max(...weights) - Math.min(...weights);
  const aside = (line) => CHOSEN.intervals ? 0.008 * span * (lines.indexOf(line) - (lines.length - 1) / 2) : 0;
  for (const own of series.values()) {
    own.sort((a, b) => a.model.weight - b.model.weight);
    const {model} = own[0], line = byLine.of(model), panel = titles.indexOf(byPanel.of(model)), look = lookOf(lines.indexOf(line)), {color, symbol} = look;
    const dash = rests.length > 1 ? DASHES[rests.indexOf(restOf(model)) % DASHES.length] : look.dash, entry = `${line}|${restOf(model)}`;
    const scores = own.map(({score}) => score);
    traces.push({type: "scatter", mode: "lines+markers", name: plotText(byLine.name(line) + restName(model)), legendgroup: entry, showlegend: !inLegend.has(entry), ...axes(panel),
      x: own.map(({model: {weight}}) => weight + aside(line)), y: scores.map(({value}) => value), error_y: errors(scores, CHOSEN.intervals, color),
      line: {color, dash, width: 2}, marker: {color, symbol, size: 9}, customdata: own.map(({number}) => number),
      hoverinfo: "text", hovertext: own.map(({number, score}) => hoverText(number, [[what.axis, score]]))});
    inLegend.add(entry);
    const instruct = instructOf(model.backbone), before = instruct < 0 ? undefined : meanScore(what, instruct, testedIn(model, CHOSEN.tested));
    const name = [panel, instruct, before?.value, line].join("|");
    if (!before || drawn.has(name)) continue;
    drawn.add(name);
    // Its symbols tell whose instruct model it is where colours cannot.
    traces.push({type: "scatter", mode: "lines+markers", legendgroup: entry, showlegend: false, ...axes(panel), x: [Math.min(...weights), Math.max(...weights)], y: [before.value, before.value],
      line: {color, dash: "dot", width: 1.2}, marker: {color, symbol: `${symbol}-open`, size: 7}, customdata: [instruct, instruct], hoverinfo: "text", hovertext: hoverText(instruct, [[what.axis, before]])});
  }
  if (!found.length) layout.annotations = [nothing()];
  return {traces, layout, height, points: found.map(({number, score}) => [number, [[what.axis, score]]])};
}

const nothing = () => ({text: "No model that is chosen has this score.", x: 0.5, y: 0.5, xref: "paper", yref: "paper", showarrow: false});

// ---- one score against another

function paretoView() {
  const last = MEASURED.find((one) => one.key === "ifeval") ?? MEASURED.at(-1);
  return plotView("One score against another",
    "One point per model. Grey: the Pareto front, the models that no other one equals or beats in both scores. Choose a point to see the cell.",
    (show) => [
      selectField("paretoX", "Right is better in", scoredOptions(), show, last.id),
      selectField("paretoY", "Up is better in", scoredOptions(), show),
      selectField("paretoPanels", "One panel per", splitOptions(["target", "backbone", "none"]), show),
      tick("paretoIntervals", "95% intervals", show, false),
      ...modelBoxes("plotted", METHODS, TARGETS, show),
    ], drawPareto);
}

function drawPareto() {
  const [x, y] = [scoredBy(CHOSEN.paretoX), scoredBy(CHOSEN.paretoY)], split = SPLITS[CHOSEN.paretoPanels];
  const numbers = shownModels("plotted", METHODS, TARGETS), byTarget = CHOSEN.paretoPanels === "target";
  const titles = unique(numbers.map((number) => DATA.models[number]).filter((model) => !byTarget || model.target.length).map(split.of));
  const {layout, height, axes} = panels(titles.map(split.name), x.axis, y.axis);
  const traces = [], inLegend = new Set(), points = [];
  titles.forEach((title, panel) => {
    // Models without a target are tested in the languages of each panel.
    const own = numbers.filter((number) => split.of(DATA.models[number]) === title || (byTarget && !DATA.models[number].target.length))
      .map((number) => {
        const model = DATA.models[number], languages = byTarget ? title.split("+") : testedIn(model, "own");
        return {number, model, a: meanScore(x, number, languages), b: meanScore(y, number, languages)};
      }).filter(({a, b}) => a && b);
    const front = frontOf(own);
    traces.push({type: "scatter", mode: "lines", name: "Pareto front", legendgroup: "front", showlegend: panel === 0, ...axes(panel), hoverinfo: "skip",
      x: front.map(({a}) => a.value), y: front.map(({b}) => b.value), line: {color: "#b0b0b0", width: 4, shape: "vh"}});
    for (const method of unique(own.map(({model}) => model.method))) {
      const members = own.filter(({model}) => model.method === method), isReference = !isMerge(members[0].model);
      const {color, symbol, dash} = isReference ? {color: "#222", symbol: REFERENCE_SYMBOLS[method], dash: "solid"} : lookOf(MERGE_METHODS.indexOf(method));
      const [as, bs] = [members.map(({a}) => a), members.map(({b}) => b)];
      traces.push({type: "scatter", mode: isReference ? "markers" : "markers+text", name: plotText(labelOf("methods", method)), legendgroup: method, showlegend: !inLegend.has(method), ...axes(panel),
        x: as.map(({value}) => value), y: bs.map(({value}) => value), error_x: errors(as, CHOSEN.paretoIntervals, "#b0b0b0"), error_y: errors(bs, CHOSEN.paretoIntervals, "#b0b0b0"),
        marker: {color, symbol, size: isReference ? 12 : 9}, line: {dash}, text: members.map(({model}) => isReference ? "" : String(model.weight)), textposition: "top center", textfont: {color, size: 11},
        customdata: members.map(({number}) => number), hoverinfo: "text", hovertext: members.map(({number, a, b}) => hoverText(number, [[x.axis, a], [y.axis, b]]))});
      inLegend.add(method);
    }
    points.push(...own.map(({number, a, b}) => [number, [[x.axis, a], [y.axis, b]]]));
  });
  if (!points.length) layout.annotations = [nothing()];
  return {traces, layout, height, points};
}

/** The points that no other equals or beats in both scores, by rising x. */
function frontOf(points) {
  const front = [];
  for (const point of [...points].sort((p, q) => q.a.value - p.a.value || q.b.value - p.b.value))
    if (!front.length || point.b.value > front[0].b.value) front.unshift(point);
  return front;
}

// ---- intervals one below the other

function forestView() {
  return plotView("Scores with their intervals",
    "One row per model, the best on top. Bars are 95% intervals over the choice of documents. Models without a language are tested in all languages of the run. Dotted: the instruct model, where all rows are tested in the same language. Choose a point to see the cell.",
    (show) => [
      selectField("forestScore", "Score", scoredOptions(), show),
      selectField("tested", "Tested in", testedOptions(), show),
      selectField("forestOrder", "Order", [{value: "score", text: "by score"}, {value: "grid", text: "as in the grid"}], show),
      ...modelBoxes("plotted", METHODS, TARGETS, show),
    ], drawForest);
}

function drawForest() {
  const what = scoredBy(CHOSEN.forestScore);
  const found = shownModels("plotted", METHODS, TARGETS).map((number) => ({number, model: DATA.models[number],
    score: meanScore(what, number, testedIn(DATA.models[number], CHOSEN.tested))})).filter(({score}) => score);
  if (CHOSEN.forestOrder === "score") found.sort((a, b) => b.score.value - a.score.value);
  const rows = found.map(({model}) => plotText(modelName(model)));
  const traces = unique(found.map(({model}) => model.method)).map((method) => {
    const own = found.filter(({model}) => model.method === method), isReference = !isMerge(own[0].model);
    const {color, symbol} = isReference ? {color: "#222", symbol: REFERENCE_SYMBOLS[method]} : lookOf(MERGE_METHODS.indexOf(method));
    const scores = own.map(({score}) => score);
    return {type: "scatter", mode: "markers", name: plotText(labelOf("methods", method)), x: scores.map(({value}) => value), y: own.map(({model}) => plotText(modelName(model))),
      error_x: errors(scores, true, color), marker: {color, symbol, size: 9}, customdata: own.map(({number}) => number),
      hoverinfo: "text", hovertext: own.map(({number, score}) => hoverText(number, [[what.axis, score]]))};
  });
  // One line for all rows, where the instruct model is tested in the same languages as all of them.
  const tested = unique(found.filter(({model}) => model.target.length).map(({model}) => testedIn(model, CHOSEN.tested).join("+")));
  const backbones = unique(found.map(({model}) => model.backbone));
  const before = backbones.length === 1 && tested.length === 1 && instructOf(backbones[0]) >= 0
    ? meanScore(what, instructOf(backbones[0]), tested[0].split("+")) : undefined;
  const layout = {
    xaxis: {title: {text: plotText(what.axis)}, gridcolor: "#e6e6e6", zeroline: false, side: "top", automargin: true},
    yaxis: {categoryorder: "array", categoryarray: [...rows].reverse(), range: [-0.7, found.length - 0.3], automargin: true, gridcolor: "#f0f0f0", dtick: 1},
    shapes: before ? [{type: "line", x0: before.value, x1: before.value, y0: 0, y1: 1, yref: "paper", line: {color: "#222", width: 1, dash: "dot"}}] : [],
    annotations: found.length ? [] : [nothing()],
    margin: {l: 70, r: 20, t: 80, b: 20},
  };
  return {traces, layout, height: Math.max(300, 24 * found.length + 130), points: found.map(({number, score}) => [number, [[what.axis, score]]])};
}
