#!/usr/bin/python3
"""The mutation gate: seeds the faults of mutations.toml into the CUDA backend and the training that drives it, one at a
time, and checks that the emulator names each of them, and that the sources as they are raise no diagnosis.

A mutant is the program of a test linked once more, with one object compiled from a changed copy of its source. The
build's own commands are used, so that what is tested is what is built; a .cu gives PTX alone, which is what the
emulator runs.

usage: run_mutations.py --build BUILD_DIR [--work DIR] [--only NAME]... [--list]
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
RUN_RANKS = SOURCE / "launcher" / "run-ranks"
JOBS = 2
# Everything here takes seconds. A mutant that hangs is one that nobody diagnosed.
RUN_TIMEOUT_S = 60
DIAGNOSIS = re.compile(r"emulator: \[([a-z-]+)\] ")
# What cuBLASLt and NCCL themselves refuse, here as on a GPU, and the backend reports.
STATUS = re.compile(r"CUBLAS_STATUS_[A-Z_]+|Duplicate GPU detected")
WRONG_RESULT = "wrong-result"
# How a test says that an assertion was false: one of one process, a rank that is not the first, and `triptych verify`.
ASSERTION = re.compile(
    r"^(?:/|\S*/)\S+\.(?:cpp|h):\d+: (?:Failure|Expected|The difference)|^  .* relative error .*\(BEYOND ", re.MULTILINE)
BROKEN_INVARIANT = "broken-invariant"
INVARIANT = "This is a defect of Triptych"


class GateError(Exception):
    """What makes the gate itself fail: a mutation that no longer applies, a build without the programs."""


class DoesNotBuild(Exception):
    """A mutant that the compiler or the linker refuses; of the others more may be said."""


def fill(command, **values):
    return [word.format(**values) for word in command.split()]


@dataclasses.dataclass(frozen=True)
class Program:
    path: str  # in the build folder
    run: str  # its command: {program}, {test}, {run_ranks}, {prepared}, and {folder}, which is this run's alone
    prepare: str = ""  # what makes {prepared}, once for all runs: with {program}, {python} and {source}

    def command(self, executable, test, prepared, folder):
        return fill(self.run, program=executable, test=test, run_ranks=RUN_RANKS, prepared=prepared, folder=folder)


@dataclasses.dataclass(frozen=True)
class Mutation:
    name: str
    file: str
    replace: str
    by: str
    program: str
    test: str
    expect: tuple
    after: str
    gpu: str
    compile: str  # the source whose object takes the place of the build's
    environment: tuple

    @staticmethod
    def read(entry):
        environment = tuple(sorted(entry.pop("environment", {}).items()))
        expect = entry.pop("expect")
        return Mutation(**{"compile": entry["file"], "after": "", **entry}, environment=environment,
                        expect=tuple(expect) if isinstance(expect, list) else (expect,))

    def mutated_text(self):
        text = (SOURCE / self.file).read_text()
        anchor = self.after or self.replace
        begin = text.find(anchor)
        if text.count(anchor) != 1 or self.replace not in text[begin:]:
            raise GateError(f"mutation {self.name} no longer applies: {anchor!r} must occur once in {self.file}, found "
                            f"{text.count(anchor)} times, and then {self.replace!r}. Choose them anew in mutations.toml")
        if self.after:
            begin += len(self.after)
        return text[:begin] + text[begin:].replace(self.replace, self.by, 1)


@dataclasses.dataclass
class Outcome:
    found: str
    caught: bool
    seconds: float
    output: str


class Build:
    """The build's own commands, changed to build a mutant."""

    def __init__(self, folder):
        self.folder = folder
        self.ccache = shutil.which("ccache")
        commands = json.loads((folder / "compile_commands.json").read_text())
        # The first is the library's; others compile the same source for another program.
        self.compile_commands = {}
        for entry in commands:
            self.compile_commands.setdefault(entry["file"], shlex.split(entry["command"]))
        self.link_commands = {}

    def link_command(self, path):
        if path not in self.link_commands:
            text = subprocess.run(["ninja", "-C", self.folder, "-t", "commands", "-s", path], check=True,
                                  capture_output=True, text=True).stdout
            steps = [step for step in text.split(" && ") if f" -o {path} " in step]
            if len(steps) != 1:
                raise GateError(f"{path} has no link command in {self.folder}. Build it, with the Ninja generator")
            self.link_commands[path] = shlex.split(steps[0])
        return self.link_commands[path]

    def compile(self, mutation, folder):
        """The mutant's object, and the object of the build that it takes the place of."""
        source = str(SOURCE / mutation.compile)
        if source not in self.compile_commands:
            raise GateError(f"mutation {mutation.name}: {mutation.compile} is not compiled in {self.folder}")
        command = list(self.compile_commands[source])
        original = command[command.index("-o") + 1]
        target = folder / "mutated.o"
        command[command.index("-o") + 1] = str(target)
        if mutation.compile == mutation.file:
            command[command.index(source)] = str(folder / "overlay" / mutation.file)
        if source.endswith(".cu"):
            command = [word for word in command if not word.startswith(("--generate-code", "-gencode", "-Xptxas"))]
            command.append("-gencode=arch=compute_90,code=compute_90")
        else:
            command.append("-O0")  # the host's part takes no time
        # The overlay is looked into first, also for headers.
        command.insert(next(i for i, word in enumerate(command) if word.startswith("-I")), f"-I{folder / 'overlay'}")
        if self.ccache:
            command.insert(0, self.ccache)
        self.run(command)
        return target, original

    def link(self, folder, path, mutated, original):
        executable = folder / pathlib.Path(path).name
        command = list(self.link_command(path))
        command[command.index("-o") + 1] = str(executable)
        if original in command:
            command[command.index(original)] = str(mutated)
        else:  # a member of an archive, which the linker takes only for names that nobody has defined yet
            command.insert(command.index("-o"), str(mutated))
        self.run(command)
        return executable

    def run(self, command):
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise DoesNotBuild(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")


def run_test(command, environment):
    """(exit code or None if it took too long, output). Ends everything that the test has started."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                               env={**os.environ, "TRIPTYCH_EMULATOR_MEMORY_MB": "256", **dict(environment)},
                               start_new_session=True)
    try:
        output, _ = process.communicate(timeout=RUN_TIMEOUT_S)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)  # mpirun then ends its ranks
    try:
        output, _ = process.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
    return None, output


def judge(code, output, expect):
    """(what was found, whether it was expected)"""
    names = DIAGNOSIS.findall(output) or (STATUS.findall(output) if code != 0 else [])
    if names:
        return names[0], names[0] in expect
    if code is None:
        return "hang", False
    if code == 0:
        return "nothing", False
    if INVARIANT in output:
        return BROKEN_INVARIANT, BROKEN_INVARIANT in expect
    # Exit code 1 is GoogleTest's, and `triptych verify`'s. Its summary may be missing: mpirun ends a rank as soon as another has failed.
    if code == 1 and ASSERTION.search(output) and "C++ exception" not in output:
        return WRONG_RESULT, WRONG_RESULT in expect
    return f"exit code {code}", False


class Gate:
    def __init__(self, build, programs, folder):
        self.build, self.programs, self.folder = build, programs, folder
        self.is_prepared = set()

    def prepared(self, name):
        """Shared by the programs that say alike how to make it."""
        prepare = self.programs[name].prepare
        first = next(other for other, program in self.programs.items() if program.prepare == prepare)
        return self.folder / f"prepared-{first}"

    def prepare(self, name):
        program, target = self.programs[name], self.prepared(name)
        if not program.prepare or target in self.is_prepared:
            return
        self.is_prepared.add(target)
        shutil.rmtree(target, ignore_errors=True)
        command = fill(program.prepare, program=self.build.folder / program.path, python=sys.executable, source=SOURCE,
                       prepared=target)
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise GateError(f"{name} could not be prepared:\n{shlex.join(command)}\n{done.stdout}{done.stderr}")

    def run_unmutated(self, test):
        name, case, environment = test
        program = self.programs[name]
        with tempfile.TemporaryDirectory() as folder:
            code, output = run_test(program.command(self.build.folder / program.path, case, self.prepared(name),
                                                    folder), environment)
        silent = code == 0 and not DIAGNOSIS.search(output) and "[  PASSED  ] 0 tests" not in output
        return "" if silent else f"the unmutated {name} is not silent in {case} (exit code {code}):\n{output}"

    def run_mutant(self, mutation):
        begin = time.monotonic()
        folder = self.folder / mutation.name
        shutil.rmtree(folder, ignore_errors=True)
        mutated_source = folder / "overlay" / mutation.file
        mutated_source.parent.mkdir(parents=True)
        mutated_source.write_text(mutation.mutated_text())
        program = self.programs[mutation.program]
        try:
            mutated, original = self.build.compile(mutation, folder)
            executable = self.build.link(folder, program.path, mutated, original)
        except DoesNotBuild as error:
            return Outcome("does not build", False, time.monotonic() - begin, str(error))
        mutated.unlink()
        command = program.command(executable, mutation.test, self.prepared(mutation.program), folder)
        code, output = run_test(command, mutation.environment)
        executable.unlink()  # they are large
        (folder / "output.txt").write_text(output)
        found, caught = judge(code, output, mutation.expect)
        return Outcome(found, caught, time.monotonic() - begin, output)


def read_table(path):
    table = tomllib.loads(path.read_text())
    programs = {name: Program(**fields) for name, fields in table["program"].items()}
    return programs, [Mutation.read(entry) for entry in table["mutation"]]


def choose(mutations, names):
    unknown = set(names) - {mutation.name for mutation in mutations}
    if unknown:
        raise GateError(f"no mutation is called {', '.join(sorted(unknown))}. See --list")
    return [mutation for mutation in mutations if not names or mutation.name in names]


def print_table(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, help="the build folder, of the Ninja generator")
    parser.add_argument("--work", type=pathlib.Path, help="where mutants are built; BUILD_DIR/mutations unless told")
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the mutations and what a GPU would do")
    arguments = parser.parse_args()
    programs, mutations = read_table(HERE / "mutations.toml")
    mutations = choose(mutations, arguments.only)
    if arguments.list:
        print_table([(m.name, m.file, " or ".join(m.expect), m.gpu) for m in mutations])
        return 0
    if arguments.build is None:
        parser.error("--build is needed to run mutations")

    for mutation in mutations:
        mutation.mutated_text()
    build = Build(arguments.build.resolve())
    gate = Gate(build, programs, (arguments.work or build.folder / "mutations").resolve())
    for name in sorted({m.program for m in mutations}):
        gate.prepare(name)
    tests = sorted({(m.program, m.test, m.environment) for m in mutations})
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        noise = [text for text in pool.map(gate.run_unmutated, tests) if text]
        if noise:
            raise GateError("\n".join(noise))
        print(f"unmutated: silent in {len(tests)} tests", flush=True)
        outcomes = list(pool.map(gate.run_mutant, mutations))

    print_table([("mutation", "file", "expected", "found", "seconds")] +
                [(m.name, m.file, " or ".join(m.expect), o.found if o.caught else f"MISSED: {o.found}",
                  f"{o.seconds:.1f}") for m, o in zip(mutations, outcomes)])
    for mutation, outcome in zip(mutations, outcomes):
        if not outcome.caught:
            print(f"\n---- {mutation.name} was not caught. The end of its test's output:\n{outcome.output[-3000:]}")
    num_caught = sum(outcome.caught for outcome in outcomes)
    print(f"{num_caught} of {len(mutations)} mutations caught")
    return 0 if num_caught == len(mutations) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except GateError as error:
        sys.exit(f"[mutations] {error}")
