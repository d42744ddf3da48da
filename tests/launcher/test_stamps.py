#!/usr/bin/python3
"""Stamps' captions, splits and questions, and the names of colours, on stamps made here."""

import io
import json
import sys
import tempfile
import unittest
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parents[2] / "launcher"))
from colour_names import COLOURS, UNNAMED, colour_numbers, main_colour  # noqa: E402
from made_sets import held_out, open_picture, shrunk  # noqa: E402
from make_stamps_data import write_questioned  # noqa: E402
from stamp_questions import (DISTINCT, KINDS, Question, balanced_pairs, guessed_answers, questions_of,  # noqa: E402
                             yes_no_questions)
from stamps import FOLDER, Stamp, opaque_pixels, read_captions, read_stamps, sets_of, visible_box  # noqa: E402


def picture(size=(8, 6), colour=(255, 0, 0, 255)):
    return Image.new("RGBA", size, colour)


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def stamp(name, caption=None, colour=(255, 0, 0, 255)):
    return Stamp(name, {"en": caption or f"A {name}."}, 1, picture(colour=colour))


class StampData(unittest.TestCase):
    def fails(self, part, function, *arguments):
        with self.assertRaises(SystemExit) as caught:
            function(*arguments)
        self.assertIn(part, str(caught.exception))

    def test_captions_say_their_language_and_leave_out_what_is_not_translated(self):
        text = ("A badger.\n\nde.utf8=Ein Dachs.\nfr.utf8=A badger.\nes.utf8=  \nja.utf8=Badger\nzh_CN.utf8=獾\n"
                "zh_TW.utf8=A\nsr@latin.utf8=Jazavac.\n")
        self.assertEqual(read_captions("f", text.encode()), ({"en": "A badger.", "de": "Ein Dachs.", "zh": "獾"}, 7))
        self.fails("UTF-8", read_captions, "f", b"\xff")
        self.fails("must begin with the English", read_captions, "f", b"de.utf8=Ein Dachs.\n")
        self.fails("must begin with the English", read_captions, "f", b"")

    def test_stamps_have_a_picture_and_captions_and_one_category(self):
        members = {f"{FOLDER}{name}.png": png(picture(colour=colour)) for name, colour in
                   (("animals/a", "red"), ("animals/b", "blue"), ("food/c", "blue"), ("food/fruit/d", "green"),
                    ("food/no_captions", "black"), ("food/empty", (0, 0, 0, 0)), ("loose", "white"))}
        members |= {f"{FOLDER}{name}.txt": b"A thing.\n" for name in
                    ("animals/a", "animals/b", "food/c", "food/fruit/d", "food/empty", "loose", "food/no_picture")}
        stamps = read_stamps(members)  # b and c are one picture in two categories
        self.assertEqual([each.name for each in stamps], ["animals/a", "food/fruit/d"])
        self.assertEqual([(each.category, each.folder) for each in stamps], [("animals", None), ("food", "fruit")])
        members[f"{FOLDER}animals/a.png"] = members[f"{FOLDER}animals/a.png"][:-30]
        self.fails("is no picture that can be read", read_stamps, members)

    def test_large_pictures_are_passed_over_by_their_header(self):
        data = png(picture((50, 40)))
        self.assertIsNone(open_picture("f", data, max_pixels=1999))
        self.assertEqual(open_picture("f", data, max_pixels=2000).mode, "RGBA")
        bomb = data[:16] + (60000).to_bytes(4, "big") * 2 + data[24:]
        bomb = bomb[:29] + zlib.crc32(bomb[12:29]).to_bytes(4, "big") + bomb[33:]
        self.assertIsNone(open_picture("f", bomb))

    def test_the_box_is_tight_around_what_is_opaque(self):
        image = picture((9, 7), (0, 0, 0, 127))
        self.assertIsNone(visible_box(image))
        image.putpixel((3, 2), (0, 0, 0, 128))
        self.assertEqual(visible_box(image), (3, 2, 4, 3))
        image.putpixel((8, 6), (0, 0, 0, 255))
        self.assertEqual(visible_box(image), (3, 2, 9, 7))
        self.assertEqual(int(opaque_pixels(image).sum()), 2)

    def test_shrinking_does_not_mix_in_the_colour_of_what_is_transparent(self):
        image = picture((64, 64), (0, 255, 0, 0))
        image.paste((255, 0, 0, 255), (16, 16, 48, 48))
        small = np.asarray(shrunk(image, 17))
        self.assertEqual(small.shape, (17, 17, 4))
        self.assertLess(small[small[..., 3] > 8][:, 1].max(), 20)  # green nowhere
        self.assertIs(shrunk(image, 64), image)

    def test_a_fifth_of_every_category_is_held_out_and_captions_stay_together(self):
        stamps = [stamp(f"animals/{i}", f"A beast {i // 2}.") for i in range(100)]
        stamps += [stamp("food/x", "a BEAST 7."), stamp("space/sun"), *(stamp(f"town/{i}") for i in range(5))]
        sets = sets_of(stamps)
        captions = {name: {each.captions["en"].casefold() for each in members} for name, members in sets.items()}
        self.assertFalse(captions["train"] & captions["test"])
        self.assertEqual(sum(map(len, sets.values())), len(stamps))
        counts = Counter(each.category for each in sets["test"])
        self.assertIn(counts["animals"], (20, 22))  # a tenth of 50 pairs; the food's caption may add its own
        self.assertEqual((counts["town"], counts["space"]), (1, 1))
        self.assertEqual(sets, sets_of(stamps))

    def test_held_out_depends_on_the_keys_alone(self):
        keys = [str(number) for number in range(40)]
        taken = held_out(keys, 4)
        self.assertEqual(len(taken), 10)
        self.assertEqual(held_out(reversed(keys + keys), 4), taken)

    def test_colours_of_the_css_have_their_names(self):
        # CSS Color Module 4, section 6.1; those whose names say the colour, and shades that dictionaries give under it.
        css = {"black": "black", "white": "white", "gray": "grey", "darkgray": "grey", "red": "red", "crimson": "red",
               "orange": "orange", "yellow": "yellow", "gold": "yellow", "green": "green", "lime": "green",
               "forestgreen": "green", "darkgreen": "green", "blue": "blue", "navy": "blue", "royalblue": "blue",
               "dodgerblue": "blue", "purple": "purple", "blueviolet": "purple", "indigo": "purple", "pink": "pink",
               "hotpink": "pink", "lightpink": "pink", "saddlebrown": "brown", "sienna": "brown"}
        pixels = np.array([ImageColor.getrgb(name) for name in css], np.uint8)
        self.assertEqual([(*COLOURS, None)[number] for number in colour_numbers(pixels)], list(css.values()))
        for name in ("bisque", "olive", "turquoise", "darkcyan"):
            self.assertEqual(colour_numbers(np.array([ImageColor.getrgb(name)], np.uint8)).tolist(), [UNNAMED], name)

    def test_no_colour_is_main_without_a_share_and_a_margin(self):
        def pixels(**counts):
            return np.concatenate([np.tile(np.uint8(ImageColor.getrgb(name)), (count, 1)) for name, count in counts.items()])

        self.assertEqual(main_colour(pixels(red=40, blue=20, olive=40)), "red")
        self.assertIsNone(main_colour(pixels(red=39, olive=61)))             # share
        self.assertIsNone(main_colour(pixels(red=45, blue=26, olive=29)))    # margin
        self.assertIsNone(main_colour(pixels(olive=5)))
        self.assertIsNone(main_colour(np.zeros((0, 3), np.uint8)))

    def test_what_is_asserted_is_true_as_often_as_false(self):
        values = {f"{value}{i}": value for value, count in (("x", 12), ("y", 5), ("z", 4), ("w", 1)) for i in range(count)}
        pairs = balanced_pairs(values)
        self.assertEqual(Counter(own for _, own, _ in pairs), Counter(x=10, y=5, z=4, w=1))  # 2 of x are too many
        self.assertEqual(Counter(own for _, own, _ in pairs), Counter(other for _, _, other in pairs))
        self.assertTrue(all(own == values[key] != other for key, own, other in pairs))
        self.assertEqual(balanced_pairs({"a": "x", "b": "x"}), [])
        self.assertEqual(balanced_pairs({}), [])
        questions = yes_no_questions(values, "kind", "Is it {}?")
        by_question = Counter((question.question, question.answer) for question in questions)
        for value in "xyzw":
            self.assertEqual(by_question[f"Is it {value}?", "yes"], by_question[f"Is it {value}?", "no"])

    def test_questions_are_of_their_own_stamps_and_truly_answered(self):
        colours = ("red", "blue", "olive", "grey")
        stamps = [stamp(f"{category}/{folder}{i}", colour=(*ImageColor.getrgb(colours[i % 4]), 255))
                  for i, (category, folder) in enumerate([("animals", "birds/"), ("symbols", ""), ("food", "")] * 8)]
        questions = questions_of(stamps)
        by_name = {each.name: each for each in stamps}
        for question in questions:
            self.assertEqual(question.answer, question.answers[0])
            category = by_name[question.stamp].category
            if question.kind == "category":
                self.assertIn(question.answer, KINDS[category])
                self.assertEqual("bird" in question.answers, category == "animals")
            if question.kind == "is_category":
                self.assertNotEqual(category, "food")  # what is food may be a plant too
                self.assertEqual(question.answer == "yes", question.question == f"Is this {DISTINCT[category]}?")
        counts = Counter(question.kind for question in questions)
        self.assertEqual(counts, Counter(category=24, colour=18, is_category=32, is_colour=36))
        greys = [question for question in questions if question.answer == "grey"]
        self.assertEqual({question.answers for question in greys}, {("grey", "gray")})

    def test_guessing_takes_the_most_frequent_answer_of_training(self):
        def question(text, answer, *more):
            return Question("s", "kind", text, answer, (answer, *more))

        training = [question("a?", "x"), question("a?", "x"), question("a?", "y"), question("b?", "z")]
        asked = [question("a?", "x"), question("a?", "y"), question("a?", "w", "x"), question("c?", "z")]
        self.assertEqual(guessed_answers(training, asked), {"kind": 0.5})

    def test_lines_of_questions_have_the_keys_that_ingest_packs(self):
        stamps = [stamp("animals/birds/wren"), stamp("vehicles/car")]
        questions = questions_of(stamps)
        answers = sorted({question.answer for question in questions})
        with tempfile.TemporaryDirectory() as folder:
            write_questioned(Path(folder), stamps, {each.name: 7 + n for n, each in enumerate(stamps)}, questions, answers)
            lines = [json.loads(line) for line in (Path(folder) / "captions.jsonl").read_text().splitlines()]
            self.assertEqual((Path(folder) / "classes.txt").read_text().splitlines(), answers)
            for line in lines:
                self.assertTrue((Path(folder) / "images" / line["image"]).exists())
        self.assertEqual([(line["question"], tuple(line["answers"])) for line in lines],
                         [(question.question, question.answers) for question in questions])
        self.assertEqual([answers[line["label"]] for line in lines], [line["answers"][0] for line in lines])
        # ingest refuses 'answer' beside 'answers', and a caption would be a text to be learned for itself.
        self.assertEqual({key for line in lines for key in line},
                         {"image", "question", "answers", "id", "label", "kind", "stamp"})
        self.assertEqual(len({line["id"] for line in lines}), len(lines))


if __name__ == "__main__":
    unittest.main()
