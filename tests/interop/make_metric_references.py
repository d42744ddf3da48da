#!/usr/bin/env python3
"""Numbers of other libraries for the metrics' tests: makes again what is kept in tests/base/reference and
tests/evaluation/reference.

usage: make_metric_references.py TESTS_FOLDER

    base/reference/boxes.json            IoU and GIoU                          powerboxes
    base/reference/assignment.json       least costs of assignments            scipy, linear_sum_assignment
    evaluation/reference/captions.json   13a words, BLEU, chrF                 sacreBLEU
                                         CIDEr-D                               pycocoevalcap, CiderScorer
    evaluation/reference/answers.json    normalised answers, VQA accuracy      lmms-eval, its VQAv2
    evaluation/reference/detection.json  AP and recall of boxes                pycocotools, COCOeval

Inputs are made here, from a fixed seed, and are kept with the numbers. lmms-eval wants a hundred packages that these two
functions do not need, so it is installed without:

    python3 -m venv build/interop/metrics
    build/interop/metrics/bin/pip install -r tests/interop/metric_requirements.txt
    build/interop/metrics/bin/pip install --no-deps lmms-eval==0.7.3
    build/interop/metrics/bin/python tests/interop/make_metric_references.py tests
"""
import contextlib
import importlib.metadata
import importlib.util
import io
import json
import logging
import pathlib
import random
import sys
import types

import numpy
import powerboxes
import sacrebleu
from pycocoevalcap.cider.cider_scorer import CiderScorer
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.optimize import linear_sum_assignment

SEED = 31


def write(path, source, content):
    """One line an item of each list, so that a difference can be read."""
    lines = [f'"source": {json.dumps(source)}']
    for name, items in content.items():
        rows = ",\n".join(json.dumps(item, ensure_ascii=False) for item in items)
        lines.append(f'"{name}": [\n{rows}\n]')
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"  {path}: {path.stat().st_size} bytes, {source}")


def versions(*packages):
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)


# ---- Boxes and assignments

def make_boxes(path):
    random.seed(SEED)
    pairs = [([0, 0, 4, 4], [0, 0, 4, 4]), ([0, 0, 4, 4], [4, 0, 8, 4]), ([0, 0, 4, 4], [4, 4, 8, 8]),
             ([0, 0, 10, 10], [2, 3, 5, 7]), ([0, 0, 4, 4], [100, 200, 101, 203]), ([-3, -5, 1, 2], [-1, -1, 4, 6]),
             ([0, 0, 1e6, 1e6], [0.25, 0.25, 0.5, 0.5])]
    for _ in range(30):
        corner, other = [[random.randrange(-40, 120) / 8 for _ in range(2)] for _ in range(2)]
        pairs.append(tuple(at + [at[i] + random.randrange(1, 100) / 8 for i in range(2)] for at in (corner, other)))
    items = []
    for a, b in pairs:
        arrays = [numpy.array([box], dtype=numpy.float64) for box in (a, b)]
        items.append({"a": a, "b": b, "iou": 1 - powerboxes.iou_distance(*arrays)[0][0],
                      "giou": 1 - powerboxes.giou_distance(*arrays)[0][0]})
    write(path, versions("powerboxes"), {"pairs": items})


def make_assignments(path):
    random.seed(SEED)
    items = []
    for rows, columns, most in [(1, 1, 9), (1, 7, 9), (7, 1, 9), (5, 5, 3), (13, 13, 999), (11, 29, 999), (29, 11, 999),
                                (31, 31, 40), (20, 37, 5)]:
        costs = [[random.randint(-most, most) for _ in range(columns)] for _ in range(rows)]
        chosen = linear_sum_assignment(costs)
        items.append({"costs": costs, "least": int(numpy.array(costs)[chosen].sum())})
    write(path, versions("scipy"), {"matrices": items})


# ---- Captions

