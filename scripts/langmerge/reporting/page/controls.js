// Controls that several views have. What was chosen is kept while the page is open.

const CHOSEN = {};

/** A choice among options [{value, text, group}]; `change` is called after a change. */
function selectField(key, label, options, change, start = options[0]?.value) {
  if (!options.some((option) => option.value === CHOSEN[key])) CHOSEN[key] = start;
  const select = el("select", {name: key, onchange: () => { CHOSEN[key] = select.value; change(); }});
  const groups = new Map();
  for (const {value, text, group} of options) {
    if (group && !groups.has(group)) select.append(groups.set(group, el("optgroup", {label: group})).get(group));
    (group ? groups.get(group) : select).append(el("option", {value, text, selected: value === CHOSEN[key]}));
  }
  return el("label", {class: "field"}, el("span", {text: label}), select);
}

/** Boxes to tick, of options [{value, text}]; at first all are ticked, or those of `start`. */
function boxes(key, label, options, change, start = options.map((option) => option.value)) {
  CHOSEN[key] ??= new Set(start);
  const inputs = options.map(({value}) => el("input", {
    type: "checkbox", name: key, value, checked: CHOSEN[key].has(value),
    onchange: (event) => { CHOSEN[key][event.target.checked ? "add" : "delete"](value); change(); },
  }));
  const setAll = (ticked) => () => {
    CHOSEN[key] = new Set(ticked ? options.map((option) => option.value) : []);
    inputs.forEach((input) => { input.checked = ticked; });
    change();
  };
  return el("fieldset", {}, el("legend", {text: label}),
    ...options.map(({text}, i) => el("label", {}, inputs[i], text)),
    ...(options.length > 2 ? [el("button", {type: "button", text: "all", onclick: setAll(true)}), " ",
      el("button", {type: "button", text: "none", onclick: setAll(false)})] : []));
}

/** A box to tick alone. */
function tick(key, label, change, start) {
  CHOSEN[key] ??= start;
  return el("label", {}, el("input", {
    type: "checkbox", name: key, checked: CHOSEN[key],
    onchange: (event) => { CHOSEN[key] = event.target.checked; change(); },
  }), label);
}

const unique = (values) => [...new Set(values)];
const BACKBONES = unique(DATA.models.map((model) => model.backbone));
const METHODS = unique(DATA.models.map((model) => model.method));
const MERGE_METHODS = unique(DATA.models.filter(isMerge).map((model) => model.method));
const TARGETS = unique(DATA.models.map((model) => model.target.join("+")));

const options = (names, name) => names.map((value) => ({value, text: name(value)}));
const scoredOptions = () => SCORED.map(({id, name, level}) => ({value: id, text: name, group: level === "measures" ? "Measures" : "Single tasks"}));
const testedOptions = () => [{value: "own", text: "the model's own languages"}, ...options(DATA.tested, languageName)];

/**
 * Boxes that say which models are shown. `backbones` is the key of the backbones' boxes: the grid
 * starts with all of them, plots with the first.
 */
function modelBoxes(backbones, methods, targets, change) {
  const name = (value) => labelOf("backbones", value);
  return [
    BACKBONES.length > 1 ? boxes(backbones, "Backbones", options(BACKBONES, name), change, backbones === "plotted" ? BACKBONES.slice(0, 1) : BACKBONES) : null,
    boxes(methods.join(), "Models and methods", options(methods, (name) => labelOf("methods", name)), change),
    boxes(targets.join(), "Languages merged in", options(targets, (name) => name ? targetName(name.split("+")) : "none"), change),
  ];
}

/** Numbers of the models that the boxes of `modelBoxes` leave. */
const shownModels = (backbones, methods, targets) => DATA.models.map((_, number) => number).filter((number) => {
  const model = DATA.models[number];
  return (BACKBONES.length < 2 || CHOSEN[backbones].has(model.backbone))
    && CHOSEN[methods.join()].has(model.method) && CHOSEN[targets.join()].has(model.target.join("+"));
});

/** The address of a view. */
const address = (parameters) => `#${new URLSearchParams(parameters)}`;
const cellLink = (number, text) => el("a", {href: address({view: "cell", model: DATA.models[number].id}), text});
