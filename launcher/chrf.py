"""chrF (Popović 2015) as src/evaluation/chrf.h defines it, for tools that are not in C++."""

from collections import Counter

ORDER, BETA = 6, 2


def character_ngrams(text):
    """For each order 1 to ORDER the n-grams with their counts, white space left out."""
    text = "".join(text.split())
    return [Counter(text[i:i + n] for i in range(len(text) - n + 1)) for n in range(1, ORDER + 1)]


def statistics(produced, reference):
    """For each order the n-grams of the text, of the reference, and common to both."""
    result = []
    for ours, theirs in zip(character_ngrams(produced), character_ngrams(reference)):
        result.append((sum(ours.values()) if theirs else 0, sum(theirs.values()), sum((ours & theirs).values())))
    return result


def f_score(counts):
    shares = [(common / ours, common / theirs) for ours, theirs, common in counts if ours and theirs]
    if not any(precision + recall for precision, recall in shares):
        return 0.0
    precision, recall = (sum(column) / len(shares) for column in zip(*shares))
    return 100 * (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)


class ChrfCounter:
    def __init__(self):
        self.total_ = [(0, 0, 0)] * ORDER

    def add(self, produced, references):
        """Adds a segment with its references, of which the best one counts; returns the segment's own score."""
        best = max((statistics(produced, reference) for reference in references), key=f_score)
        self.total_ = [tuple(map(sum, zip(*pair))) for pair in zip(self.total_, best)]
        return f_score(best)

    def corpus_score(self):
        return f_score(self.total_)