# [what was produced, references...]
CAPTIONS = [
    ["the cat sat on the mat", "the cat sat on the mat"],
    ["The cat is on the mat.", "the cat sat on the mat", "There is a cat on the mat."],
    ["a red apple", "red apple", "an apple that is red", "a shiny red apple on a table"],
    ["a a a a a a", "a dog and a cat"],
    ["", "a dog runs"],
    ["dog", "a dog runs through the snow"],
    ["a dog runs", "dog"],
    ["nothing of this", "is found there at all"],
    ["Two dogs, one of them brown, play with a ball ...", "Two dogs play with a ball.", "One brown dog, and another one."],
    ["It costs $3.50, or 1,000.25 yen (about 5%).", "It costs $ 3.50 , or 1,000.25 yen ( about 5 % ) ."],
    ["a well-known man's 3-year-old dog", "a well known man 's 3 - year-old dog"],
    ["&quot;A &amp; B&quot; &lt;tag&gt; &amp;lt; <skipped>end", "\"A & B\" <tag> < end"],
    ["from 1990-2000, e.g. in the U.S.A.", "from 1990 - 2000 , e.g. in the U.S.A ."],
    ["one.two..three...four,five,,six", "one . two . . three . . . four , five , , six"],
    [".5 and 5. and 5.5.5 , 1,2,3,a", "0.5 and 5 . and 5.5.5 , 1,2,3 , a"],
    ["line one\nline-\ntwo  \t three \u00a0", "line one linetwo three"],
    ["ends with hyphen-\n", "ends with hyphen-"],
    ["na\u00efve caf\u00e9 \u2013 d\u00e9j\u00e0 vu!", "na\u00efve caf\u00e9 - d\u00e9j\u00e0 vu !"],
    ["\u4e00\u53ea\u732b\u5750\u5728\u57ab\u5b50\u4e0a\u3002", "\u732b\u5750\u5728\u57ab\u5b50\u4e0a"],
    ["\u732b.\u72d7,\u9e1f\u30001.\u732b", "\u732b . \u72d7 , \u9e1f 1 . \u732b"],
    ["{a}[b]|c~d^e`f@g:h;i<j=k>l?m/n\\o_p*q+r#s$t%u&v'w", "{ a } [ b ] | c ~ d ^ e"],
    ["it's the dogs' ball and \u2018quoted\u2019 text", "it 's the dogs ' ball and quoted text"],
    ["a picture of a dog playing in the snow.", "a dog plays in the snow", "the dog is running through snow .",
     "a brown dog in snow"],
    ["tabs\tand\x0bodd\x1cspaces\u3000here\u2028now", "tabs and odd spaces here now"],
    ["\U0001f600 smiles, \U0001f600!", "\U0001f600 smiles , \U0001f600 !"],
]


def made_captions():
    random.seed(SEED)
    things = ["dog", "cat", "bird", "red car", "boat", "man", "woman in a hat", "tree"]
    places = ["on the grass", "in the snow", "near a house", "under a tree", "by the sea"]
    deeds = ["sits", "is standing", "runs", "lies", "is seen"]

    def caption(thing, place):
        return f"{random.choice(['a', 'the', 'one', 'a small'])} {thing} {random.choice(deeds)} {place}" + random.choice(["", ".", " ."])

    made = []
    for _ in range(45):
        thing, place = random.choice(things), random.choice(places)
        near = random.choice([thing, thing, random.choice(things)]), random.choice([place, random.choice(places)])
        made.append([caption(*near)] + [caption(thing, place) for _ in range(random.randint(1, 5))])
    return made


def bleu_and_chrf(segments):
    most = max(len(segment) for segment in segments)
    produced = [segment[0] for segment in segments]
    references = [[segment[i] if i < len(segment) else None for segment in segments] for i in range(1, most)]
    bleu = sacrebleu.BLEU().corpus_score(produced, references)
    return {"bleu": bleu.score, "precisions": bleu.precisions, "brevity_penalty": bleu.bp,
            "produced_length": bleu.sys_len, "reference_length": bleu.ref_len,
            "chrf": sacrebleu.CHRF().corpus_score(produced, references).score,
            "chrf_plus_plus": sacrebleu.CHRF(word_order=2).corpus_score(produced, references).score}


def cider(segments):
    scorer = CiderScorer()
    for produced, *references in segments:
        scorer += (produced, references)
    mean, scores = scorer.compute_score()
    return {"cider": float(mean), "cider_scores": [float(score) for score in scores]}


def make_captions(path):
    logging.getLogger("sacrebleu").setLevel(logging.ERROR)
    segments = CAPTIONS + made_captions()
    tokenize = sacrebleu.BLEU().tokenizer
    words = [[text, tokenize(text.rstrip()).split()] for segment in CAPTIONS for text in segment]
    parts = [(0, len(segments)), (0, len(CAPTIONS)), (len(CAPTIONS), len(segments)), (8, 15), (22, 23), (3, 8)]
    parts += [(i, i + 1) for i in range(10)]
    items = []
    for begin, end in parts:
        part = segments[begin:end]
        items.append({"begin": begin, "end": end} | bleu_and_chrf(part) | cider(part))
    write(path, versions("sacrebleu", "pycocoevalcap"), {"segments": segments, "words": words, "corpora": items})


# ---- Answers

