"""The typefaces of pages and reports, and which text they can show.

Fira Sans for our own words, Greek and Cyrillic; DejaVu Sans (as matplotlib ships it) for further alphabets; Noto Sans
CJK for Chinese, Japanese and Korean. A character that none of them has would be drawn as an empty box: text with such a
character is left out as a whole, since half a name is a wrong name.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import fontpkg_fira_sans
import matplotlib as mpl
import noto_cjk_sans_jp_regular
from fontTools.ttLib import TTFont
from PIL import ImageFont


class Face(StrEnum):
    """A typeface; the first three are weights of one family."""

    REGULAR = "regular"
    MEDIUM = "medium"
    BOLD = "bold"
    ALPHABETS = "alphabets"
    CJK = "cjk"


FALLBACKS = (Face.ALPHABETS, Face.CJK)
"""Where a character is looked for that a weight of Fira Sans has not."""

UNSHAPED = frozenset({"L", "EN", "ES", "ET", "AN", "CS", "B", "S", "WS", "ON", "NSM"})
"""Bidirectional classes (Unicode, UAX 9) of what is drawn letter by letter from left to right."""


def path_of(face: Face) -> Path:
    """The font file of ``face``."""
    fira = Path(fontpkg_fira_sans.ROOT) / "files"
    return {
        Face.REGULAR: fira / "FiraSans-Regular.ttf",
        Face.MEDIUM: fira / "FiraSans-Medium.ttf",
        Face.BOLD: fira / "FiraSans-SemiBold.ttf",
        Face.ALPHABETS: Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf",
        Face.CJK: Path(str(noto_cjk_sans_jp_regular.FONT_PATH)),
    }[face]


@lru_cache(maxsize=128)
def font(size: int, face: Face = Face.REGULAR) -> ImageFont.FreeTypeFont:
    """``face`` at ``size`` pixels. Always Pillow's own layout, so that a page does not depend on the system's Raqm."""
    return ImageFont.truetype(str(path_of(face)), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=len(Face))
def _characters(face: Face) -> frozenset[int]:
    """Code points that ``face`` has a glyph for."""
    with TTFont(path_of(face), lazy=True) as opened:
        return frozenset(opened.getBestCmap())


@lru_cache(maxsize=4096)
def face_of(character: str, wanted: Face = Face.REGULAR) -> Face | None:
    """The first face that has ``character``: ``wanted``, then the fallbacks; None where none has it."""
    point = ord(character)
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"} or character == "\N{REPLACEMENT CHARACTER}":
        return None  # DejaVu has pictures for some of them; they are no text
    return next((face for face in (wanted, *FALLBACKS) if point in _characters(face)), None)


def can_print(text: str) -> bool:
    """Whether a document, which is set with shaping and from right to left where needed, can show all of ``text``."""
    return all(face_of(character) is not None for character in text)


def can_draw(text: str) -> bool:
    """Whether a picture, which is drawn letter by letter, can show all of ``text``: no Arabic, Hebrew or Indic."""
    return can_print(text) and all(_stands_alone(character) for character in text)


def _stands_alone(character: str) -> bool:
    spacing = unicodedata.category(character) not in {"Mc", "Mn", "Me"}
    return spacing and unicodedata.bidirectional(character) in UNSHAPED


def runs(text: str, wanted: Face) -> Iterator[tuple[str, Face]]:
    """``text`` in pieces that one face can draw, in order. What no face has is left out."""
    piece, current = "", wanted
    for character in text:
        face = face_of(character, wanted)
        if face is None:
            continue
        if face is not current and piece:
            yield piece, current
            piece = ""
        piece, current = piece + character, face
    if piece:
        yield piece, current


@lru_cache(maxsize=8192)
def width(text: str, size: int, face: Face = Face.REGULAR) -> float:
    """Length of ``text`` in pixels when drawn at ``size``."""
    return sum(font(size, piece_face).getlength(piece) for piece, piece_face in runs(text, face))


def wrap(text: str, most: float, lines: int, size: int, face: Face = Face.REGULAR) -> list[str]:
    """``text`` in lines of at most ``most`` pixels; what does not fit into ``lines`` lines is cut with an ellipsis."""
    words, result = text.split(), [""]
    for index, word in enumerate(words):
        longer = f"{result[-1]} {word}".strip()
        if width(longer, size, face) <= most or not result[-1]:
            result[-1] = longer
        elif len(result) < lines:
            result.append(word)
        else:
            result[-1] = cut(f"{result[-1]} {' '.join(words[index:])}", most, size, face)
            break
    return [cut(line, most, size, face) for line in result if line]


def cut(line: str, most: float, size: int, face: Face = Face.REGULAR) -> str:
    """``line``, shortened to ``most`` pixels with an ellipsis at its end where it is longer."""
    if width(line, size, face) > most:
        kept = bisect_left(range(1, len(line)), True, key=lambda n: width(f"{line[:n]}…", size, face) > most)
        return f"{line[:kept].rstrip()}…"
    return line
