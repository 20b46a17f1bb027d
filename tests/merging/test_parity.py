"""langmerge.merging against mergekit 0.1.5, run as it is in an environment of its own.

mergekit computes in fp32 where a recipe has `dtype: float32`, as langmerge always does, and its
sorts are made stable (run_mergekit.py). Then merges must agree to the bit, but for those of which
ROUNDING says why, and for random numbers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from langmerge.merging.engine import Merge
from langmerge.merging.recipe import read_recipe
from support.mergekit import run_mergekit

pytestmark = pytest.mark.parity


# ---- models


@dataclass(frozen=True)
class World:
    """A family of tiny models: base, and three that were "trained" from it.

    Attributes:
        config: of a real architecture, for mergekit knows tensors by it.
        dtypes: of base and the three.
        sharded: the models whose weights are in two files.
    """

    config: Mapping[str, Any]
    dtypes: Sequence[str]
    sharded: Sequence[str] = ()


MODELS = ("base", "instruct", "eu", "es")
SIZES = {
    "hidden_size": 48,
    "intermediate_size": 72,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 83,
    "max_position_embeddings": 64,
}
WORLDS = {
    # The embeddings are more than one of the engine's parts.
    "llama": World(
        SIZES
        | {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": 4099,
            "tie_word_embeddings": False,
        },
        ["bfloat16"] * 4,
        sharded=["base", "eu"],
    ),
    "qwen3": World(
        SIZES
        | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 3, "tie_word_embeddings": True},
        ["float16"] * 4,
    ),
    "gemma3": World(
        SIZES | {"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "tie_word_embeddings": True},
        ["bfloat16", "float16", "float32", "bfloat16"],
        sharded=["instruct"],
    ),
    # The embeddings are more than the engine reads at a time; a gradient over one layer is a case
    # of its own.
    "large": World(
        SIZES
        | {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 1, "hidden_size": 64}
        | {"num_attention_heads": 8, "vocab_size": 17_001, "tie_word_embeddings": True},
        ["bfloat16"] * 4,
    ),
}
EMBEDDINGS = "model.embed_tokens.weight"


def shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    width, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    layer = {"self_attn.q_proj": (queries, width), "self_attn.k_proj": (keys, width), "self_attn.v_proj": (keys, width)}
    layer |= {"self_attn.o_proj": (width, queries)}
    layer |= {"mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width), "mlp.down_proj": (width, inner)}
    layer |= {"input_layernorm": (width,), "post_attention_layernorm": (width,)}
    if config["model_type"] != "llama":
        layer |= {"self_attn.q_norm": (head,), "self_attn.k_norm": (head,)}
    if config["model_type"] == "gemma3_text":
        layer |= {"pre_feedforward_layernorm": (width,), "post_feedforward_layernorm": (width,)}
    every = {
        f"model.layers.{i}.{name}.weight": shape
        for i in range(config["num_hidden_layers"])
        for name, shape in layer.items()
    }
    every |= {EMBEDDINGS: (config["vocab_size"], width), "model.norm.weight": (width,)}
    return every if config["tie_word_embeddings"] else {**every, "lm_head.weight": (config["vocab_size"], width)}


def write_world(folder: Path, world: World) -> None:
    """Weights near each other and with the few digits of bf16, so that many magnitudes of task
    vectors are equal; fp32 ones have all digits.
    """
    generator = np.random.default_rng(0)
    tensors = {
        name: generator.normal(len(shape) == 1, 0.02, shape).astype(ml_dtypes.bfloat16)
        for name, shape in shapes(world.config).items()
    }
    for model, dtype, spread in zip(MODELS, world.dtypes, (0, 0.001, 0.0004, 0.002), strict=True):
        trained = {}
        for name, base in tensors.items():
            exact = base.astype(np.float32) + generator.normal(0, spread, base.shape).astype(np.float32)
            trained[name] = exact if dtype == "float32" else exact.astype(ml_dtypes.bfloat16).astype(dtype)
        write_model(folder / model, {**world.config, "dtype": dtype}, trained, 2 if model in world.sharded else 1)


def write_model(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], shards: int) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    where = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        names = sorted(tensors)[number::shards]
        save_file({name: tensors[name] for name in names}, folder / file, {"format": "pt"})
        where |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def read_model(folder: Path) -> dict[str, np.ndarray]:
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


# ---- merges


@dataclass(frozen=True)
class Case:
    """A merge: `each` holds a mapping of parameters a model, `parameters` the global ones; `base`
    is whether there is a base_model, `dtype` what mergekit computes in.
    """

    method: str
    each: Sequence[Mapping[str, Any]]
    parameters: Mapping[str, Any]
    base: bool = True
    dtype: str = "float32"

    def recipe(self, folder: Path, out_dtype: str) -> dict[str, Any]:
        models = [
            {"model": str(folder / name), "parameters": dict(own)}
            for name, own in zip(MODELS[1:], self.each, strict=False)
        ]
        base = {"base_model": str(folder / "base")} if self.base else {}
        kinds = {"dtype": self.dtype, "out_dtype": out_dtype}
        return {"merge_method": self.method, "models": models, **base, "parameters": dict(self.parameters), **kinds}


def case(method: str, *each: Mapping[str, Any], **parameters: Any) -> Case:
    return Case(method, each, parameters, method not in WITHOUT_BASE)


WITHOUT_BASE = ("linear", "karcher", "passthrough")


def w(weight: Any, density: Any = None, **others: Any) -> dict[str, Any]:
    return {"weight": weight, **({} if density is None else {"density": density}), **others}


FILTERED = [{"filter": "self_attn", "value": [0, 0.5, 1]}, {"filter": "mlp", "value": 0.3}, {"value": 1}]

CASES = {
    "linear halves": case("linear", w(1), w(1)),
    "linear thirds": case("linear", w(1), w(0.3), w(0.7)),
    "linear sum": case("linear", w(0.5), w(0.3), w(0.2), normalize=False),
    "linear negative": case("linear", w(1.3), w(-0.4)),
    "linear gradient": case("linear", w(1), w([0, 0.3, 1])),
    "linear filters": case("linear", w(1), w(FILTERED)),
    "slerp 0.1": case("slerp", {}, t=0.1),
    "slerp 0.5": case("slerp", {}, t=0.5),
    "slerp 0.9": case("slerp", {}, t=0.9),
    "slerp gradient": case("slerp", {}, t=[0.2, 0.9, 0.4, 0.7]),
    "slerp filters": case("slerp", {}, t=FILTERED),
    "nearswap 0": case("nearswap", {}, t=0),
    "nearswap 0.0001": case("nearswap", {}, t=0.0001),
    "nearswap 0.0007": case("nearswap", {}, t=0.0007),
    "nearswap 0.5": case("nearswap", {}, t=0.5),
    "nearswap gradient": case("nearswap", {}, t=[0.0001, 0.001]),
    "task_arithmetic one": case("task_arithmetic", w(0.6)),
    "task_arithmetic two": case("task_arithmetic", w(1), w(0.7)),
    "task_arithmetic three": case("task_arithmetic", w(0.4), w(0.3), w(-0.2), **{"lambda": 0.7}),
    "task_arithmetic normalized": case("task_arithmetic", w(0.1), w(0.2), w(0.7), normalize=True),
    "task_arithmetic normalized, lambda": case("task_arithmetic", w(1), w(0.3), normalize=True, **{"lambda": 1.3}),
    "task_arithmetic gradient": case("task_arithmetic", w([1, 0.3]), w([0, 0.5, 0.2, 1])),
    "task_arithmetic filters": case("task_arithmetic", w(1), w(FILTERED)),
    "ties 1": case("ties", w(1), w(1), w(1)),
    "ties 0.9": case("ties", w(1, 0.9), w(0.5, 0.9)),
    "ties 0.5": case("ties", w(1, 0.5), w(0.3, 0.5), w(0.7, 0.5)),
    "ties 0.1": case("ties", w(1, 0.1), w(1, 0.1)),
    "ties 0.2 and 0.7": case("ties", w(0.4, 0.2), w(0.9, 0.7), normalize=False, **{"lambda": 0.6}),
    "ties negative": case("ties", w(1, 0.5), w(-0.4, 0.5)),
    "ties 0": case("ties", w(1, 0), w(0.5, 0.3)),
    "ties rescaled": case("ties", w(1, 0.3), w(0.5, 0.3), rescale=True),
    "ties gradient": case("ties", w(1, [0.2, 0.9]), w([0.3, 1], 0.5)),
    "ties filters": case(
        "ties", w(1, [{"filter": "self_attn", "value": [0.2, 0.5, 0.9]}, {"value": 0.4}]), w(FILTERED, 0.5)
    ),
    "breadcrumbs 0.9": case("breadcrumbs", w(1, 0.9), w(0.5, 0.9)),
    "breadcrumbs 0.5": case("breadcrumbs", w(1, 0.5, gamma=0.2), w(0.3, 0.5, gamma=0.05), w(0.7, 0.7, gamma=0)),
    "breadcrumbs 0.1": case("breadcrumbs", w(1, 0.1, gamma=0.1), w(1, 0.1), normalize=True, **{"lambda": 1.2}),
    "breadcrumbs 0.95 and 0.3": case("breadcrumbs", w(1, 0.95, gamma=0.3), w(1, 0.3, gamma=0.9)),
    "breadcrumbs rescaled": case("breadcrumbs", w(1, 0.5), w(0.5, 0.5), rescale=True),
    "breadcrumbs gradient": case("breadcrumbs", w(1, [0.2, 0.9], gamma=[0.01, 0.1]), w(1, 0.5)),
    "breadcrumbs_ties 0.9": case("breadcrumbs_ties", w(1, 0.9), w(0.5, 0.9)),
    "breadcrumbs_ties 0.5": case(
        "breadcrumbs_ties", w(1, 0.5, gamma=0.2), w(0.3, 0.5, gamma=0.05), w(0.7, 0.7, gamma=0)
    ),
    "breadcrumbs_ties 0.1": case(
        "breadcrumbs_ties", w(1, 0.1, gamma=0.1), w(1, 0.1), normalize=True, **{"lambda": 1.2}
    ),
    "sce 1": case("sce", {}, {}, {}, floor=1e-6),
    "sce 0.5": case("sce", {}, {}, select_topk=0.5, floor=1e-6),
    "sce 0.1": case("sce", {}, {}, {}, select_topk=0.1, floor=1e-6),
    "nuslerp": case("nuslerp", w(1), w(0.4)),
    "nuslerp of models": replace(case("nuslerp", w(1), w(0.4)), base=False),
    "nuslerp gradient": case("nuslerp", w([1, 0.2]), w(FILTERED)),
    "multislerp": case("multislerp", w(1), w(0.4)),
    "multislerp of models": replace(case("multislerp", w(1), w(0.4), w(0.7)), base=False),
    "multislerp, weights as they are": case("multislerp", w(0.5), w(0.4), normalize_weights=False, eps=1e-6),
    "karcher two": case("karcher", {}, {}),
    "karcher three": case("karcher", {}, {}, {}, max_iter=3, tol=1e-7),
    "model_stock two": case("model_stock", {}, {}),
    "model_stock three": case("model_stock", {}, {}, {}),
    "model_stock by rows": case("model_stock", {}, {}, {}, filter_wise=True),
    "passthrough": case("passthrough", {}),
    "passthrough scaled": case(
        "passthrough", {"scale": [{"filter": "self_attn", "value": [0.2, 0.5, 1]}, *FILTERED[1:]]}
    ),
    "dare_linear 1": case("dare_linear", w(1), w(0.7)),
    "dare_ties 1": case("dare_ties", w(1), w(0.7)),
    "della_linear 1": case("della_linear", w(1), w(0.7)),
    "della 1": case("della", w(1), w(0.7)),
}
FUSION = {"arcee_fusion": replace(case("arcee_fusion", {}), dtype="float64")}
OUTPUTS = ("float32", "bfloat16")
IN_LARGE = (
    "linear gradient",
    "task_arithmetic gradient",
    "ties 0.5",
    "breadcrumbs 0.5",
    "breadcrumbs_ties 0.1",
    "slerp 0.5",
    "sce 0.5",
)
EXACT = [*product(CASES, [name for name in WORLDS if name != "large"], OUTPUTS), *product(IN_LARGE, ["large"], OUTPUTS)]

ONE = {
    f"{method} {density}{'' if rescale else ' not rescaled'}": case(method, w(0.5, density), rescale=rescale)
    for method in ("dare_linear", "dare_ties", "della_linear", "della")
    for density, rescale in ((0.3, True), (0.7, True), (0.4, False))
}
TWO = {
    "dare_linear two": case("dare_linear", w(0.6, 0.3), w(0.7, 0.8)),
    "dare_ties two": case("dare_ties", w(0.6, 0.3), w(0.7, 0.8)),
    "dare_ties two, normalized": case("dare_ties", w(0.6, 0.3), w(0.7, 0.8), normalize=True, **{"lambda": 0.8}),
    "della_linear two": case("della_linear", w(0.6, 0.3, epsilon=0.2), w(0.7, 0.8, epsilon=0.1), rescale=True),
    "della two": case("della", w(0.6, 0.3, epsilon=0.2), w(0.7, 0.8, epsilon=0.1), rescale=True),
}
RANDOM = ONE | TWO


def folder_of(name: str, world: str, out_dtype: str) -> str:
    return "-".join((name.replace(" ", "_"), world, out_dtype))


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """The folder with a folder of models for each of WORLDS."""
    folder = tmp_path_factory.mktemp("models")
    for name, world in WORLDS.items():
        write_world(folder / name, world)
    return folder


@pytest.fixture(scope="session")
def theirs(request, mergekit_python, models, tmp_path_factory) -> Iterator[Path]:
    """The folder with mergekit's merge for each test that was selected, made by one process: it
    takes seconds to start.
    """
    folder = tmp_path_factory.mktemp("mergekit")
    mine = [item for item in request.session.items if item.path == Path(__file__)]
    selected = [item.callspec.params for item in mine if "theirs" in item.fixturenames]
    wanted = [(each["name"], each.get("world", "large"), each.get("out_dtype", "float32")) for each in selected]
    jobs = [
        {
            "recipe": (CASES | RANDOM | FUSION)[name].recipe(models / world, out_dtype),
            "output": str(folder / folder_of(name, world, out_dtype)),
            "seed": 1,
        }
        for name, world, out_dtype in wanted
    ]
    run_mergekit(mergekit_python, jobs)
    yield folder
    shutil.rmtree(folder)


def langmerge(recipe: Mapping[str, Any], output: Path) -> dict[str, np.ndarray]:
    Merge(read_recipe(recipe), seed=0, max_shard_size=5 * 10**9).write(output, threads=2, page_cache=True)
    tensors = read_model(output)
    shutil.rmtree(output)
    return tensors


# ---- equal

SUMS = "mergekit adds up a whole tensor in fp32, langmerge in fp64: of a million weights, its slerp is off by 2e-5, langmerge's by 6e-8"
ROUNDING = {
    "linear": (
        4,
        0.02,
        "torch adds a product without rounding it first where the processor can (FMA); langmerge rounds it everywhere",
    ),
    "slerp": (512, 0.001, SUMS),
    "sce": (4, 0.02, f"its weights are sums: {SUMS}"),
    "nuslerp": (512, 0.02, SUMS),
    "multislerp": (4096, 0.02, SUMS),
    "karcher": (
        32768,
        0.02,
        "mergekit's angles are fp32's: below 0.0003 they may be 0 for one model and not for the next, which then counts alone",
    ),
    "model_stock": (64, 0.02, SUMS),
    "ties rescaled": (16, 0.001, SUMS),
    "breadcrumbs rescaled": (16, 0.001, SUMS),
}
"""Cases, or methods, that need not agree to the bit: how far apart they may be, in what share of a
bf16 model's weights, and why.

