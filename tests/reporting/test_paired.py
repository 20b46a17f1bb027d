"""Paired comparisons from kept answers, checked against scipy, sacrebleu and scikit-learn."""

from __future__ import annotations

import gzip
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sacrebleu
from sacrebleu.significance import PairedTest
from scipy import stats
from sklearn.metrics import matthews_corrcoef

from langmerge.errors import UserError
from langmerge.reporting.inputs import Answered
from langmerge.reporting.layouts import LAYOUTS
from langmerge.reporting.pairing import comparisons, units
from langmerge.reporting.samples import chrf_counts, contribution, read_answers, score
from langmerge.reporting.significance import compare, holm
from langmerge.reporting.sources import Sources
from support.answers import Run, answers

WORDS = [f"hitz{number}" for number in range(40)]


class PairedRun(Run):
    """Answers that are compared."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.margins: dict[str, float] = {}

    def compare(self) -> pd.DataFrame:
        return compare(comparisons([unit for one in self.answered for unit in units(one)], 1), self.margins)

    def files(self, threads: int = 1, **changes) -> dict[str, str]:
        """The report."""
        spec = {"languages": ["eu"], "backbones": ["mini"], **changes}
        return LAYOUTS["paired"].make(Sources(answers=self.answered, threads=threads), spec, "paired")


@pytest.fixture
def run(tmp_path) -> PairedRun:
    return PairedRun(tmp_path)


def sentences(seed: int, count: int, chance: float) -> list[list[str]]:
    random = np.random.default_rng(seed)
    reference = np.random.default_rng(0)
    pairs = []
    for _ in range(count):
        words = list(reference.choice(WORDS, 12))
        pairs.append([" ".join(words), " ".join(word if random.random() < chance else "oker" for word in words)])
    return pairs


# ---- metrics of sums


@pytest.mark.parametrize("chance", [0.95, 0.6, 0.3, 0.1, 0.0], ids=lambda chance: f"right {chance}")
@pytest.mark.parametrize("count", [1, 3, 60])
def test_bleu_is_sacrebleus(chance, count):
    """Also where n-grams are never met, which is smoothed, and for empty hypotheses."""
    pairs = [*sentences(1, count, chance), ["bat bi", ""]]
    sums = np.sum([contribution("bleu", pair, Path()) for pair in pairs], axis=0)
    expected = sacrebleu.corpus_bleu(
        [hypothesis for _, hypothesis in pairs], [[reference for reference, _ in pairs]]
    ).score
    assert score("bleu", sums) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("chance", [0.95, 0.3, 0.0], ids=lambda chance: f"right {chance}")
@pytest.mark.parametrize("count", [1, 3, 60])
def test_chrf_is_sacrebleus(chance, count):
    pairs = [*sentences(1, count, chance), ["bat bi", ""]]
    sums = np.sum([chrf_counts(hypothesis, [reference]) for reference, hypothesis in pairs], axis=0)
    expected = sacrebleu.corpus_chrf(
        [hypothesis for _, hypothesis in pairs], [[reference for reference, _ in pairs]], word_order=2
    ).score
    assert score("chrf++", sums) == pytest.approx(expected, abs=1e-9)
    assert score("chrf++", np.stack([sums, sums])) == pytest.approx([expected, expected])


def test_chrf_without_any_text_is_0_and_several_references_count_by_the_best():
    assert score("chrf++", np.zeros(24)) == 0
    assert chrf_counts("kaixo mundua", ["agur", "kaixo mundua"]) == chrf_counts("kaixo mundua", ["kaixo mundua"])


def test_matthews_is_sklearns():
    random = np.random.default_rng(2)
    for pairs in (random.integers(0, 2, (80, 2)), np.column_stack([random.integers(0, 2, 80), np.ones(80, int)])):
        sums = np.sum([contribution("mcc", list(map(int, pair)), Path()) for pair in pairs], axis=0)
        assert score("mcc", sums) == pytest.approx(100 * matthews_corrcoef(*pairs.T))


def test_accuracy_counts_documents_or_instructions():
    assert score("acc", np.sum([contribution("acc", value, Path()) for value in (1.0, 0.0, 1.0, 1.0)], axis=0)) == 75
    verdicts = [[True], [False, True, True], [False]]
    assert (
        score("inst_level_strict_acc", np.sum([contribution("i", value, Path()) for value in verdicts], axis=0)) == 60
    )


def test_other_metrics_are_refused_by_name():
    with pytest.raises(
        UserError,
        match=re.escape(
            "cannot compare documents by ter: known are means over documents (acc, ...), bleu, chrf++ and mcc"
        ),
    ):
        contribution("ter", ["one", "two"], Path("x"))


def test_answers_are_paired_by_document_whatever_their_order(run):
    path = run.add("instruct", None, "t", "acc", [1.0, 0.0, 1.0])
    first = read_answers(path, "acc")
    lines = gzip.decompress(path.read_bytes()).decode().splitlines(keepends=True)
    with gzip.open(path, "wt") as file:
        file.writelines(reversed(lines))
    second = read_answers(path, "acc")
    assert first.documents == second.documents
    np.testing.assert_array_equal(first.contributions[""], second.contributions[""])
    assert read_answers(path.with_name("gone"), "acc") is None


# ---- tests and intervals


def test_one_task_of_right_and_wrong_is_mcnemars_test(run):
    ours, theirs = answers(1, 300, 0.5), answers(2, 300, 0.58)
    run.add("instruct", None, "t", "acc", ours)
    run.add("linear", 1.0, "t", "acc", theirs)
    [row] = run.compare().to_dict("records")
    gained = sum(a < b for a, b in zip(ours, theirs, strict=True))
    lost = sum(a > b for a, b in zip(ours, theirs, strict=True))
    exact = stats.binomtest(gained, gained + lost).pvalue
    assert row["p"] == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 9999) ** 0.5 + 1e-4)
    assert row["difference"] == pytest.approx(100 * (gained - lost) / 300)
    assert (row["instruct"], row["merge"]) == pytest.approx((100 * np.mean(ours), 100 * np.mean(theirs)))


def test_means_over_tasks_and_seeds_have_scipys_p_and_interval(run):
    """Two tasks of different size, one with two seeds whose verdicts belong together."""
    data = {
        "small": [(answers(1, 40, 0.4), answers(2, 40, 0.6))],
        "large": [(answers(s, 90, 0.5), answers(s + 9, 90, 0.6)) for s in (3, 4)],
    }
    differences = []
    for task, seeds in data.items():
        for seed, (ours, theirs) in enumerate(seeds):
            run.add("instruct", None, task, "acc", ours, seed=seed if len(seeds) > 1 else None)
            run.add("linear", 1.0, task, "acc", theirs, seed=seed if len(seeds) > 1 else None)
        differences.append(np.mean([np.subtract(theirs, ours) for ours, theirs in seeds], axis=0))
    [row] = run.compare().to_dict("records")

    def statistic(*samples, axis=-1):
        return sum(100 * sample.mean(axis=axis) / 2 for sample in samples)

    assert row["difference"] == pytest.approx(statistic(*differences))
    signs = np.random.default_rng(5)
    flipped = sum(100 * (d * signs.choice([-1, 1], (20_000, len(d)))).mean(1) / 2 for d in differences)
    expected = (np.abs(flipped) >= abs(row["difference"]) - 1e-9).mean()
    assert row["p"] == pytest.approx(expected, abs=0.012)
    interval = stats.bootstrap(differences, statistic, method="percentile", rng=1).confidence_interval
    assert (row["low"], row["high"]) == pytest.approx(tuple(interval), abs=1.0)


def test_permutation_test_is_scipys(run):
    """Instructions: a document has several, which are exchanged together."""
    random = np.random.default_rng(7)
    ours, theirs = ([[bool(hit) for hit in random.random(3) < chance] for _ in range(60)] for chance in (0.5, 0.62))
    run.add("instruct", None, "t", "inst_level_strict_acc", ours)
    run.add("linear", 1.0, "t", "inst_level_strict_acc", theirs)
    [row] = run.compare().to_dict("records")
    pairs = (np.sum(theirs, axis=1), np.sum(ours, axis=1))
    expected = stats.permutation_test(
        pairs, lambda a, b, axis: (a - b).sum(axis), permutation_type="samples", vectorized=True, rng=1
    )
    assert row["p"] == pytest.approx(expected.pvalue, abs=0.015)
    assert row["measure"] == "ifeval"


def test_translation_has_sacrebleus_p_and_interval(run):
    ours, theirs = sentences(1, 80, 0.60), sentences(2, 80, 0.64)
    run.add("instruct", None, "t", "bleu", ours)
    run.add("linear", 1.0, "t", "bleu", theirs)
    [row] = run.compare().to_dict("records")
    systems = [(name, [hypothesis for _, hypothesis in pairs]) for name, pairs in (("ours", ours), ("theirs", theirs))]
    paired = PairedTest(
        systems, {"BLEU": sacrebleu.BLEU()}, [[reference for reference, _ in ours]], test_type="ar", n_samples=5000
    )
    _, results = paired()
    baseline, system = results["BLEU"]
    assert (row["instruct"], row["merge"]) == pytest.approx((baseline.score, system.score))
    assert 0.01 < system.p_value < 0.9
    assert row["p"] == pytest.approx(system.p_value, abs=0.025)
    assert row["low"] < row["difference"] < row["high"]


def test_a_group_of_tasks_is_the_mean_of_its_members(run):
    """As evaluation/scores.py has it: a large member does not outweigh a small one."""
    member = ["small"] * 10 + ["large"] * 90
    run.add("instruct", None, "g", "acc", [1.0] * 10 + [0.0] * 90, member=member)
    run.add("linear", 1.0, "g", "acc", [1.0] * 100, member=member)
    [row] = run.compare().to_dict("records")
    assert (row["instruct"], row["merge"], row["documents"]) == (50, 100, 100)


def test_true_null_hypotheses_are_seldom_rejected(run):
    """A hundred merges that are no better than instruct: about five have p < 0.05."""
    run.add("instruct", None, "t", "acc", answers(0, 200, 0.5))
    for index in range(1, 101):
        run.add("linear", float(index), "t", "acc", answers(index, 200, 0.5))
    found = run.compare()
    assert len(found) == 100
    assert (found["p"] < 0.05).sum() <= 13
    assert (found["p_holm"] > 0.05).all()


def test_a_merge_that_answers_alike_has_p_1(run):
    values = answers(0, 50, 0.5)
    run.add("instruct", None, "t", "acc", values)
    run.add("linear", 1.0, "t", "acc", values)
    [row] = run.compare().to_dict("records")
    assert (row["p"], row["difference"], row["low"], row["high"]) == (1, 0, 0, 0)


def test_holm():
    """Example of three: the smallest times 3, the next times 2, never below the one before."""
    adjusted = holm(pd.Series([0.04, 0.01, np.nan, 0.03]))
    np.testing.assert_allclose(adjusted, [0.06, 0.03, np.nan, 0.06])
    assert holm(pd.Series([0.9, 0.8])).max() == 1


# ---- what is missing


def test_lost_or_other_answers_are_shown_as_missing(run):
    run.add("instruct", None, "t", "acc", answers(0, 30, 0.5))
    run.add("linear", 1.0, "t", "acc", answers(1, 30, 0.5)).unlink()
    run.add("linear", 2.0, "t", "acc", answers(2, 30, 0.5), documents="other")
    run.add("linear", 3.0, "t", "acc", answers(3, 30, 0.5))
    found = run.compare().set_index("weight")
    assert list(found["difference"].isna()) == [True, True, False]
    assert found.loc[3.0, "p_holm"] == found.loc[3.0, "p"], "only those that were compared count"
    assert run.files()["md"].count("| — ") == 2


def test_without_instruct_there_is_nothing_to_compare_with(run):
    run.add("linear", 1.0, "t", "acc", answers(0, 30, 0.5))
    assert list(run.compare()["p"].isna()) == [True]


def test_a_run_without_merges_has_an_empty_table(run):
    run.add("instruct", None, "t", "acc", answers(0, 30, 0.5))
    assert run.compare().empty
    assert "| Backbone" in run.files()["md"]


# ---- files


def test_files_are_the_same_with_any_number_of_processes(run):
    for method, weight, seed in (("instruct", None, 0), ("linear", 1.0, 1), ("linear", 2.0, 2)):
        run.add(method, weight, "t", "acc", answers(seed, 60, 0.4 + 0.2 * seed))
        run.add(method, weight, "u", "bleu", sentences(seed, 20, 0.5 + 0.2 * seed))
    given = {"labels": {"methods": {"linear": "Linear"}}, "title": "Paired."}
    files = run.files(1, **given)
    assert files == run.files(3, **given)
    assert tuple(files) == LAYOUTS["paired"].formats
    assert files["md"].startswith("Paired. Each merge compared with its instruct model")
    assert "p < 0.05 in a paired randomisation test with 9,999 exchanges" in files["md"]
    rows = [line for line in files["md"].splitlines() if line.startswith("| mini")]
    assert len(rows) == 2
    assert re.search(r"\| Linear +\| EU +\| 2 +\| EU +\| \+\d+\.\d \[\+\d+\.\d, \+\d+\.\d\]\\\*", rows[1])


def test_columns_are_the_measures_that_were_taken(run):
    for method, weight in (("instruct", None), ("linear", 1.0)):
        run.add(method, weight, "s", "acc", answers(3, 20, 0.5), measure="safety")
        run.add(method, weight, "t", "acc", answers(4, 20, 0.5))
    [header] = [line for line in run.files()["md"].splitlines() if line.startswith("| Backbone")]
    assert [cell.strip() for cell in header.strip("|").split("|")][5:] == ["Benchmarks", "Safety"]


def test_only_the_backbones_of_the_table_are_compared(run):
    for backbone in ("mini", "other"):
        for method, weight in (("instruct", None), ("linear", 1.0)):
            run.add(method, weight, "t", "acc", answers(3, 20, 0.5), backbone=backbone)
    assert set(run.compare()["backbone"]) == {"mini", "other"}
    written = pd.read_csv(io.StringIO(run.files()["csv"]))
    assert list(written["backbone"]) == ["mini"]


@pytest.mark.parametrize("broken", [{}, {"cell": {}}, {"cell": 1, "scores": []}])
def test_a_broken_result_is_named(tmp_path, broken):
    with pytest.raises(UserError, match=r"x\.json is not a result of `langmerge evaluate`"):
        units(Answered(Path("x.json"), broken, tmp_path))


def test_broken_answers_are_named(run):
    path = run.add("instruct", None, "t", "acc", [1.0])
    with pytest.raises(UserError, match=r"t\.abc\.jsonl\.gz does not hold answers with the metric f1"):
        read_answers(path, "f1")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"t\.abc\.jsonl\.gz does not hold answers"):
        read_answers(path, "acc")


# ---- margins


def test_two_one_sided_tests_against_the_margin(run):
    """The same answers but one: within 5 points on both sides, and marked; far worse: neither."""
    ours = answers(1, 300, 0.5)
    run.add("instruct", None, "t", "acc", ours)
    run.add("linear", 1.0, "t", "acc", [1.0 - ours[0], *ours[1:]])
    run.add("linear", 2.0, "t", "acc", [0.0] * 300)
    run.margins = {"benchmark": 5.0}
    found = run.compare().set_index("weight")
    assert list(found["margin"]) == [5, 5]
    assert found.loc[1.0, "p_not_worse"] < found.loc[1.0, "p_not_worse_holm"] < 0.01
    assert found.loc[1.0, "p_not_better"] < 0.01
    assert found.loc[2.0, "p_not_worse"] > 0.99 > 0.01 > found.loc[2.0, "p_not_better"]
    text = run.files(margins={"benchmark": 5.0, "mt": 2.0})["md"]
    assert "≥: shown to be worse by less than the margin, in points: 5 (Benchmarks);" in text
    assert text.count("]≥") == 1


def test_a_measure_without_a_margin_has_no_such_test(run):
    run.add("instruct", None, "t", "acc", answers(1, 300, 0.5))
    run.add("linear", 1.0, "t", "acc", answers(1, 300, 0.5))
    run.margins = {"ifeval": 5.0}
    assert run.compare()[["margin", "p_not_worse", "p_not_better"]].isna().all(axis=None)
    assert "≥" not in run.files(margins=run.margins)["md"]
