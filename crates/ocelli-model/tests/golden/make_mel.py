"""Writes mel.json: samples of what WhisperFeatureExtractor and Qwen2AudioProcessor make of sounds by a formula.

tests/mel.rs repeats the formula of `sound`. Values are those of the extractor's NumPy path; `torch` is how far its torch path
lies from them. Run with transformers 5.23:
    python make_mel.py
"""

import json
import pathlib

import numpy as np
import transformers
from transformers import WhisperFeatureExtractor

QWEN2_AUDIO = {"chunk_length": 30, "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 128,
               "hop_length": 160, "n_fft": 400, "padding_value": 0.0, "sampling_rate": 16000}
SHORT = QWEN2_AUDIO | {"chunk_length": 2}
WHISPER = {"chunk_length": 2}
ODD = QWEN2_AUDIO | {"chunk_length": 1, "hop_length": 171, "n_fft": 322, "feature_size": 40}
CASES = [(QWEN2_AUDIO, 40000, "chirp"), (QWEN2_AUDIO, 480000, "noise"), (QWEN2_AUDIO, 500001, "chirp"),
         (SHORT, 1, "noise"), (SHORT, 161, "noise"), (SHORT, 16000, "silence"), (SHORT, 31999, "tone"),
         (SHORT, 20000, "chirp"), (WHISPER, 32000, "noise"), (ODD, 16000, "chirp"), (ODD, 5000, "noise")]
STRIDE = 97


def sound(kind, count):
    """Multiples of 1/4096, so that both sides have the same samples whatever their sine is."""
    n = np.arange(count, dtype=np.int64)
    if kind == "silence":
        return np.zeros(count, np.float32)
    if kind == "noise":
        return (((n * 7919 + n * n * 31) % 4093 - 2046) / 4096).astype(np.float32)
    # Triangle waves, of rising or constant pitch.
    phase = (n * n // 90 if kind == "chirp" else n * 11) % 512
    return ((np.abs(phase - 256) - 128) * 12 / 4096).astype(np.float32)


cases = []
for config, count, kind in CASES:
    extractor = WhisperFeatureExtractor(**{k: v for k, v in config.items() if k != "feature_extractor_type"})
    samples = sound(kind, count)
    made = extractor([samples], sampling_rate=16000, return_attention_mask=True, padding="max_length",
                     return_tensors="np")
    padded = np.zeros(extractor.n_samples, np.float32)
    padded[: min(count, len(padded))] = samples[: len(padded)]
    [values] = extractor._np_extract_fbank_features(padded[None], "cpu")
    sounding = int(made["attention_mask"].sum())
    cases.append({"config": config, "kind": kind, "count": count, "shape": list(values.shape), "sounding": sounding,
                  "masked": list(made["attention_mask"].shape), "tokens": (((sounding - 1) // 2 + 1) - 2) // 2 + 1,
                  "torch": float(np.abs(made["input_features"][0] - values).max()),
                  "mean": float(values.astype(np.float64).mean()),
                  "values": [round(float(v), 7) for v in values.reshape(-1)[:: STRIDE * (values.size // 40000 + 1)]]})
    print(kind, count, cases[-1]["torch"])

out = {"made_by": "make_mel.py", "transformers": transformers.__version__, "numpy": np.__version__, "stride": STRIDE}
lines = ",\n  ".join(json.dumps(case) for case in cases)
pathlib.Path(__file__).with_name("mel.json").write_text(json.dumps(out)[:-1] + f',\n "cases": [\n  {lines}\n ]\n}}\n')
