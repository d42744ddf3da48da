#!/usr/bin/python3
"""Training on the CUDA backend, executed under PTX emulation: the program's own entry point under mpirun, against the
CPU backend.

usage: test_cuda_training.py TRIPTYCH TRIPTYCH_CUDA [--gpus N] [--cases N|all] [TEST...]

The programs of the CPU and of the CUDA backend, the latter linked with the emulator; with --gpus, with the real libraries,
on a machine with so many GPUs: what needs more, or the emulator's machines, is left out and named. --cases says how many of
`verify --all`'s cases on 8 ranks each of four models trains in; without it two models train in one on 4 ranks. All of them
take an hour or more under emulation:
  test_cuda_training.py TRIPTYCH TRIPTYCH_CUDA --cases all CudaTraining.test_trains_where_any_two_settings_meet
"""

import json
import re
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np

sys.dont_write_bytecode = True
from small_runs import (REPOSITORY, TASKS, SmallRuns, draw, losses,  # noqa: E402  (found beside this file)
                        make_scenes)

TRIPTYCH_CUDA = None
GPUS = None  # None: as many as wanted, emulated
CASES = None  # of verify --all, for each model; 0: all
STEPS = 5
MESHES = ({}, {"tp": 2, "pp": 2}, {"dp": 2, "tp": 2}, {"dp": 2, "pp": 2}, {"cp": 2, "tp": 2}, {"dp": 2, "tp": 2, "pp": 2})
# In which order the emulated device takes what several streams hold: each mesh in the first, one rank in the first two,
# the last mesh in all.
STREAM_MODES = ("random", "deferred", "eager", "others-first")

# A loss is a mean over pairs of sums in another order: some tens of roundings of float32 (2^-24) or bfloat16 (2^-9), in
# fp16 of 2^-11. In fp32 the parameters are compared after five updates, by 2-norms: AdamW divides by the gradient's size,
# which magnifies the errors of small ones. In bf16 that would turn the sign of whole updates, so there it is the first
# step's gradients (the first moments), whose errors are those of the activations: tens of roundings.
LOSS_ERROR = {"fp32": 2e-6, "bf16": 2e-2, "fp16": 4e-3}
TENSOR_ERROR = {"fp32": 2e-4, "bf16": 1e-1}
# A gradient on a mesh against the one on one rank: hundreds of roundings of float32, in sums of another order.
GRADIENT_ERROR = 3.1e-5


def read_checkpoint(run, step):
    """Manifest and whole tensors, by the reader that the format's document gives."""
    document = (REPOSITORY / "docs" / "checkpoint-format.md").read_text("utf-8")
    reader = {}
    exec(re.search(r"```python\n(.*?)```", document, re.S)[1], reader)
    return reader["read_checkpoint"](run / "checkpoints" / f"step_{step:08d}")