They may be one unit in the last place of the output apart. Where terms cancel each other, and in
fp32 output, rounding shows in units of the terms, not of their sum: as many units in the last place
of the largest model's weight, as fp32, are allowed as well.
"""


def bits(values: np.ndarray) -> np.ndarray:
    return values.view(f"u{values.itemsize}")


def unit(values: np.ndarray, dtype: Any) -> np.ndarray:
    """The unit in the last place of fp32 or bf16."""
    return np.ldexp(1.0, np.frexp(values.astype(np.float64))[1] - 1 - ml_dtypes.finfo(dtype).nmant)


@pytest.mark.parametrize(("name", "world", "out_dtype"), EXACT, ids=lambda value: value.replace(" ", "_"))
def test_merges_agree(theirs, models, tmp_path, name, world, out_dtype):
    expected = read_model(theirs / folder_of(name, world, out_dtype))
    merged = langmerge(CASES[name].recipe(models / world, out_dtype), tmp_path / "out")
    assert merged.keys() == expected.keys() == shapes(WORLDS[world].config).keys()
    for tensor, values in merged.items():
        assert (values.dtype, values.shape) == (expected[tensor].dtype, expected[tensor].shape)
    counts = {tensor: np.count_nonzero(bits(merged[tensor]) != bits(expected[tensor])) for tensor in merged}
    differing = {tensor: count for tensor, count in counts.items() if count}
    units, share, _ = ROUNDING.get(name) or ROUNDING.get(CASES[name].method) or (0, 0, "")
    assert units or not differing
    inputs = [read_model(models / world / model) for model in MODELS]
    for tensor in differing:
        largest = np.max([abs(weights[tensor].astype(np.float32)) for weights in inputs], axis=0)
        ours, other = (values[tensor].astype(np.float64) for values in (merged, expected))
        allowed = np.maximum(
            unit(np.maximum(abs(ours), abs(other)), merged[tensor].dtype), units * unit(largest, np.float32)
        )
        far = abs(ours - other) > allowed
        assert not far.any(), f"{tensor}: {ours[far][:5]}, mergekit's {other[far][:5]}"
    if out_dtype == "bfloat16":
        assert sum(differing.values()) <= share * sum(values.size for values in merged.values())


@pytest.mark.parametrize("world", ["llama", "qwen3", "gemma3"])
@pytest.mark.parametrize("name", FUSION)
def test_fusion_selects_what_mergekit_selects_in_fp64(theirs, models, tmp_path, name, world):
    """The divergences of rows are near 1e-7: in fp32, mergekit's own selection depends on the
    vector units of the processor (docs/benchmarks/2026-11-27-arcee-fusion.md).
    """
    expected = read_model(theirs / folder_of(name, world, "float32"))
    merged = langmerge(replace(FUSION[name], dtype="float32").recipe(models / world, "float32"), tmp_path / "out")
    base, other = (read_model(models / world / model) for model in MODELS[:2])
    for tensor, values in merged.items():
        before, after = (model[tensor].astype(np.float32) for model in (base, other))
        np.testing.assert_array_less(abs(values - expected[tensor]), 2 * unit(after, np.float32), err_msg=tensor)
        selected = np.count_nonzero(expected[tensor] != before)
        assert 0 < selected < 0.5 * values.size or values.ndim == 1


def test_magnitudes_are_often_equal(models):
    """What is compared is the hard case: many weights of a task vector have the magnitude at which
    a method cuts.
    """
    for world in ("llama", "qwen3", "large"):
        base, instruct = (read_model(models / world / model)[EMBEDDINGS].astype(np.float32) for model in MODELS[:2])
        magnitudes = np.sort(abs(instruct - base), axis=None)
        for density in (0.1, 0.5, 0.9):
            threshold = magnitudes[int((1 - density) * magnitudes.size)]
            assert np.count_nonzero(magnitudes == threshold) > 0.001 * magnitudes.size


# ---- equal in distribution: of the large embeddings' 1,088,064 weights, whose shares have standard
# errors of at most 0.0005


@pytest.fixture(scope="session")
def large(models) -> list[np.ndarray]:
    """The base's embeddings, and the task vectors."""
    base, *trained = (read_model(models / "large" / model)[EMBEDDINGS].astype(np.float32) for model in MODELS)
    return [base, *(model - base for model in trained)]


