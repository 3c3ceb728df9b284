"""Writes detection.json: what pycocotools and scipy say about random scenes and matrices, and the rewards that VLM-R1
and V-Triune define on them.

Run with Python 3.11 or later, pycocotools 2.0.11, scipy 1.17.1 and numpy 2.4.6: python make_detection.py. Coordinates
are whole or quarter pixels, so that corners and widths hold the same numbers exactly.
"""

import contextlib
import io
import json
import pathlib
import platform
import random
from importlib.metadata import version

import numpy
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.optimize import linear_sum_assignment

CLASSES = ["cat", "dog", "cup"]
SIDE = 256
THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99]


def corner_box(rng):
    step = rng.choice([1, 0.25])
    reach = rng.choice([20, 60, 200])
    width, height = (max(step, rng.randrange(int(reach / step)) * step) for _ in range(2))
    x, y = (rng.randrange(int((SIDE - side) / step) + 1) * step for side in (width, height))
    return [x, y, x + width, y + height]


def near(rng, box):
    reach = rng.choice([0, 1, 3, 10])
    x1, y1, x2, y2 = (corner + rng.randint(-reach, reach) for corner in box)
    return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]


def scene(rng):
    gold = []
    for _ in range(rng.choice([0, 1, 1, 2, 3, 5, 8])):
        box = corner_box(rng)
        area = rng.choice([None, None, (box[2] - box[0]) * (box[3] - box[1]) * 0.75])
        gold.append([box, rng.choice(CLASSES[: rng.randint(1, 3)]), rng.random() < 0.15, area])
    predicted = []
    for box, label, _, _ in gold:
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            label = label if rng.random() < 0.85 else rng.choice(CLASSES)
            predicted.append([near(rng, box), label, rng.choice([0.9, 0.5, round(rng.random(), 3)])])
    for _ in range(rng.choice([0, 0, 1, 3])):
        predicted.append([corner_box(rng), rng.choice(CLASSES), round(rng.random(), 3)])
    rng.shuffle(predicted)
    return {"gold": gold, "predicted": predicted}


def crowded_scene(rng):
    """More than 100 predictions of one class: the last ones are left out."""
    gold = [[[10 * i, 0, 10 * i + 9, 9], "cat", False, None] for i in range(20)]
    predicted = [[near(rng, rng.choice(gold)[0]), "cat", round(rng.random(), 2)] for _ in range(130)]
    return {"gold": gold, "predicted": predicted}


def coco_form(box):
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def evaluate(scenes):
    annotations, results = [], []
    for image, scene in enumerate(scenes, 1):
        for box, label, crowd, area in scene["gold"]:
            x, y, width, height = coco_form(box)
            annotations.append({
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": CLASSES.index(label) + 1,
                "bbox": [x, y, width, height],
                "area": width * height if area is None else area,
                "iscrowd": int(crowd),
            })
        for box, label, score in scene["predicted"]:
            results.append({
                "image_id": image,
                "category_id": CLASSES.index(label) + 1,
                "bbox": coco_form(box),
                "score": score,
            })
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": image} for image in range(1, len(scenes) + 1)],
            "annotations": annotations,
            "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES, 1)],
        }
        truth.createIndex()
        # loadRes does not take an empty list.
        found = truth.loadRes(results) if results else COCO()
        if not results:
            found.dataset = {**truth.dataset, "annotations": []}
            found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    by_class = {}
    for place, label in enumerate(CLASSES):
        values = evaluation.eval["precision"][:, :, place, 0, 2]
        by_class[label] = round(float(values[values > -1].mean()), 9) if (values > -1).any() else None
    stats = [None if value == -1 else round(float(value), 9) for value in evaluation.stats]
    return {"stats": stats, "class_ap": by_class}


def without_scores(scene):
    """The scene as VLM-R1 and V-Triune hand it to pycocotools."""
    gold = [[box, label, False, None] for box, label, _, _ in scene["gold"]]
    labels = {label for _, label, _, _ in gold}
    predicted = [[box, label, 1.0] for box, label, _ in scene["predicted"] if label in labels]
    return {"gold": gold, "predicted": predicted}


