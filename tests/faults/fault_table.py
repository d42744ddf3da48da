"""Counts of what the faults led to, and the table of them."""

# Each of these is a fault of the program; a sound one has zeros.
COLUMNS = {
    "lost": "a committed step is gone or damaged, or a second run does not go on from it",
    "hung": "something had not ended in time",
    "silent": "exit code 0, no warning, and another result",
    "crashed": "the program itself ended by a signal",
    "untold": "it failed without an error that says where, or with another exit code than 1 or 2",
    "left": "a process, a shared segment or a temporary file stayed behind",
}
MAX_SHOWN = 5  # of each kind of finding in a row, with its description


class Table:
    def __init__(self):
        self.rows, self.shown = {}, {}

    def tried(self, row, times=1):
        self.rows.setdefault(row, dict.fromkeys(["times", *COLUMNS], 0))["times"] += times

    def found(self, row, column, what):
        """One finding, told at once so that a long run can be watched."""
        self.tried(row, 0)
        self.rows[row][column] += 1
        seen = self.shown[row, column] = self.shown.get((row, column), 0) + 1
        if seen <= MAX_SHOWN:
            print(f"FOUND {column}: {row}: {what}", flush=True)

    def sound(self):
        """Whether faults were met, and nothing was found."""
        was_tried = any(row["times"] for row in self.rows.values())
        return was_tried and not any(row[column] for row in self.rows.values() for column in COLUMNS)

    def print(self):
        width = max([len(row) for row in self.rows], default=0) + 2
        print("\n" + "fault".ljust(width) + "".join(name.rjust(9) for name in ["times", *COLUMNS]))
        for name, row in self.rows.items():
            print(name.ljust(width) + "".join(str(count).rjust(9) for count in row.values()))
        total = [sum(row[column] for row in self.rows.values()) for column in ["times", *COLUMNS]]
        print("all".ljust(width) + "".join(str(count).rjust(9) for count in total), flush=True)
