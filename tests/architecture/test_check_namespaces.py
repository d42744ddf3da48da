#!/usr/bin/python3
"""The checker of namespaces finds each kind of misplaced name and arrow in a small tree, and nothing in a good one."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
from check_namespaces import HEADER, check  # noqa: E402  (found beside this file)

ROOMS = "base|src/base|\nkernels|kernels|base\nops|src/ops|kernels;base\nkernels_cpu|kernels/cpu|kernels;base\nreport|src/report|base\n"
ARROWS = {"base": [], "kernels": ["base"], "ops": ["kernels"], "report": ["base"], "launcher": ["ops", "report"]}


def header(arrows):
    bodies = "".join(f"namespace {name} {{" + "".join(f"\nusing namespace {other};" for other in sees) + "\n}\n"
                     for name, sees in arrows.items())
    return "#pragma once\nnamespace triptych {\n\n" + bodies + "\n}  // namespace triptych\n"


def in_namespace(name, text="struct X {};"):
    return f"namespace triptych::{name} {{\n{text}\n}}\n"


class CheckNamespaces(unittest.TestCase):
    def problems(self, files={}, arrows=ARROWS, rooms=ROOMS):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in {HEADER: header(arrows), **files}.items():
                file = Path(folder) / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            return check(Path(folder), rooms)[0]

    def test_a_good_tree_passes(self):
        self.assertEqual(self.problems({
            "src/base/a.h": in_namespace("base") + in_namespace("base::internal"),
            "kernels/k.h": in_namespace("kernels"),
            "kernels/cpu/k.cpp": in_namespace("kernels", "namespace {\nint g() { return 1; }\n}\nint f() { return g(); }"),
            "src/ops/o.cpp": in_namespace("kernels", "class Y;") + in_namespace("ops", "int X::f() { return 1; }"),
            "launcher/main.cpp": "int main(int argc, char** argv) { return 0; }\n" + in_namespace("launcher"),
        }), [])

    def test_a_name_outside_its_rooms_namespace_is_named_with_its_line(self):
        for file, text in (("src/ops/o.h", in_namespace("kernels")), ("src/ops/o.h", "namespace triptych {\nstruct X {};\n}\n"),
                           ("src/ops/o.h", "\nint f() { return 1; }\n"), ("kernels/cpu/k.cpp", in_namespace("kernels_cpu")),
                           ("launcher/main.cpp", in_namespace("ops")), ("src/ops/o.h", in_namespace("ops_too"))):
            with self.subTest(text):
                problems = self.problems({file: text})
                self.assertEqual(len(problems), 1)
                self.assertTrue(problems[0].startswith(f"{file}:2: "), problems)

    def test_arrows_that_differ(self):
        self.assertEqual(self.problems(arrows={**ARROWS, "report": ["kernels"]}),
                         [f"{HEADER}: namespace report sees kernels, which room report does not"])
        self.assertEqual(self.problems(arrows={**ARROWS, "ops": ["base"]}),
                         [f"{HEADER}: namespace ops does not see kernels, which room ops does"])

    def test_rooms_that_differ(self):
        self.assertEqual(self.problems(arrows={**ARROWS, "attic": []}), [f"{HEADER}: namespace attic is of no room"])
        self.assertEqual(self.problems(rooms=ROOMS + "attic|src/attic|base\n"), [f"{HEADER}: room attic has no namespace"])


if __name__ == "__main__":
    unittest.main()
