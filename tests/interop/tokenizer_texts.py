"""Texts that tokenizers find hard: of many scripts, with emoji, spaces, controls, marks, long words, markup, nothing."""

import random
import unicodedata

# First and last character of blocks, and the length of their words.
SCRIPTS = {
    "latin": ([(0x61, 0x7A), (0xC0, 0x24F), (0x1E00, 0x1EFF)], 12), "greek": ([(0x370, 0x3FF), (0x1F00, 0x1FFF)], 10),
    "cyrillic": ([(0x400, 0x52F)], 10), "armenian": ([(0x531, 0x58A)], 9), "hebrew": ([(0x591, 0x5F4)], 7),
    "arabic": ([(0x600, 0x6FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC)], 8), "devanagari": ([(0x900, 0x97F)], 8),
    "bengali": ([(0x980, 0x9FE)], 8), "tamil": ([(0xB82, 0xBFA)], 8), "thai": ([(0xE01, 0xE5B)], 20),
    "tibetan": ([(0xF00, 0xFDA)], 12), "georgian": ([(0x10A0, 0x10FF), (0x1C90, 0x1CBF)], 8),
    "hangul": ([(0xAC00, 0xD7A3), (0x1100, 0x11FF)], 5), "kana": ([(0x3041, 0x30FF), (0xFF66, 0xFF9F)], 8),
    "han": ([(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0xF900, 0xFAD9)], 6), "khmer": ([(0x1780, 0x17F9)], 12),
    "myanmar": ([(0x1000, 0x109F)], 9), "ethiopic": ([(0x1200, 0x139F)], 7), "cherokee": ([(0x13A0, 0x13FD), (0xAB70, 0xABBF)], 7),
    "deseret": ([(0x10400, 0x1044F)], 8), "cuneiform": ([(0x12000, 0x12399)], 4), "mathematical": ([(0x1D400, 0x1D7FF)], 6),
    "fullwidth": ([(0xFF01, 0xFFEE)], 8), "enclosed": ([(0x2460, 0x24FF), (0x3200, 0x33FF), (0x1F100, 0x1F1AD)], 4),
}
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇫🇷", "❤️", "☺", "🧑🏿‍🚀", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🫠", "©️", "🤦🏻‍♂️", "🇩", "\u200d", "\ufe0f"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u2003", "\u3000", "\u200b", "\u2028", "\u1680", "\v", "\f", "\x85", "\ufeff",
          " \n ", "\n\n\n", "\x1c", "\u202f", "\u2581"]
MARKS = [chr(c) for c in list(range(0x300, 0x370)) + list(range(0x483, 0x48A)) + [0x5B0, 0x64B, 0x93C, 0x94D, 0xE31, 0x3099, 0x20D0, 0x1AB0]]
CONTROLS = [chr(c) for c in list(range(1, 32)) + list(range(0x7F, 0xA0)) + [0xAD, 0x200C, 0x200E, 0x202E, 0x2066, 0x206A, 0xFFF9, 0xFFFC, 0xFFFD, 0xE000,
                                                                            0xF8FF, 0xFFFE, 0xFFFF, 0x10FFFF, 0xE0001]]
WORDS = ("a the of and photo picture red green blue apple train house dog cat's isn't they're we'll I'm I'd you've don't do not can't "
         "O'Neill it's 's 'S 'Re 'LL 3rd 42 1,000.50 3.14 2024-11-30 12:34 x² ½ №5 Ⅻ naïve café Straße İstanbul ΣΑΣ σας ﬁnd ﬃ Ǆ ŉ "
         "hello-world foo_bar e-mail@example.com https://example.com/a?b=c&d=e #tag @user C++ C# $5 50% <b> &amp; &lt;i&gt; &eacute; &EACUTE; "
         "&#233; &#x1F600; &notit; &amp;amp; [MASK] [SEP] [CLS] [UNK] <s> </s> <mask> <pad> <unk> <0x41> <|endoftext|> <|startoftext|> "
         "<start_of_text> \u201cquoted\u201d \u2018it\u2019s\u2019 ... \u2026 -- \u2014 !!! ?! :) ``x'' ▁a Ġa ##ing").split(" ")


def assigned(ranges):
    """Characters that Unicode 14 has: of later ones the libraries' tables differ. Java and Rust know them, Debian 12 does not."""
    return [chr(c) for first, last in ranges for c in range(first, last + 1) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]


class Texts:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.letters = {name: assigned(ranges) for name, (ranges, _) in SCRIPTS.items()}
        self.all = assigned([(0x20, 0x2FA1D)])

    def word(self):
        r = self.random
        kind = r.random()
        if kind < 0.35:
            return r.choice(WORDS)
        if kind < 0.8:
            name = r.choice(list(SCRIPTS))
            word = "".join(r.choices(self.letters[name], k=r.randint(1, SCRIPTS[name][1])))
            return r.choice((word, word, word.upper(), word.title()))
        if kind < 0.88:
            return "".join(r.choices(EMOJI, k=r.randint(1, 4)))
        if kind < 0.93:
            return "".join(c + "".join(r.choices(MARKS, k=r.randint(0, 3))) for c in r.choices("aeinoüsＡ的ก", k=r.randint(1, 5)))
        if kind < 0.96:
            return "".join(r.choices(CONTROLS, k=r.randint(1, 3)))
        if kind < 0.98:
            return "".join(r.choices(self.all, k=r.randint(1, 8)))
        return "".join(r.choices("0123456789.,-+eE٣४", k=r.randint(1, 12)))

    def text(self):
        r = self.random
        kind = r.random()
        if kind < 0.01:
            return r.choice(["", " ", "\n", "\t\n", "\u00a0", "\u200b", "'", "''", "▁", "a", "é", "\u0301", "😀", "\x01"])
        if kind < 0.02:  # a very long word
            return "".join(r.choices(self.letters[r.choice(list(SCRIPTS))], k=r.randint(90, 700)))
        if kind < 0.03:
            return r.choice(["a", " ", "ab", "\u0301", "的", "'s", "1", "!", "👩‍"]) * r.randint(20, 300)
        text = ""
        for _ in range(r.randint(1, 12)):
            text += self.word() + (" " if r.random() < 0.75 else "" if r.random() < 0.4 else r.choice(SPACES))
        return text if r.random() < 0.3 else text.strip(" ")


def make_texts(count, seed=1):
    texts = Texts(seed)
    return [texts.text() for _ in range(count)]


def training_texts(count=20000, seed=2):
    """Words that come back, so that there is something to learn."""
    r = random.Random(seed)
    texts = Texts(seed)
    words = [texts.word() for _ in range(6000)] + [w for w in WORDS for _ in range(20)]
    return [" ".join(r.choices(words, k=r.randint(3, 12))) for _ in range(count)]
