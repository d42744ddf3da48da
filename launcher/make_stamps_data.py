#!/usr/bin/python3
"""Makes image-text pairs out of the Debian package `tuxpaint-stamps-default`: pictures with captions that people translated.

Two sets come out below DIR/sources, train and test, each a folder with images/, captions.jsonl and classes.txt as
`triptych ingest pairs` reads them. No stamp of test is in train, nor one with the same English caption. They are either of

  captions    a line a stamp: up to six captions, "en: A badger.", "de: Ein Dachs.", ..., labelled with its category
  questions   a line a question on a stamp, with all answers that are right; the label is the first one's number in
              classes.txt

Keys beyond those that ingest reads say where it is from: stamp, kind. The package is fetched with `apt-get download` and read in place; nothing is installed. The same
package gives the same sets. docs/stamps-data.md says more, and the licence.
"""

import argparse
from pathlib import Path

from debian_packages import fetch_packages, read_members
from made_sets import make_once, shrunk, write_lines, write_png
from messages import say
from stamp_questions import guessed_answers, questions_of
from stamps import FOLDER, PACKAGE, categories_of, read_stamps, sets_of

# Written into sources/stamp.json: raise it whenever what this script and the modules beside it make changes.
VERSION = 2

# Pixels of the longer side, at most: a question has a picture of its own, so those are smaller.
CAPTIONED_SIDE, QUESTIONED_SIDE = 256, 128
# A question's id is its stamp's number times this, and its own number among the stamp's.
MOST_QUESTIONS = 10


def file_name(number, stamp):
    return f"{number:04}_{stamp.name.rsplit('/', 1)[-1]}.png"


def write_captioned(folder, stamps, number_of, categories):
    lines = []
    for stamp in stamps:
        file = file_name(number_of[stamp.name], stamp)
        write_png(shrunk(stamp.image, CAPTIONED_SIDE), folder / "images" / file)
        captions = [f"{language}: {caption}" for language, caption in stamp.captions.items()]
        lines.append({"image": file, "captions": captions, "id": number_of[stamp.name],
                      "label": categories.index(stamp.category), "stamp": stamp.name})
    write_lines(folder, lines, categories)
    return (f"{folder.name}: {len(lines)} images of {len({line['label'] for line in lines})} categories, "
            f"{sum(len(line['captions']) for line in lines)} captions")


def write_questioned(folder, stamps, number_of, questions, answers):
    lines, counts = [], {}
    files = {stamp.name: file_name(number_of[stamp.name], stamp) for stamp in stamps}
    for stamp in stamps:
        write_png(shrunk(stamp.image, QUESTIONED_SIDE), folder / "images" / files[stamp.name])
    for question in questions:
        count = counts[question.stamp] = counts.get(question.stamp, -1) + 1
        lines.append({"image": files[question.stamp], "question": question.question, "answers": question.answers,
                      "id": number_of[question.stamp] * MOST_QUESTIONS + count, "label": answers.index(question.answer),
                      "kind": question.kind, "stamp": question.stamp})
    write_lines(folder, lines, answers)
    by_kind = {}
    for question in questions:
        by_kind[question.kind] = by_kind.get(question.kind, 0) + 1
    return (f"{folder.name}: {len(questions)} questions on {len(stamps)} stamps: "
            + ", ".join(f"{kind} {count}" for kind, count in sorted(by_kind.items())))


def make_captions(folder, stamps, number_of):
    return [write_captioned(folder / name, members, number_of, categories_of(stamps))
            for name, members in sets_of(stamps).items()]


def make_questions(folder, stamps, number_of):
    questions = {name: questions_of(members) for name, members in sets_of(stamps).items()}
    answers = sorted({question.answer for each in questions.values() for question in each})
    facts = [write_questioned(folder / name, members, number_of, questions[name], answers)
             for name, members in sets_of(stamps).items()]
    guessed = guessed_answers(questions["train"], questions["test"])
    return facts + ["right in test by the most frequent answer to the question in train: "
                    + ", ".join(f"{kind} {share:.4f}" for kind, share in sorted(guessed.items()))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/stamps"), metavar="DIR",
                        help="the sets go to DIR/sources, the package to DIR/packages (default: %(default)s)")
    parser.add_argument("--ask", action="store_true", help="make questions instead of captions")
    parser.add_argument("--packages", type=Path, metavar="DIR",
                        help="another folder for the package, such as one that has it (default: packages in --out)")
    parser.add_argument("--fresh", action="store_true", help="make the sets again even if they are there")
    options = parser.parse_args()

    deb = fetch_packages(options.packages or options.out / "packages", [PACKAGE])[PACKAGE]

    def make(folder):
        stamps = read_stamps(read_members(deb, (FOLDER,), (".png", ".txt")))
        say(f"writing the sets of {len(stamps)} stamps")
        number_of = {stamp.name: number for number, stamp in enumerate(stamps)}
        codes = [stamp.num_languages for stamp in stamps]
        facts = [f"{len(stamps)} stamps of {len(categories_of(stamps))} categories, captions in {min(codes)} to "
                 f"{max(codes)} languages"]
        return facts + (make_questions if options.ask else make_captions)(folder, stamps, number_of)

    made_from = {"version": VERSION, "packages": [deb.name], "questions": options.ask}
    make_once(options.out, made_from, options.fresh, make)


if __name__ == "__main__":
    main()
