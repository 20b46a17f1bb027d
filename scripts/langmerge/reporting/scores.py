"""scores.csv, the one tidy file of scores: made from sealed results, and read for every table and
figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from langmerge.errors import UserError
from langmerge.model import REFERENCES, Model
from langmerge.suspicion import joined, remarks

MODEL = ["backbone", "method", "target", "weight"]
"""The columns that say which model a score belongs to (`Model.columns`)."""

KEY = [*MODEL, "language", "measure", "task", "seed", "part"]
NUMBERS = ["value", "stderr", "n"]
FERTILITY = "tokens_per_word"
"""The column of translation tasks: what the model's tokenizer makes of the references' words."""

COLUMNS = [*KEY, *NUMBERS, "fingerprint", "remarks", FERTILITY]
TEXT = ["backbone", "method", "target", "language", "measure", "task", "part", "fingerprint", "remarks"]

ALL, DEV, TEST = PARTS = ("all", "dev", "test")
"""Values of the column part: a score over all documents, over the development half, or over the
other half.
"""

NO_SEED = -1


# ---- from sealed results


def rows(result: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    """The rows of one sealed result: one per score, and one per half of the documents where it has
    halves. Each has remarks on what is suspicious about all of the answers.

    Raises:
        UserError: it lacks what a result has; `path` is how the message names it.
    """
    try:
        return [
            {
                **result["cell"],
                **score,
                "remarks": remarks_on(score),
                FERTILITY: per_word(score),
                "part": part,
                **numbers,
            }
            for score in result["scores"]
            for part, numbers in {ALL: {}, **score.get("parts", {})}.items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not a result of `langmerge evaluate` ({error!r}). Discard it with `langmerge forget`."
        ) from error


def remarks_on(score: Mapping[str, Any]) -> str:
    """What is suspicious about the answers behind a score."""
    return joined(remarks(score["language"], score.get("diagnostics")))


def per_word(score: Mapping[str, Any]) -> float:
    """Tokens per word of a translation's references; NaN for other tasks, and where it was not
    kept.
    """
    counts = score.get("fertility", {})
    return counts["tokens"] / counts["words"] if counts.get("words") else math.nan


def collect(results: Iterable[tuple[Path, Mapping[str, Any]]]) -> pd.DataFrame:
    """The table of scores.csv, from the paths and contents of sealed results.

    Raises:
        UserError: a result lacks something, or two of them do not compare (`check_fingerprints`).
    """
    records = [row for path, result in results for row in rows(result, path)]
    table = pd.DataFrame(records, columns=COLUMNS).astype({"seed": "Int64", "n": "Int64"}).sort_values(KEY)
    check_fingerprints(table, "the results")
    return table


def of_results(results: Iterable[tuple[Path, Mapping[str, Any]]]) -> pd.DataFrame:
    """The same table as `read_scores` returns it.

    Raises:
        UserError: see `collect`.
    """
    table = collect(results)
    seeds = table["seed"].fillna(NO_SEED).astype(int)
    return table.assign(seed=seeds, **{name: table[name].astype(float) for name in ("weight", *NUMBERS)})


def check_fingerprints(scores: pd.DataFrame, source: str) -> None:
    """Refuse scores of one task and backbone that were not obtained in the same way.

    A fingerprint is the hash of everything that determines a score except the model: the task's
    content, its data, its settings, and the version of the code. Scores with different fingerprints
    do not compare, so a table or a line of a figure must not hold both.

    Raises:
        UserError: names two such scores.
    """
    if (lost := scores["fingerprint"].isna() | (scores["fingerprint"] == "")).any():
        line = scores[lost].iloc[0]
        raise UserError(
            f"{source}: {Model.of_columns(line).id} has a score of {line['task']} without a fingerprint."
            " Discard its result with `langmerge forget` and run again."
        )
    task = ["backbone", "language", "measure", "task", "seed"]
    kinds = scores.drop_duplicates([*task, "fingerprint"])
    if (mixed := kinds[kinds.duplicated(task, keep=False)]).empty:
        return
    _, pair = next(iter(mixed.groupby(task, dropna=False, sort=False)))
    first, second = pair.iloc[0], pair.iloc[1]
    raise UserError(
        f"{source}: {Model.of_columns(first).id} and {Model.of_columns(second).id} do not compare on {first['task']}:"
        f" their fingerprints differ ({first['fingerprint']} and {second['fingerprint']}), so the task, its data or its"
        " settings changed between the two evaluations. Discard the older results with `langmerge forget` and run again."
    )


# ---- reading


def read_scores(path: Path) -> pd.DataFrame:
    """Read scores.csv: one row per (model, language, measure, task, seed, part).

    Missing targets are "", missing seeds NO_SEED, missing numbers NaN; reference models have no
    weight (NaN).

    Raises:
        UserError: no such file, not a CSV file, a missing column, no rows, a value that is not a
            number, a merge without a weight, a reference model with one, a score given twice, or
            scores that do not compare.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Make it with `langmerge collect`.")
    missing_as = {column: [""] for column in ("seed", *NUMBERS, FERTILITY)}
    try:
        scores = pd.read_csv(path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values=missing_as)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a CSV file of scores: {error}. Make it again: `langmerge collect`.") from error
    if missing := [column for column in COLUMNS if column not in scores]:
        raise UserError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(map(str, scores.columns))};"
            f" expected {', '.join(COLUMNS)}."
        )
    if scores.empty:
        raise UserError(f"{path} has no scores, only a header. Evaluate a model first, then collect again.")

    for column in ("weight", "seed", "value", "n", FERTILITY):
        numbers = pd.to_numeric(scores[column].replace("", None), errors="coerce")
        wrong = numbers.isna() & scores[column].notna() & (scores[column] != "")
        refuse(path, scores, wrong, lambda line, c=column: f"{c} is {line[c]!r}, expected a number or nothing")
        scores[column] = numbers
    scores["weight"] = scores["weight"].astype(float)
    scores["seed"] = scores["seed"].fillna(NO_SEED).astype(int)

    is_reference, has_weight = scores["method"].isin(REFERENCES), scores["weight"].notna()
    refuse(path, scores, ~is_reference & ~has_weight, lambda line: f"a merge ({line['method']}) without a weight")
    refuse(path, scores, is_reference & has_weight, lambda line: f"a reference model ({line['method']}) with a weight")
    odd = ~scores["part"].isin(PARTS)
    refuse(path, scores, odd, lambda line: f"part is {line['part']!r}, expected {', '.join(PARTS)}")
    twice = scores.duplicated(KEY)
    refuse(path, scores, twice, lambda line: f"a second score for {dict(line[KEY])}. Collect again")
    check_fingerprints(scores, str(path))
    return scores


def refuse(path: Path, scores: pd.DataFrame, wrong: pd.Series, message: Any) -> None:
    """Raise a UserError that names the first line where `wrong` is true; `message` is called with
    its row.
    """
    if wrong.any():
        raise UserError(f"{path}, line {wrong.idxmax() + 2}: {message(scores.loc[wrong.idxmax()])}.")
