#!/usr/bin/python3
"""`triptych --version` says of which sources it was built, and cmake/write_commit.cmake finds that out.

usage: test_version.py TRIPTYCH CMAKE VERSION
"""

import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TRIPTYCH, CMAKE, VERSION = sys.argv.pop(1), sys.argv.pop(1), sys.argv.pop(1)
SCRIPT = Path(__file__).resolve().parents[2] / "cmake/write_commit.cmake"


def git(folder, *words):
    command = ["git", "-C", folder, "-c", "user.name=test", "-c", "user.email=test@example.org", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Version(unittest.TestCase):
    def test_the_program_tells_version_commit_and_backends(self):
        told = subprocess.run([TRIPTYCH, "--version"], check=True, capture_output=True, text=True).stdout
        self.assertRegex(told, rf"\Atriptych {re.escape(VERSION)} "
                               r"\(commit ([0-9a-f]{12}(-dirty)?|unknown: built outside a git checkout)\)\n"
                               r"backends: cpu(, and cuda in /\S+/triptych-cuda)?\n"
                               r"compiler: (g|clang)\+\+ \d+\.\S+.*\n\Z")
        self.assertEqual("cuda" in told, (Path(TRIPTYCH).parent / "triptych-cuda").exists())


class Commit(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.source, self.file = Path(folder.name, "source"), Path(folder.name, "program_commit.cpp")
        self.source.mkdir()

    def commit(self):
        """Makes the source a checkout with one commit; its first twelve digits."""
        git(self.source, "init", "--quiet")
        (self.source / "code.cpp").write_text("int one;\n")
        (self.source / ".gitignore").write_text("/build/\n")
        git(self.source, "add", ".")
        git(self.source, "commit", "--quiet", "-m", "Begin")
        return git(self.source, "rev-parse", "HEAD")[:12]

    def written(self, source=None, program="git"):
        subprocess.run([CMAKE, "-D", f"SOURCE={source or self.source}", "-D", f"FILE={self.file}", "-D", f"GIT={program}",
                        "-P", SCRIPT], check=True)
        return re.search(r'return "(.*)";', self.file.read_text())[1]

    def test_a_clean_checkout_is_its_commit(self):
        head = self.commit()
        (self.source / "build").mkdir()
        (self.source / "build/ignored.o").write_text("")
        self.assertEqual(self.written(), head)
        git(self.source, "commit", "--quiet", "--allow-empty", "-m", "Go on")
        self.assertEqual(self.written(), git(self.source, "rev-parse", "HEAD")[:12])

    def test_a_changed_and_a_new_file_make_it_dirty(self):
        head = self.commit()
        (self.source / "code.cpp").write_text("int two;\n")
        self.assertEqual(self.written(), f"{head}-dirty")
        git(self.source, "checkout", "--quiet", "code.cpp")
        self.assertEqual(self.written(), head)
        (self.source / "new.cpp").write_text("int three;\n")  # the build would take it in
        self.assertEqual(self.written(), f"{head}-dirty")

    def test_sources_that_are_no_checkout_have_none(self):
        self.assertEqual(self.written(), "")
        self.commit()
        tarball = self.source / "inside_of_it"
        tarball.mkdir()
        self.assertEqual(self.written(tarball), "")
        self.assertEqual(self.written(program=""), "")

    def test_a_checkout_without_a_commit_has_none(self):
        git(self.source, "init", "--quiet")
        self.assertEqual(self.written(), "")

    def test_what_did_not_change_is_not_written_again(self):
        self.commit()
        self.written()
        before = self.file.stat().st_mtime_ns
        self.written()
        self.assertEqual(self.file.stat().st_mtime_ns, before)

    def test_a_broken_checkout_is_told(self):
        self.commit()
        (self.source / ".git/index").write_bytes(b"not an index")
        with self.assertRaises(subprocess.CalledProcessError):
            self.written()


if __name__ == "__main__":
    unittest.main()
