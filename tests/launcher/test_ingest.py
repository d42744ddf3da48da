#!/usr/bin/python3
"""`triptych ingest` of files that Python's tarfile, csv, json and Pillow wrote: what is in the shards, as h5py reads them;
what is left out; that threads and interruptions change nothing; and runs that train on each format as on pairs.

usage: test_ingest.py TRIPTYCH   the program to test
"""

import base64
import csv
import fcntl
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import unittest
from pathlib import Path

from PIL import Image

sys.dont_write_bytecode = True
import small_runs  # noqa: E402  (found beside this file)
from read_shards import Sample, read_samples  # noqa: E402
from small_runs import SmallRuns  # noqa: E402

SECOND_INPUT = 1 << 40


def write_tar(path, members):
    """members: (name, bytes), in order."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


def wait_for_lock(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.close(descriptor)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Ingest(SmallRuns):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pictures = [small_runs.draw(number)[0] for number in range(22)]
        cls.captions = [small_runs.draw(number)[1] for number in range(22)]
        cls.labels = [number % 5 for number in range(22)]

    def ingest(self, form, *words, out="out", expect=0, **options):
        """The folder and what was said."""
        folder = self.folder / out
        result = self.run_program("ingest", form, *words, "--out", folder, expect=expect, **options)
        return folder, result.stdout + result.stderr

    def refused(self, parts, form, *words):
        folder, said = self.ingest(form, *words, out="refused", expect=2)
        for part in parts:
            self.assertIn(part, said)
        self.assertFalse(folder.exists())
        self.assertFalse(Path(f"{folder}.partial").exists())

    # ---- Formats

    def test_webdataset(self):
        first = [("a/000.jpg", self.pictures[0]), ("a/000.json", b'{"caption": "not this one"}'),
                 ("a/000.TXT", " a red square\n".encode()), ("a/000.cls", b"3\n"),
                 ("a/001.seg.png", self.pictures[1]), ("a/001.png", self.pictures[1]),
                 ("a/001.json", json.dumps({"url": "x", "text": None, "captions": ["ein Kreis", "圆"]}).encode())]
        second = [("__meta.x__", b"{}"), ("README", b"no sample"), ("002.jpeg", self.pictures[2]), ("002.cls", b"disc")]
        write_tar(self.folder / "shard-008.tar", first)
        write_tar(self.folder / "shard-009.tar.gz", second)
        (self.folder / "names").write_text("square\nsquare\ncross\nring\ndisc\n")
        folder, said = self.ingest("webdataset", self.folder / "shard-{008..008}.tar", self.folder / "shard-*.tar.gz",
                                   "--classes", self.folder / "names")
        self.assertEqual(read_samples(folder), [
            Sample(1, self.pictures[0], ["a red square"], 3, []),
            Sample(2, self.pictures[1], ["ein Kreis", "圆"], -1, []),
            Sample(SECOND_INPUT + 1, self.pictures[2], [], 4, [])])
        self.assertIn("3 samples in 1 shards, 3 images, 3 captions", said)
        self.assertIn("not packed: .seg.png, 1 times", said)
        self.assertEqual((folder / "classes.txt").read_text(), (self.folder / "names").read_text())
        folder, _ = self.ingest("webdataset", self.folder / "shard-008.tar", "--captions", "json", "--json-keys",
                                "captions,caption")
        self.assertEqual([sample.captions for sample in read_samples(folder)], [["not this one"], ["ein Kreis", "圆"]])

    def test_webdataset_names_what_is_bad(self):
        picture = self.pictures[0]
        write_tar(self.folder / "bad.tar", [
            ("0.jpg", picture), ("0.txt", b"good"),
            ("1.jpg", picture), ("1.jpg", picture), ("1.txt", b"twice"),
            ("2.jpg", picture), ("2.txt", b" \n"),
            ("3.txt", b"no picture"),
            ("4.jpg", picture),
            ("5.jpg", picture[:20]), ("5.txt", b"cut"),
            ("6.jpg", b""), ("6.txt", b"empty"),
            ("7.jpg", picture), ("7.txt", b"\xff\xfe"),
            ("8.jpg", picture), ("8.cls", b"seven"),
            ("9.jpg", picture), ("9.json", b"{"),
            ("../../etc/10.jpg", picture), ("../../etc/10.txt", b"a name is only a name")])
        self.refused(["bad.tar] has 9 problems", "sample 2: '1' has the extension 'jpg' twice", "sample 3: '2': a caption is empty",
                      "'3': has no image", "'4': has no caption (.txt, .caption, .text, .json) and no class",
                      "sample 6: the image: [image", "'6': the .jpg is empty", "'7': a caption is not UTF-8",
                      "sample 9: the label 'seven' is no integer", "'9': the .json is not JSON"],
                     "webdataset", self.folder / "bad.tar")
        self.refused(["9 of 11 samples are bad, 81.82 %, and --skip-bad allows 50 %", "3 text missing"], "webdataset",
                     self.folder / "bad.tar", "--skip-bad", "50%")
        folder, said = self.ingest("webdataset", self.folder / "bad.tar", "--skip-bad", "90%")
        self.assertEqual([sample.captions for sample in read_samples(folder)], [["good"], ["a name is only a name"]])
        self.assertIn("left out 9 of 11 samples (81.82 %), listed in", said)
        lines = [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]
        self.assertEqual([line["place"].rsplit(" ", 1)[1] for line in lines], list("23456789") + ["10"])
        reasons = {}
        for line in lines:
            reasons[line["reason"]] = reasons.get(line["reason"], 0) + 1
        for reason, count in reasons.items():
            self.assertIn(f"  {count} {reason}\n", said)
        self.assertEqual(sum(reasons.values()), 9)
        # A later ingest may replace what is its own, the list too.
        self.ingest("webdataset", self.folder / "bad.tar", "--skip-bad", "90%")

    def test_an_archive_that_ends_too_early(self):
        members = [member for k in range(6) for member in ((f"{k}.png", self.pictures[1]), (f"{k}.txt", b"a caption"))]
        write_tar(self.folder / "whole.tar", members)
        whole = (self.folder / "whole.tar").read_bytes()
        per_sample = (len(self.pictures[1]) + 511) // 512 * 512 + 3 * 512
        (self.folder / "cut.tar").write_bytes(whole[:4 * per_sample + 700])
        self.refused(["cut.tar sample 5: the archive is cut or damaged behind its first 4 samples"], "webdataset",
                     self.folder / "cut.tar", self.folder / "whole.tar")
        folder, said = self.ingest("webdataset", self.folder / "cut.tar", self.folder / "whole.tar", "--skip-bad", "10%")
        self.assertEqual([sample.id for sample in read_samples(folder)],
                         [1, 2, 3, 4] + [SECOND_INPUT + k for k in range(1, 7)])
        self.assertIn("1 archive cut or damaged", said)

    def test_an_archive_whose_failure_the_library_leaves_without_a_text(self):
        """Found by the fuzzer: libarchive says that it cannot read these bytes, and not why."""
        (self.folder / "silent.tar.gz").write_bytes(base64.b64decode(
            "H4sIAENSDWsC/+3VzwrCIBzAcR9l+ABL90/obUQiNqLG5mAQvXsWHWI7dJoj/H4uP/HiQb5qT08="))
        self.refused(["silent.tar.gz", "cannot be read as a tar archive (no reason is known)"], "webdataset",
                     self.folder / "silent.tar.gz")

    def test_tables(self):
        images = self.folder / "images"
        names = ["0.jpg", "1.png", "2.jpg"]
        captions = ["plain", 'says "yes", twice', "two\nlines, and\ta tab"]
        for form, separator in (("csv", ","), ("tsv", "\t")):
            table = images / f"table.{form}"
            with open(table, "w", encoding="utf-8-sig", newline="") as file:
                writer = csv.writer(file, delimiter=separator)
                writer.writerow(["title", "more", "filepath", "kind"])
                for name, caption in zip(names, captions):
                    writer.writerow([caption, "", name if name != "1.png" else images / name, len(caption)])
            folder, _ = self.ingest(form, table)
            expected = [Sample(k + 1, self.pictures[k], [captions[k]], -1, []) for k in range(3)]
            self.assertEqual(read_samples(folder), expected)
            folder, _ = self.ingest(form, table, "--images", images, "--caption-column", "more,title", "--label-column", "kind",
                                    "--id-column", "kind")
            self.assertEqual(read_samples(folder), [
                sample._replace(id=len(sample.captions[0]), label=len(sample.captions[0])) for sample in expected])
            self.refused(["has no column 'image'. Its first row names: title, more, filepath, kind. Choose one with "
                          "--image-column"], form, table, "--image-column", "image")
        bad = self.folder / "bad.csv"
        bad.write_text('filepath,title\n0.jpg,"a" b\n0.jpg\n../names,c\n0.jpg,""\n')
        self.refused(["row 1: field 2 goes on behind its closing quote", "row 2: has 1 fields, the table has 2 columns",
                      "row 3: the image '../names' must be a name relative to", "row 4: has nothing under 'title'"], "csv", bad,
                     "--images", images)
        bad.write_text('filepath,title\n0.jpg,"never closed\n' + "0.jpg,b\n" * 10)
        self.refused(["in the row that begins at byte 15 a quote is opened and not closed"], "csv", bad, "--images", images)

    def test_coco(self):
        images = self.folder / "images"
        sizes = {name: size_of(images / name) for name in ("0.jpg", "1.png", "2.jpg")}
        listed = [{"id": 30 - k, "file_name": name, "width": size[0], "height": size[1], "license": 1}
                  for k, (name, size) in enumerate(sizes.items())]
        captions = {"info": {"year": 2017}, "licenses": [], "images": listed, "annotations": [
            {"id": 1, "image_id": 30, "caption": "one "}, {"id": 2, "image_id": 29, "caption": "zwei"},
            {"id": 3, "image_id": 30, "caption": "eins"}]}
        instances = {"info": {}, "annotations": [
            {"id": 1, "image_id": 30, "category_id": 90, "bbox": [0.4, 1.5, 3.2, 4], "segmentation": [[1, 2]], "iscrowd": 0},
            {"id": 2, "image_id": 28, "category_id": 7, "bbox": [-2, 2, 1000.5, 3], "iscrowd": 0},
            {"id": 3, "image_id": 28, "category_id": 7, "bbox": [0, 0, 4, 4], "iscrowd": 1, "segmentation": {"counts": []}},
            {"id": 4, "image_id": 28, "category_id": 7, "bbox": [1, 1, 0, 4], "iscrowd": 0}],
            "images": listed, "categories": [{"id": 90, "name": "Zahnbürste"}, {"id": 7, "name": "car", "supercategory": "x"}]}
        for name, document in (("captions_x.json", captions), ("instances_x.json", instances)):
            (self.folder / name).write_text(json.dumps(document, indent=1 if name[0] == "c" else None))
        folder, said = self.ingest("coco", f"{self.folder}/{{captions,instances}}_x.json", "--images", images)
        width = sizes["2.jpg"][0]
        self.assertEqual(read_samples(folder), [
            Sample(28, self.pictures[2], [], -1, [(0, 2, width, 5, 0)]),
            Sample(29, self.pictures[1], ["zwei"], -1, []),
            Sample(30, self.pictures[0], ["one", "eins"], -1, [(0, 1, 4, 6, 1)])])
        self.assertEqual((folder / "classes.txt").read_text(), "car\nZahnbürste\n")
        self.assertIn("not packed: a box around a crowd, 1 times", said)
        self.assertIn("not packed: a box without area in the image, 1 times", said)
        # Boxes for an image of another size are boxes of another image.
        for image in instances["images"]:
            image["width"] += 1
        (self.folder / "resized.json").write_text(json.dumps(instances))
        self.refused(["image 28: its boxes are for an image of"], "coco", self.folder / "resized.json", "--images", images)

    def test_image_folder(self):
        root = self.folder / "classes"
        for number, (folder, name) in enumerate([("zebra", "deep/b.jpg"), ("zebra", "a.PNG"), ("ant hill", "1.jpg")]):
            path = root / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.pictures[number])
        (root / "ant hill" / "notes.txt").write_text("x")
        (root / ".cache").mkdir()
        folder, said = self.ingest("imagefolder", root)
        self.assertEqual(read_samples(folder), [Sample(1, self.pictures[2], [], 0, []), Sample(2, self.pictures[1], [], 1, []),
                                                Sample(3, self.pictures[0], [], 1, [])])
        self.assertEqual((folder / "classes.txt").read_text(), "ant hill\nzebra\n")
        self.assertIn("not packed: a file '.txt', 1 times", said)
        (root / "zebra" / "outside.png").symlink_to(self.folder / "images" / "1.png")
        self.refused(["is a link that leads out of"], "imagefolder", root)
        folder, _ = self.ingest("imagefolder", root / "zebra" / "deep")
        self.assertEqual(read_samples(folder), [Sample(1, self.pictures[0], [], -1, [])])
        (root / "zebra" / "outside.png").unlink()
        (root / "beside.jpg").write_bytes(self.pictures[0])
        self.refused(["lies in no class's folder"], "imagefolder", root)

    def test_parquet_says_what_it_needs(self):
        (self.folder / "x.parquet").write_bytes(b"PAR1 and what is none")
        self.refused(["cannot be started", "Install python3 and pyarrow"], "parquet", self.folder / "x.parquet", "--python",
                     "/no/such/python")
        # A Python that has no pyarrow, whatever this machine's has.
        bare = self.folder / "bare"
        bare.write_text('#!/bin/sh\nshift\nscript=$1\nshift\nexec /usr/bin/python3 -c "import sys\nsys.modules[\'pyarrow\'] = None\n'
                        '$script" "$@"\n')
        bare.chmod(0o755)
        self.refused(["Parquet files are read by Python's pyarrow", "pip install pyarrow", "--python VENV/bin/python3"],
                     "parquet", self.folder / "x.parquet", "--python", bare)

    def test_another_format_is_named(self):
        images = self.folder / "images"
        files = {
            "captions.json": json.dumps({"info": {}, "images": [], "annotations": [{"image_id": 1, "caption": "a"}]}).encode(),
            "instances.json": json.dumps({"images": [{"id": 1}], "annotations": [{"bbox": [1, 2, 3, 4]}]}).encode(),
            "pairs.jsonl": b'{"image": "a.png", "caption": "a, b"}\n',
            "table.csv": b"filepath,title\n0.jpg,a\n",
            "table.tsv": b"filepath\ttitle\n0.jpg\ta\n",
            "table.parquet": b"PAR1",
            "shard.h5": b"\x89HDF\r\n\x1a\n",
        }
        for name, data in files.items():
            (self.folder / name).write_bytes(data)
        write_tar(self.folder / "x.tar", [("0.jpg", self.pictures[0])])
        for name, use in {"captions.json": "is a COCO captions file: use `triptych ingest coco`",
                          "instances.json": "is a COCO instances file: use `triptych ingest coco`",
                          "pairs.jsonl": "is a file of JSON lines: use `triptych ingest pairs --captions FILE`",
                          "table.csv": "is a table with commas between its columns: use `triptych ingest csv`",
                          "table.tsv": "is a table with tabs between its columns: use `triptych ingest tsv`",
                          "table.parquet": "is a Parquet file: use `triptych ingest parquet`",
                          "x.tar": "is a tar archive, as webdataset makes them: use `triptych ingest webdataset`",
                          "shard.h5": "use `triptych index` on its folder"}.items():
            for form, words in {"pairs": ["--captions"], "coco": ["--images", images], "csv": [], "tsv": []}.items():
                if use.endswith(f"{form}`") or (name, form) in (("pairs.jsonl", "pairs"), ("pairs.jsonl", "coco")):
                    continue
                with self.subTest(name, form=form):
                    self.refused([use], form, *words, self.folder / name)
        self.refused(["use `triptych ingest coco`"], "webdataset", self.folder / "captions.json")
        self.refused(["use `triptych ingest imagefolder` for a folder"], "webdataset", images)
        self.refused(["names nothing that is there"], "webdataset", self.folder / "no-*.tar")
        self.refused(["does not exist"], "webdataset", self.folder / "no-{1..2}.tar")
        self.refused(["is no local file"], "webdataset", "https://example.com/0.tar")

    # ---- What changes nothing

    def many(self, count=300):
        """An archive in which every tenth sample is bad."""
        path = self.folder / "many.tar"
        write_tar(path, [member for k in range(count) for member in (
            (f"{k:04}.jpg", self.pictures[k % 22][:30] if k % 10 == 3 else self.pictures[k % 22]),
            (f"{k:04}.txt", f"caption {k}".encode()))])
        return path

    def test_threads_change_no_byte(self):
        words = ["webdataset", self.many(), "--samples-per-shard", 40, "--decode", "--skip-bad", "10%"]
        one, _ = self.ingest(*words, "--threads", 1, out="one")
        self.assertEqual(len(list(one.glob("*.h5"))), 7)
        for threads in (2, 7):
            other, _ = self.ingest(*words, "--threads", threads, out=f"of_{threads}")
            self.assertEqual(contents(other), contents(one))

    def test_an_interrupted_ingest_goes_on(self):
        for form, words in {"webdataset": [self.many(), "--skip-bad", "10%"], "csv": [self.long_table(), "--images",
                                                                                      self.folder / "images"]}.items():
            words = [form, *words, "--samples-per-shard", 10]
            whole, _ = self.ingest(*words, out=f"whole_{form}")
            folder = self.folder / f"again_{form}"
            partial = Path(f"{folder}.partial")
            for shards in (3, 11):
                process = subprocess.Popen(self.command("ingest", *words, "--out", folder), stdout=subprocess.DEVNULL)
                while process.poll() is None and len(list(partial.glob("shard_*.h5"))) < shards:
                    time.sleep(0.002)
                process.send_signal(signal.SIGKILL)
                self.assertEqual(process.wait(), -signal.SIGKILL, "ended before it was killed")
                self.assertFalse(folder.exists())
                wait_for_lock(partial)  # a child process that writes a shard outlives it for a moment
            # A shard that was damaged meanwhile is made again, and those behind it.
            damaged = partial / "shard_00005.h5"
            data = bytearray(damaged.read_bytes())
            data[-1] ^= 1
            damaged.write_bytes(data)
            _, said = self.ingest(*words, out=folder.name)
            self.assertIn(f"going on with {partial}: 50 samples in 5 shards are kept", said)
            self.assertEqual(contents(folder), contents(whole))
            self.assertFalse(partial.exists())
        # Another command does not go on with it.
        partial.mkdir()
        shutil.copy(whole / "shard_00000.h5", partial)
        _, said = self.ingest(*words, "--decode", out=folder.name)
        self.assertIn("cleared away what an ingest of other input or options", said)
        self.assertEqual(contents(folder), contents(whole))

    def long_table(self):
        path = self.folder / "long.csv"
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["filepath", "title"])
            writer.writerows([f"{k % 22}.{'png' if k % 2 else 'jpg'}", f"caption\n{k}"] for k in range(300))
        return path

    def test_ids_that_two_samples_have(self):
        lines = self.folder / "ids.jsonl"
        lines.write_text("".join(json.dumps({"caption": "a", "id": k}) + "\n" for k in [5, 6, 7, 1, 6]))
        self.refused(["line 5: the id 6 was already that of line 2"], "pairs", "--captions", lines)
        folder, _ = self.ingest("pairs", "--captions", lines, "--skip-bad", "20")
        self.assertEqual([sample.id for sample in read_samples(folder)], [5, 6, 7, 1])

    # ---- Training

    def losses(self, data, **keys):
        shutil.copy(self.data / "tokenizer.model", data)
        run = self.folder / f"run_{data.name}"
        self.train(run, data=data, training__steps=3, checkpoint__every=0, **keys)
        return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines() if '"loss"' in line]

    def test_every_format_trains_as_pairs_do(self):
        images = self.folder / "images"
        names = [f"{k}.{'png' if k % 2 else 'jpg'}" for k in range(22)]
        sizes = [size_of(images / name) for name in names]
        made = {"pairs": ["pairs", "--images", images, "--captions", images / "captions.jsonl"]}
        for part, numbers in (("0", range(13)), ("1", range(13, 22))):
            write_tar(self.folder / f"train-{part}.tar", [member for k in numbers for member in (
                (names[k], self.pictures[k]), (f"{k}.json", json.dumps({"caption": self.captions[k]}).encode()))])
        made["webdataset"] = ["webdataset", self.folder / "train-{0,1}.tar"]
        (self.folder / "train.json").write_text(json.dumps({
            "images": [{"id": k, "file_name": names[k], "width": sizes[k][0], "height": sizes[k][1]} for k in range(22)],
            "annotations": [{"image_id": k, "caption": text} for k in range(22) for text in self.captions[k]]}))
        made["coco"] = ["coco", self.folder / "train.json", "--images", images]
        most = max(map(len, self.captions))
        for form, separator in (("csv", ","), ("tsv", "\t")):
            with open(self.folder / f"train.{form}", "w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, delimiter=separator)
                writer.writerow(["filepath"] + [f"text{k}" for k in range(most)])
                writer.writerows([name, *texts] + [""] * (most - len(texts)) for name, texts in zip(names, self.captions))
            made[form] = [form, self.folder / f"train.{form}", "--images", images, "--caption-column",
                          ",".join(f"text{k}" for k in range(most))]
        losses = {form: self.losses(self.ingest(*words, out=f"train_{form}")[0]) for form, words in made.items()}
        self.assertEqual(len(losses["pairs"]), 3)
        for form, found in losses.items():
            self.assertEqual(found, losses["pairs"], form)

        root = self.folder / "train_classes"
        for k, name in enumerate(names):
            path = root / f"class {k % 3}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.pictures[k])
        data, _ = self.ingest("imagefolder", root, out="train_folders")
        text = small_runs.CONFIG.replace("embedding = 12", "classes = 3")
        begin, end = text.index("[model.text]"), text.index("[training]")
        (self.folder / "folders.toml").write_text('task = "classify"\n' + text[:begin] + text[end:])
        self.assertEqual(len(self.losses(data, config="folders")), 3)

    def test_pictures_that_lie_on_their_side_train_as_they_are_seen(self):
        upright, lying = [], []
        for k, data in enumerate(self.pictures):
            with Image.open(io.BytesIO(data)) as picture:
                seen = picture.convert("RGB").resize((24, 16))
            exif = Image.Exif()
            exif[0x0112] = 6  # stored turned by a quarter against the clock
            for images, stored, options in ((upright, seen, {}), (lying, seen.transpose(Image.Transpose.ROTATE_90),
                                                                  {"exif": exif})):
                buffer = io.BytesIO()
                stored.save(buffer, "PNG", **options)
                images += [(f"{k}.png", buffer.getvalue()), (f"{k}.txt", self.captions[k][0].encode())]
        losses = {}
        for name, members in (("upright", upright), ("lying", lying)):
            write_tar(self.folder / f"{name}.tar", members)
            losses[name] = self.losses(self.ingest("webdataset", self.folder / f"{name}.tar", out=name)[0])
        self.assertEqual(losses["lying"], losses["upright"])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    SmallRuns.triptych = Path(sys.argv.pop(1)).resolve()
    unittest.main()
