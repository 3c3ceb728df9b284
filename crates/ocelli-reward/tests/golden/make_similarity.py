"""Writes similarity.json: what rouge-score, NLTK, jiwer, rapidfuzz, editdistance and SQuAD's F1 say about a corpus.

Run with rouge-score 0.1.2, nltk 3.10.4, jiwer 4.0.0, rapidfuzz 3.14.6 and editdistance 0.8.1: python make_similarity.py.
"""

import collections
import json
import pathlib
import platform
import random
import re
import string
from importlib.metadata import version

import editdistance
import jiwer
from nltk.stem.porter import PorterStemmer
from rapidfuzz.distance import Indel, Levenshtein
from rouge_score import rouge_scorer

STARTS = """
relat condit ration valenc hesit digit conform radic differ vile analog predic oper feudal decis hope call formal sensit
sensibl triplic form electr good reviv allow infer airlin gyroscop adjust defens irrit replac depend adopt homolog commun
activ angular effect bowdler probat ceas control roll motor plaster agre fe bl hopp tann fall hiss fizz fail fil sk happ
enjo tr sp geolog apolog beauti use thought y sy ye pla stud ski di cr pa th b a xx 3d wa mix box tow
""".split()
ENDS = """
s es ies ss sses ed ied eed ing y ational tional enci anci izer abli bli alli entli eli ousli ization ation ator alism
iveness fulness ousness aliti iviti biliti icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement
ment ent ion tion sion ou ism ate iti ous ive ize e ll logy logi fully ationally
""".split()
WORDS = """
sky skies dying lying tying news innings inning outings outing cannings canning howe proceed exceed succeed ties died
the a an of running runner ran dogs dog bus buses is was were at on cat mat quickly brown fox jumped lazy left right
turning stopping signs sign reads reading 42 3.14 don't "quoted" (maybe) naïve café Straße İstanbul 東京 🙂 two-thirds
""".split()


def squad_f1(predicted, gold):
    def words(text):
        text = "".join(c for c in text.lower() if c not in set(string.punctuation))
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    predicted, gold = words(predicted), words(gold)
    if not predicted or not gold:
        return float(predicted == gold)
    shared = sum((collections.Counter(predicted) & collections.Counter(gold)).values())
    return 2 * shared / (len(predicted) + len(gold))


def anls(answer, accepted):
    def similarity(gold):
        a, b = answer.strip().lower(), gold.strip().lower()
        distance = editdistance.eval(a, b) / max(len(a), len(b), 1)
        return 1 - distance if distance < 0.5 else 0.0

    return max(similarity(gold) for gold in accepted)


def mutated(rng, words):
    words = list(words)
    for _ in range(rng.randint(0, 4)):
        place = rng.randrange(len(words) + 1)
        match rng.randrange(4):
            case 0:
                words.insert(place, rng.choice(WORDS))
            case 1 if words:
                words.pop(place % len(words))
            case 2 if words:
                words[place % len(words)] = rng.choice(WORDS)
            case _:
                words.reverse()
    return words


def pairs(rng):
    yield from [("", ""), ("", "word"), ("word", ""), (" ", "\n"), ("!", "?"), ("same text", "same text")]
    yield from [("Yes", "yes"), ("12.50", "12.5"), ("straße", "strasse"), ("a the an", "the"), ("kitten", "sitting")]
    for _ in range(150):
        words = [rng.choice(WORDS) for _ in range(rng.randint(1, 12))]
        join = rng.choice([" ", "  ", ", "])
        yield join.join(mutated(rng, words)), join.join(words)
    for _ in range(40):
        letters = [rng.choice("abc dé") for _ in range(rng.randint(0, 12))]
        yield "".join(rng.choice([c, c, c, "", "x"]) for c in letters), "".join(letters)


def rouge(predicted, gold, stem):
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=stem)
    scores = scorer.score(gold, predicted)
    return [[round(float(value), 9) for value in scores[name]] for name in ["rouge1", "rouge2", "rougeL"]]


def row(rng, predicted, gold):
    other = rng.choice(["", gold.upper(), "something else"])
    return {
        "predicted": predicted,
        "gold": gold,
        "other": other,
        "rouge": rouge(predicted, gold, False),
        "rouge_stem": rouge(predicted, gold, True),
        "distance": editdistance.eval(predicted, gold),
        "similarity": round(Levenshtein.normalized_similarity(predicted, gold), 9),
        "ratio": round(Indel.normalized_similarity(predicted, gold), 9),
        "anls": round(anls(predicted, [gold, other]), 9),
        "wer": round(float(jiwer.wer(gold, predicted)), 9),
        "cer": round(float(jiwer.cer(gold, predicted)), 9),
        "token_f1": round(squad_f1(predicted, gold), 9),
    }


rng = random.Random(11)
stemmer = PorterStemmer()
vocabulary = sorted({start + end for start in STARTS for end in rng.sample(ENDS, 22)} | {w for w in WORDS if w.isascii() and w.isalnum()})
rows = [row(rng, predicted, gold) for predicted, gold in pairs(rng)]
document = {
    "made_by": "make_similarity.py",
    "python": platform.python_version(),
    **{name: version(name) for name in ["rouge-score", "nltk", "jiwer", "rapidfuzz", "editdistance"]},
    "stems": {word: stemmer.stem(word) for word in vocabulary},
    "rows": rows,
}
path = pathlib.Path(__file__).with_name("similarity.json")
text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
path.write_text(text.replace('{"predicted"', '\n{"predicted"') + "\n", encoding="utf-8")
print(f"{len(vocabulary)} stems, {len(rows)} rows in {path.name}")
