#!/usr/bin/python3
"""launcher/examples reads what a config's first comment says, runs it in order and judges what was measured; every config under
configs/ has such a comment. launcher/few_labels summarises its draws."""

import contextlib
import importlib.machinery
import importlib.util
import io
import re
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]


def module(name):
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / "launcher" / name))
    loaded = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(loaded)
    return loaded


examples, few_labels = module("examples"), module("few_labels")

COMMENT = """# Tells cats from dogs (Doe et al. 2020). A second sentence.
# With a second line.
#   launcher/prepare pets                    packages, build, data
#   launcher/examples other                  the encoder
#   launcher/run-ranks 3 build/release/triptych train configs/pets.toml --set a.b="c d"
#   build/release/triptych eval configs/pets.toml
#   unseen style      0.274 (0.263)
# Expect: test: top-1 accuracy >= 0.9
# Expect: test: loss <= -1e-2

[run]
# Expect: none of the first comment
"""


class Comments(unittest.TestCase):
    def test_all_parts_of_a_comment_are_read(self):
        example = examples.parse_example("pets", COMMENT)
        self.assertEqual(example.summary, "Tells cats from dogs (Doe et al. 2020).")
        self.assertEqual([command[0] for command in example.commands],
                         ["launcher/prepare", "launcher/examples", "launcher/run-ranks", "build/release/triptych"])
        self.assertEqual(example.commands[2][-1], "a.b=c d")
        self.assertEqual((example.data, example.others, example.num_ranks), (["pets"], ["other"], 3))
        self.assertEqual(example.expectations, [("test: top-1 accuracy", ">=", 0.9), ("test: loss", "<=", -0.01)])
        told = examples.describe(example)
        self.assertIn("needs    data pets, example other, 3 ranks", told)
        self.assertIn("expects  test: top-1 accuracy >= 0.9; test: loss <= -0.01", told)

    def test_what_is_no_expectation_is_refused_with_its_line(self):
        for text in ("top-1 0.903", "accuracy > 0.9", "accuracy >= ", "accuracy >= much", "accuracy >= nan", ">= 0.9"):
            with self.assertRaises(examples.Failure, msg=text) as raised:
                examples.parse_example("pets", COMMENT.replace("test: loss <= -1e-2", text))
            self.assertRegex(str(raised.exception), r"\[configs/pets.toml:9\].*" + re.escape(repr(text.strip())))

    def test_a_comment_without_a_sentence_or_a_command_is_refused(self):
        for text in ("", "[run]\n", "# Words alone.\n", "#   launcher/prepare pets\n", "# Words.\n#   launcher/prepare\n",
                     "# Words.\n#   launcher/prepare pets\n# Expect: a >= 1\n"):
            with self.assertRaises(examples.Failure, msg=text):
                examples.parse_example("pets", text)

    def test_what_is_made_anew_lies_where_nothing_else_does(self):
        line = "#   build/release/triptych import hf a --out "
        for out in ("runs/pets", "build/examples", "build/examples/..", "build/examples/../x", "build/examples/a/b", "/", ""):
            with self.assertRaises(examples.Failure, msg=out) as raised:
                examples.parse_example("pets", COMMENT.replace("#   launcher/examples other", line + out))
            self.assertIn("[configs/pets.toml:4] what import, export, merge make", str(raised.exception))
        example = examples.parse_example("pets", COMMENT.replace("#   launcher/examples other", line + "build/examples/pets/"))
        self.assertEqual(examples.folder_made(example.commands[1]), Path("build/examples/pets"))
        self.assertEqual(list(map(examples.folder_made, example.commands[2:])), [None, None])

    def test_every_config_of_the_project_is_an_example(self):
        found = examples.all_examples()
        self.assertEqual(set(found), {path.stem for path in (ROOT / "configs").glob("*.toml")})
        for name, example in found.items():
            configs = {word for command in example.commands for word in command if word.startswith("configs/")}
            self.assertLessEqual(configs, {f"configs/{name}.toml"}, "an example runs its own config")
            self.assertLessEqual(set(example.others), set(found) - {name})
        self.assertTrue(any(example.expectations for example in found.values()))

    def test_the_data_that_examples_need_is_what_prepare_makes(self):
        made = re.search(r"usage_error \"which data\? (.*)\.\"", (ROOT / "launcher/prepare").read_text())[1]
        for name, example in examples.all_examples().items():
            self.assertLessEqual(set(example.data), set(re.split(r", | or ", made)), name)


