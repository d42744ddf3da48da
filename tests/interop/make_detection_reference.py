#!/usr/bin/env python3
"""Writes what transformers' DETR says of kept numbers: tests/objectives/reference/detection.json.

    python3 -m venv VENV && VENV/bin/pip install torch transformers scipy pillow
    VENV/bin/python tests/interop/make_detection_reference.py

Run by hand, where the inputs change. The matcher and the losses are transformers.loss.loss_for_object_detection's, in
double: class, L1 and GIoU parts by DETR's weights, of which the class part is divided by the number of objects, as
src/objectives/detection.h says, not by the sum of the classes' weights.
"""

import json
from pathlib import Path

import torch
import transformers
from transformers.loss.loss_for_object_detection import HungarianMatcher, ImageLoss

QUERIES, CLASSES, NOTHING = 5, 3, 0.1
# Objects of each image: left, top, right, bottom; one has none.
OBJECTS = [[(0.1, 0.2, 0.5, 0.6, 2), (0.55, 0.1, 0.9, 0.45, 0)], [],
           [(0.0, 0.0, 0.3, 0.2, 1), (0.25, 0.25, 0.75, 0.75, 1), (0.6, 0.7, 1.0, 0.95, 0)], [(0.2, 0.3, 0.8, 0.9, 2)]]


def main():
    torch.manual_seed(5)
    logits = torch.randn(len(OBJECTS), QUERIES, CLASSES + 1).float().double().requires_grad_()
    boxes = (0.15 + 0.6 * torch.rand(len(OBJECTS), QUERIES, 4)).float().double().requires_grad_()
    targets = []
    for objects in OBJECTS:
        corners = torch.tensor([each[:4] for each in objects]).float().double().reshape(-1, 4)
        centers = torch.cat(((corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]), 1)
        targets.append({"class_labels": torch.tensor([each[4] for each in objects], dtype=torch.long), "boxes": centers})
    outputs = {"logits": logits, "pred_boxes": boxes}
    matcher = HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2)
    losses = ImageLoss(matcher, CLASSES, NOTHING, ["labels", "boxes"]).double()
    matches = [[-1] * QUERIES for _ in OBJECTS]
    for image, (queries, objects) in enumerate(matcher(outputs, targets)):
        for query, number in zip(queries.tolist(), objects.tolist()):
            matches[image][query] = number
    parts = losses(outputs, targets)
    count = sum(map(len, OBJECTS))
    weights = count + NOTHING * (len(OBJECTS) * QUERIES - count)
    loss = parts["loss_ce"] * weights / count + 5 * parts["loss_bbox"] + 2 * parts["loss_giou"]
    loss.backward()
    result = {"made_by": f"transformers {transformers.__version__}, torch {torch.__version__}", "logits": logits.tolist(),
              "boxes": boxes.tolist(), "objects": OBJECTS, "matches": matches, "loss": loss.item(),
              "logits_gradient": logits.grad.tolist(), "boxes_gradient": boxes.grad.tolist()}
    file = Path(__file__).resolve().parent.parent / "objectives" / "reference" / "detection.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
