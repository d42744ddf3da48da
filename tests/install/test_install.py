#!/usr/bin/python3
"""What `cmake --install` puts down works where it is moved to, and is enough for a project with a task of its own, which
find_package(Triptych) finds there.

usage: test_install.py CMAKE BUILD VERSION
"""

import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent / "launcher"))
import small_runs  # noqa: E402

CMAKE, BUILD, VERSION = sys.argv.pop(1), Path(sys.argv.pop(1)).resolve(), sys.argv.pop(1)
CONFIG = """
task = "mirror"

[run]
threads = 1

[model.image]
size = 12
patch = 4
width = 24
layers = 2
heads = 2
feed_forward = 36

[training]
steps = 1
global_batch = 8
"""
FOREIGN = """
cmake_minimum_required(VERSION 3.25)
project(foreign LANGUAGES {languages})
find_package(Triptych {version} {more})
message(STATUS "found: ${{Triptych_FOUND}}")
"""


def run(*words, expect=0):
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=300, check=False)
    if (result.returncode == 0) != (expect == 0):
        raise AssertionError(f"exit code {result.returncode} of {words}:\n{result.stdout}{result.stderr}")
    return result.stdout + result.stderr


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="triptych_install_")
        cls.folder = Path(cls.scratch.name)
        first = cls.folder / "first"
        run(CMAKE, "--install", BUILD, "--prefix", first)
        cls.prefix = first.rename(cls.folder / "moved")

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def configure(self, name, **parts):
        """What CMake says of a project that looks for Triptych."""
        source = self.folder / name
        source.mkdir()
        (source / "CMakeLists.txt").write_text(FOREIGN.format(**({"languages": "C CXX", "version": "", "more": ""} | parts)))
        return run(CMAKE, "-S", source, "-B", source / "build", f"-DCMAKE_PREFIX_PATH={self.prefix}",
                   expect=1 if "REQUIRED" in parts.get("more", "") else 0)

    def test_the_programs_run(self):
        program = self.prefix / "bin/triptych"
        self.assertTrue(run(program, "--version").startswith(f"triptych {VERSION} (commit "))
        self.assertIn("selective", run(program, "plan", "memory", self.prefix / "share/triptych/configs/verify.toml"))
        self.assertEqual((self.prefix / "bin/triptych-cuda").exists(), (BUILD / "triptych-cuda").exists())
        run(self.prefix / "bin/triptych-run-ranks", 2, program, "verify", self.prefix / "share/triptych/configs/verify.toml",
            "--set", "parallel.tp=2")

    def test_nothing_names_the_place_it_was_installed_in_or_built_in(self):
        files = [file for part in ("lib", "include", "share") for file in (self.prefix / part).rglob("*")
                 if file.suffix in (".cmake", ".h", ".toml")]
        self.assertGreater(len(files), 200)
        for file in files:
            for place in (self.folder / "first", BUILD, HERE.parents[1]):
                self.assertNotIn(str(place), file.read_text("utf-8"), file)

    def test_headers_include_only_what_is_there(self):
        top = self.prefix / "include/triptych"
        for header in top.rglob("*.h"):
            for name in re.findall(r'^#include "(.*)"', header.read_text("utf-8"), re.MULTILINE):
                self.assertTrue((top / name).is_file(), f"{header} includes {name}")

    def test_a_project_brings_its_task_and_trains_a_step(self):
        build = self.folder / "mirror"
        run(CMAKE, "-S", HERE, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={self.prefix}")
        run(CMAKE, "--build", build)
        program = build / "mirror"
        small_runs.make_data(self.folder, lambda *words: run(program, *words))
        (self.folder / "mirror.toml").write_text(CONFIG)
        run(program, "train", self.folder / "mirror.toml", "--set", f'run.dir="{self.folder}/run"', "--set",
            f'data.path="{self.folder}/data"')
        (line,) = (self.folder / "run/metrics.jsonl").read_text().splitlines()
        self.assertEqual(json.loads(line)["step"], 1)
        self.assertAlmostEqual(json.loads(line)["loss"], 0.69, delta=0.3)  # of two kinds, unlearned: log 2
        self.assertIn('found "mirror"', run(self.prefix / "bin/triptych", "config", "check", self.folder / "mirror.toml", expect=1))

    def test_who_cannot_use_it_is_told_why(self):
        self.assertIn("found: 0", self.configure("without_c", languages="CXX"))
        self.assertIn("project(NAME LANGUAGES C CXX)", self.configure("needs_c", languages="CXX", more="REQUIRED").replace("\n ", ""))
        self.assertIn("found: 0", self.configure("newer", version="9.0"))
        self.assertIn("built without vulkan", self.configure("component", more="REQUIRED COMPONENTS vulkan"))


if __name__ == "__main__":
    unittest.main()