class Running(unittest.TestCase):
    def test_a_training_goes_on_or_begins_anew_and_an_evaluation_writes_its_numbers(self):
        _, _, train, evaluate = examples.parse_example("pets", COMMENT).commands
        self.assertEqual(examples.as_run(train, False), train + ["--resume", "auto"])
        self.assertEqual(examples.as_run(train, True), train + ["--overwrite"])
        self.assertEqual(examples.as_run(evaluate, True), evaluate + ["--json"])
        self.assertEqual(examples.as_run(["launcher/prepare", "train"], True), ["launcher/prepare", "train"])

    def test_bounds_are_inclusive_and_nothing_measured_is_a_miss(self):
        example = examples.parse_example("pets", COMMENT)
        for measured, good in (({"test: top-1 accuracy": 0.9, "test: loss": -0.01}, True),
                               ({"test: top-1 accuracy": 0.8999, "test: loss": -0.01}, False),
                               ({"test: top-1 accuracy": 0.95, "test: loss": 0}, False),
                               ({"test: top-1 accuracy": float("nan"), "test: loss": -1}, False),
                               ({"test: top-1 accuracy": 0.95}, False), ({}, False)):
            lines, met = examples.compare(example, measured)
            self.assertEqual((len(lines), met), (2, good), measured)

    def run_commands(self, commands, expectations):
        example = examples.Example("made", "Made.", commands, expectations)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as told:
            try:
                examples.run(example, False, Path(folder))
            except examples.Failure as failure:
                return told.getvalue(), str(failure)
        return told.getvalue(), ""

    def test_numbers_are_those_that_the_command_prints(self):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "measure"
            program.write_text('#!/bin/sh\necho "{\\"test: loss\\": 0.25}"\n')
            program.chmod(0o755)
            with unittest.mock.patch.object(examples, "is_measure", lambda command: command[0] == str(program)):
                for bound, failure in ((0.3, ""), (0.2, "what was measured is not what configs/made.toml expects")):
                    told, said = self.run_commands([[str(program)]], [examples.Expectation("test: loss", "<=", bound)])
                    self.assertRegex(told, r"test: loss\s+0\.2500")
                    self.assertIn(failure, said)
                    self.assertEqual(bool(said), bool(failure))

    def test_a_folder_is_made_anew(self):
        with tempfile.TemporaryDirectory() as root, unittest.mock.patch.object(examples, "ROOT", Path(root)), \
                unittest.mock.patch.object(examples, "PROGRAM", "/bin/echo"):
            for name in ("made", "other"):
                (Path(root) / "build/examples" / name).mkdir(parents=True)
            told, said = self.run_commands([["/bin/echo", "merge", "x", "--out", "build/examples/made"]], [])
            self.assertEqual(said, "")
            self.assertEqual([path.name for path in (Path(root) / "build/examples").iterdir()], ["other"])

    def test_the_first_command_that_fails_ends_it(self):
        told, said = self.run_commands([["true"], ["false"], ["echo", "not reached"]], [])
        self.assertIn("`false` failed with exit code 1", said)
        self.assertNotIn("not reached", told)
        self.assertIn("cannot be started", self.run_commands([["launcher/no-such-program"]], [])[1])


class CommandLine(unittest.TestCase):
    def said(self, *arguments):
        result = subprocess.run([ROOT / "launcher/examples", *arguments], capture_output=True, text=True, timeout=60, check=False)
        return result.returncode, result.stdout, result.stderr

    def test_the_list_has_every_config(self):
        code, told, _ = self.said("--list")
        self.assertEqual(code, 0)
        for path in (ROOT / "configs").glob("*.toml"):
            self.assertRegex(told, rf"(?m)^{path.stem}$")

    def test_mistakes_are_told(self):
        for arguments, part in (((), "names of examples or --list"), (("--list", "quickstart"), "names of examples or --list"),
                                (("nothing",), "there is no configs/nothing.toml; there are"), (("--quick",), "'--quick' is unknown")):
            code, told, said = self.said(*arguments)
            self.assertEqual((code, told), (2, ""), arguments)
            self.assertIn(part, said)


class FewLabels(unittest.TestCase):
    def test_means_deviations_and_gains_of_pairs(self):
        rows, summary = few_labels.summarize({"pretrained": [{"accuracy": 0.8}, {"accuracy": 0.9}, {"accuracy": 0.7}],
                                              "from scratch": [{"accuracy": 0.7}, {"accuracy": 0.6}, {"accuracy": 0.5}]})
        numbers = {row: (mean, deviation) for _, row, _, mean, deviation in rows}
        for row, mean, deviation in (("pretrained", 0.8, 0.1), ("from scratch", 0.6, 0.1), ("gain", 0.2, 0.1)):
            self.assertAlmostEqual(numbers[row][0], mean)
            self.assertAlmostEqual(summary[f"accuracy, {row}"], mean)
            self.assertAlmostEqual(numbers[row][1], deviation)

    def test_a_draw_has_its_own_labels_and_seed(self):
        config = {"data": {"path": "data/fashion_mnist/few_labels_1"}}
        self.assertEqual(few_labels.of_draw(config, 3), {"data.path": "data/fashion_mnist/few_labels_3", "run.seed": 3})
        with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()) as said:
            few_labels.of_draw({"data": {"path": "data/fashion_mnist/train"}}, 1)
        self.assertIn("[data.path] must end with _1", said.getvalue())


if __name__ == "__main__":
    unittest.main()
