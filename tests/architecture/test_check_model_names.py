#!/usr/bin/python3
"""The checker of model names finds them wherever they do not belong, and nowhere else."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
from check_model_names import check  # noqa: E402  (found beside this file)


class CheckModelNames(unittest.TestCase):
    def problems(self, files):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                file = Path(folder) / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            return check(Path(folder))[0]

    def test_a_name_out_of_place_is_given_with_its_line(self):
        self.assertEqual(self.problems({"src/training/step.cpp": "\nint two_towers;\n"}),
                         ["src/training/step.cpp:2: 'two_tower' is a name of a model or a loss"])

    def test_every_name_and_every_other_room(self):
        for name in ("TwoTower", "two_tower", "Contrastive", "image_embedding", "text_embedding", "log_scale", "temperature"):
            for file in ("src/nn/a.h", "src/training/a.cpp", "parallel/a.cpp", "launcher/a.cpp", "launcher/quickstart",
                         "kernels/a.h", "kernels/cpu/a.cpp", "src/tasks_of_old/a.h", "kernels/contrastive/a.h"):
                with self.subTest(name=name, file=file):
                    self.assertEqual(len(self.problems({file: f"// the {name}\n"})), 1)

    def test_where_they_belong(self):
        text = "TwoTower Contrastive temperature"
        self.assertEqual(self.problems({file: text for file in (
            "src/tasks/a.cpp", "src/models/a.h", "src/objectives/deep/a.h", "src/evaluation/a.h", "src/interop/a.h",
            "kernels/contrastive.h", "kernels/cpu/contrastive.cpp", "kernels/cuda/contrastive_rows.cu", "docs/a.md",
            "tests/a.cpp")}), [])


if __name__ == "__main__":
    unittest.main()
