"""Which tests did not pass, and the last lines of what each said: read from what `ctest --output-junit` wrote.

usage: failed_tests.py FILE...
"""

import sys
import xml.etree.ElementTree as xml

LINES = 25  # of one test's output
TOLD = 10  # tests whose output is shown; of more, the names alone


def failed_tests(files):
    """(name, outcome, output) of each test that did not pass. A skipped one did not."""
    for file in files:
        for test in xml.parse(file).iter("testcase"):
            if test.get("status") == "run":
                continue
            reasons = [part.get("message", "") for part in test if part.tag in ("failure", "skipped")]
            yield test.get("name"), " ".join(filter(None, reasons)) or test.get("status"), test.findtext("system-out", "")


def main():
    failed = list(failed_tests(sys.argv[1:]))
    for name, outcome, output in failed[:TOLD]:
        lines = output.rstrip().splitlines()
        print(f"\n{name}: {outcome}")
        if len(lines) > LINES:
            print(f"    ({len(lines) - LINES} lines before)")
        for line in lines[-LINES:]:
            print(f"    {line}")
    for name, outcome, _ in failed[TOLD:]:
        print(f"{name}: {outcome}")


if __name__ == "__main__":
    main()
