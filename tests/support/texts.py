"""Documents for the filters of corpora: paragraphs in eight languages, and texts that break one
rule each.

tests/corpora/recorded.json holds what dolma 1.2.1 and datatrove 0.10.1 say of them;
tests/corpora/record.py wrote it.
"""

from __future__ import annotations

PARAGRAPHS = {
    "eu": """\
Herriko liburutegiak ehun urte bete ditu aurten, eta ospatzeko ekitaldi ugari antolatu dituzte. Lehenengo
egunean, idazle gazteek beren ipuinak irakurri zituzten plazan. Gero, adinekoek kontatu zuten nolakoa zen
bizitza liburutegia zabaldu zutenean. Garai hartan liburu gutxi zeuden, baina jende asko etortzen zen irakurtzera.
Orain ordenagailuak ere badaude, eta haurrek arratsaldero etortzen dira etxeko lanak egitera. Zuzendariak esan du
eraikina handitu nahi dutela datorren urtean. Horretarako udalaren laguntza behar izango dute, eta auzokideek
sinadurak biltzen hasi dira.""",
    "gl": """\
A ponte vella cruza o río desde hai máis de catro séculos, e os veciños aínda a usan todos os días. Cando chove
moito, a auga sobe ata tapar as pedras máis baixas. Un enxeñeiro explicou que a construción resiste porque os arcos
reparten o peso. Na primavera chegan turistas para facer fotografías e para comer nas tabernas da beira. O concello
quere poñer luces novas, pero algunhas persoas prefiren que todo quede como está. Dentro dunhas semanas haberá unha
reunión na escola para falar do asunto.""",
    "ca": """\
El mercat del barri obre cada dissabte a les vuit del matí, quan encara fa fred i els carrers són buits. Les
primeres parades que es munten són les de fruita i verdura. La Maria ven formatges que fa el seu germà en un poble
de muntanya. Diu que els clients sempre li demanen el mateix, però que a ella li agrada ensenyar coses noves. Al
migdia arriben les famílies amb els nens i tot s'omple de veus. Quan s'acaba el mercat, els comerciants netegen la
plaça i tornen a casa cansats però contents.""",
    "es": """\
La estación de tren del pueblo cerró hace diez años, pero el edificio sigue en pie junto a las vías. Una asociación
de vecinos decidió arreglarlo para convertirlo en un museo pequeño. Durante el verano pintaron las paredes y
cambiaron los cristales rotos. También encontraron en el sótano un reloj antiguo que todavía funciona. Los niños de
la escuela han preparado una exposición con fotografías de sus abuelos. Si todo va bien, el museo abrirá sus puertas
en otoño y la entrada será gratuita para todos.""",
    "cy": """\
Mae'r ysgol newydd wedi agor ei drysau yr wythnos hon, ac mae'r plant yn hapus iawn. Roedd yr hen adeilad yn rhy
fach ac roedd y to yn gollwng pan oedd hi'n bwrw glaw. Nawr mae ganddyn nhw lyfrgell fawr a chae chwarae y tu ôl i'r
neuadd. Dywedodd y brifathrawes fod y rhieni wedi helpu i blannu coed o gwmpas y maes parcio. Bydd cyngerdd yn cael
ei gynnal ym mis Rhagfyr i ddathlu'r achlysur. Mae croeso i bawb ddod, ond rhaid prynu tocyn o flaen llaw.""",
    "ast": """\
La fiesta del pueblu entama esti sábadu cola carrera de caballos pela mañana. Dempués de xintar, los mozos van a
cantar na plaza y les muyeres van vender dulces feitos en casa. Va venir una banda de gaites de la villa que toca
dende hai cincuenta años. La xente mayor diz qu'enantes la fiesta duraba tres díes y que nun dormía naide. Esti añu
tamién va haber un concursu de sidra, y el que gane va llevar un xamón. Si llueve, tou se va facer na escuela vieya,
que tien sitiu pa toos.""",
    "sw": """\
Wakulima wa kijiji hiki wameanza kupanda miti mipya kando ya mto ili kuzuia mmomonyoko wa udongo. Kila mwaka mvua
kubwa ilikuwa inaharibu mashamba yao na kuchukua mazao. Mwalimu wa shule ya msingi aliwafundisha jinsi ya kuchimba
mifereji na kuhifadhi maji. Sasa watoto wanasaidia baada ya masomo, na wazazi wanaleta mbegu kutoka nyumbani. Mkuu wa
kijiji alisema kwamba kazi hii ni ya watu wote. Baada ya miaka mitano, wanatumaini kwamba mto utakuwa na maji safi na
samaki wengi kama zamani.""",
    "en": """\
The harbour was quiet that morning, and only two boats had come back from the night's fishing. A woman with a red
scarf was counting the baskets and writing the numbers in a book. She told us that the catch had been poor since the
spring, but that nobody wanted to give up. Her grandfather had built the first jetty with stones from the old
church. In the afternoon the wind turned, and the children ran to the beach to look for shells. We stayed until the
lamps were lit and the last bus was about to leave.""",
}
"""Written for these tests; each has more than 50 words and at least five sentences, and line breaks
within sentences as they are in no corpus.
"""

