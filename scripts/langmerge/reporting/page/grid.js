// The grid as a table: one row per model.

const GRID_SORT = {column: null, down: true};

function gridView() {
  const place = el("div");
  const show = () => place.replaceChildren(gridTable(show));
  const columns = [{value: "measures", text: "all measures"},
    ...MEASURED.map(({key, name}) => ({value: key, text: `${name}: each task`}))];
  const search = el("input", {type: "search", name: "search", value: CHOSEN.search ?? "",
    oninput: () => { CHOSEN.search = search.value; show(); }});
  const view = el("section", {},
    el("h2", {text: "The grid"}),
    el("p", {text: "One row per model. Choose a model to see its tasks, documents and answers."}),
    el("form", {class: "controls", onsubmit: (event) => event.preventDefault()},
      ...modelBoxes("listed", METHODS, TARGETS, show).filter(Boolean),
      selectField("columns", "Columns", columns, show),
      selectField("tested", "Tested in", testedOptions(), show),
      el("label", {class: "field"}, el("span", {text: "Name contains"}), search)),
    place);
  show();
  return view;
}

function gridTable(show) {
  const chosen = CHOSEN.columns === "measures" ? MEASURED
    : SCORED.filter((one) => one.level === "families" && one.measure === CHOSEN.columns);
  const wanted = (CHOSEN.search ?? "").toLowerCase();
  const rows = shownModels("listed", METHODS, TARGETS)
    .filter((number) => modelName(DATA.models[number]).toLowerCase().includes(wanted))
    .map((number) => ({number, model: DATA.models[number],
      scores: chosen.map((what) => meanScore(what, number, testedIn(DATA.models[number], CHOSEN.tested)))}));
  const columns = [
    {name: "Model", of: ({model}) => labelOf("methods", model.method)},
    ...(several("backbone") ? [{name: "Backbone", of: ({model}) => labelOf("backbones", model.backbone)}] : []),
    {name: "Languages merged in", of: ({model}) => targetName(model.target)},
    {name: "w", number: true, of: ({model}) => model.weight},
    ...chosen.map((what, i) => ({name: what.level === "measures" ? what.axis : plainName(DATA.families[what.key].name),
      number: true, score: i, of: (row) => row.scores[i]?.value ?? null})),
  ];
  const sorted = columns.find((column) => column.name === GRID_SORT.column);
  if (sorted) rows.sort((a, b) => compared(sorted.of(a), sorted.of(b), GRID_SORT.down));
  const best = columns.map((column) => column.score === undefined ? null : Math.max(...rows.map((row) => column.of(row) ?? -Infinity)));
  const head = columns.map((column) => {
    const isSorted = sorted === column;
    const sort = () => {
      Object.assign(GRID_SORT, {column: column.name, down: isSorted ? !GRID_SORT.down : !!column.number});
      show();
      [...document.querySelectorAll("thead button")].find((button) => button.dataset.column === column.name)?.focus();
    };
    return el("th", {scope: "col", class: column.number && "number", "aria-sort": isSorted ? (GRID_SORT.down ? "descending" : "ascending") : null},
      el("button", {type: "button", "data-column": column.name, onclick: sort,
        text: column.name + (isSorted ? (GRID_SORT.down ? " ▼" : " ▲") : "")}));
  });
  const body = rows.map((row) => el("tr", {}, ...columns.map((column, i) => {
    if (i === 0) return el("th", {scope: "row"}, cellLink(row.number, column.of(row)));
    if (column.score === undefined) return el("td", {class: column.number && "number", text: column.of(row) ?? MISSING});
    const score = row.scores[column.score];
    return score ? scoreCell(score, score.value === best[i] && rows.length > 1) : el("td", {class: "number", text: MISSING});
  })));
  return el("div", {class: "scroll"}, el("table", {id: "grid"},
    el("caption", {text: `${rows.length} of ${counted(DATA.models.length, "model")}. Small: 95% interval over the choice of documents. `
      + `Bold: the best of a column. Models without a language are tested in all languages of the run, unless one is chosen. †: look at the answers before you trust the score.`}),
    el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body)));
}

/** A score with its interval. */
function scoreCell(score, isBest = false) {
  return el("td", {class: `number${isBest ? " best" : ""}`, title: score.remarks || null},
    `${fixed(score.value)}${score.remarks ? " †" : ""}`, el("span", {class: "interval", text: intervalText(score)}));
}

/** Order of two values; what is missing comes last. */
function compared(a, b, down) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b));
  return down ? -order : order;
}
