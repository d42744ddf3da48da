#!/usr/bin/python3
"""The include checker finds each kind of forbidden include in a small tree, and nothing in a tree that keeps the rules."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
from check_includes import check  # noqa: E402  (found beside this file)

ROOMS = "base|src/base|\nkernels|kernels|base\nkernels_cpu|kernels/cpu|kernels;base\nparallel|parallel|kernels;base\npipeline|parallel/pipeline|parallel\n"


class CheckIncludes(unittest.TestCase):
    def problems(self, files, rooms=ROOMS):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                file = Path(folder) / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            return check(Path(folder), rooms)[0]

    def test_allowed_includes_pass(self):
        self.assertEqual(self.problems({
            "src/base/a.h": "#include <vector>\n",
            "src/base/a.cpp": '#include "base/a.h"\n#include "a.h"\n',
            "kernels/k.h": '#include "base/a.h"\n',
            "kernels/cpu/k.cpp": '#include "kernels/k.h"\n#include <oneapi/dnnl/dnnl.hpp>\n',
            "parallel/g.h": '#include "kernels/k.h"\n#include <mpi.h>\n',
            "parallel/pipeline/p.cpp": '#include "parallel/g.h"\n',
            "launcher/main.cpp": '#include "parallel/pipeline/p.h"\n#include <CLI/CLI.hpp>\n',
            "parallel/pipeline/p.h": "",
        }), [])

    def test_an_include_against_the_arrows_is_named_with_its_line(self):
        problems = self.problems({"src/base/a.h": '\n# include "kernels/k.h"\n', "kernels/k.h": ""})
        self.assertEqual(len(problems), 1)
        self.assertTrue(problems[0].startswith("src/base/a.h:2: room base may not include kernels/k.h of kernels"))

    def test_an_inner_room_is_not_its_outer_one(self):
        problems = self.problems({"parallel/g.h": '#include "parallel/pipeline/p.h"\n', "parallel/pipeline/p.h": ""})
        self.assertEqual([problem.split(" may")[0] for problem in problems], ["parallel/g.h:1: room parallel"])

    def test_sight_is_not_inherited(self):
        problems = self.problems({"parallel/pipeline/p.h": '#include "base/a.h"\n', "src/base/a.h": ""})
        self.assertEqual(len(problems), 1)

    def test_a_path_with_dots_does_not_hide_the_room(self):
        problems = self.problems({"src/base/a.h": '#include "../../parallel/g.h"\n', "parallel/g.h": ""})
        self.assertEqual(len(problems), 1)

    def test_wrapped_libraries_stay_in_their_place(self):
        for header in ("mpi.h", "hdf5.h", "H5Fpublic.h", "dnnl.hpp", "oneapi/dnnl/dnnl.hpp", "hwy/highway.h",
                       "boost/asio.hpp", "boost/asio/post.hpp", "toml++/toml.h", "CLI/CLI.hpp", "cuda_runtime.h"):
            with self.subTest(header):
                problems = self.problems({"src/base/a.cpp": f"#include <{header}>\n"})
                self.assertEqual(len(problems), 1)
                self.assertIn("src/base/a.cpp:1: only ", problems[0])

    def test_files_outside_the_rooms_and_unknown_headers(self):
        self.assertEqual(len(self.problems({"src/attic/a.cpp": ""})), 1)
        self.assertEqual(len(self.problems({"src/base/a.cpp": '#include "base/gone.h"\n'})), 1)
        self.assertEqual(len(self.problems({"src/base/a.cpp": '#include "tests/t.h"\n', "tests/t.h": ""})), 1)

    def test_rooms_declared_in_a_ring(self):
        files = {"src/base/a.h": ""}
        self.assertEqual(self.problems(files, "base|src/base|top\nmid|src/mid|base\ntop|src/top|mid;base\n"),
                         ["CMakeLists.txt: room base sees top, which is not declared before it",
                          "CMakeLists.txt: the rooms form a ring: base sees top sees base"])
        self.assertEqual(self.problems(files, "base|src/base|top\nmid|src/mid|base\ntop|src/top|mid\n")[1:],
                         ["CMakeLists.txt: the rooms form a ring: base sees top sees mid sees base"])
        self.assertEqual(self.problems(files, "base|src/base|base\n")[-1:],
                         ["CMakeLists.txt: the rooms form a ring: base sees base"])

    def test_files_that_include_each_other_in_a_ring(self):
        self.assertEqual(self.problems({"src/base/a.h": '#include "base/b.h"\n', "src/base/b.h": '#include "base/c.h"\n',
                                        "src/base/c.h": '#include "b.h"\n'}),
                         ["src/base/b.h:1: the includes form a ring: src/base/b.h -> src/base/c.h -> src/base/b.h"])
        self.assertEqual(self.problems({"src/base/a.h": '#include "base/b.h"\n#include "base/c.h"\n',
                                        "src/base/b.h": '#include "base/c.h"\n', "src/base/c.h": ""}), [])


if __name__ == "__main__":
    unittest.main()
