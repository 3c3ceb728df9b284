"""Times pycocotools on the scenes of crates/ocelli-reward/examples/detection_throughput.rs, as VLM-R1 and V-Triune
call it: one COCO evaluation for each reply.

Run with pycocotools 2.0.11: python bench/detection_pycocotools.py. The mean must equal the first line of the example.
"""

import contextlib
import io
import time

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SCENES = 1000


class Draws:
    def __init__(self, seed):
        self.state = seed

    def below(self, limit):
        self.state = (self.state * 1_103_515_245 + 12_345) % (1 << 31)
        return (self.state >> 8) % limit


def corners(draws):
    x, y = draws.below(800), draws.below(800)
    return [x, y, x + 10 + draws.below(150), y + 10 + draws.below(150)]


def scene(draws):
    gold, predicted = [], []
    for _ in range(2 + draws.below(7)):
        box = corners(draws)
        label = draws.below(3)
        gold.append((box, label))
        x1, y1, x2, y2 = (corner + draws.below(13) for corner in box)
        wrong = draws.below(8) == 0
        predicted.append(([x1, y1, max(x1, x2), max(y1, y2)], (label + 1) % 3 if wrong else label))
    for _ in range(draws.below(3)):
        box = corners(draws)
        predicted.append((box, draws.below(3)))
    return gold, predicted


def average_precision(gold, predicted):
    labels = {label for _, label in gold}

    def form(box, label):
        x1, y1, x2, y2 = box
        return {"image_id": 1, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}

    results = [{**form(box, label), "score": 1.0} for box, label in predicted if label in labels]
    if not results:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": 1}],
            "annotations": [{**form(box, label), "id": i, "iscrowd": 0} for i, (box, label) in enumerate(gold, 1)],
            "categories": [{"id": label, "name": str(label)} for label in labels],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


draws = Draws(7)
scenes = [scene(draws) for _ in range(SCENES)]
start = time.perf_counter()
total = sum(average_precision(gold, predicted) for gold, predicted in scenes)
seconds = time.perf_counter() - start
print(f"{'pycocotools':<24} {SCENES / seconds:>12.0f} scenes/s   mean {total / SCENES:.9f}")
