"""Makes the folders beside this script: whole checkpoints as a user has them, and what transformers makes of a conversation.

    python make_prompts.py [FAMILY ...]

Versions used: Python 3.11, torch 2.15.0, transformers 5.23.0, Pillow 13.0.0; they are also in `FAMILY/expected.json`.
A folder holds a tiny random network saved in bfloat16, tokenizer, chat template and processor settings, all written by
`save_pretrained`. `expected.json` has the rendered prompt's ids and a greedy answer of 32 tokens by
`processor.apply_chat_template` and `model.generate`, in f32, for a question about two pictures that
`formula_picture.source` of `ocelli-model/tests/golden` draws (language models are asked without pictures). `media.json` has the
same for conversations with videos (frame n drawn with the seed n, shown with their rate), pictures and sounds (the formula of
`sound` in `make_mel.py`), with the positions that `get_rope_index` gives. Videos need torchvision (0.29.2).

The tokenizer is that of the preset `tiny-qwen2_5_vl` with the family's own marks added, the templates are short ones of
the shape that the families' have.
"""

import json
import pathlib
import platform
import sys

import PIL
import numpy as np
import torch
import transformers as tf
from PIL import Image
from tokenizers import AddedToken

HERE = pathlib.Path(__file__).parent
MODEL = HERE.parents[2] / "ocelli-model"
sys.path.insert(0, str(MODEL / "tests/golden"))
from formula_picture import source  # noqa: E402

SIZES = [(61, 47), (90, 40)]
QUESTION = "Where is the red circle?"
NEW_TOKENS = 32

TURNS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}{% if part.type == 'image' %}PICTURE{% elif part.type == 'video' %}VIDEO"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN = TURNS.replace("PICTURE", "<|vision_start|><|image_pad|><|vision_end|>").replace(
    "VIDEO", "<|vision_start|><|video_pad|><|vision_end|>")
