"""Every real task, as an entry of the configuration names it, for the local data of hub_data.py."""

from __future__ import annotations

import yaml

from support import hub_data
from support.paths import ROOT

TRAIN, VALIDATION, TEST, EVAL, DEVTEST = (
    hub_data.ROWS[split] for split in ("train", "validation", "test", "eval", "devtest")
)

BENCHMARKS = {
    **dict.fromkeys(
        ["belebele_eus_Latn", "belebele_cat_Latn", "belebele_spa_Latn", "belebele_eng_Latn", "belebele_swh_Latn"],
        ("acc", 5, TEST),
    ),
    "belebele_glg_Latn": ("acc", 5, TRAIN),
    **dict.fromkeys(
        ["xstorycloze_eu", "xstorycloze_es", "xstorycloze_en", "xstorycloze_ca", "xstorycloze_sw"], ("acc", 0, EVAL)
    ),
    "xstorycloze_gl": ("acc", 0, TEST),
    **dict.fromkeys(["eus_reading", "eus_proficiency", "eus_trivia", "bertaqa_eu", "bertaqa_en"], ("acc", 5, TEST)),
    "eus_exams_eu": ("acc", 5, 29 * TEST),
    "galcola": ("acc", 5, TEST),
    **dict.fromkeys(["catcola", "escola"], ("acc", 5, VALIDATION)),
    "cola": ("mcc", 5, VALIDATION),
    **dict.fromkeys(["openbookqa_gl", "openbookqa_ca", "openbookqa_es", "openbookqa"], ("acc", 5, TEST)),
    "parafrases_gl": ("acc", 5, TEST),
}
"""Task -> metric, examples in the prompt, documents of the split that it is evaluated on."""

HALVES = [f"bertaqa_{language}_{group}" for language in ("eu", "en") for group in ("local", "global")]

PAIRS = [
    (source, target)
    for target, sources in {
        "eu": "en es",
        "gl": "en es",
        "ca": "en es",
        "es": "eu gl ca en",
        "en": "eu gl ca es",
    }.items()
    for source in sources.split()
]

IFEVAL = {"ifeval_en": TRAIN, **dict.fromkeys(["ifeval_es", "ifeval_ca", "ifeval_eu", "ifeval_gl"], TEST)}


def language(code: str) -> dict:
    return yaml.safe_load((ROOT / f"config/languages/{code}.yaml").read_text())


def flores(source: str, target: str) -> dict:
    """The entry of a translation task, as the grid writes it."""
    sides = {
        side: {key: language(code)[name] for key, name in (("code", "flores"), ("name", "name"))}
        for side, code in (("source", source), ("target", target))
    }
    return {
        "task": f"flores_{source}-{target}",
        "language": target,
        "measure": "mt",
        "metric": "bleu",
        "fewshot": 5,
        "flores": sides,
    }


def entries() -> list[dict]:
    benchmark = {"language": "eu", "measure": "benchmark"}
    return [
        *(
            {"task": task, **benchmark, "metric": metric, "fewshot": shots}
            for task, (metric, shots, _) in BENCHMARKS.items()
        ),
        *({"task": task, **benchmark, "metric": "acc", "fewshot": 1} for task in HALVES),
        *({**flores(*pair), "generation": {"max_gen_toks": 4}} for pair in [*PAIRS, ("en", "cy")]),
        *(
            {
                "task": task,
                "language": "eu",
                "measure": "ifeval",
                "metric": "inst_level_strict_acc",
                "generation": {"max_gen_toks": 8},
            }
            for task in IFEVAL
        ),
    ]
