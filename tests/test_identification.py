"""Which language a text is in."""

from __future__ import annotations

import pytest

from langmerge.identification import NO_LANGUAGE, Identifier, identifier, is_latin

RUN = ("ca", "en", "es", "eu", "gl")

SENTENCES = {
    "eu": "Pertsona guztiak aske jaiotzen dira, duintasun eta eskubide berberak dituztela.",
    "gl": "Todos os seres humanos nacen libres e iguais en dignidade e dereitos.",
    "ca": "Tots els éssers humans neixen lliures i iguals en dignitat i en drets.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
    "en": "All human beings are born free and equal in dignity and rights.",
    "cy": "Genir pawb yn rhydd ac yn gydradd â'i gilydd mewn urddas a hawliau.",
    "sw": "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa.",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_sentences_are_recognised_among_the_languages_of_a_run_and_among_all(language):
    text = SENTENCES[language]
    assert identifier((*RUN, "cy", "sw")).language(text) == language
    assert identifier().language(text) == language
    assert identifier((*RUN, "cy", "sw")).language(text.upper()) == language


def test_a_text_in_no_language_of_the_run_counts_as_the_nearest_of_its_script():
    assert identifier(RUN).language("Todos os seres humanos nascem livres e iguais em dignidade e em direitos.") == "gl"
    assert identifier(RUN).language("人人生而自由，在尊严和权利上一律平等。") == "zh"
    assert identifier(RUN).language("Все люди рождаются свободными и равными") == "ru"


def test_a_short_text_in_latin_letters_is_never_in_another_script():
    """`ar` was the most likely language of this one."""
    for text in ("rus (Egipte)", "a", "kg", "Hmm"):
        assert identifier(RUN).language(text) in RUN


def test_a_language_of_the_run_in_another_script_is_recognised():
    assert Identifier(("eu", "ru")).language("Все люди рождаются свободными") == "ru"


@pytest.mark.parametrize("text", ["", "  \n", "42.", "[name] [date]", "https://example.org/eu"])
def test_a_text_without_letters_is_in_no_language(text):
    assert identifier(RUN).language(text) == NO_LANGUAGE


def test_placeholders_and_addresses_do_not_count():
    text = "Kaixo [your name here], idatzi hona mesedez: https://www.example.com/please/write/here"
    assert identifier(RUN).language(text) == "eu"


def test_codes_that_the_classifier_does_not_know_are_left_out():
    known = Identifier(("eu", "xx-none"))
    assert "eu" in known.known and "xx-none" not in known.known
    assert known.language(SENTENCES["en"]) == "eu"


def test_latin_letters():
    assert is_latin("España, œuvre, ŵ, ẑ") and not is_latin("Мир, a")