ANSWERS = [
    "", " ", "yes", "Yes.", "  NO\n", "the red car", "A dog", "an", "a", "Two", "two dogs and one cat", "none", "None of the ten",
    "1,000", "1,000 people, maybe", "10.5", "10.5.", "3.14, about", ".5", "5.", "U.S.A.", "e.g. this", "...", "3..5",
    "black-and-white", "black - and - white", "black -and- white", "t-shirt", "red/blue", "red / blue", "(left)", "( left )",
    "[x]", "{y}", "a_b", "a+b=c", "\"quoted\"", "it's", "its", "dogs'", "what?", "what ?", "stop!", "5:30", "5;30", "x>y<z",
    "me@home.org", "a`b", "back\\slash", "one,two", "one, two", "one ,two", "1,2", "a,b;c 1,2-3", "don't", "dont", "DONT",
    "couldntve", "couldnt've", "shes", "lets", "im", "ive", "ill", "well", "were", "id", "whats that", "Thats", "oclock",
    "5 oclock", "'twas", "twas", "yall", "yalls", "zero", "zeros", "Ten", "eleven", "tab\there", "new\nline", "a  b   c",
    "the the the", "theatre", "\u732b", "caf\u00e9-bar", "\u00a0nbsp\u00a0", "\r\ncr\r\n", "- -", "-", "--", "a-", "-a", " -a",
    "?a? b?", "don't-know", "somebodyd", "somebody'd", "o'clock", "9 O'CLOCK", "100%", "$5", "#1", "r&b", "5*3", "~", "^", "|x|",
]


