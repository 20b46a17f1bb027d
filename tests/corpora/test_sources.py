"""Reading documents of every format; what cannot be read is counted or refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from langmerge.corpora.sources import Source, ending
from langmerge.errors import UserError

TEXTS = ["bat\nbi", "hiru", "lau ñ"]
LINES = "".join(json.dumps({"text": text, "url": f"https://{number}.eus"}) + "\n" for number, text in enumerate(TEXTS))


def compressed(text: str, file: Path) -> Path:
    content = text.encode()
    match file.suffix:
        case ".gz":
            file.write_bytes(gzip.compress(content))
        case ".zst":
            with pa.CompressedOutputStream(str(file), "zstd") as stream:
                stream.write(content)
        case _:
            file.write_bytes(content)
    return file


def read(file: Path, url: str | None = "url", split: str = "file", text: str = "text") -> tuple[list, dict[str, int]]:
    step = Source([file], text, url, split)
    documents = list(step.run(rank=0))
    return documents, {name: int(stat.total) for name, stat in step.stats.stats.items()}


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_json_lines(tmp_path, name):
    documents, counts = read(compressed(LINES + "\n", tmp_path / name))
    assert [document.text for document in documents] == TEXTS
    assert [document.metadata["url"] for document in documents] == ["https://0.eus", "https://1.eus", "https://2.eus"]
    assert counts == {"total": 3}


def test_parquet_with_other_columns(tmp_path):
    table = pa.table({"content": TEXTS, "address": ["x"] * 3, "id": [1, 2, 3]})
    pq.write_table(table, tmp_path / "a.parquet")
    documents, _ = read(tmp_path / "a.parquet", url="address", text="content")
    assert [(document.text, document.metadata) for document in documents] == [(text, {"url": "x"}) for text in TEXTS]
    with pytest.raises(UserError, match="it has the columns content, address, id, expected text"):
        read(tmp_path / "a.parquet", url=None)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.zst"])
@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("file", ["bat\nbi\n\n\nhiru\n"]),
        ("blank_lines", ["bat\nbi\n", "hiru\n"]),
        ("lines", ["bat\n", "bi\n", "hiru\n"]),
    ],
)
def test_plain_text(tmp_path, name, split, expected):
    documents, _ = read(compressed("bat\r\nbi\n\n\nhiru\n", tmp_path / name), split=split)
    assert [document.text for document in documents] == expected


def test_what_cannot_be_read_is_counted(tmp_path):
    broken = ["{", '{"text": 1}', '{"txt": "a"}', '{"text": " "}', "[]", '{"text": "\\ud800"}', '{"text": "ondo"}']
    documents, counts = read(compressed("\n".join(broken), tmp_path / "a.jsonl"))
    assert [document.text for document in documents] == ["ondo"]
    assert counts == {"total": 7, "dropped": 6, "dropped_not JSON in UTF-8": 2, "dropped_no text": 4}


def test_datatroves_reader_of_json_lines_needs_another_package():
    """Why Source is here."""
    from datatrove.pipeline.readers import JsonlReader

    with pytest.raises(ImportError, match="orjson"):
        JsonlReader("folder")


def test_datatroves_reader_of_parquet_counts_no_empty_texts(tmp_path):
    """Why Source is here."""
    from datatrove.pipeline.readers import ParquetReader

    pq.write_table(pa.table({"text": ["", None, "ondo"], "id": [1, 2, 3]}), tmp_path / "a.parquet")
    reader = ParquetReader(str(tmp_path))
    assert [document.text for document in reader.run()] == ["ondo"]
    assert int(reader.stats["documents"].total) == 1
    assert "dropped" not in reader.stats.stats
    documents, counts = read(tmp_path / "a.parquet", url=None)
    assert (len(documents), counts["dropped_no text"]) == (1, 2)


def test_a_wrong_column_is_refused_with_those_that_are_there(tmp_path):
    with pytest.raises(UserError, match=r"no document has a text in 'content'; its keys are \['text', 'url'\]"):
        read(compressed(LINES, tmp_path / "a.jsonl"), text="content")


def test_a_cut_file_is_refused(tmp_path):
    file = compressed(LINES * 100, tmp_path / "a.jsonl.gz")
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(UserError, match=r"a.jsonl.gz cannot be read"):
        read(file)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"a.parquet cannot be read"):
        read(tmp_path / "a.parquet")


def test_plain_text_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes("año".encode("latin-1"))
    with pytest.raises(UserError, match=r"a.txt is not UTF-8"):
        read(tmp_path / "a.txt")


@pytest.mark.parametrize("name", ["a.json", "a", "a.csv.gz", "a.jsonl.bz2"])
def test_other_endings_are_refused(name):
    with pytest.raises(UserError, match=r"expected a name in .jsonl, .parquet, .txt"):
        ending(Path(name))
