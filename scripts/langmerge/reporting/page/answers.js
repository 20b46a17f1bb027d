// From a cell to its tasks, to their documents, and to the answers of several models side by side.

const SIGN_WORDS = {limit: "cut at the limit", empty: "empty", thinking: "contains <think>", turns: "begins another turn", repetitive: "repeats itself"};
const PAGE_SIZE = 25;

const modelById = (id) => DATA.models.findIndex((model) => model.id === id);

function missingView(text) {
  return el("section", {}, el("h2", {text: "Not in this page"}), el("p", {text}), el("p", {}, el("a", {href: address({view: "grid"}), text: "To the grid"})));
}

// ---- a cell

function cellView(parameters) {
  const number = modelById(parameters.get("model")), model = DATA.models[number];
  if (!model) return missingView(`This run has no results of ${parameters.get("model")}.`);
  const others = companions(number, "references").filter((other) => other !== number);
  const rows = DATA.tasks.map((task, key) => ({task, key})).filter(({task, key}) => scoreOf("tasks", number, task.language, key));
  return el("section", {},
    el("h2", {text: modelName(model, true)}),
    el("p", {class: "soft small", text: model.id}),
    el("div", {class: "scroll"}, el("table", {id: "cell"},
      el("caption", {text: "Its tasks. Choose one to see documents and answers."}),
      el("thead", {}, el("tr", {}, ...["Task", "Measure", "Language"].map((text) => el("th", {scope: "col", text})),
        ...[number, ...others].map((one) => el("th", {scope: "col", class: "number", text: one === number ? "This model" : shortName(DATA.models[one])})),
        el("th", {scope: "col", text: "Remarks"}))),
      el("tbody", {}, ...rows.map(({task, key}) => el("tr", {},
        el("th", {scope: "row"}, DATA.answers[task.name] ? el("a", {href: address({view: "task", task: task.name, model: model.id}), text: task.name}) : task.name),
        el("td", {text: DATA.measures[task.measure].title}), el("td", {text: languageName(task.language)}),
        ...[number, ...others].map((one) => { const score = scoreOf("tasks", one, task.language, key); return score ? scoreCell(score) : el("td", {class: "number", text: MISSING}); }),
        el("td", {class: "small", text: scoreOf("tasks", number, task.language, key).remarks})))))),
    model.recipe ? el("details", {}, el("summary", {text: "Recipe"}), el("pre", {class: "code", text: JSON.stringify(model.recipe, null, 1)})) : null,
    el("p", {class: "small", text: `All prompts and answers: ${model.files.join(", ")}`}));
}

const shortName = (model) => [labelOf("methods", model.method), model.target.length && !isMerge(model) ? targetName(model.target) : "", isMerge(model) ? `w = ${model.weight}` : ""].filter(Boolean).join(", ");

/**
 * The models that a model is shown beside, by number: instruct, the cells that differ in what `by`
 * says (weight or method), and the adapted models of its languages.
 */
function companions(number, by) {
  const model = DATA.models[number], found = [];
  DATA.models.forEach((other, index) => {
    if (other.backbone !== model.backbone) return;
    const sameTarget = other.target.join("+") === model.target.join("+");
    const isSibling = isMerge(other) && isMerge(model) && sameTarget
      && (by === "weight" ? other.method === model.method : by === "method" && other.weight === model.weight);
    const isReference = other.method === "instruct" || (other.method === "adapted" && other.target.every((code) => model.target.includes(code)));
    if (index === number || isSibling || isReference) found.push(index);
  });
  const rank = (index) => ({instruct: 0, base: 1, joint: 3, adapted: 4})[DATA.models[index].method] ?? 2;
  return found.sort((a, b) => rank(a) - rank(b) || a - b);
}

// ---- a task

const FILTERS = {
  all: {text: "all documents", of: () => true},
  lost: {text: "instruct right, this model wrong", of: ({own, before}) => isRight(before) === true && isRight(own) === false},
  won: {text: "instruct wrong, this model right", of: ({own, before}) => isRight(before) === false && isRight(own) === true},
  signs: {text: "this model's answer looks wrong", of: ({own}) => Boolean(own?.signs || own?.truncated)},
  other: {text: "this model answers in another language", of: ({own, task}) => own?.language !== undefined && own.language !== task.language},
};

