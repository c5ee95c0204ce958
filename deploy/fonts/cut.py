"""Cuts fonts down to what Vietnamese and Western European pages need: cut.py NODE_MODULES OUT.

For each face a .woff2 for pages and a .ttf for pictures and PDF, the licence beside them, and fonts.toml with what a
stylesheet must know to keep lines where they are while a font is still to come.
"""

import io
import pathlib
import sys

from fontTools import subset
from fontTools.ttLib import TTFont

VIETNAMESE = [*map(ord, "ÀÁÂÃÈÉÊÌÍÒÓÔÕÙÚÝàáâãèéêìíòóôõùúýĂăĐđĨĩŨũƠơƯư"), *range(0x1EA0, 0x1EFA), ord("₫")]
LATIN = [*range(0x20, 0x7F), *map(ord, "ÄÅÆÇËÏÑÖØÜßäåæçëïñöøü")]
SIGNS = [*map(ord, "\u00a0–—‘’“”„…•·«»‹›×÷±°²³½¼¾€£¥©®™→←↑↓−≈≤≥§ªº")]

# package, file, family, weight, the system's font that stands in for it
FACES = [
    ("be-vietnam-pro", "400Regular/BeVietnamPro_400Regular.ttf", "Be Vietnam Pro", 400, "Arial"),
    ("be-vietnam-pro", "700Bold/BeVietnamPro_700Bold.ttf", "Be Vietnam Pro", 700, "Arial"),
    ("bricolage-grotesque", "700Bold/BricolageGrotesque_700Bold.ttf", "Bricolage Grotesque", 700, "Arial"),
    ("fraunces", "700Bold/Fraunces_700Bold.ttf", "Fraunces", 700, "Times New Roman"),
    ("lexend", "700Bold/Lexend_700Bold.ttf", "Lexend", 700, "Arial"),
    ("literata", "400Regular/Literata_400Regular.ttf", "Literata", 400, "Times New Roman"),
    ("literata", "700Bold/Literata_700Bold.ttf", "Literata", 700, "Times New Roman"),
    ("noto-serif-display", "700Bold/NotoSerifDisplay_700Bold.ttf", "Noto Serif Display", 700, "Times New Roman"),
]

# Widths of a-z and space in thousandths of an em, of the stand-ins in regular and bold.
STAND_INS = {
    ("Arial", 400): [556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278,
                     556, 500, 722, 500, 500, 500, 278],
    ("Arial", 700): [556, 611, 556, 611, 556, 333, 611, 611, 278, 278, 556, 278, 889, 611, 611, 611, 611, 389, 556, 333,
                     611, 556, 778, 556, 556, 500, 278],
    ("Times New Roman", 400): [444, 500, 444, 500, 444, 333, 500, 500, 278, 278, 500, 278, 778, 500, 500, 500, 500, 333,
                               389, 278, 500, 500, 722, 500, 500, 444, 250],
    ("Times New Roman", 700): [500, 556, 444, 556, 444, 333, 500, 556, 278, 333, 556, 278, 833, 556, 500, 556, 556, 444,
                               389, 333, 556, 500, 722, 500, 500, 444, 250],
}
# How often a letter stands in Vietnamese, its marks left out; a-z and space, in thousandths.
FREQUENCY = [80, 12, 35, 25, 35, 0, 32, 75, 60, 0, 18, 18, 30, 95, 55, 14, 6, 18, 14, 62, 52, 20, 0, 8, 14, 0, 222]


def average(widths):
    return sum(width * often for width, often in zip(widths, FREQUENCY)) / sum(FREQUENCY)


def metrics(font, weight, stand_in):
    em = font["head"].unitsPerEm
    letters, widths = font.getBestCmap(), font["hmtx"].metrics
    own = average([widths[letters[ord(letter)]][0] * 1000 / em for letter in "abcdefghijklmnopqrstuvwxyz "])
    size = own / average(STAND_INS[stand_in, weight])
    line = font["hhea"]
    percent = lambda value: f"{value / em / size * 100:.2f}%"
    return size, percent(line.ascent), percent(-line.descent), percent(line.lineGap)


def main(modules, out):
    rows = []
    for package, file, family, weight, stand_in in FACES:
        source = modules / "@expo-google-fonts" / package
        has = set(TTFont(source / file).getBestCmap())
        missing = [chr(letter) for letter in VIETNAMESE + LATIN if letter not in has]
        if missing:
            sys.exit(f"error: {family} {weight} has no {''.join(missing)}")
        options = subset.Options(layout_features=["kern"], hinting=False, name_IDs=[1, 2], notdef_outline=True)
        # Written with the time of its making otherwise.
        font = subset.load_font(source / file, options)
        font.recalcTimestamp = False
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=VIETNAMESE + LATIN + SIGNS)
        cutter.subset(font)
        name = f"{package}-{weight}"
        for flavor, ending in ((None, "ttf"), ("woff2", "woff2")):
            font.flavor = flavor
            octets = io.BytesIO()
            font.save(octets, reorderTables=True)
            (out / f"{name}.{ending}").write_bytes(octets.getvalue())
        (out / f"OFL-{package}.txt").write_bytes((source / "LICENSE_FONT").read_bytes())
        size, ascent, descent, gap = metrics(font, weight, stand_in)
        rows.append(
            f'[[face]]\nfile = "{name}"\nfamily = "{family}"\nweight = {weight}\nstand_in = "{stand_in}"\n'
            f'size_adjust = "{size * 100:.2f}%"\nascent = "{ascent}"\ndescent = "{descent}"\nline_gap = "{gap}"\n'
        )
    (out / "fonts.toml").write_text("# Made by deploy/fonts/make.\n\n" + "\n".join(rows))


main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