class CudaTraining(SmallRuns):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        make_scenes(cls.folder, cls.program)
        cls.references = {}

    def reference(self, mesh, precision):
        """The same run on the CPU backend."""
        key = (tuple(mesh.items()), precision)
        if key not in self.references:
            run = self.folder / f"cpu-{precision}-{'-'.join(f'{axis}{size}' for axis, size in mesh.items())}"
            self.train(run, mesh=mesh, training__steps=STEPS, training__precision=f'"{precision}"',
                       checkpoint__every=1 if precision == "bf16" else 0)
            self.references[key] = run
        return self.references[key]

    def train_cuda(self, run, *, environment=None, **options):
        self.train(run, program=TRIPTYCH_CUDA, run__device='"cuda"',
                   environment={"TRIPTYCH_EMULATOR_MEMORY_MB": "256"} | (environment or {}), **options)

    def compare(self, run, expected, precision, step=None, first_moments=False):
        """Losses, and in the checkpoint of a step the parameters, or the first moments."""
        found, wanted = losses(run), losses(expected)
        self.assertEqual(sorted(found), sorted(wanted))
        for each, loss in wanted.items():
            self.assertLess(abs(float(found[each]) / float(loss) - 1), LOSS_ERROR[precision], f"loss of step {each}")
        ours, theirs = (read_checkpoint(folder, step or max(wanted))[1] for folder in (run, expected))
        self.assertEqual(sorted(ours), sorted(theirs))
        worst = (0, "none")
        for name in theirs:
            if name.endswith("_moment") != first_moments or name.endswith("second_moment"):
                continue
            mine, other = ours[name], theirs[name]
            if "attention.qkv.bias" in name or "attention.kv.bias" in name:
                # A softmax does not see the keys' bias: its gradient is noise.
                keys = 1 if "qkv" in name else 0
                mine, other = np.delete(mine, keys, 0), np.delete(other, keys, 0)
            self.assertTrue(np.isfinite(mine).all(), name)
            if not other.any():  # no row of these steps has to do with it
                self.assertFalse(mine.any(), name)
                continue
            worst = max(worst, (np.linalg.norm(mine - other) / np.linalg.norm(other), name))
        print(f"{run.name}: worst tensor {worst[1]}, relative error {worst[0]:.2e}", file=sys.stderr)
        self.assertLess(worst[0], TENSOR_ERROR[precision], worst[1])

    def test_equals_the_cpu_on_every_mesh_and_whatever_the_streams_order(self):
        for mesh in MESHES:
            if GPUS is not None and np.prod(list(mesh.values())) > GPUS:
                print(f"not run: {mesh} needs more than {GPUS} GPUs", file=sys.stderr)
                continue
            first = None
            modes = STREAM_MODES if mesh == MESHES[-1] else STREAM_MODES[:1 if mesh else 2]
            for mode in modes if GPUS is None else ("gpu",):
                with self.subTest(mesh=mesh, mode=mode):
                    axes = "-".join(f"{axis}{size}" for axis, size in mesh.items()) or "one"
                    run = self.folder / f"cuda-{axes}-{mode}"
                    self.train_cuda(run, mesh=mesh, training__steps=STEPS, checkpoint__every=0,
                                        environment={"TRIPTYCH_EMULATOR_STREAMS": mode})
                    self.compare(run, self.reference(mesh, "fp32"), "fp32")
                    first = first or losses(run)
                    self.assertEqual(losses(run), first, "equal seeds give equal bits")

    def test_trains_in_pieces_over_dp_as_with_all_on_every_rank(self):
        for zero, mesh, mode in ((1, {"dp": 2, "tp": 2}, "random"), (2, {"dp": 2}, "deferred"),
                                 (3, {"dp": 2, "tp": 2}, "others-first"), (3, {"dp": 2, "pp": 2}, "random")):
            for mesh in self.fitting(mesh):
                with self.subTest(zero=zero, mesh=mesh, mode=mode):
                    run = self.folder / f"cuda-zero{zero}-{mode}"
                    self.train_cuda(run, mesh=mesh, parallel__zero=zero, parallel__bucket_mb=0.01,
                                    training__steps=STEPS, checkpoint__every=0,
                                    environment={"TRIPTYCH_EMULATOR_STREAMS": mode} if GPUS is None else {})
                    self.compare(run, self.reference(mesh, "fp32"), "fp32")

    def test_trains_in_pieces_within_a_machine_as_with_all_on_every_rank(self):
        for mesh in self.fitting({"dp": 4}):
            run = self.folder / "cuda-hybrid"
            self.train_cuda(run, mesh=mesh, parallel__zero=3, parallel__zero_group=2, parallel__bucket_mb=0.01,
                            training__steps=STEPS, checkpoint__every=0,
                            environment={"TRIPTYCH_EMULATOR_STREAMS": "random"} if GPUS is None else {})
            self.compare(run, self.reference(mesh, "fp32"), "fp32")

    def test_trains_where_any_two_settings_meet(self):
        """Two towers, an encoder with a decoder, a fusion and a tied model, in cases of `verify --all`: five steps."""
        words = re.compile(r"(pp|dp|cp|tp|zero|zero_group|tp_pieces) (\d+)")
        models = ("run", "answer") if CASES is None else ("run", "caption", "answer", "masked_text")
        ranks = min(4 if CASES is None else 8, GPUS or 8)
        for number, config in enumerate(models):
            table = self.output("verify", self.folder / f"{config}.toml", "--all", ranks=ranks)
            cases = [line.split(None, 3)[3] for line in table.splitlines() if line.startswith("ok ")]
            self.assertRegex(table, rf"\n{len(cases)} of {len(cases)} cases within")
            expected = self.folder / f"cpu-cases-{config}"
            self.train(expected, config=config, training__steps=STEPS, checkpoint__every=0)
            count = 1 if CASES is None else CASES or len(cases)
            for index in sorted({(4 * i + number + 1) * len(cases) // (4 * count) % len(cases) for i in range(count)}):
                case = cases[index]
                mesh = {name: int(size) for name, size in words.findall(case)}
                zero = {f"parallel__{name}": mesh.pop(name) for name in ("zero", "zero_group", "tp_pieces") if name in mesh}
                name, stages = re.search(r"tp \d+  (\w+)(?: x (\d+))?", case).groups()
                recompute = re.search(r"recompute (\w+)", case)
                with self.subTest(config=config, case=case):
                    run = self.folder / f"cuda-{config}-case{index}"
                    self.train_cuda(run, config=config, mesh=mesh, **zero, parallel__bucket_mb=0.01,
                                    parallel__schedule=f'"{name}"', parallel__virtual_stages=stages or 1,
                                    parallel__microbatches=re.search(r"(\d+) microbatch", case)[1],
                                    parallel__recompute=f'"{recompute[1] if recompute else "none"}"',
                                    parallel__sequence_parallel=str("sequence_parallel" in case).lower(),
                                    training__steps=STEPS, checkpoint__every=0)
                    print(case, file=sys.stderr)
                    self.compare(run, expected, "fp32")

    def test_trains_in_bf16_as_the_cpu_does(self):
        mesh = {"dp": 2, "tp": 2} if GPUS is None or GPUS >= 4 else {}
        run = self.folder / "cuda-bf16"
        self.train_cuda(run, mesh=mesh, training__steps=STEPS, checkpoint__every=1, training__precision='"bf16"')
        self.compare(run, self.reference(mesh, "bf16"), "bf16", step=1, first_moments=True)

    def test_trains_in_fp16_with_a_loss_scale_that_falls_until_it_fits(self):
        mesh = {"dp": 2, "tp": 2} if GPUS is None or GPUS >= 4 else {}
        run = self.folder / "cuda-fp16"
        self.train_cuda(run, mesh=mesh, training__steps=2 * STEPS, checkpoint__every=0, training__precision='"fp16"')
        first = losses(self.reference(mesh, "fp32"))[1]
        self.assertLess(abs(float(losses(run)[1]) / float(first) - 1), LOSS_ERROR["fp16"])
        manifest = read_checkpoint(run, 2 * STEPS)[0]
        self.assertLess(manifest["skipped_steps"], 2 * STEPS)
        self.assertEqual(manifest["extra"]["loss_scale"], 65536 / 2 ** manifest["skipped_steps"])

    def test_gradients_travel_in_bf16_where_that_is_asked_for(self):
        """In one sum, and in ZeRO's pieces and sums of pieces: further from one rank's than in fp32, by a rounding."""
        for config, settings in (("masked_text", {"dp": 2, "tp": 2}),
                                 ("caption", {"dp": 4, "zero": 3, "zero_group": 2, "microbatches": 1})):
            if GPUS is not None and GPUS < 4:
                print(f"not run: {settings} needs more than {GPUS} GPUs", file=sys.stderr)
                continue
            words = ["verify", self.folder / f"{config}.toml", "--set", 'run.device="cuda"',
                     "--set", "parallel.bucket_mb=0.01", "--set", 'parallel.gradient_dtype="bf16"']
            for key, value in settings.items():
                words += ["--set", f"parallel.{key}={value}"]
            told = self.run_program(*words, ranks=4, program=TRIPTYCH_CUDA,
                                    environment={"TRIPTYCH_EMULATOR_MEMORY_MB": "256"}).stdout
            print(told.strip(), file=sys.stderr)
            loss, gradient = map(float, re.findall(r"relative error ([\d.e+-]+)", told))
            self.assertLess(loss, LOSS_ERROR["fp32"])
            self.assertGreater(gradient, 2 ** -13, "nothing was rounded to bf16")
            self.assertLess(gradient, 2 ** -7)

    def fitting(self, *meshes):
        """Those for which there are GPUs."""
        for mesh in meshes:
            if GPUS is None or np.prod(list(mesh.values()) or [1]) <= GPUS:
                yield mesh
            else:
                print(f"not run: {mesh} needs more than {GPUS} GPUs", file=sys.stderr)

    def test_every_tasks_gradients_are_the_same_on_every_mesh(self):
        for task in TASKS:
            for mesh in self.fitting({"tp": 2, "pp": 2}, {"dp": 2, "pp": 2}):
                with self.subTest(task, mesh=mesh):
                    words = ["verify", self.folder / f"{task}.toml", "--tolerance", GRADIENT_ERROR]
                    for axis, size in mesh.items():
                        words += ["--set", f"parallel.{axis}={size}"]
                    told = self.run_program(*words, "--set", 'run.device="cuda"', ranks=4, program=TRIPTYCH_CUDA,
                                            environment={"TRIPTYCH_EMULATOR_MEMORY_MB": "256"}).stdout
                    print(f"{task} {mesh}: {told.strip()}", file=sys.stderr)

    def test_every_task_trains_as_on_one_rank_of_the_cpu(self):
        # The meshes' kernels are one rank's, on other sizes: emulated, one rank alone is tried for few.
        alone = TASKS if GPUS is not None else ("caption", "detect")
        for task in TASKS:
            expected = self.folder / f"cpu-{task}"
            self.train(expected, config=task)
            for mesh in self.fitting(*([{}] if task in alone else []), {"tp": 2, "pp": 2}):
                with self.subTest(task, mesh=mesh):
                    axes = "-".join(f"{axis}{size}" for axis, size in mesh.items()) or "one"
                    run = self.folder / f"cuda-{task}-{axes}"
                    self.train_cuda(run, config=task, mesh=mesh)
                    self.compare(run, expected, "fp32", first_moments=True)
            self.compare_evaluations(task, expected)

    def compare_evaluations(self, task, run):
        """Of a run's model on its own data: as the table of each set tells, on both backends."""
        data = self.data_of(task)
        settings = self.arguments(run, config=task, evaluation__sets=f'["{data}"]', evaluation__batch=8)[1:]
        rows = []
        for program, device in ((self.triptych, "cpu"), (TRIPTYCH_CUDA, "cuda")):
            words = self.command("eval", *settings, "--set", f'run.device="{device}"', program=program)
            told = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True).stdout
            rows.append([line.split() for line in told.splitlines() if line.startswith((data.name, "  model"))])
        self.assertGreater(len(rows[0]), 0, task)
        for cpu, cuda in zip(*rows, strict=True):
            # Scores that are equal but for rounding may change places: one of 22 samples' in shares, and in chrF's 100.
            for wanted, found in zip(cpu, cuda, strict=True):
                if wanted.startswith("("):  # a difference of two that are compared
                    self.assertTrue(found.startswith("("), cuda)
                elif "." in wanted:
                    self.assertLess(abs(float(found) - float(wanted)), (1.01 if float(wanted) <= 1 else 101) / 22, cuda)
                else:
                    self.assertEqual(found, wanted)

    def test_goes_on_from_the_other_backends_checkpoint(self):
        run = self.copy_of_base("cpu-then-cuda")
        expected = losses(self.base)
        self.train_cuda(run, mesh={"tp": 2} if GPUS is None or GPUS >= 2 else {}, resume="3")
        for step in range(4, 7):
            self.assertLess(abs(float(losses(run)[step]) / float(expected[step]) - 1), LOSS_ERROR["fp32"])
        run = self.folder / "cuda-then-cpu"
        self.train_cuda(run, training__stop_after=3)
        self.train(run, resume="3")
        for step in range(4, 7):
            self.assertLess(abs(float(losses(run)[step]) / float(expected[step]) - 1), LOSS_ERROR["fp32"])

    def test_evaluates_and_searches_as_the_cpu_does(self):
        images, data, count = self.folder / "unseen-images", self.folder / "unseen", 22
        images.mkdir()
        with open(images / "captions.jsonl", "w", encoding="utf-8") as lines:
            for number in range(100, 100 + count):
                picture, (caption, _) = draw(number)
                (images / f"{number}.image").write_bytes(picture)
                # Each with a caption of its own: equal ones would tie.
                lines.write(json.dumps({"image": f"{number}.image", "captions": [f"{number} {caption}"]}) + "\n")
        self.program("ingest", "pairs", "--images", images, "--captions", images / "captions.jsonl", "--out", data)
        run = self.copy_of_base("evaluated")
        settings = self.arguments(run, evaluation__sets=f'["{data}"]', evaluation__batch=8)[1:]  # 22 in 8, 8 and 6

        def output_of_both(command, *options):
            for program, device in ((self.triptych, "cpu"), (TRIPTYCH_CUDA, "cuda")):
                words = self.command(command, *settings, "--set", f'run.device="{device}"', *options, program=program)
                yield subprocess.run(words, capture_output=True, text=True, timeout=300, check=True).stdout

        tables = list(output_of_both("eval"))
        rows = [re.findall(r"^  (model|chance) +(\S+) +(\S+) +(\S+)$", text, re.M) for text in tables]
        self.assertEqual(len(rows[0]), 4, tables)
        for (source, *cpu), (name, *cuda) in zip(*rows, strict=True):
            self.assertEqual(name, source)
            # A query's partner changes its place only with a score that is equal but for rounding: one query's may.
            may_differ = 1.01 / count if source == "model" else 0
            np.testing.assert_allclose(np.float64(cuda), np.float64(cpu), rtol=0, atol=may_differ)
        for line in re.findall(r"^.* to .* queries$", tables[0], re.M):  # set, direction, number of queries
            self.assertIn(line, tables[1])
        self.assertIn("text to image", (run / "report.html").read_text())

        searches = output_of_both("search", "--text", "a red disc", "--top", count)
        wanted, found = ({name: float(score) for score, name in re.findall(r"^ +(-?\d\.\d+)  (.*)$", text, re.M)}
                         for text in searches)
        self.assertEqual(len(wanted), count)
        self.assertEqual(sorted(found), sorted(wanted))
        self.assertGreater(max(wanted.values()) - min(wanted.values()), 0.01)
        for name, score in wanted.items():  # printed with four digits: two roundings of half the last one
            self.assertLess(abs(found[name] - score), 1e-4 + LOSS_ERROR["fp32"], name)

    def test_libraries_find_their_settings_when_they_start(self):
        def environment(**more):
            told = self.output("doctor", "--backend-only", program=TRIPTYCH_CUDA, environment=more)
            return re.search(r"^environment +(.*)$", told, re.M)[1].split()

        settings = ["CUDA_MODULE_LOADING=EAGER", "CUDA_DEVICE_MAX_CONNECTIONS=32", "NCCL_LAUNCH_ORDER_IMPLICIT=1"]
        self.assertEqual(environment(), settings)
        self.assertEqual(environment(CUDA_DEVICE_MAX_CONNECTIONS="7"), [settings[0], "CUDA_DEVICE_MAX_CONNECTIONS=7",
                                                                        settings[2]])  # the user's stays

    def test_a_kernels_first_launch_waits_for_no_peer(self):
        if GPUS is not None:
            print("not run: when a kernel is loaded is the emulator's to choose", file=sys.stderr)
            return
        mesh = {"dp": 2, "pp": 2}
        run = self.folder / "cuda-lazy"
        self.train_cuda(run, mesh=mesh, training__steps=STEPS, checkpoint__every=0,
                        environment={"TRIPTYCH_EMULATOR_LAZY": "1"})
        self.compare(run, self.reference(mesh, "fp32"), "fp32")

    def test_takes_the_gpu_that_a_scheduler_shows_a_rank_and_no_other_ranks(self):
        if GPUS is not None and GPUS < 2:
            print(f"not run: two ranks need more than {GPUS} GPU", file=sys.stderr)
            return
        mesh = {"dp": 2}
        for shown, code in (("$OMPI_COMM_WORLD_LOCAL_RANK", 0), ("1", 2)):
            with self.subTest(shown):
                task = self.folder / "task"  # as Slurm starts each with a GPU a task
                task.write_text(f'#!/bin/sh\nCUDA_VISIBLE_DEVICES={shown} exec "{TRIPTYCH_CUDA}" "$@"\n')
                task.chmod(0o755)
                run = self.folder / f"cuda-scheduled-{code}"
                error = self.train(run, program=task, run__device='"cuda"', mesh=mesh, training__steps=STEPS, expect=code,
                                   checkpoint__every=0, environment={"TRIPTYCH_EMULATOR_MEMORY_MB": "256"})
                if code == 0:
                    self.compare(run, self.reference(mesh, "fp32"), "fp32")
                else:
                    self.assertEqual(error.count("triptych: error:"), 1, error)
                    self.assertRegex(error, r"ranks 0 on \S+, 1 on \S+ see 1 GPU between them \(GPU-")

    def test_faults_are_told_and_end_all_ranks(self):
        run = self.folder / "faults"
        cuda = {"program": TRIPTYCH_CUDA, "run__device": '"cuda"'}
        if GPUS is not None:
            print("not run: the faults are those of emulated machines", file=sys.stderr)
            return
        for options, environment, code, says in (
                ({}, {"TRIPTYCH_EMULATOR_DEVICES": "0"}, 2, "[Dd]evice|GPU"),
                ({"mesh": {"dp": 2}}, {"TRIPTYCH_EMULATOR_DEVICES": "1"}, 2, "GPU")):
            with self.subTest(says, **environment):
                error = self.train(run, expect=code, environment=environment, **cuda, **options)
                self.assertRegex(error, says)

    def test_out_of_memory_says_which_part_holds_it_and_ends_all_ranks(self):
        if GPUS is not None:
            print("not run: the memory is that of emulated machines", file=sys.stderr)
            return
        # 0.59 million parameters: 2.3 MiB of masters, as much of gradients, twice that of moments, half of bf16 copies.
        # Gradients come with the first backward. The products' workspace is 32 MiB.
        wide = {"model__image__feed_forward": 6000, "training__precision": '"bf16"'}
        model, ready = ("parameters", "compute copies"), ("parameters", "compute copies", "optimizer state", "batches")
        for ranks, memory, asked_for, holders, helps in (
                (2, 5, "optimizer state", model, "parallel.tp or parallel.pp"),
                (2, 18, "activations and workspace", ready, "parallel.recompute"),
                (1, 46, "gradients", (*model, "gradients"), "parallel.recompute")):
            with self.subTest(asked_for):
                error = self.train(self.folder / "no-memory", expect=1, program=TRIPTYCH_CUDA, run__device='"cuda"',
                                   environment={"TRIPTYCH_EMULATOR_MEMORY_MB": str(memory)}, mesh={"dp": ranks}, **wide)
                told = [line for line in error.splitlines() if line.startswith("triptych: error:")]
                # Ranks agree on the outcome of set-up; in a step the first to fail ends the others, who may fail alike.
                self.assertLessEqual(len(told), ranks if asked_for.startswith("activations") else 1, error)
                self.assertGreaterEqual(len(told), 1, error)
                who = rf".*rank \d/{ranks}" if ranks > 1 else ""
                for line in told:
                    self.assertRegex(line, rf"out of memory on GPU \d: .* asked for \({asked_for}\), .* are in use \("
                                           + ", ".join(rf"{part} [\d.]+ .iB" for part in holders)
                                           + rf".*\), .* are held.*{helps}{who}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    if "--gpus" in sys.argv:
        at = sys.argv.index("--gpus")
        GPUS = int(sys.argv[at + 1])
        del sys.argv[at:at + 2]
    if "--cases" in sys.argv:
        at = sys.argv.index("--cases")
        CASES = 0 if sys.argv[at + 1] == "all" else int(sys.argv[at + 1])
        del sys.argv[at:at + 2]
    SmallRuns.triptych, TRIPTYCH_CUDA = (Path(sys.argv.pop(1)).resolve() for _ in range(2))
    unittest.main()
