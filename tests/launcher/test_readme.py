#!/usr/bin/python3
"""Every command of README.md runs as it stands there, one after the other, on a data set of a few pictures; those that cannot
be run here are named below with the reason.

usage: test_readme.py TRIPTYCH   the program to test
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
import small_runs  # noqa: E402  (found beside this file)

ROOT = small_runs.REPOSITORY
NOT_RUN = {
    "launcher/quickstart": "installs packages, builds and trains for minutes",
    "launcher/test": "runs all tests, this one too",
    "triptych bench step configs/bench_clip_small.toml": "times steps of a large model: minutes",
    "triptych bench scaling configs/bench_clip_512.toml --ranks 1,2 --mesh dp --mesh tp": "times steps of a large model: minutes",
    "triptych bench gemm": "times products for ten seconds",
}
# Instead of what `config new` chooses.
SHORTER = {"training.steps": 4, "optimizer.warmup_steps": 1, "checkpoint.every": 2}
IS_MEASUREMENT = re.compile(r"triptych bench (loader|collectives)\b")  # of README's, with short options added
SHORT = {"loader": "--seconds 0.1 --rounds 1 --batch 8 --image-size 16", "collectives": "--max 4096 --rounds 1"}


def code_blocks(text):
    """(kind, lines) of every fenced block."""
    return [(kind, body.splitlines()) for kind, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M)]


def commands(lines):
    """The commands of a block, without the comments behind them."""
    return [command for line in lines if (command := re.split(r"\s{2,}#", line)[0].strip())]


def shorten(config):
    """A config of `config new` for a few steps."""
    text = config.read_text(encoding="utf-8")
    for name, value in SHORTER.items():
        section, key = name.split(".")
        text, count = re.subn(rf"(?ms)(^\[{section}\]\n.*?^{key} = )[^\n]*", rf"\g<1>{value}", text)
        assert count == 1, name
    config.write_text(text, encoding="utf-8")


class Readme(unittest.TestCase):
    triptych = None

    @classmethod
    def setUpClass(cls):
        cls.text = (ROOT / "README.md").read_text(encoding="utf-8")
        cls.commands = [command for kind, lines in code_blocks(cls.text) if kind == "sh" for command in commands(lines)]

    def make_folder(self, folder):
        """As a clone with its build, and with the pictures that README asks for."""
        (folder / "build" / "release").mkdir(parents=True)
        (folder / "build" / "release" / "triptych").symlink_to(Path(self.triptych).resolve())
        shutil.copytree(ROOT / "configs", folder / "configs")
        shutil.copytree(ROOT / "launcher", folder / "launcher")
        pictures = folder / "pictures"
        pictures.mkdir()
        for name, numbers in (("captions.jsonl", range(24)), ("held_out.jsonl", range(24, 32))):
            with open(pictures / name, "w", encoding="utf-8") as lines:
                for number in numbers:
                    data, captions = small_runs.draw(number)
                    image = f"{number}.jpg" if number else "a.jpg"
                    (pictures / image).write_bytes(data)
                    lines.write(json.dumps({"image": image, "captions": captions}) + "\n")

    def run_all(self, folder):
        """Each command in a shell of its own, with the variables that those before have exported."""
        exported, seconds = "", {}
        for command in self.commands:
            if command in NOT_RUN:
                continue
            measured = IS_MEASUREMENT.search(command)
            line = f"{command} {SHORT[measured[1]]}" if measured else command
            started = time.monotonic()
            result = subprocess.run(["bash", "-c", f"set -e\n{exported}{line}"], cwd=folder, capture_output=True, text=True,
                                    timeout=120, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
            seconds[command] = time.monotonic() - started
            self.assertEqual(result.returncode, 0, f"`{line}`:\n{result.stdout[-4000:]}{result.stderr[-4000:]}")
            if command.startswith("export "):
                exported += command + "\n"
            made = re.match(r"triptych config new .*--out (\S+)", command)
            if made:
                shorten(folder / made[1])
        return seconds

    def test_every_command_runs(self):
        with tempfile.TemporaryDirectory(prefix="triptych_readme_") as scratch:
            folder = Path(scratch)
            self.make_folder(folder)
            seconds = self.run_all(folder)
            for command, took in seconds.items():
                print(f"{took:6.1f} s  {command}")
            made = ("runs/mine/report.html", "runs/mine/checkpoints/latest", "hits.html", "apple.html")
            self.assertEqual([name for name in made if not (folder / name).is_file()], [])
        self.assertGreater(len(seconds), 15)

    def test_what_is_not_run_stands_there(self):
        self.assertEqual([command for command in NOT_RUN if command not in self.commands], [])

    def test_every_block_says_what_it_is(self):
        self.assertLessEqual({kind for kind, _ in code_blocks(self.text)}, {"sh", "text"})
        outside = re.sub(r"^```.*?^```$", "", self.text, flags=re.S | re.M)
        self.assertNotRegex(outside, r"(?m)^    \S", "a command that is not in a block is not tested")
        shown = "\n".join(line for kind, lines in code_blocks(self.text) if kind == "text" for line in lines)
        self.assertNotRegex(shown, r"(?m)^(triptych|mpirun|launcher/[\w-]+ \S+ \S|\./|pip|python3) ", "a command in a block of text")

    def test_links_and_examples_lead_somewhere(self):
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", self.text)
        self.assertEqual([link for link in links if not (ROOT / link).exists()], [])
        table = self.text[self.text.index("| `task =`"):self.text.index("## Your own data")]
        rows = re.findall(r'^\| `"(\w+)"`.*\| `(\w+)` \|$', table, re.M)
        self.assertEqual([name for _, name in rows if not (ROOT / "configs" / f"{name}.toml").exists()], [])
        for task, name in rows:
            text = (ROOT / "configs" / f"{name}.toml").read_text(encoding="utf-8")
            self.assertEqual(re.findall(r'^task = "(\w+)"', text, re.M) or ["contrastive"], [task], name)
        program = subprocess.run([self.triptych, "config", "document"], capture_output=True, text=True, check=True).stdout
        self.assertEqual(sorted(task for task, _ in rows), sorted(set(re.findall(r'`task = "(\w+)"`', program))))


if __name__ == "__main__":
    Readme.triptych = sys.argv.pop(1)
    unittest.main()