def iou(a, b, pixel=False):
    """Plain, or with the pixel that VLM-R1 takes off the far corner and adds to both sides."""
    off = 1 if pixel else 0
    x1, y1 = max(a[0], b[0]), max(a[1], b[1])
    x2, y2 = min(a[2] - off, b[2] - off), min(a[3] - off, b[3] - off)
    if x1 >= x2 or y1 >= y2:
        return 0.0
    shared = (x2 - x1 + off) * (y2 - y1 + off)
    areas = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return shared / (areas - shared)


def best_first(table, least):
    """Pairs of the table, the best of what is left each time."""
    table, pairs = numpy.array(table, dtype=float), []
    while table.size and table.max() >= max(least, 0):
        predicted, gold = numpy.unravel_index(table.argmax(), table.shape)
        pairs.append((int(predicted), int(gold), float(table[predicted, gold])))
        table[predicted, :] = table[:, gold] = -1
    return pairs


def by_label(table, same, least):
    """Pairs where each gold box in turn takes its best free prediction of its label."""
    pairs, used = [], set()
    for gold in range(len(same[0])):
        free = [predicted for predicted in range(len(same)) if same[predicted][gold] and predicted not in used]
        best = max(free, key=lambda predicted: table[predicted][gold], default=None)
        if best is not None and table[best][gold] >= least:
            used.add(best)
            pairs.append((best, gold, table[best][gold]))
    return pairs


def position_and_completeness(pairs, same):
    predicted, gold = len(same), len(same[0])
    position = sum(score for p, g, score in pairs if same[p][g]) / gold
    return position, 1 - ((gold - len(pairs)) / gold + (predicted - len(pairs)) / predicted) / 2


def box_rewards(scene, average):
    """VLM-R1's weighted sum, V-Triune's accuracy with all parts, and the mean IoU of the best assignment."""
    gold, predicted = scene["gold"], scene["predicted"]
    same = [[p[1] == g[1] for g in gold] for p in predicted]
    plain = [[iou(p[0], g[0]) for g in gold] for p in predicted]
    pixel = [[iou(p[0], g[0], True) for g in gold] for p in predicted]
    position, completeness = position_and_completeness(best_first(pixel, 0.5), same)
    parts = []
    for match in (lambda least: best_first(plain, least), lambda least: by_label(plain, same, least)):
        scores = [position_and_completeness(match(least), same) for least in THRESHOLDS]
        parts.append(sum(0.7 * position + 0.3 * completeness for position, completeness in scores) / len(scores))
    penalty = 0.6 ** abs(len(gold) - len(predicted))
    table = numpy.array(plain)
    assigned = table[linear_sum_assignment(table, maximize=True)].sum() / len(gold)
    return {
        "weighted_sum": round(0.7 * position + 0.3 * completeness, 9),
        "v_triune": round(sum([*parts, *average]) / 5 * penalty, 9),
        "assigned_iou": round(float(assigned), 9),
    }


rng = random.Random(7)
scenes = [scene(rng) for _ in range(199)] + [crowded_scene(rng)]
for one in scenes:
    one.update(evaluate([one]))
    both = one["gold"] and one["predicted"]
    one["scene_ap"] = evaluate([without_scores(one)])["stats"][:3] if both else None
    one["rewards"] = box_rewards(one, one["scene_ap"]) if both else None
groups = [{"first": first, "count": 10, **evaluate(scenes[first : first + 10])} for first in range(0, 200, 10)]
groups.append({"first": 0, "count": 200, **evaluate(scenes)})

assignments = []
for place in range(60):
    rows, columns = rng.randint(1, 9), rng.randint(1, 9)
    whole = place % 2 == 0
    cost = [[rng.randint(0, 6) if whole else round(rng.uniform(-1, 1), 4) for _ in range(columns)] for _ in range(rows)]
    picked = linear_sum_assignment(numpy.array(cost, dtype=float))
    assignments.append({"cost": cost, "total": round(float(numpy.array(cost)[picked].sum()), 9)})

document = {
    "made_by": "make_detection.py",
    "python": platform.python_version(),
    **{name: version(name) for name in ["numpy", "pycocotools", "scipy"]},
    "scenes": scenes,
    "groups": groups,
    "assignments": assignments,
}
path = pathlib.Path(__file__).with_name("detection.json")
text = json.dumps(document, separators=(",", ":"))
path.write_text(text.replace('{"gold"', '\n{"gold"').replace('{"first"', '\n{"first"').replace('{"cost"', '\n{"cost"') + "\n")
print(f"{len(scenes)} scenes, {len(groups)} groups, {len(assignments)} assignments in {path.name}")
