"""Emoji as Unicode names them: sequences, groups, short names and keywords; which are held out; their captions."""

import hashlib
import xml.etree.ElementTree
from typing import NamedTuple

HELD_OUT_ONE_IN = 10

ZERO_WIDTH_JOINER, EMOJI_PRESENTATION = 0x200D, 0xFE0F
SKIN_TONES = range(0x1F3FB, 0x1F400)
MAN, WOMAN, PERSON = 0x1F468, 0x1F469, 0x1F9D1
FEMALE_SIGN, MALE_SIGN = 0x2640, 0x2642


class Emoji(NamedTuple):
    """One line of emoji-test.txt: a fully-qualified sequence or a component (a lone skin tone or hair style)."""

    code_points: tuple
    name: str
    group: str
    subgroup: str

    def tones(self):
        return [point for point in self.code_points if point in SKIN_TONES]

    def is_toned(self):
        return len(self.code_points) > 1 and bool(self.tones())

    def file_stem(self):
        return "-".join(f"{point:x}" for point in self.code_points if point != EMOJI_PRESENTATION)


def without(code_points, *dropped):
    return tuple(point for point in code_points if point not in dropped)


def read_emoji_test(text):
    """All fully-qualified sequences and components, in the file's order."""
    emoji, group, subgroup = [], "", ""
    for line in text.splitlines():
        if line.startswith("# group:"):
            group = line.split(":", 1)[1].strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.split(":", 1)[1].strip()
        elif line and not line.startswith("#"):
            points, rest = line.split(";", 1)
            status, comment = rest.split("#", 1)
            if status.strip() in ("fully-qualified", "component"):
                name = comment.split(None, 2)[2].strip()  # after the drawing and the version, as in "E1.0"
                code_points = tuple(int(point, 16) for point in points.split())
                emoji.append(Emoji(code_points, name, group, subgroup))
    return emoji


class Annotations:
    """CLDR's short names and keywords of one language, by sequence."""

    def __init__(self, *documents):
        self.names_, self.keywords_ = {}, {}
        for document in documents:
            for annotation in xml.etree.ElementTree.fromstring(document).iter("annotation"):
                key = self.key(ord(character) for character in annotation.get("cp"))
                if annotation.get("type") == "tts":
                    self.names_[key] = annotation.text.strip()
                else:
                    self.keywords_[key] = [word.strip() for word in annotation.text.split("|")]

    @staticmethod
    def key(code_points):
        return without(code_points, EMOJI_PRESENTATION)

    def name(self, emoji):
        return self.names_.get(self.key(emoji.code_points))

    def keywords(self, emoji):
        name = self.name(emoji)
        return [word for word in self.keywords_.get(self.key(emoji.code_points), []) if word != name]


def family(emoji):
    """What is held out together: the sequence without skin tone and gender."""
    points = without(emoji.code_points, EMOJI_PRESENTATION, *SKIN_TONES)
    for sign in (FEMALE_SIGN, MALE_SIGN):
        if len(points) > 1 and points[-2:] == (ZERO_WIDTH_JOINER, sign):
            points = points[:-2]
    return tuple(PERSON if point in (MAN, WOMAN) else point for point in points) or emoji.code_points


def is_held_out(emoji):
    if emoji.group == "Flags":  # a flag's drawing says nothing that its country's name does: unseen, it is a guess
        return False
    key = "-".join(f"{point:x}" for point in family(emoji))
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % HELD_OUT_ONE_IN == 0


def english_name(emoji, english):
    return english.name(emoji) or emoji.name  # emoji-test.txt is newer than the annotations


def keyword_captions(emoji, english, chinese):
    """What a picture may be found by; the plain English name first. Training draws one of them each time."""
    name = english_name(emoji, english)
    words = ", ".join(english.keywords(emoji))
    captions = [name, f"a picture of {name}", f"{name} ({emoji.subgroup.replace('-', ' ')})"]
    if words:
        captions += [f"{name}: {words}", f"{words}, {name}"]
    if chinese.name(emoji):
        chinese_words = "、".join(chinese.keywords(emoji))
        captions.append(f"{chinese.name(emoji)}：{chinese_words}" if chinese_words else chinese.name(emoji))
    return captions


def name_captions(emoji, english, chinese):
    """The name in each language that has one, after a prompt that says the language: what a captioner learns to write."""
    captions = [f"en: {english_name(emoji, english)}"]
    if chinese.name(emoji):
        captions.append(f"zh: {chinese.name(emoji)}")
    return captions


# By the name that make_emoji_data.py's option --captions has for them.
CAPTIONS = {"keywords": keyword_captions, "names": name_captions}
