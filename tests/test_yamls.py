"""YAML files as people write them: what would be read as something else than was meant is refused."""

from __future__ import annotations

import pytest

from langmerge.errors import UserError
from langmerge.yamls import parse_yaml, read_yaml, yaml_argument


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: 1\nb: 2\na: 3\n",
            "x.yaml, line 3, column 1: the key a is given twice, first in line 1. Remove one of them.",
        ),
        ("m:\n  - {weight: 1, weight: 2}\n", "x.yaml, line 2, column 17: the key weight is given twice"),
        ('a: 1\n"a": 2\n', "line 2, column 1: the key a is given twice"),
        ("t: 1e-3\n", "x.yaml, line 1, column 4: 1e-3 is text to YAML. Write 1.0e-3, or, if it is text, '1e-3'."),
        ("t: 2.5e4\n", "Write 2.5e+4"),
        ("t: [1E5]\n", "Write 1.0e+5"),
    ],
)
def test_what_is_probably_a_mistake(text, message):
    with pytest.raises(UserError) as error:
        parse_yaml(text, "x.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_none():
    text = "base: &b {x: 1, y: 2}\nown: {<<: *b, x: 3}\nt: 1.0e-3\nname: '1e-3'\nsha: 1e5a\n"
    expected = {"base": {"x": 1, "y": 2}, "own": {"x": 3, "y": 2}, "t": 0.001, "name": "1e-3", "sha": "1e5a"}
    assert parse_yaml(text, "x.yaml") == expected


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding(tmp_path, encoding):
    (tmp_path / "recipe.yaml").write_text("name: Català\n", encoding=encoding)
    with pytest.raises(UserError, match=r"recipe\.yaml is not UTF-8 .*iconv"):
        read_yaml(tmp_path / "recipe.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: Català\n", encoding="utf-8-sig")
    assert read_yaml(tmp_path / "recipe.yaml") == {"name": "Català"}


def test_arguments_in_json_and_in_yaml():
    assert yaml_argument('{"t": 1e-07}') == {"t": 1e-07}
    assert yaml_argument("{t: 0.5}") == {"t": 0.5}
    with pytest.raises(UserError, match="the key t is given twice"):
        yaml_argument('{"t": 1, "t": 2}')
    with pytest.raises(UserError, match=r"Write 1\.0e-7"):
        yaml_argument("{t: 1e-7}")
