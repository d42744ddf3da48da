"""Questions on stamps, with their answers: what kind of thing it is, its main colour, and both to be said yes or no to."""

from typing import NamedTuple

import numpy as np

from colour_names import main_colour
from made_sets import digest
from stamps import opaque_pixels

WHAT_KIND = "What kind of thing is this?"
WHAT_COLOUR = "What is its main colour?"

# Of each category: the answer, and others that are as right whatever the stamp.
KINDS = {
    "animals": ("animal",),
    "clothes": ("clothing", "clothes"),
    "food": ("food",),
    "hobbies": ("hobby",),
    "household": ("household", "household thing"),
    "medical": ("medicine", "medical"),
    "military": ("military",),
    "naturalforces": ("natural force", "nature"),
    "people": ("person", "people"),
    "plants": ("plant",),
    "seasonal": ("season", "holiday", "seasonal"),
    "space": ("space",),
    "sports": ("sport",),
    "symbols": ("symbol",),
    "town": ("town",),
    "vehicles": ("vehicle",),
}
# Of the folders below, those whose name says what every stamp in it is: an answer that is right too.
NARROWER_KINDS = {
    "animals/amphibians": "amphibian", "animals/birds": "bird", "animals/dinosaur": "dinosaur", "animals/fish": "fish",
    "animals/insects": "insect", "animals/lizards": "lizard", "animals/mammals": "mammal", "animals/marsupials": "marsupial",
    "animals/shellfish": "shellfish", "clothes/hats": "hat", "food/dessert": "dessert", "food/fruit": "fruit",
    "food/nuts": "nut", "food/vegetables": "vegetable", "household/tools": "tool", "plants/flowers": "flower",
    "plants/mushrooms": "mushroom", "plants/trees": "tree", "space/planets": "planet", "town/flags": "flag",
    "town/houses": "house", "town/monuments": "monument", "town/roadsigns": "road sign",
}
# No thing of one of these is also of another; of a strawberry, food and plant would both be true.
DISTINCT = {
    "animals": "an animal", "clothes": "something to wear", "household": "a household thing", "plants": "a plant",
    "space": "something in space", "symbols": "a symbol", "vehicles": "a vehicle",
}
OTHER_SPELLINGS = {"grey": ("gray",)}


class Question(NamedTuple):
    stamp: str       # its name
    kind: str        # "category", "colour", "is_category", "is_colour"
    question: str
    answer: str
    answers: tuple   # all that are right, the answer first


def measured_colour(stamp):
    return main_colour(np.asarray(stamp.image)[..., :3][opaque_pixels(stamp.image)])


def open_questions(stamps, colours):
    """What kind, of every stamp, and which colour, of those that have a main colour; colours is {stamp's name: colour}."""
    questions = []
    for stamp in stamps:
        right = KINDS[stamp.category]
        narrower = NARROWER_KINDS.get(f"{stamp.category}/{stamp.folder}")
        right += (narrower,) if narrower else ()
        questions.append(Question(stamp.name, "category", WHAT_KIND, right[0], right))
        if colour := colours[stamp.name]:
            right = (colour, *OTHER_SPELLINGS.get(colour, ()))
            questions.append(Question(stamp.name, "colour", WHAT_COLOUR, colour, right))
    return questions


def balanced_pairs(values):
    """[(key, its value, another value)] of {key: value}: everything that is asserted truly is so as often falsely.

    The keys, in the order of their values, are turned by as many places as the most frequent value has, so that none
    meets its own. A value that more than half of the keys have is too many: what is over is left out.
    """
    groups = {}
    for key in sorted(values, key=lambda key: (digest(key), key)):
        groups.setdefault(values[key], []).append(key)
    if len(groups) < 2:
        return []
    largest = max(groups, key=lambda value: (len(groups[value]), value))
    others = sum(len(keys) for keys in groups.values()) - len(groups[largest])
    groups[largest] = groups[largest][:others]
    ordered = [(key, value) for value in sorted(groups) for key in groups[value]]
    turn = max(len(keys) for keys in groups.values())
    return [(key, value, ordered[(place + turn) % len(ordered)][1]) for place, (key, value) in enumerate(ordered)]


def yes_no_questions(values, kind, wording):
    """Two of every pair: with its own value, whose answer is yes, and with the other's; wording has a {} for the value."""
    return [Question(key, kind, wording.format(value), answer, (answer,))
            for key, own, other in balanced_pairs(values) for value, answer in ((own, "yes"), (other, "no"))]


def questions_of(stamps):
    """All questions on the stamps of one set, in the order of the stamps."""
    colours = {stamp.name: measured_colour(stamp) for stamp in stamps}
    categories = {stamp.name: DISTINCT[stamp.category] for stamp in stamps if stamp.category in DISTINCT}
    with_colour = {name: colour for name, colour in colours.items() if colour}
    questions = (open_questions(stamps, colours) + yes_no_questions(categories, "is_category", "Is this {}?")
                 + yes_no_questions(with_colour, "is_colour", "Is it mainly {}?"))
    place = {stamp.name: number for number, stamp in enumerate(stamps)}
    return sorted(questions, key=lambda question: place[question.stamp])


def guessed_answers(training, evaluated):
    """Of the evaluated questions, how many are answered rightly without the picture: by what is most often right to the
    question in training; {kind: share}."""
    answers = {}
    for question in training:
        counts = answers.setdefault(question.question, {})
        counts[question.answer] = counts.get(question.answer, 0) + 1
    right = {}
    for question in evaluated:
        counts = answers.get(question.question, {})
        guess = max(sorted(counts), key=counts.get) if counts else None
        right.setdefault(question.kind, []).append(guess in question.answers)
    return {kind: sum(each) / len(each) for kind, each in right.items()}