/** Whether an answer is right: true, false, or null where there is no verdict, or one in between. */
function isRight(answer) {
  if (answer?.verdict === undefined) return null;
  if (Array.isArray(answer.verdict)) return answer.verdict.every(Boolean);
  return answer.verdict === 1 || answer.verdict === true ? true : answer.verdict === 0 || answer.verdict === false ? false : null;
}

function verdictText(answer) {
  if (!answer) return MISSING;
  if (answer.chrf !== undefined) return `chrF++ ${Math.round(answer.chrf)}`;
  if (Array.isArray(answer.verdict) && answer.verdict.length > 1) return `${answer.verdict.filter(Boolean).length}/${answer.verdict.length}`;
  const right = isRight(answer);
  return right === null ? (typeof answer.verdict === "number" ? fixed(answer.verdict) : MISSING) : right ? "✓" : "✗";
}

function taskView(parameters) {
  const name = parameters.get("task"), task = Object.hasOwn(DATA.answers, name) ? DATA.answers[name] : null, number = modelById(parameters.get("model")), model = DATA.models[number];
  if (!task || !task.answers[number]) return missingView(`There are no answers of ${parameters.get("model")} to ${name}.`);
  const seeds = Object.keys(task.answers[number]), instruct = instructOf(model.backbone);
  const place = el("div"), status = el("p", {class: "soft", role: "status"});
  const written = Object.values(task.answers[number])[0].some((answer) => answer?.text !== undefined);
  const columns = () => companions(number, CHOSEN.beside).filter((other) => task.answers[other]);
  const show = () => {
    const seed = seeds.length > 1 ? CHOSEN.seed : seeds[0];
    const rows = task.documents.map((document, index) => ({document, index, task,
      own: task.answers[number][seed][index], before: task.answers[instruct]?.[seed]?.[index]}))
      .filter((row) => FILTERS[CHOSEN.filter].of(row));
    const shown = task.documents.length === task.total ? `All ${task.total} documents of the task are in this page.`
      : `${task.documents.length} of ${task.total} documents are in this page, chosen by their hashes.`;
    status.textContent = `${counted(rows.length, "document")} shown. ${shown}`;
    place.replaceChildren(...paged(rows, (row) => documentView(row, columns(), seed, number)));
  };
  const compare = [{value: "nothing", text: "nothing"}, {value: "instruct", text: "the instruct model's answer"},
    ...(task.documents.some(({target}) => target) ? [{value: "target", text: "the reference"}] : [])];
  const view = el("section", {},
    el("h2", {text: name}),
    el("p", {}, `${DATA.measures[task.measure].title}, ${languageName(task.language)}. Model: `, cellLink(number, modelName(model))),
    el("form", {class: "controls", onsubmit: (event) => event.preventDefault()},
      selectField("filter", "Show", Object.entries(FILTERS).map(([value, {text}]) => ({value, text})), show),
      isMerge(model) ? selectField("beside", "Beside it", [{value: "weight", text: "the other weights of the method"}, {value: "method", text: "the other methods at this weight"}], show) : null,
      written ? selectField("marks", "Mark words that differ from", compare, show, "instruct") : null,
      seeds.length > 1 ? selectField("seed", "Seed", options(seeds, (seed) => seed), show) : null),
    status, place,
    el("p", {class: "small", text: `All answers are kept in files: ${columns().flatMap((other) => DATA.models[other].files).map((folder) => `${folder}/${name}.*`).join(", ")}`}));
  if (!isMerge(model)) CHOSEN.beside ??= "weight";
  show();
  return view;
}

/** Elements of rows, the first PAGE_SIZE of them and a button for more. */
function paged(rows, element) {
  const place = el("div");
  const more = el("button", {type: "button", class: "more"});
  const next = () => {
    const from = place.childElementCount;
    place.append(...rows.slice(from, from + PAGE_SIZE).map(element));
    more.textContent = `Show ${Math.min(PAGE_SIZE, rows.length - place.childElementCount)} more`;
    more.hidden = place.childElementCount >= rows.length;
  };
  more.addEventListener("click", next);
  next();
  return [place, more];
}

