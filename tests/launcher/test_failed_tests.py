#!/usr/bin/python3
"""launcher/failed_tests.py names the tests that did not pass, and shows the end of what each said."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent.parent / "launcher/failed_tests.py"
RESULTS = """<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="Linux" tests="{}">
{}
</testsuite>
"""


def case(name, status, inner="", output=""):
    return f'<testcase name="{name}" status="{status}">{inner}<system-out>{output}</system-out></testcase>'


class FailedTests(unittest.TestCase):
    def told(self, *files):
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for number, cases in enumerate(files):
                paths.append(Path(folder, f"{number}.xml"))
                paths[-1].write_text(RESULTS.format(len(cases), "\n".join(cases)))
            return subprocess.run([sys.executable, SCRIPT, *paths], capture_output=True, text=True, check=True).stdout

    def test_says_what_each_said_last(self):
        told = self.told([case("good", "run", output="not shown"),
                          case("a.bad", "fail", '<failure message="Timeout"/>', "\n".join(f"line {i} &lt;" for i in range(40)))],
                         [case("b.skipped", "notrun", '<skipped message="SKIP_RETURN_CODE=77"/>')])
        self.assertIn("a.bad: Timeout\n    (15 lines before)\n    line 15 <\n", told)
        self.assertIn("    line 39 <\n", told)
        self.assertIn("b.skipped: SKIP_RETURN_CODE=77\n", told)
        self.assertNotIn("good", told)

    def test_of_many_names_the_rest(self):
        told = self.told([case(f"bad{i}", "fail", '<failure message="Failed"/>', "why") for i in range(15)])
        self.assertEqual(told.count("why"), 10)
        self.assertIn("\nbad14: Failed\n", told)

    def test_says_nothing_of_tests_that_all_passed(self):
        self.assertEqual(self.told([case("good", "run")]), "")


if __name__ == "__main__":
    unittest.main()