PARAGRAPHS = {code: text.replace("\n", " ") for code, text in PARAGRAPHS.items()}

ENGLISH = PARAGRAPHS["en"]
SENTENCES = [f"{sentence}." for sentence in ENGLISH.rstrip(".").split(". ")]
WORDS = ENGLISH.replace(".", "").replace(",", "").split()


def documents() -> dict[str, str]:
    """The documents by name."""
    lines = "\n".join(SENTENCES)
    return {
        **{f"paragraph {code}": text for code, text in PARAGRAPHS.items()},
        "lines": lines,
        "blank lines": "\n\n".join(SENTENCES),
        "49 words": " ".join(WORDS[:49]),
        "50 words": " ".join(WORDS[:50]),
        "49 words and punctuation": " ".join(WORDS[:49]) + " – – – .",
        "one word": "word",
        "short words": " ".join(["to a be of", *WORDS[:3]] * 20),
        "long words": "to be " + " ".join(f"{word}{word}ation{word}" for word in WORDS),
        "no stop words": " ".join(
            word for word in WORDS if word not in {"the", "be", "to", "of", "and", "that", "have", "with"}
        ),
        "one stop word twice": " ".join(
            [
                "and",
                *[word for word in WORDS if word not in {"the", "be", "to", "of", "and", "that", "have", "with"}],
                "and",
            ]
        ),
        "stop words in capitals": ENGLISH.upper(),
        "hashes": ENGLISH.replace(" the ", " #the "),
        "few hashes": ENGLISH + " #one",
        "ellipses in words": ENGLISH.replace(" the ", " … "),
        "dots in words": ENGLISH.replace(" the ", " ... "),
        "lines end in an ellipsis": "\n".join(sentence.rstrip(".") + "…" for sentence in SENTENCES),
        "lines end in dots": "\n".join(sentence.rstrip(".") + "..." for sentence in SENTENCES),
        "bullets *": "\n".join(f"* {sentence}" for sentence in SENTENCES),
        "bullets -": "\n".join(f"- {sentence}" for sentence in SENTENCES),
        "bullets •": "\n".join(f"• {sentence}" for sentence in SENTENCES),
        "indented bullets": "\n".join(f"  - {sentence}" for sentence in SENTENCES),
        "numbers": " ".join(f"{word} {number + 1000}" for number, word in enumerate(WORDS)),
        "some numbers": " ".join(f"{word} {number}" if number % 6 == 0 else word for number, word in enumerate(WORDS)),
        "a line twice": f"{lines}\n{SENTENCES[0]}",
        "lines twice": f"{lines}\n{lines}",
        "blank lines repeated": "\n\n\n\n".join(SENTENCES),
        "a paragraph twice": f"{ENGLISH}\n\n{' '.join(PARAGRAPHS['es'].split()[:60])}\n\n{ENGLISH}",
        "a phrase repeated": " ".join(["the harbour was quiet", *WORDS] * 1 + ["the harbour was quiet"] * 12),
        "a pair repeated": " ".join(f"big boat {word}" for word in WORDS),
        "the same sentence in other lines": "\n".join(
            f"{number}: {SENTENCES[1]} {SENTENCES[number % 6]}" for number in range(8)
        ),
        "curly bracket": ENGLISH + " {",
        "javascript": ENGLISH + " Enable JavaScript please.",
        "javascript in a word": ENGLISH + " nojavascripts here.",
        "lorem ipsum": ENGLISH + " Lorem ipsum dolor sit amet.",
        "no full stops": lines.replace(".", ""),
        "quotes at the ends": "\n".join(f'"{sentence}"' for sentence in SENTENCES),
        "tabs and spaces": ENGLISH.replace(" ", " \t "),
        "spaces that do not break": ENGLISH.replace(" a ", "\u00a0a\u00a0"),
        "accents": PARAGRAPHS["gl"] + " Ó".join(WORDS[:40]),
        "cookies": f"{lines}\nThis site uses cookies and has a privacy policy for readers.",
    }
