"""Write recorded.json: what dolma 1.2.1 and datatrove 0.10.1 say of the documents of the tests.

Neither can be installed beside langmerge with all that it needs. In two environments of their own:

    pip install dolma==1.2.1                            && PYTHONPATH=tests python tests/corpora/record.py dolma
    pip install 'datatrove[io]==0.10.1' spacy 'xxhash<4' nltk regex && PYTHONPATH=tests python tests/corpora/record.py datatrove
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from support.texts import documents

FILE = Path(__file__).with_name("recorded.json")

STOP_WORDS = ["the", "be", "to", "of", "and", "that", "have", "with"]


def by_dolma(text: str) -> dict[str, float]:
    """All attributes of gopher_v2, and which of the marks of c4_v2 the text has."""
    from dolma.core.data_types import Document
    from dolma.taggers.c4 import FasterC4Tagger
    from dolma.taggers.gopher import GopherTaggerV2

    document = Document(source="", id="", text=text)
    gopher = {span.type: span.score for span in GopherTaggerV2().predict(document).spans}
    c4 = {span.type for span in FasterC4Tagger().predict(document).spans if span.type.startswith("has_")}
    return gopher | {name: float(name in c4) for name in ("has_curly_brace", "has_lorem_ipsum", "has_javascript")}


def by_datatrove(text: str) -> dict[str, str]:
    """The decision of each filter, with datatrove's own splitter for English: "kept" or the reason."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter

    found = {}
    for name, step in {
        "gopher_quality": GopherQualityFilter(stop_words=STOP_WORDS),
        "gopher_repetition": GopherRepetitionFilter(),
        "c4": C4QualityFilter(),
    }.items():
        result = step.filter(Document(text, ""))
        found[name] = "kept" if result is True else result[1]
    return found


if __name__ == "__main__":
    library = sys.argv[1]
    record = {"dolma": by_dolma, "datatrove": by_datatrove}[library]
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    known[library] = {name: record(text) for name, text in documents().items()}
    FILE.write_text(json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
