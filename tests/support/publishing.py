"""A run with models that were given or fetched, of which the instruct model has learned one
conversation.
"""

from __future__ import annotations

import copy
import json
from contextlib import chdir
from pathlib import Path

import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from langmerge.commands import batch
from langmerge.grid import arguments
from langmerge.grid.grid import read_run
from langmerge.training.tokenizer import texts, train_tokenizer
from support.commands import call
from support.project import TINY_BACKBONE, TINY_RUN, Project
from support.tiny import make_world

QUESTION, ANSWER = "Who are you?", "A small model."

CELL = "tiny/linear/eu/w0.25"

ADAPTED, REVISION = "lab/tiny-eu", "0123456789abcdef0123456789abcdef01234567"
FETCHED = f"results/cache/models/lab--tiny-eu@{REVISION}"
"""The adapted model, and where `langmerge prefetch` would have put it."""

RUN = {
    **TINY_RUN,
    "evaluation_languages": [],
    "weights": [0.25, 1],
    "methods": {"linear": {"label": "Linear", "merge_method": "linear"}},
    "margins": {"benchmark": 90},
    "tables": {"best": {"layout": "best", "methods": ["linear"], "criterion": ["benchmark"]}},
    "figures": {},
}


def given_models(folder: Path, world: Path) -> None:
    """Write base, instruct and the adapted model into a project: a random model, one that has
    learned to answer QUESTION with ANSWER and to stop, and one that differs a little from the base.
    Each has a card.

    Args:
        world: of Basque, see `support.tiny.make_world`.
    """
    corpus = folder / "corpus.jsonl"
    corpus.write_text((world / "corpus.jsonl").read_text() + json.dumps({"text": f"{QUESTION} {ANSWER}"}) + "\n")
    tokenizer = train_tokenizer(texts([corpus]), 400)
    torch.manual_seed(0)
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,  # of 32, which vLLM's attention on a CPU needs
        "max_position_embeddings": 512,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    base = LlamaForCausalLM(LlamaConfig(**shape))
    instruct, adapted = copy.deepcopy(base), copy.deepcopy(base)
    learn(instruct, tokenizer)
    with torch.no_grad():
        for weight in adapted.parameters():
            weight.add_(torch.randn_like(weight) * 0.01)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    instruct.generation_config.eos_token_id = [tokenizer.eos_token_id, end]
    for name, model in {"models of mine/base": base, "models of mine/instruct": instruct, FETCHED: adapted}.items():
        model.to(torch.bfloat16).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        (folder / name / "README.md").write_text("---\nlicense: apache-2.0\n---\n\nA model.\n")
    record = {"hub": ADAPTED, "revision": REVISION, "patterns": [], "files": {}}
    (folder / FETCHED / "langmerge.json").write_text(json.dumps(record))
    mine = folder / "models of mine/instruct"
    (mine / "LICENSE").write_text("Do what you like.\n")
    settings = mine / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"name_or_path": str(mine)}))


def learn(model: LlamaForCausalLM, tokenizer: AutoTokenizer) -> None:
    """Teach a model one conversation, with the end of its turn."""
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
    tokens = torch.tensor([tokenizer(tokenizer.apply_chat_template(turns, tokenize=False))["input_ids"]])
    steps = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(100):
        steps.zero_grad()
        model(tokens, labels=tokens).loss.backward()
        steps.step()


def publishable(folder: Path) -> Project:
    """A project whose models are given and whose data is generated; nothing is evaluated."""
    project = Project.new(folder, copy.deepcopy(RUN))
    world = folder / "results" / "tiny" / "data" / "eu"
    make_world(world)
    given_models(folder, world)
    models = {
        "base": {"path": "models of mine/base"},
        "instruct": {"path": "models of mine/instruct"},
        "adapted": {"hub": "lab/tiny-{language}", "revision": REVISION},
    }
    backbone = {key: value for key, value in TINY_BACKBONE.items() if key not in ("tokenizer", "models")}
    project.write("backbones/tiny.yaml", {**backbone, "models": models})
    return project


def finish(project: Project) -> None:
    """Evaluate all models of a project, by the workflow's own jobs, in this process."""
    with chdir(project.folder):
        grid = read_run("config/config.yaml")
        for planned in list(grid.batches):
            file = grid.layout.batch(planned.backbone, planned.name)
            arguments.batch(grid, planned).write(file)
            if planned.in_memory:
                call(batch, file, "--recipes")
            call(batch, file)


def backbone_of(project: Project) -> dict:
    return yaml.safe_load((project.folder / "config/backbones/tiny.yaml").read_text())


def conversation(folder: Path) -> tuple[str, bool]:
    """What a model answers to QUESTION through its template, and whether it ended by itself."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    found = model.generate(**inputs, max_new_tokens=40, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return tokenizer.decode(found, skip_special_tokens=True), len(found) < 40
