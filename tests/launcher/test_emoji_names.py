#!/usr/bin/python3
"""Names, families and captions of emoji, on sequences whose answers are known."""

import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parents[2] / "launcher"))
from emoji_names import (  # noqa: E402
    CAPTIONS, Annotations, Emoji, family, is_held_out, keyword_captions, name_captions, read_emoji_test)

TEST_FILE = """\
# emoji-test.txt
# group: Food & Drink

# subgroup: food-fruit
1F34E                                      ; fully-qualified     # \U0001F34E E0.6 red apple
# group: People & Body
# subgroup: person-role
1F9D1 200D 1F692                           ; fully-qualified     # x E12.1 firefighter
1F469 1F3FD 200D 1F692                     ; fully-qualified     # x E4.0 woman firefighter: medium skin tone
1F575 FE0F 200D 2640 FE0F                  ; fully-qualified     # x E4.0 woman detective
1F575 200D 2640 FE0F                       ; unqualified         # x E4.0 woman detective
# group: Component
# subgroup: skin-tone
1F3FB                                      ; component           # x E1.0 light skin tone
"""
ENGLISH = ('<ldml><annotations><annotation cp="\U0001F34E">apple | fruit | red | red apple</annotation>'
           '<annotation cp="\U0001F34E" type="tts">red apple</annotation></annotations></ldml>')
CHINESE = '<ldml><annotation cp="\U0001F34E" type="tts">红苹果</annotation></ldml>'


def emoji(*code_points, group="People & Body"):
    return Emoji(code_points, "name", group, "subgroup")


class EmojiNames(unittest.TestCase):
    def test_reads_qualified_sequences_and_components_with_their_groups(self):
        lines = read_emoji_test(TEST_FILE)
        self.assertEqual([line.name for line in lines], [
            "red apple", "firefighter", "woman firefighter: medium skin tone", "woman detective", "light skin tone"])
        self.assertEqual(lines[0], Emoji((0x1F34E,), "red apple", "Food & Drink", "food-fruit"))
        self.assertEqual(lines[3].code_points, (0x1F575, 0xFE0F, 0x200D, 0x2640, 0xFE0F))
        self.assertEqual(lines[3].file_stem(), "1f575-200d-2640")

    def test_only_a_tone_on_something_makes_a_sequence_toned(self):
        self.assertEqual([line.is_toned() for line in read_emoji_test(TEST_FILE)], [False, False, True, False, False])

    def test_a_family_leaves_tone_and_gender_out(self):
        firefighter = family(emoji(0x1F9D1, 0x200D, 0x1F692))
        self.assertEqual(family(emoji(0x1F469, 0x1F3FD, 0x200D, 0x1F692)), firefighter)
        self.assertEqual(family(emoji(0x1F468, 0x200D, 0x1F692)), firefighter)
        detective = family(emoji(0x1F575, 0xFE0F))
        self.assertEqual(family(emoji(0x1F575, 0xFE0F, 0x200D, 0x2640, 0xFE0F)), detective)
        self.assertEqual(family(emoji(0x1F575, 0x1F3FF, 0x200D, 0x2642, 0xFE0F)), detective)
        self.assertNotEqual(detective, firefighter)
        self.assertEqual(family(emoji(0x2640, 0xFE0F)), (0x2640,))  # the sign on its own is a thing
        self.assertEqual(family(emoji(0x1F3FB)), (0x1F3FB,))

    def test_a_tenth_is_held_out_by_family_and_no_flag(self):
        points = range(0x1F300, 0x1F300 + 5000)
        held_out = [point for point in points if is_held_out(emoji(point))]
        self.assertTrue(400 < len(held_out) < 600, len(held_out))  # 500 expected, standard deviation 21
        for point in held_out[:20]:
            self.assertTrue(is_held_out(emoji(point, 0x1F3FC, 0x200D, 0x2640, 0xFE0F)))
            self.assertFalse(is_held_out(emoji(point, group="Flags")))

    def test_the_first_caption_is_the_plain_name(self):
        english, chinese = Annotations(ENGLISH), Annotations(CHINESE)
        apple, firefighter = read_emoji_test(TEST_FILE)[:2]
        self.assertEqual(keyword_captions(apple, english, chinese), [
            "red apple", "a picture of red apple", "red apple (food fruit)", "red apple: apple, fruit, red",
            "apple, fruit, red, red apple", "红苹果"])
        self.assertEqual(keyword_captions(firefighter, english, chinese),
                         ["firefighter", "a picture of firefighter", "firefighter (person role)"])

    def test_names_say_their_language_and_are_one_a_language(self):
        english, chinese = Annotations(ENGLISH), Annotations(CHINESE)
        apple, firefighter = read_emoji_test(TEST_FILE)[:2]
        self.assertEqual(name_captions(apple, english, chinese), ["en: red apple", "zh: 红苹果"])
        # Newer than the annotations, and without a Chinese name.
        self.assertEqual(name_captions(firefighter, english, chinese), ["en: firefighter"])
        keywords_alone = Annotations('<ldml><annotation cp="\U0001F34E">水果 | 苹果</annotation></ldml>')
        self.assertEqual(name_captions(apple, english, keywords_alone), ["en: red apple"])

    def test_the_option_names_the_two_kinds(self):
        self.assertEqual(CAPTIONS, {"keywords": keyword_captions, "names": name_captions})


if __name__ == "__main__":
    unittest.main()
