"""Cuts fonts down to what Vietnamese and Western European pages need: cut.py NODE_MODULES OUT.

For each face a .woff2 for pages and a .ttf for pictures and PDF, the licence beside them, and fonts.toml with what a
stylesheet must know to keep lines where they are while a font is still to come.
"""

import io
import json
import pathlib
import sys

from fontTools import subset
from fontTools.ttLib import TTFont

VIETNAMESE = [*map(ord, "ÀÁÂÃÈÉÊÌÍÒÓÔÕÙÚÝàáâãèéêìíòóôõùúýĂăĐđĨĩŨũƠơƯư"), *range(0x1EA0, 0x1EFA), ord("₫")]
LATIN = [*range(0x20, 0x7F), *map(ord, "ÄÅÆÇËÏÑÖØÜßäåæçëïñöøü")]
SIGNS = [*map(ord, "\u00a0–—‘’“”„…•·«»‹›×÷±°²³½¼¾€£¥©®™→←↑↓−≈≤≥§ªº")]

# package, file, family, weight, the kind of the system's fonts that stand in for it
FACES = [
    ("be-vietnam-pro", "400Regular/BeVietnamPro_400Regular.ttf", "Be Vietnam Pro", 400, "sans-serif"),
    ("be-vietnam-pro", "700Bold/BeVietnamPro_700Bold.ttf", "Be Vietnam Pro", 700, "sans-serif"),
    ("bricolage-grotesque", "700Bold/BricolageGrotesque_700Bold.ttf", "Bricolage Grotesque", 700, "sans-serif"),
    ("fraunces", "700Bold/Fraunces_700Bold.ttf", "Fraunces", 700, "serif"),
    ("lexend", "700Bold/Lexend_700Bold.ttf", "Lexend", 700, "sans-serif"),
    ("literata", "400Regular/Literata_400Regular.ttf", "Literata", 400, "serif"),
    ("literata", "700Bold/Literata_700Bold.ttf", "Literata", 700, "serif"),
    ("noto-serif-display", "700Bold/NotoSerifDisplay_700Bold.ttf", "Noto Serif Display", 700, "serif"),
]

# Fonts that stand in, those of equal widths together: of computers and iPhones, of Android. By weight the full names they
# go by, and the widths of a-z and space in thousandths of an em.
STAND_INS = {
    "sans-serif": [
        {
            400: (["Arial", "Liberation Sans"],
                  [556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278,
                   556, 500, 722, 500, 500, 500, 278]),
            700: (["Arial Bold", "Liberation Sans Bold"],
                  [556, 611, 556, 611, 556, 333, 611, 611, 278, 278, 556, 278, 889, 611, 611, 611, 611, 389, 556, 333,
                   611, 556, 778, 556, 556, 500, 278]),
        },
        {
            400: (["Roboto", "Roboto Regular"],
                  [544, 562, 523, 564, 530, 348, 562, 551, 243, 239, 507, 243, 877, 552, 570, 562, 568, 339, 516, 327,
                   551, 484, 751, 496, 473, 496, 248]),
            700: (["Roboto Bold"],
                  [536, 563, 522, 564, 541, 358, 571, 560, 265, 260, 534, 265, 866, 560, 565, 563, 565, 365, 515, 338,
                   560, 506, 735, 509, 502, 509, 249]),
        },
    ],
    "serif": [
        {
            400: (["Times New Roman", "Liberation Serif"],
                  [444, 500, 444, 500, 444, 333, 500, 500, 278, 278, 500, 278, 778, 500, 500, 500, 500, 333, 389, 278,
                   500, 500, 722, 500, 500, 444, 250]),
            700: (["Times New Roman Bold", "Liberation Serif Bold"],
                  [500, 556, 444, 556, 444, 333, 500, 556, 278, 333, 556, 278, 833, 556, 500, 556, 556, 444, 389, 333,
                   556, 500, 722, 500, 500, 444, 250]),
        },
        {
            400: (["Noto Serif", "Noto Serif Regular"],
                  [563, 614, 492, 614, 535, 369, 538, 635, 320, 300, 585, 310, 945, 645, 577, 614, 614, 471, 451, 352,
                   635, 579, 862, 578, 565, 511, 260]),
            700: (["Noto Serif Bold"],
                  [599, 649, 527, 649, 571, 407, 560, 667, 352, 345, 636, 352, 986, 667, 613, 645, 648, 523, 488, 405,
                   667, 606, 856, 646, 579, 529, 260]),
        },
    ],
}
# How often a letter stands in Vietnamese, its marks left out; a-z and space, in thousandths.
FREQUENCY = [80, 12, 35, 25, 35, 0, 32, 75, 60, 0, 18, 18, 30, 95, 55, 14, 6, 18, 14, 62, 52, 20, 0, 8, 14, 0, 222]


def average(widths):
    return sum(width * often for width, often in zip(widths, FREQUENCY)) / sum(FREQUENCY)


def metrics(font, stand_in):
    em = font["head"].unitsPerEm
    letters, widths = font.getBestCmap(), font["hmtx"].metrics
    own = average([widths[letters[ord(letter)]][0] * 1000 / em for letter in "abcdefghijklmnopqrstuvwxyz "])
    size = own / average(stand_in)
    line = font["hhea"]
    percent = lambda value: f"{value / em / size * 100:.2f}%"
    return size, percent(line.ascent), percent(-line.descent), percent(line.lineGap)


def main(modules, out):
    rows = []
    for package, file, family, weight, kind in FACES:
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
        rows.append(f'[[face]]\nfile = "{name}"\nfamily = "{family}"\nweight = {weight}\nkind = "{kind}"\n')
        for stand_in in STAND_INS[kind]:
            names, widths = stand_in[weight]
            size, ascent, descent, gap = metrics(font, widths)
            rows.append(
                f'[[face.stand_in]]\nnames = {json.dumps(names)}\nsize_adjust = "{size * 100:.2f}%"\n'
                f'ascent = "{ascent}"\ndescent = "{descent}"\nline_gap = "{gap}"\n'
            )
    (out / "fonts.toml").write_text("# Made by deploy/fonts/make.\n\n" + "\n".join(rows))


main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