def module_of_lmms_eval(name):
    """One file of the package, without the packages that importing it as a whole would need."""
    place = importlib.metadata.distribution("lmms-eval").locate_file(name.replace(".", "/") + ".py")
    spec = importlib.util.spec_from_file_location(name, place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = module
    return module


def make_answers(path):
    random.seed(SEED)
    for name in ("lmms_eval", "lmms_eval.tasks", "lmms_eval.tasks._task_utils", "lmms_eval.tasks._task_utils.file_utils"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["lmms_eval.tasks._task_utils"].file_utils = sys.modules["lmms_eval.tasks._task_utils.file_utils"]
    sys.modules["loguru"] = types.ModuleType("loguru")
    sys.modules["loguru"].logger = None
    processor = module_of_lmms_eval("lmms_eval.tasks._task_utils.vqa_eval_metric").EvalAIAnswerProcessor
    evaluate = module_of_lmms_eval("lmms_eval.tasks.vqav2.utils").vqav2_process_results

    def normalize(answer):
        answer = answer.replace("\n", " ").replace("\t", " ").strip()
        return processor().process_digit_article(processor().process_punctuation(answer))

    normalized = [[answer, normalize(answer)] for answer in ANSWERS + sorted(processor.CONTRACTIONS)]
    questions = []
    for _ in range(60):
        pool = random.sample(["two", "2", "Two.", "a dog", "dog", "the dogs", "red", "Red", "red-brown", "red brown"], 3)
        people = [random.choice(pool) for _ in range(random.choice([10, 10, 10, 4, 7]))]
        produced = random.choice(pool + ["2", "dog"])
        document = {"question_id": 0, "answers": [{"answer": answer, "answer_id": i} for i, answer in enumerate(people)]}
        accuracy = evaluate(document, [produced])["exact_match"]
        questions.append({"produced": produced, "people": people, "accuracy": float(accuracy)})
    write(path, versions("lmms-eval"), {"normalized": normalized, "questions": questions})


# ---- Detection

SIZES = ["all", "small", "medium", "large"]


def measured(images, num_classes):
    """images: [{"objects": [[x0, y0, x1, y1, label, is_crowd]], "detections": [[x0, y0, x1, y1, label, score]]}]"""
    annotations, results = [], []
    for number, image in enumerate(images):
        for x0, y0, x1, y1, label, is_crowd in image["objects"]:
            annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": label, "iscrowd": is_crowd,
                                "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)})
        for x0, y0, x1, y1, label, score in image["detections"]:
            results.append({"image_id": number, "category_id": label, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"images": [{"id": i} for i in range(len(images))], "annotations": annotations,
                         "categories": [{"id": i} for i in range(num_classes)]}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = evaluation.stats

    def number(value):
        return None if value == -1 else float(value)

    rows = []
    for size, name in enumerate(SIZES):
        per_class = []
        for label in range(num_classes):
            precision = evaluation.eval["precision"][:, :, label, size, 2]
            recall = evaluation.eval["recall"][:, label, size, 2]
            per_class.append([number(x) for x in (precision.mean(), precision[0].mean(), precision[5].mean(), recall.mean())])
        precision = evaluation.eval["precision"][:, :, :, size, 2]
        means = [stats[0], stats[1], stats[2], stats[8]] if size == 0 else [
            stats[2 + size], *(x[x > -1].mean() if (x > -1).any() else -1 for x in (precision[0], precision[5])), stats[8 + size]]
        rows.append({"size": name, "mean": [number(x) for x in means], "classes": per_class})
    return rows


def box(x, y, width, height):
    return [x, y, x + width, y + height]


def jittered(corners, amount):
    x0, y0, x1, y1 = [value + random.randint(-amount, amount) / 4 for value in corners]
    return [min(x0, x1 - 1), min(y0, y1 - 1), x1, y1]


def random_scenes():
    """Six classes: in 3 nothing is detected, in 4 there is nothing but wrong detections, 5 occurs nowhere."""
    random.seed(SEED)
    images = []
    for number in range(36):
        objects, detections = [], []
        for _ in range(random.randint(0, 7)):
            side = random.choice([20, 32, 60, 96, 150])
            where = box(random.randint(0, 300), random.randint(0, 300), side, random.choice([side, side, side // 2]))
            label = random.choice([0, 0, 1, 1, 2, 3])
            objects.append(where + [label, int(random.random() < 0.12)])
            for _ in range(random.choice([0, 1, 1, 2, 3]) if label != 3 else 0):
                found = label if random.random() < 0.85 else 2
                detections.append(jittered(where, random.choice([0, 4, 16, 60])) + [found, random.randint(1, 99) / 100])
        for _ in range(random.randint(0, 4)):
            where = box(random.randint(0, 300), random.randint(0, 300), random.randint(4, 200), random.randint(4, 200))
            detections.append(where + [random.choice([0, 1, 2, 4]), random.randint(1, 60) / 100])
        if number == 7:  # more of one class than are looked at, the one that is right among the worst
            detections += [box(400 + i, 0, 9, 9) + [1, 0.5 + i / 1000] for i in range(110)]
            objects.append(box(200, 200, 50, 50) + [1, 0])
            detections.append(box(200, 200, 50, 50) + [1, 0.25])
        images.append({"objects": objects, "detections": detections})
    return images


def borders():
    """IoUs that are the thresholds, areas that are the ranges' borders, and a tie of IoUs, of scores."""
    images = []
    for twentieths in range(9, 21):
        images.append({"objects": [box(0, 0, 20, 20) + [0, 0]], "detections": [box(0, 0, 20, twentieths) + [0, twentieths / 32]]})
    for side in (32, 96, 31.75, 96.25):
        images.append({"objects": [box(0, 0, side, side) + [0, 0]], "detections": [box(0, 0, side, side) + [0, 0.5]]})
    images.append({"objects": [box(0, 0, 20, 20) + [0, 0], box(8, 0, 20, 20) + [0, 0]],
                   "detections": [box(4, 0, 20, 20) + [0, 0.5], box(0, 0, 20, 20) + [0, 0.5], box(8, 0, 20, 20) + [0, 0.25]]})
    images.append({"objects": [box(0, 0, 40, 40) + [0, 1], box(0, 0, 20, 20) + [0, 0]],
                   "detections": [box(0, 0, 20, 20) + [0, 0.5], box(0, 0, 20, 20) + [0, 0.5], box(20, 20, 20, 20) + [0, 0.5],
                                  box(30, 30, 20, 20) + [0, 0.5]]})
    return images


def hundredths():
    """Recalls that are the hundredths that they are asked at."""
    images = []
    for i in range(100):
        detections = [box(0, 0, 40, 40) + [0, (200 - i) / 256]] if i < 93 else []
        if i % 3 == 1:
            detections.append(box(50, 50, 40, 40) + [0, (199 - i) / 256])
        images.append({"objects": [box(0, 0, 40, 40) + [0, 0]], "detections": detections})
    return images


def make_detection(path):
    items = [{"name": scenes.__name__, "num_classes": num_classes, "images": scenes(), "scores": measured(scenes(), num_classes)}
             for scenes, num_classes in ((random_scenes, 6), (borders, 1), (hundredths, 1))]
    write(path, versions("pycocotools"), {"sets": items})


def main():
    tests = pathlib.Path(sys.argv[1])
    for folder in ("base", "evaluation"):
        (tests / folder / "reference").mkdir(exist_ok=True)
    make_boxes(tests / "base/reference/boxes.json")
    make_assignments(tests / "base/reference/assignment.json")
    make_captions(tests / "evaluation/reference/captions.json")
    make_answers(tests / "evaluation/reference/answers.json")
    make_detection(tests / "evaluation/reference/detection.json")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