INTERN = TURNS.replace("PICTURE", "<IMG_CONTEXT>\n").replace("VIDEO", "<video>\n")
SMOL = (
    "<|im_start|>{% for message in messages %}{{ message.role | capitalize }}:{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% elif part.type == 'video' %}<video>{% else %} {{ part.text }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
TEXT = (
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


# The published template of Qwen2-Audio.
AUDIO = (
    "{% set audio_count = namespace(value=0) %}{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}"
    "{% if 'audio' in content or 'audio_url' in content or message['type'] == 'audio' %}"
    "{% set audio_count.value = audio_count.value + 1 %}Audio {{ audio_count.value }}: <|audio_bos|><|AUDIO|><|audio_eos|>\n"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(marks=(), **attributes):
    made = tf.PreTrainedTokenizerFast(
        tokenizer_file=str(MODEL / "assets/tiny-qwen2_5_vl/tokenizer.json"), bos_token="<|endoftext|>",
        eos_token="<|im_end|>", pad_token="<|endoftext|>", extra_special_tokens=attributes)
    made.add_tokens([AddedToken(mark, special=True) for mark in marks if made.convert_tokens_to_ids(mark) is None])
    for name, token in attributes.items():
        setattr(made, name, token)
    return made


def language(vocabulary, **more):
    return {"vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}} | more


def ids(tok, *marks):
    return [tok.convert_tokens_to_ids(mark) for mark in marks]


def qwen(kind):
    tok = tokenizer(image_token="<|image_pad|>", video_token="<|video_pad|>", vision_bos_token="<|vision_start|>",
                    vision_eos_token="<|vision_end|>")
    image, video, start, end = ids(tok, "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    marks = dict(image_token_id=image, video_token_id=video, vision_start_token_id=start, vision_end_token_id=end)
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
    vision = dict(depth=2, num_heads=2, patch_size=6, spatial_merge_size=2, temporal_patch_size=2)
    size = {"shortest_edge": 12 * 12 * 4, "longest_edge": 12 * 12 * 20}
    if kind == "qwen2_vl":
        config = tf.Qwen2VLConfig(text_config=language(len(tok), rope_parameters=rope), tie_word_embeddings=True,
                                  vision_config=vision | dict(embed_dim=32, hidden_size=32, mlp_ratio=2), **marks)
        model = tf.Qwen2VLForConditionalGeneration
        processor = tf.Qwen2VLProcessor
    elif kind == "qwen2_5_vl":
        config = tf.Qwen2_5_VLConfig(
            text_config=language(len(tok), rope_parameters=rope), tie_word_embeddings=True,
            vision_config=vision | dict(hidden_size=32, out_hidden_size=32, intermediate_size=48, window_size=24,
                                        fullatt_block_indexes=[1]), **marks)
        model = tf.Qwen2_5_VLForConditionalGeneration
        processor = tf.Qwen2_5_VLProcessor
    else:
        rope["mrope_interleaved"] = True
        config = tf.Qwen3VLConfig(
            text_config=language(len(tok), head_dim=8, rope_parameters=rope), tie_word_embeddings=True,
            vision_config=vision | dict(hidden_size=32, out_hidden_size=32, intermediate_size=48,
                                        num_position_embeddings=25, deepstack_visual_indexes=[0]), **marks)
        model = tf.Qwen3VLForConditionalGeneration
        processor = tf.Qwen3VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
    images = Qwen2VLImageProcessorPil(patch_size=6, merge_size=2, temporal_patch_size=2, size=size)
    video = tf.Qwen3VLVideoProcessor if kind == "qwen3_vl" else tf.Qwen2VLVideoProcessor
    # Qwen3-VL's limits hold for all frames together. Qwen2-VL's class looks at all frames without fps, as published files have it.
    size = {"shortest_edge": 12 * 12 * 8, "longest_edge": 12 * 12 * 60} if kind == "qwen3_vl" else size
    more = {} if kind == "qwen2_vl" else {"fps": 2.0}
    videos = video(patch_size=6, merge_size=2, temporal_patch_size=2, size=size, **more)
    return model, config, processor(image_processor=images, tokenizer=tok, video_processor=videos, chat_template=QWEN)


def internvl():
    marks = ["<img>", "</img>", "<IMG_CONTEXT>"]
    tok = tokenizer(marks, start_image_token="<img>", end_image_token="</img>", context_image_token="<IMG_CONTEXT>",
                    video_token="<video>")
    tok.context_image_token_id = tok.convert_tokens_to_ids("<IMG_CONTEXT>")
    tok.start_image_token_id = tok.convert_tokens_to_ids("<img>")
    tok.end_image_token_id = tok.convert_tokens_to_ids("</img>")
    config = tf.InternVLConfig(
        text_config={"model_type": "qwen2"} | language(len(tok)),
        vision_config=dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
                           image_size=[24, 24], patch_size=[6, 6]),
        image_token_id=tok.context_image_token_id, image_seq_length=4, downsample_ratio=0.5, tie_word_embeddings=False)
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
    images = GotOcr2ImageProcessorPil(size={"height": 24, "width": 24}, max_patches=4, crop_to_patches=True)
    processor = tf.InternVLProcessor(image_processor=images, tokenizer=tok, image_seq_length=4, chat_template=INTERN,
                                     video_processor=tf.InternVLVideoProcessor(size={"height": 24, "width": 24}, num_frames=4))
    return tf.InternVLForConditionalGeneration, config, processor


def smolvlm():
    marks = ["<fake_token_around_image>", "<global-img>", "<image>", "<end_of_utterance>"]
    marks += [f"<row_{r}_col_{c}>" for r in range(1, 5) for c in range(1, 5)]
    tok = tokenizer(marks, fake_image_token="<fake_token_around_image>", image_token="<image>",
                    end_of_utterance_token="<end_of_utterance>", global_image_token="<global-img>")
    config = tf.SmolVLMConfig(
        text_config={"model_type": "llama"} | language(len(tok)),
        vision_config=dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
                           image_size=24, patch_size=6),
        scale_factor=2, image_token_id=tok.convert_tokens_to_ids("<image>"), tie_word_embeddings=False, pad_token_id=0)
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
    images = SmolVLMImageProcessorPil(size={"longest_edge": 48}, max_image_size={"longest_edge": 24})
    processor = tf.SmolVLMProcessor(image_processor=images, tokenizer=tok, image_seq_len=4, chat_template=SMOL,
                                    video_processor=tf.SmolVLMVideoProcessor(
                                        size={"longest_edge": 40}, max_image_size={"longest_edge": 24}, fps=2, num_frames=5))
    return tf.SmolVLMForConditionalGeneration, config, processor


def qwen2_audio():
    marks = ["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]
    tok = tokenizer(marks, audio_token="<|AUDIO|>", audio_bos_token="<|audio_bos|>", audio_eos_token="<|audio_eos|>")
    config = tf.Qwen2AudioConfig(
        audio_config=dict(num_mel_bins=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=48, d_model=32,
                          max_source_positions=100),
        text_config={"model_type": "qwen2"} | language(len(tok)),
        audio_token_id=tok.convert_tokens_to_ids("<|AUDIO|>"), tie_word_embeddings=False)
    sounds = tf.WhisperFeatureExtractor(feature_size=16, chunk_length=2)
    processor = tf.Qwen2AudioProcessor(feature_extractor=sounds, tokenizer=tok, chat_template=AUDIO)
    return tf.Qwen2AudioForConditionalGeneration, config, processor


def text(kind):
    tok = tokenizer()
    tok.chat_template = TEXT
    if kind == "llama":
        return tf.LlamaForCausalLM, tf.LlamaConfig(**language(len(tok)), tie_word_embeddings=False), tok
    return tf.Qwen3ForCausalLM, tf.Qwen3Config(**language(len(tok), head_dim=8), tie_word_embeddings=True), tok


FAMILIES = {
    "qwen2_vl": lambda: qwen("qwen2_vl"),
    "qwen2_5_vl": lambda: qwen("qwen2_5_vl"),
    "qwen3_vl": lambda: qwen("qwen3_vl"),
    "internvl": internvl,
    "smolvlm": smolvlm,
    "qwen2_audio": qwen2_audio,
    "qwen3": lambda: text("qwen3"),
    "llama": lambda: text("llama"),
}


def clip(frames, width, height, fps):
    return {"type": "video", "frames": frames, "width": width, "height": height, "fps": fps}


def still(seed):
    return {"type": "image", "width": SIZES[seed][0], "height": SIZES[seed][1], "seed": seed}


def noise(kind, count):
    return {"type": "audio", "kind": kind, "count": count}


# What is shown and played before the question.
VIDEOS = [[clip(9, 61, 47, 4.0)], [still(0), clip(6, 40, 50, 3.0), still(1), clip(13, 30, 30, 6.0)], [clip(5, 48, 36, 2.5)] * 2]
SOUNDS = [[noise("chirp", 9000)], [noise("noise", 4321), noise("tone", 31999)], [noise("chirp", 40000)]]
# SmolVLM's processor takes either pictures or videos, and all videos of a prompt must have as many frames.
FILMS = [[clip(9, 61, 47, 4.0)], [clip(140, 40, 50, 7.0)], [clip(7, 30, 30, 3.0)]]
MEDIA = {"internvl": VIDEOS, "smolvlm": FILMS, "qwen2_vl": VIDEOS, "qwen2_5_vl": VIDEOS, "qwen3_vl": VIDEOS, "qwen2_audio": SOUNDS}
QUESTIONS = [QUESTION, "What happens?", "How many are there?", "Name it.", "Count slowly.", "Who is it?", "When?", "And why?"]


def sound(kind, count):
    """As in `make_mel.py`."""
    n = np.arange(count, dtype=np.int64)
    if kind == "noise":
        return (((n * 7919 + n * n * 31) % 4093 - 2046) / 4096).astype(np.float32)
    phase = (n * n // 90 if kind == "chirp" else n * 11) % 512
    return ((np.abs(phase - 256) - 128) * 12 / 4096).astype(np.float32)


def show(processor, shown, question):
    content = [{"type": part["type"]} | ({"audio": ""} if part["type"] == "audio" else {}) for part in shown]
    messages = [{"role": "user", "content": content + [{"type": "text", "text": question}]}]
    # SmolVLM's processor has a template of its own for videos, which goes before the folder's unless that is asked for.
    prompt = processor.apply_chat_template(messages, chat_template=processor.chat_template, add_generation_prompt=True,
                                           tokenize=False)
    of = lambda kind: [part for part in shown if part["type"] == kind]
    given = {"text": [prompt], "return_tensors": "pt", "add_special_tokens": False}
    if of("image"):
        given["images"] = [Image.fromarray(source(p["width"], p["height"], p["seed"])) for p in of("image")]
    if of("video"):
        given["videos"] = [np.stack([source(p["width"], p["height"], n) for n in range(p["frames"])]) for p in of("video")]
        metadata = [tf.video_utils.VideoMetadata(total_num_frames=p["frames"], fps=p["fps"], duration=p["frames"] / p["fps"])
                    for p in of("video")]
        # Rows of their own: with one rate or size they would be one batch, and all resized alike anyway.
        given |= {"video_metadata": metadata, "do_sample_frames": bool(processor.video_processor.fps or processor.video_processor.num_frames)}
    if of("audio"):
        given |= {"audio": [sound(p["kind"], p["count"]) for p in of("audio")], "sampling_rate": 16000}
    return processor(**given)


def answers(model, given, special):
    """A greedy answer, and how clear the choices were."""
    settings = tf.GenerationConfig(do_sample=False, max_new_tokens=NEW_TOKENS, eos_token_id=None, pad_token_id=0)
    whole = model.generate(**given, generation_config=settings, suppress_tokens=special)[0]
    answer = whole[given["input_ids"].shape[1]:]
    again = dict(given, input_ids=whole[None], attention_mask=torch.ones_like(whole)[None])
    if "mm_token_type_ids" in again:
        old = again["mm_token_type_ids"]
        again["mm_token_type_ids"] = torch.cat([old, old.new_zeros(1, len(answer))], 1)
    logits = model(**again).logits[0, -len(answer) - 1 : -1].clone()
    logits[:, special] = -torch.inf
    best = logits.topk(2).values
    margin = (best[:, 0] - best[:, 1]).min().item()
    return answer, margin if torch.equal(logits.argmax(-1), answer) else 0.0


@torch.no_grad()
def media(name, model, processor, special, folder, versions):
    cases = []
    for shown in MEDIA[name]:
        for question in QUESTIONS:
            given = show(processor, shown, question)
            answer, margin = answers(model, given, special)
            if margin > 4e-3:
                break
        else:
            raise SystemExit(f"{name}: no question gives clear choices")
        case = {"shown": shown, "question": question, "margin": margin, "input_ids": given["input_ids"][0].tolist(),
                "answer": answer.tolist()}
        if "mm_token_type_ids" in given:
            keys = ("image_grid_thw", "video_grid_thw", "second_per_grid_ts")
            more = {key: given[key] for key in keys if key in given}
            positions, delta = model.model.get_rope_index(given["input_ids"], given["mm_token_type_ids"], **more)
            case |= {"positions": positions[:, 0].T.tolist(), "delta": delta.item()}
            case |= {key: torch.as_tensor(value).tolist() for key, value in more.items()}
        print(name, question, margin, len(case["input_ids"]))
        cases.append(case)
    lines = ",\n ".join(json.dumps(case) for case in cases)
    head = json.dumps({"made_by": pathlib.Path(__file__).name, "versions": versions, "banned": special})[:-1]
    (folder / "media.json").write_text(f'{head}, "cases": [\n {lines}\n]}}\n')


def ask(processor):
    if isinstance(processor, tf.Qwen2AudioProcessor):
        return show(processor, [], QUESTION)
    if isinstance(processor, tf.PreTrainedTokenizerFast):
        messages = [{"role": "user", "content": QUESTION}]
        prompt = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return processor(prompt, return_tensors="pt", add_special_tokens=False)
    content = [{"type": "image"} for _ in SIZES] + [{"type": "text", "text": QUESTION}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    pictures = [Image.fromarray(source(w, h, i)) for i, (w, h) in enumerate(SIZES)]
    pictures = [pictures] if type(processor).__name__ == "SmolVLMProcessor" else pictures
    return processor(text=[prompt], images=pictures, return_tensors="pt", add_special_tokens=False)


def make(name):
    make_model, config, processor = FAMILIES[name]()
    tok = getattr(processor, "tokenizer", processor)
    given = ask(processor)
    special = sorted(set(tok.all_special_ids) | set(tok.added_tokens_decoder))
    for seed in range(50):
        torch.manual_seed(seed)
        model = make_model._from_config(config, attn_implementation="eager").eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(std=0.25)
                parameter.copy_(parameter.bfloat16().float())
        with torch.no_grad():
            answer, margin = answers(model, given, special)
        if margin > 5e-3 and len(answer.unique()) > 8:
            break
    else:
        raise SystemExit(f"{name}: no seed gives clear choices")
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    versions = {"python": platform.python_version(), "torch": torch.__version__, "transformers": tf.__version__,
                "pillow": PIL.__version__}
    if name in MEDIA:
        media(name, model, processor, special, folder, versions)
    model.bfloat16().save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": tok.eos_token_id}) + "\n")
    expected = {"made_by": pathlib.Path(__file__).name,
                "versions": versions, "seed": seed, "margin": margin, "pictures": [] if "pixel_values" not in given else SIZES,
                "question": QUESTION, "banned": special, "input_ids": given["input_ids"][0].tolist(),
                "answer": answer.tolist()}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    print(name, seed, margin, len(expected["input_ids"]), sum(p.stat().st_size for p in folder.iterdir()),
          sorted(p.name for p in folder.iterdir()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or FAMILIES:
        make(name)
