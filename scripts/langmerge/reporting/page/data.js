// The data of the page and how its parts are called.

const DATA = readData();
const MISSING = "–";

const labelOf = (kind, name) => DATA.labels[kind]?.[name] ?? name;
const languageName = (code) => DATA.names[code] ?? code;
const isAll = (target) => target.length > 2 && target.length === DATA.languages.length;
const targetName = (target) => isAll(target) ? `all ${target.length} languages` : target.map(languageName).join(" + ") || MISSING;
const isMerge = (model) => model.weight !== null;
const several = (key) => new Set(DATA.models.map((model) => model[key])).size > 1;

/** "Linear, Basque, w = 0.5". */
function modelName(model, withBackbone = several("backbone")) {
  const parts = withBackbone ? [labelOf("backbones", model.backbone)] : [];
  parts.push(labelOf("methods", model.method));
  if (model.target.length) parts.push(targetName(model.target));
  if (isMerge(model)) parts.push(`w = ${model.weight}`);
  return parts.join(", ");
}

/** A family's or a task's name without what stands for languages. */
const plainName = (name) => name.replace(/_?\{(language|source)\}/g, "");

// ---- scores

const SCORES = {measures: new Map(), families: new Map(), tasks: new Map()};
for (const [level, rows] of Object.entries(DATA.scores))
  for (const [model, language, key, value, low, high, n, remarks] of rows)
    SCORES[level].set(`${model}|${language}|${key}`, {value, low, high, n, remarks});

/** A score of a model (by number) in a language; undefined if it is missing. */
const scoreOf = (level, model, language, key) => SCORES[level].get(`${model}|${language}|${key}`);

/**
 * What can be chosen to be shown: measures, and single tasks (families of the languages' tasks).
 * Of the form {id, level, key, name, axis, measure}.
 */
const SCORED = [];
for (const [measure, about] of Object.entries(DATA.measures))
  if (DATA.scores.measures.some((row) => row[2] === measure))
    SCORED.push({id: measure, level: "measures", key: measure, name: about.title, axis: about.axis, measure});
DATA.families.forEach(({name, measure}, key) => {
  const about = DATA.measures[measure];
  SCORED.push({
    id: `${measure}/${name}`, level: "families", key, measure,
    name: `${plainName(name)} (${about.title})`, axis: `${plainName(name)}: ${about.axis}`,
  });
});
const scoredBy = (id) => SCORED.find((one) => one.id === id);
const MEASURED = SCORED.filter((one) => one.level === "measures");

/** The mean over languages of a score; undefined as soon as one is missing. */
function meanScore(what, model, languages) {
  const scores = languages.map((language) => scoreOf(what.level, model, language, what.key));
  if (!scores.length || scores.some((score) => !score || score.value === null)) return undefined;
  const mean = scores.reduce((sum, score) => sum + score.value, 0) / scores.length;
  // As the tables do: the distances of independent estimates (MOVER).
  const side = (bound) => Math.hypot(...scores.map((score) => score[bound] === null ? NaN : score.value - score[bound])) / scores.length;
  const [below, above] = [side("low"), side("high")];
  return {
    value: mean,
    low: Number.isNaN(below) ? null : mean - below,
    high: Number.isNaN(above) ? null : mean + above,
    n: scores.reduce((sum, score) => sum + (score.n ?? 0), 0),
    remarks: [...new Set(scores.map((score) => score.remarks).filter(Boolean))].join("; "),
  };
}

/** Where a model is tested for a table: in one language, or in its own (without any: in all of the run). */
const testedIn = (model, choice) => choice !== "own" ? [choice] : model.target.length ? model.target : DATA.languages;

const fixed = (value) => value === null || value === undefined ? MISSING : value.toFixed(1);
const intervalText = (score) => score.low === null ? "" : `[${fixed(score.low)}, ${fixed(score.high)}]`;
const scoreText = (score) => score ? `${fixed(score.value)} ${intervalText(score)}` : MISSING;

// ---- recipes

/** A recipe in a few short lines. */
function recipeLines(model) {
  const recipe = model.recipe;
  if (!recipe) return [];
  const listed = (parameters) => Object.entries(parameters ?? {}).map(([key, value]) => `${key} ${JSON.stringify(value)}`).join(", ");
  const lines = [`${recipe.merge_method}${recipe.base_model ? ` on ${recipe.base_model}` : ""}`];
  for (const {model: id, parameters} of recipe.models) lines.push(`${id}${Object.keys(parameters ?? {}).length ? `: ${listed(parameters)}` : ""}`);
  if (Object.keys(recipe.parameters ?? {}).length) lines.push(listed(recipe.parameters));
  return lines;
}