function documentView({document: asked, index, task}, columns, seed, number) {
  const answers = columns.map((other) => ({other, answer: task.answers[other][seed]?.[index]}));
  const snippet = oneLine(asked.prompt || asked.choices?.[0] || "").slice(-160);
  const verdicts = answers.map(({other, answer}) => `${isMerge(DATA.models[other]) ? DATA.models[other].weight : labelOf("methods", DATA.models[other].method).toLowerCase()} ${verdictText(answer)}`);
  const place = el("div");
  const details = el("details", {class: "document", ontoggle: () => { if (details.open && !place.childElementCount) place.append(...openDocument(asked, task, answers, number)); }},
    el("summary", {}, el("span", {class: "snippet", text: snippet}), el("span", {class: "verdicts small", text: verdicts.join(" · ")})), place);
  return details;
}

function openDocument(asked, task, answers, number) {
  const given = [el("span", {class: "label", text: `Prompt${asked.part ? ` (half of the documents: ${asked.part})` : ""}`}), el("pre", {text: asked.prompt})];
  if (asked.target) given.push(el("span", {class: "label", text: "Reference"}), el("pre", {text: asked.target, lang: task.language, dir: "auto"}));
  if (asked.choices) given.push(el("span", {class: "label", text: "Options"}), el("ol", {}, ...asked.choices.map((choice, i) => el("li", {},
    oneLine(choice), i === asked.right ? el("strong", {class: "right", text: " ✓ right"}) : null))));
  const instruct = answers.find(({other}) => DATA.models[other].method === "instruct")?.answer?.text;
  const reference = {target: asked.target, instruct}[CHOSEN.marks] ?? null;
  return [el("div", {class: "given"}, ...given),
    el("div", {class: "answers"}, ...answers.map(({other, answer}) => answerCard(asked, task, other, answer, reference, other === number)))];
}

function answerCard(asked, task, other, answer, reference, isChosen) {
  const model = DATA.models[other], about = [];
  if (!answer) return el("div", {class: "answer"}, el("h4", {text: shortName(model)}), el("p", {class: "soft", text: "no answer kept"}));
  if (answer.chrf !== undefined) about.push(el("li", {text: `chrF++ ${fixed(answer.chrf)}`}));
  if (asked.instructions && Array.isArray(answer.verdict)) about.push(...asked.instructions.map((name, i) =>
    el("li", {class: answer.verdict[i] ? "right" : "wrong", text: `${answer.verdict[i] ? "✓ follows" : "✗ does not follow"} ${name}`})));
  else if (isRight(answer) !== null) about.push(el("li", {class: isRight(answer) ? "right" : "wrong", text: isRight(answer) ? "✓ right" : "✗ wrong"}));
  if (answer.language !== undefined) about.push(el("li", {text: answer.language ? `Language: ${languageName(answer.language)}${answer.language === task.language ? "" : " (another than the task's)"}` : "Language: none, no letters"}));
  const signs = [...(answer.truncated ? [`prompt cut by ${answer.truncated} tokens`] : []), ...(answer.signs ?? []).map((sign) => SIGN_WORDS[sign])];
  if (signs.length) about.push(el("li", {}, ...signs.flatMap((text) => [el("span", {class: "sign", text}), " "])));
  const own = model.method === "instruct" && CHOSEN.marks === "instruct" ? null : reference;
  const body = answer.text === undefined ? el("p", {text: `${answer.choice + 1}. ${oneLine(asked.choices[answer.choice])}`})
    : answer.lines ? el("div", {lang: task.language, dir: "auto"}, ...answer.text.split("\n").map((line, i) => el("div", {class: "line"}, el("span", {class: "code", text: answer.lines[i] ?? ""}), el("pre", {}, ...marked(line, own)))))
    : el("pre", {lang: task.language, dir: "auto"}, ...marked(answer.text, own));
  return el("div", {class: `answer${isMerge(model) ? "" : " reference"}`}, el("h4", {text: `${shortName(model)}${isChosen ? " (this model)" : ""}`}), body, el("ul", {}, ...about));
}
