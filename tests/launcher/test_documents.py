#!/usr/bin/python3
"""What documents, configs, recipes and helps show of the program exists: subcommands, options, keys of a config, files,
links. Nothing of it is run here; test_readme.py runs README's commands.

usage: test_documents.py TRIPTYCH   the program to ask
"""

import functools
import re
import shlex
import subprocess
import sys
import unittest
from pathlib import Path
from typing import NamedTuple

sys.dont_write_bytecode = True
from small_runs import REPOSITORY as ROOT  # noqa: E402  (found beside this file)

TRIPTYCH = sys.argv.pop(1)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")),
         *sorted((ROOT / "tests").glob("*/README.md")), ROOT / "python" / "README.md"]
COMMENTED = [*sorted((ROOT / "configs").rglob("*.toml")), ROOT / "launcher" / "slurm" / "train.sbatch",
             ROOT / "containers" / "Dockerfile", ROOT / "containers" / "triptych.def"]
PROGRAM = re.compile(r"(\S*/)?triptych(_with_rotation|-cuda)?")
SHELL = {"|", "||", "&", "&&", ";", ">", ">>", "<", "2>&1", "#", "..."}
SECTIONS = "run|parallel|training|optimizer|data|checkpoint|evaluation|model|objective|init|decoding"
# Names that look like keys: files, a parameter's, Python's.
NO_KEYS = re.compile(r".*\.(json|lock|safetensors)|objective\.log_scale|model\.(config|texts)")
KEY = re.compile(rf"((?:{SECTIONS})(?:\.[a-z0-9_]+)+)(?: ?= ?\S.*)?")
FOLDERS = "src|kernels|parallel|launcher|tests|configs|docs|containers|cmake|python"
PATH = re.compile(rf"(?:{FOLDERS})(?:/[\w.-]+)+/?")


class Command(NamedTuple):
    """One call of the program, as somebody shows it."""
    place: str
    words: list  # in front of the program
    arguments: list  # behind it


@functools.cache
def help_of(*subcommand):
    return subprocess.run([TRIPTYCH, *subcommand, "--help"], capture_output=True, text=True, check=True).stdout


@functools.cache
def subcommands_of(*path):
    _, _, listed = help_of(*path).partition("\nSubcommands:\n")
    return set(re.findall(r"(?m)^  ([a-z_-]+) ", listed.partition("\n\n")[0]))


@functools.cache
def options_of(*subcommand):
    listed = help_of(*subcommand).partition("\nOptions:\n")[2].partition("\n\n")[0]
    return set(re.findall(r"(?m)^  (?:-\w,)?(--[\w-]+)", listed))