@pytest.fixture
def changes(theirs, models, large, tmp_path, name) -> list[np.ndarray]:
    """What a merge of RANDOM added to the base: langmerge's, mergekit's."""
    merged = langmerge(RANDOM[name].recipe(models / "large", "float32"), tmp_path / "out")[EMBEDDINGS]
    expected = read_model(theirs / folder_of(name, "large", "float32"))[EMBEDDINGS]
    assert (merged != expected).mean() > 0.1, "two draws are the same"
    return [merged - large[0], expected - large[0]]


@pytest.mark.parametrize("name", ONE)
def test_dropping_from_one_task_vector_is_alike(changes, large, name):
    tau, density = large[1], ONE[name].each[0]["density"]
    moved = tau != 0
    rank = abs(tau).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    found = []
    for change in changes:
        kept = change != 0
        assert not kept[~moved].any()
        by_rank = [kept[moved & (rank // 8 == eighth)].mean() for eighth in range(tau.shape[1] // 8)]
        found.append(
            (by_rank, np.median(change[kept] / tau[kept]), change.mean(dtype=float), abs(change).sum(dtype=float))
        )
    (ours, rescaling, mean, norm), (theirs_by_rank, their_rescaling, their_mean, their_norm) = found
    np.testing.assert_allclose(ours, theirs_by_rank, atol=0.012)
    assert np.mean(ours) == pytest.approx(density, abs=0.005)
    assert rescaling == pytest.approx(their_rescaling, rel=0.005)
    assert mean == pytest.approx(their_mean, abs=1e-5)
    assert norm == pytest.approx(their_norm, rel=0.005)


@pytest.mark.parametrize("name", TWO)
def test_dropping_from_two_task_vectors_is_alike(changes, name):
    ours, other = changes
    assert np.mean(ours == 0) == pytest.approx(np.mean(other == 0), abs=0.004)
    assert np.mean(ours > 0) == pytest.approx(np.mean(other > 0), abs=0.004)
    places = [0.01, 0.1, 0.25, 0.75, 0.9, 0.99]
    np.testing.assert_allclose(np.quantile(ours, places), np.quantile(other, places), rtol=0.02, atol=1e-6)
    assert ours.std() == pytest.approx(other.std(), rel=0.01)
