"""YAML: what is refused because it would be misread, with the line and what to write instead."""

from __future__ import annotations

import json

import pytest

from langmerge.errors import UserError
from langmerge.yamls import document_argument, parse_yaml, read_document, read_yaml
from support.paths import ROOT


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", ["f.yaml:3: a: the key stands twice, first in line 1"]),
        ("a:\n  b: 1\n  b: 2", ["f.yaml:3: a.b: the key stands twice, first in line 2"]),
        ("a: [{b: 1, b: 2}]", ["f.yaml:1: a.0.b: the key stands twice"]),
        ('{"a": 1, "a": 2}', ["f.yaml: a: the key stands twice"]),
        ("a: [eu, no]", ["f.yaml:1: a.1: YAML reads no as false", '"no" in quotes', "or false"]),
        ("on: 1", ["f.yaml:1: on: YAML reads on as true", '"on" in quotes']),
        ("a: 1\nb: 1e-3", ["f.yaml:2: b: YAML reads 1e-3 as text", "1.0e-3"]),
        ("a: 2.5e3", ["YAML reads 2.5e3 as text", "2.5e+3"]),
        ("a: 010", ["YAML reads 010 as the octal number 8", "Write 10", '"010"']),
        ("a: 12:30", ["a number in base 60"]),
        ("a: 2026-11-27", ["as a date"]),
        ("a: 2026-13-40", ["as a date"]),
        ("1: a", ['f.yaml:1: 1: expected a name as the key. Write "1" in quotes']),
        ("a:\n\t- b", ["f.yaml is not YAML, line 2", "'\\t'", "with spaces, not with tabs"]),
        ("a: {b: mini_{language}}", ["f.yaml is not YAML, line 1", 'text with braces in quotes: "{language}"']),
        ("a: b: c", ["line 1", "colon in quotes"]),
        ("a: [1, 2", ["line 1", "not closed"]),
        ("a: *b", ["undefined alias", "in quotes"]),
        ("a: &b [*b]", ["f.yaml:1: a.0: the alias stands for what it is itself a part of"]),
        ("a: !thing b", ["line 1", "in quotes"]),
        ("a: 1\n---\na: 2", ["line 2", "Keep one document"]),
        ("a: 1\nb: \x07", ["line 2", "control character '\\x07'"]),
        ("[" * 3000, ["nested too deeply"]),
    ],
)
def test_what_would_be_misread_is_refused(text, words):
    with pytest.raises(UserError) as refused:
        parse_yaml(text, "f.yaml")
    assert all(word in str(refused.value) for word in words), refused.value


def test_all_of_it_in_one_message():
    with pytest.raises(UserError) as refused:
        parse_yaml("a: no\nb: 010\nc: 1\nc: 1e5", "f.yaml")
    assert [line.split(" ")[0] for line in str(refused.value).splitlines()] == [
        "f.yaml:1:",
        "f.yaml:2:",
        "f.yaml:4:",
        "f.yaml:4:",
    ]


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("a: 'no'\nb: \"010\"\nc: '1e-3'", {"a": "no", "b": "010", "c": "1e-3"}),
        (
            "a: [true, False, 0, 1.0e-3, 1e, e5, no one, 0.5, -1]",
            [True, False, 0, 0.001, "1e", "e5", "no one", 0.5, -1],
        ),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        (json.dumps({"learning_rate": 1e-05}), {"learning_rate": 1e-05}),  # not YAML's text "1e-05"
        ("", None),
        ("# nothing", None),
    ],
)
def test_what_is_plain_is_read(text, content):
    found = parse_yaml(text, "f.yaml")
    assert found == ({"a": content} if isinstance(content, list) else content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: ñ".encode("utf-16"), ["is in UTF-16. Save it as UTF-8"]),
        ("a: 1\nb: ñ".encode("latin-1"), ["f.yaml:2: not UTF-8: the byte 0xf1"]),
    ],
)
def test_another_encoding(tmp_path, content, words):
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        read_yaml(path)
    assert all(word in str(refused.value) for word in words), refused.value


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "f.yaml").write_bytes("a: 1".encode("utf-8-sig"))
    assert read_yaml(tmp_path / "f.yaml") == {"a": 1}


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "config.yaml").write_text("a: 1")
    with pytest.raises(UserError, match=r"confg\.yaml: no such file\. Did you mean 'config\.yaml'"):
        read_yaml(tmp_path / "confg.yaml")
    with pytest.raises(UserError, match=r"is a folder, expected a YAML file\. It holds config\.yaml"):
        document_argument(str(tmp_path))
    with pytest.raises(UserError, match="too long"):
        document_argument("x" * 5000)
    with pytest.raises(UserError, match="no such file"):
        document_argument("a\0b")


def test_the_line_of_a_key_or_of_what_it_would_be_in(tmp_path):
    (tmp_path / "f.yaml").write_text("a:\n  b: 1\n  c:\n    - x\n    - y\n")
    document = read_document(tmp_path / "f.yaml")
    assert [document.line(key) for key in (("a",), ("a", "b"), ("a", "c", 1), ("a", "c", 1, "z"), ("q",))] == [
        1,
        2,
        5,
        5,
        1,
    ]
    assert document.at(("a", "c", 1)) == f"{tmp_path / 'f.yaml'}:5: a.c.1"


@pytest.mark.parametrize(
    "path", [path for path in ROOT.rglob("config/**/*.yaml") if ".venv" not in path.parts], ids=lambda path: path.stem
)
def test_the_shipped_files_are_plain(path):
    read_document(path)