@functools.cache
def run_ranks_options():
    said = subprocess.run([ROOT / "launcher" / "run-ranks", "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"--[\w-]+", said))


@functools.cache
def keys():
    """Every key of every task; those of a list of tables with a `*` for the number."""
    said = subprocess.run([TRIPTYCH, "config", "document"], capture_output=True, text=True, check=True).stdout
    known, section = set(), ""
    for line in said.splitlines():
        if line.startswith("## "):
            table = re.search(r"`\[\[(.+)\]\]`", line)
            section = table[1] + ".*." if table else ""
        elif row := re.match(r"\| `([\w.]+)` \|", line):
            known.add(section + row[1])
    return known


def is_key(name):
    """A key, or a section of them."""
    name = re.sub(r"\.\d+(?=\.|$)", ".*", name)
    return name in keys() or any(key.startswith(name + ".") for key in keys())


def joined(lines):
    """Lines that a backslash ends with those behind them."""
    text = re.sub(r"\\\n\s*#?\s*", " ", "\n".join(lines))
    return text.splitlines()


def code_of(page):
    """(where, line) of the fenced and indented lines of code of a page, and of its words in backticks."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT)
    for body in re.findall(r"(?ms)^```\w*\n(.*?)^```$", text):
        for line in joined(body.splitlines()):
            yield f"{name}", line.removeprefix("$ ")
    text = re.sub(r"(?ms)^```\w*\n.*?^```$", "", text)
    for line in joined([line for line in text.splitlines() if line.startswith("    ")]):
        yield f"{name}", line.strip()
    text = re.sub(r"(?m)^    .*$", "", text)
    for word in re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", text):
        yield f"{name}", re.sub(r"\s+", " ", word)


def comments_of(file):
    """Lines of a file's comments, without what is told of a command behind two blanks."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.lstrip().startswith("#")]
    for line in joined(lines):
        yield f"{file.relative_to(ROOT)}", re.split(r"(?<=\S)\s{2,}", line.lstrip("# "))[0]


def commands_in(lines):
    for place, line in lines:
        try:
            words = shlex.split(line, comments=False)
        except ValueError:  # a quote that is none: prose
            continue
        for at, word in enumerate(words):
            if not PROGRAM.fullmatch(word) or at + 1 == len(words) or words[at - 1] == "-t":  # an image of that name
                continue
            arguments = []
            for argument in words[at + 1:]:
                if argument in SHELL or argument.endswith(";"):
                    arguments += [argument[:-1]] if argument[:-1] and argument.endswith(";") else []
                    break
                arguments.append(argument)
            yield Command(place, words[:at], arguments)


def shown_commands():
    for page in PAGES:
        yield from commands_in(code_of(page))
    for file in COMMENTED:
        yield from commands_in(comments_of(file))
    places = [()]
    for path in places:
        yield from commands_in((f"triptych {' '.join(path)} --help", line.strip()) for line in joined(help_of(*path).splitlines())
                               if re.match(r"  (mpirun |launcher/run-ranks )?.*\btriptych ", line))
        places += [(*path, name) for name in sorted(subcommands_of(*path))]


def problems_of(command):
    """What a command has that the program does not know."""
    path = ()
    arguments = [word.split("|")[0] for word in command.arguments]  # of what is shown to choose from
    while subcommands_of(*path) and arguments and not arguments[0].startswith("-"):
        if arguments[0] not in subcommands_of(*path):
            if re.fullmatch(r"[A-Z_]+|\.\.\.|.*[,:.]", arguments[0]) or not path:
                return  # a word that stands for others, or prose
            yield f"`triptych {' '.join(path)}` has no `{arguments[0]}`"
            return
        path = (*path, arguments.pop(0))
    for at, argument in enumerate(arguments):
        option = argument.split("=")[0]
        if option.startswith("--") and option not in options_of(*path):
            yield f"`triptych {' '.join(path)}` has no {option}"
        if option in ("--set", "--allow-change") and at + 1 < len(arguments):
            key = arguments[at + 1].split("=")[0]
            if not re.fullmatch(r"[A-Z.*]+", key) and not is_key(key):
                yield f"there is no key {key}"
        if re.fullmatch(r"configs/[\w./-]+\.toml", argument) and not (ROOT / argument).exists() and "mine" not in argument:
            yield f"{argument} is not there"
    before = command.words
    if any(word.endswith("run-ranks") for word in before):
        begin = max(at for at, word in enumerate(before) if word.endswith("run-ranks"))
        for word in before[begin:]:
            if word.startswith("--") and word not in run_ranks_options():
                yield f"run-ranks has no {word}"


def anchors_of(page):
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    for heading in re.findall(r"(?m)^#+ (.+)$", text):
        words = re.sub(r"[^\w\- ]", "", heading.lower())
        yield words.replace(" ", "-")


class Documents(unittest.TestCase):
    maxDiff = None

    def test_commands_are_the_programs(self):
        commands = list(shown_commands())
        self.assertGreater(len(commands), 200)
        self.assertGreater(len({tuple(command.arguments[:2]) for command in commands}), 40)
        wrong = [f"{command.place}: {' '.join(command.arguments)}: {problem}" for command in commands
                 for problem in problems_of(command)]
        self.assertEqual(wrong, [])

    def test_what_is_not_there_is_found(self):
        for line, says in (("triptych plan mehs x", "has no `mehs`"), ("triptych train a.toml --resum x", "has no --resum"),
                           ("launcher/run-ranks --host f triptych train a.toml", "run-ranks has no --host"),
                           ("mpirun -np 2 triptych verify a --set parallel.zer=1", "no key parallel.zer"),
                           ("triptych verify configs/none.toml", "configs/none.toml is not there")):
            found = [problem for command in commands_in([("here", line)]) for problem in problems_of(command)]
            self.assertEqual(len(found), 1, line)
            self.assertIn(says, found[0])

    def test_keys_are_the_configs(self):
        shown = {(place, found[1]) for page in PAGES for place, word in code_of(page) if (found := KEY.fullmatch(word)) and
                 not NO_KEYS.fullmatch(found[1])}
        self.assertGreater(len(shown), 100)
        self.assertEqual(sorted(f"{place}: {key}" for place, key in shown if not is_key(key)), [])

    def test_files_are_there(self):
        shown = {(place, word) for page in PAGES for place, word in code_of(page) if PATH.fullmatch(word)}
        self.assertGreater(len(shown), 100)
        self.assertEqual(sorted(f"{place}: {path}" for place, path in shown if not (ROOT / path).exists()), [])

    def test_links_lead_somewhere(self):
        wrong = []
        for page in PAGES:
            for file, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]+))?\)", page.read_text(encoding="utf-8")):
                target = page.parent / file if file else page
                is_dead = not target.exists() or (anchor and anchor not in anchors_of(target))
                wrong += [f"{page.relative_to(ROOT)}: {file}#{anchor}"] if is_dead else []
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
