#!/usr/bin/python3
"""Samples that cannot be used: ranks that agree on them in training, and an evaluation that leaves them out.

usage: test_data_faults.py TRIPTYCH   the program to test
"""

import json
import shutil
import struct
import subprocess
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
from small_runs import SmallRuns, losses  # noqa: E402  (found beside this file)

HEADER_BYTES, RECORD_BYTES, CAPTIONS_OFFSET = 64, 64, 24  # of index.bin: docs/shard-format.md


class DataFaults(SmallRuns):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.library = cls.folder / "failing_reads.so"
        source = Path(__file__).with_name("failing_reads.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", cls.library, source, "-ldl"], check=True)

    def failing(self, ranks, times):
        """An environment in which sample 5, in the first shard, cannot be read by some ranks, so many times."""
        index = (self.data / "index.bin").read_bytes()
        offset = struct.unpack_from("<Q", index, HEADER_BYTES + RECORD_BYTES * 5 + CAPTIONS_OFFSET)[0]
        return {"LD_PRELOAD": str(self.library), "FAILING_RANKS": ranks, "FAILING_OFFSET": str(offset),
                "FAILING_FILE": "shard_00000.h5", "FAILING_TIMES": str(times)}

    def test_all_ranks_replace_what_one_cannot_read(self):
        for mesh in ({"pp": 2}, {"tp": 2}):
            with self.subTest(mesh):
                name = "".join(mesh)
                found = {}
                for ranks in ("0", "1", "0,1"):
                    run = self.folder / f"{name}_{ranks}"
                    said = self.train(run, mesh=mesh, environment=self.failing(ranks, 1000000),
                                      data__max_bad_fraction="0.5")
                    found[ranks] = losses(run)
                    self.assertEqual(said.count("sample 5 (id 6) is replaced"), 1, said)
                    self.assertIn("errno 5", said)
                    self.assertIn(f"rank {ranks[0]}/2", said)
                self.assertEqual(found["0"], found["1"])
                self.assertEqual(found["0"], found["0,1"])
                clean = self.folder / f"{name}_clean"
                self.train(clean, mesh=mesh)
                self.assertNotEqual(losses(clean), found["0"])
                # A read that fails for a moment costs nothing.
                run = self.folder / f"{name}_moment"
                said = self.train(run, mesh=mesh, environment=self.failing("1", 2))
                self.assertNotIn("replaced", said)
                self.assertEqual(losses(run), losses(clean))

    def test_an_evaluation_leaves_out_what_it_cannot_use(self):
        images = self.folder / "cut_images"
        shutil.copytree(self.folder / "images", images)
        for number in (0, 4, 11, 18):
            file = next(images.glob(f"{number}.*"))
            data = file.read_bytes()
            file.write_bytes(data[:-30])  # of the pixels: what a picture begins with is whole
        lines = (images / "captions.jsonl").read_text().splitlines()
        used = [line for line in lines if Path(json.loads(line)["image"]).stem not in ("0", "4", "11", "18")]
        (images / "used.jsonl").write_text("\n".join(used) + "\n")
        for name, captions in (("cut", "captions.jsonl"), ("used", "used.jsonl")):
            self.program("ingest", "pairs", "--images", images, "--captions", images / captions, "--out",
                         self.folder / name)

        def tables(name, ranks):
            arguments = self.arguments(self.base, evaluation__sets=f'["{self.folder / name}"]')[1:]
            result = self.run_program("eval", *arguments, ranks=ranks)
            told = result.stdout
            # Not the loss: where a sample is left out its batch has fewer to tell apart.
            return told[told.index("\n") : told.index("\nLoss\n")].replace(name, "set"), result.stderr

        expected, said = tables("used", 1)
        self.assertNotIn("left out", said)
        for ranks in (1, 2):
            found, said = tables("cut", ranks)
            self.assertEqual(found.split(), expected.split())
            self.assertEqual(said.count("4 of 22 samples cannot be used and are left out"), 1, said)
        self.program("ingest", "pairs", "--images", images, "--captions", images / "captions.jsonl", "--out",
                     self.folder / "decoded", "--decode", expect=2)
        self.program("inspect", self.folder / "cut", "--decode", expect=1)
        self.program("inspect", self.folder / "used", "--decode")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    SmallRuns.triptych = Path(sys.argv.pop(1)).resolve()
    unittest.main()
