#!/usr/bin/python3
"""The container recipes take all that is tracked, so that the program in them can tell which commit it is."""

import re
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECIPE = (ROOT / "containers/triptych.def").read_text("utf-8")


class Containers(unittest.TestCase):
    def test_apptainer_takes_what_is_there(self):
        taken = re.findall(r"^    (\S+) /src/(\S+)$", RECIPE, re.MULTILINE)
        self.assertTrue(all(source == target for source, target in taken))
        ignored = {line.strip("/\n") for line in (ROOT / ".gitignore").read_text("utf-8").splitlines()}
        there = {path.name for path in ROOT.iterdir()} - ignored
        self.assertEqual({source for source, _ in taken} - {".git"}, there - {".git"})

    def test_docker_leaves_out_what_git_leaves_out(self):
        lines = [set(re.sub(r"^\*\*/", "", line) for line in (ROOT / name).read_text("utf-8").splitlines() if line[:1] != "#")
                 for name in (".gitignore", ".dockerignore")]
        self.assertEqual(*lines)

    def test_the_script_can_be_read(self):
        result = subprocess.run(["sh", "-n", ROOT / "containers/install"], capture_output=True, text=True, check=False)
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_both_recipes_have_the_same_bases(self):
        docker = (ROOT / "containers/Dockerfile").read_text("utf-8")
        for recipe, form in ((docker, r"^ARG (\w+)=(\S+)$"), (RECIPE, r"^    (BUILD_BASE|RUN_BASE|CUDA)=(\S+)$")):
            self.assertEqual(dict(re.findall(form, recipe, re.MULTILINE)),
                             {"BUILD_BASE": "debian:12", "RUN_BASE": "debian:12-slim", "CUDA": "OFF"})


if __name__ == "__main__":
    sys.exit(unittest.main())
