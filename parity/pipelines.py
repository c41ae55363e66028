"""Compares what the commands of refit tell with what transformers tells, from texts and pictures to probabilities.

    python3 parity/pipelines.py --refit target/release/refit [--venv DIR]

Tiny random models are made in the layouts of published ones, with tokenizers and image processors as transformers writes
them. `classify` is compared with the pipelines of text classification and of zero-shot classification (of texts and of
pictures) and with the scores of image classifiers; `eval --task tagging` has to find transformers' own tags of words all
right; `embed` is compared with the vectors of image encoders, of CLIP, and of sentence-transformers, which is installed
from PyPI if it is not there; `generate --chat` with greedy answers to what the chat template makes. Prints the largest difference of each
and exits with 1 where one is larger than its bound.
"""

import argparse
import datetime
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

from zoo import prepare

SENTENCES = "6.2.0"  # sentence-transformers, from PyPI as the others
# Largest difference of a probability, and of an entry of vectors, as a share of the largest where that is above 1.
CLOSE = 1e-5
# The same for each kind of pictures: decoders of JPEGs round in their own ways, and where a file has a colour for every
# second pixel alone, as those of cameras do, they fill in the others in their own ways.
KINDS = dict(png=CLOSE, jpeg=5e-3, halved=2e-2)
TEXTS = [
    "The orchestra played Brahms's second symphony in Zürich, twice!",
    "goals in the 89th minute: Ålesund 3 - Brann 2",
    "A court in the north ruled that the law does not hold.",
    "  two  spaces, a\ttab and an ellipsis ...",
    "« Où est-ce ? » 東京 ☂ naïve café",
    "It's what they'd said; we'll see (or not).",
    "long " * 90,
    "no",
]
LABELS = ["sport", "music", "the law"]
WORDED = [part for label in LABELS for part in ("--label", label)]
BERT = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, max_position_embeddings=64)
ROBERTA = dict(BERT, max_position_embeddings=66, type_vocab_size=1, bos_token_id=0, pad_token_id=1, eos_token_id=2)
VIT = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40, image_size=32, patch_size=8)
RESNET = dict(embedding_size=8, hidden_sizes=[16, 24], depths=[2, 2])
TOWER = dict(num_hidden_layers=2, num_attention_heads=4, intermediate_size=40)
SQUARE = dict(height=32, width=32)
IMAGENET = dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
LLAMA_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DATE = datetime.datetime(2026, 2, 3)
CHAT = """{%- set today = strftime_now("%d %b %Y") if strftime_now is defined else "26 Jul 2024" %}
{{- bos_token }}
{%- if tools is not none %}{{- "Tools: " + tools | tojson(indent=4) }}{%- endif %}
{%- if documents is not none %}{{- "Documents: " + documents | tojson }}{%- endif %}
{{- "Today: " + today + "\\n" }}
{%- for message in messages %}{{- "<" + message.role + ">" + message["content"] | trim | tojson + "\\n" }}{%- endfor %}
{%- if add_generation_prompt %}{{- "<assistant>" }}{%- endif %}"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--refit", type=Path, required=True, help="the program")
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "refit-parity-zoo")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.here:
        python = prepare(options.venv)
        check = f"from importlib.metadata import version; assert version('sentence-transformers') == '{SENTENCES}'"
        if subprocess.run([python, "-c", check], capture_output=True).returncode:
            subprocess.run([python, "-m", "pip", "install", "--quiet", f"sentence-transformers=={SENTENCES}"], check=True)
        sys.exit(subprocess.run([python, __file__, *sys.argv[1:], "--here"]).returncode)
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.refit.resolve(), Path(folder))
        for kind in (texts, zero_shot, tags, pictures, clip, chats, sentences):
            kind(bench)
    sys.exit(bench.differs)


class Bench:
    """A folder of models and what they read."""

    def __init__(self, program, folder):
        self.program, self.folder, self.differs = program, folder, False
        # As it was before: pipelines tell all tokenizers to work on one thread.
        self.environment = dict(os.environ)
        self.texts = self.write("texts.txt", "\n".join(TEXTS) + "\n")

    def write(self, name, content):
        """A file of text, or of JSON."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    def model(self, name, kind, *companions, labels=LABELS, **keys):
        """A random model, saved with its tokenizer or image processor."""
        import torch

        torch.manual_seed(0)
        model = kind(kind.config_class(**keys, id2label=dict(enumerate(labels)), label2id={label: at for at, label in enumerate(labels)}))
        for weight in model.parameters():  # starts are too tame to tell mistakes apart
            weight += 0.2 * torch.randn_like(weight)
        for path, buffer in model.named_buffers():
            if "running" in path:
                buffer += torch.rand_like(buffer)
        for part in (model.eval(), *companions):
            part.save_pretrained(self.folder / name)
        return model

    def refit(self, verb, name, *args):
        """The document that a command prints; nothing where it fails, and says why."""
        command = [self.program, verb, self.folder / name, *args, "--json", "--quiet", "--threads", "2"]
        done = subprocess.run(command, stdout=subprocess.PIPE, env=self.environment)
        return None if done.returncode else json.loads(done.stdout)

    def classes(self, name, *args):
        """Probabilities of every input, by label."""
        found = self.refit("classify", name, *args)
        return found and [row["probabilities"] for row in found.get("texts", found.get("pictures"))]

    def vectors(self, name, *args):
        found = self.refit("embed", name, *args)
        return found and found["embeddings"]

    def compare(self, what, ours, theirs, bound=CLOSE):
        """Documents whose numbers may differ a little, and texts not at all."""
        pairs = list(itertools.zip_longest(leaves(ours), leaves(theirs)))
        scale = max(abs(b) for _, b in pairs if isinstance(b, (int, float)))
        difference = max(itertools.starmap(apart, pairs)) / max(1.0, scale)
        good = difference <= bound
        self.differs |= not good
        print(f"{what}: largest difference {difference:.1e}{'' if good else '  DIFFERS'}", flush=True)


def leaves(document):
    """Keys, numbers and texts in their order; objects have none."""
    if isinstance(document, dict):
        document = sorted(document.items())
    if not isinstance(document, (list, tuple)):
        yield document
        return
    for part in document:
        yield from leaves(part)


def apart(a, b):
    if isinstance(a, (int, float)) and isinstance(b, (int, float)) and abs(a - b) < float("inf"):
        return abs(a - b)
    return 0.0 if a == b else float("inf")


def word_pieces(**keys):
    """BERT's tokenizer: letters, beginnings of words and what follows them."""
    import transformers as t
    from tokenizers import normalizers, pre_tokenizers

    lower, split = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = {word for text in TEXTS for word, _ in split.pre_tokenize_str(lower.normalize_str(text)) if word.isascii()}
    begin = {part for word in words for part in (*word, word[:3])}
    follow = {f"##{part}" for word in words for part in (*word, word[3:]) if part}
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(begin), *sorted(follow)]
    made = t.BertTokenizer(vocab={piece: at for at, piece in enumerate(vocab)}, model_max_length=64, **keys)
    # Published files still say how their last batch was cut and filled up, which means nothing.
    made.backend_tokenizer.enable_truncation(16)
    made.backend_tokenizer.enable_padding()
    return made


def byte_pairs(before=(), after=(), end=""):
    """Vocabulary and merges of a byte-level tokenizer, with marks before and after all others."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trained = Tokenizer(models.BPE(end_of_word_suffix=end))
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.train_from_iterator(TEXTS + LABELS, trainers.BpeTrainer(vocab_size=500, end_of_word_suffix=end, show_progress=False))
    merges = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    words = dict.fromkeys([*before, *letters, *[letter + end for letter in letters], *map("".join, merges), *after])
    return dict(vocab={word: at for at, word in enumerate(words)}, merges=merges)


def roberta():
    import transformers as t

    return t.RobertaTokenizer(**byte_pairs(["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"]), model_max_length=64)


def texts(bench):
    """Classes of texts, which exclude each other or do not."""
    import transformers as t

    for family, kind, tokenizer, keys in [
        ("bert", t.BertForSequenceClassification, word_pieces(), BERT),
        ("roberta", t.RobertaForSequenceClassification, roberta(), ROBERTA),
    ]:
        for problem in ("single", "multi"):
            name = f"{family}-{problem}-label"
            bench.model(name, kind, tokenizer, **keys, vocab_size=len(tokenizer), problem_type=f"{problem}_label_classification")
            pipeline = t.pipeline("text-classification", model=str(bench.folder / name), top_k=None)
            theirs = [{told["label"]: told["score"] for told in row} for row in pipeline(TEXTS, truncation=True)]
            bench.compare(f"classify {name}", bench.classes(name, "--input", bench.texts), theirs)


def zero_shot(bench):
    """Labels in words, by models that say what follows from a text."""
    import transformers as t

    tokenizer, some = roberta(), [text for text in TEXTS if len(text) < 60]
    file = bench.write("some.txt", "\n".join(some) + "\n")
    for name, labels in [("nli-three", ["contradiction", "neutral", "entailment"]), ("nli-two", ["entailment", "not_entailment"])]:
        bench.model(name, t.RobertaForSequenceClassification, tokenizer, labels=labels, **ROBERTA, vocab_size=len(tokenizer))
        pipeline = t.pipeline("zero-shot-classification", model=str(bench.folder / name))
        for flags in ([], ["--several"]):
            theirs = [dict(zip(row["labels"], row["scores"])) for row in pipeline(some, LABELS, multi_label=bool(flags))]
            bench.compare(" ".join(["classify", name, *flags]), bench.classes(name, "--input", file, *WORDED, *flags), theirs)


def tags(bench):
    """Tags of words, which transformers gives the first token of each."""
    import transformers as t

    tokenizer, labels = roberta(), ["O", "B-x", "I-x", "B-y", "I-y"]
    model = bench.model("tagger", t.RobertaForTokenClassification, tokenizer, labels=labels, **ROBERTA, vocab_size=len(tokenizer))
    # What published taggers say of the space before words stands there, and not in tokenizer.json.
    settings = bench.folder / "tagger" / "tokenizer_config.json"
    bench.write(settings, json.loads(settings.read_text()) | dict(add_prefix_space=True))
    tokenizer = t.AutoTokenizer.from_pretrained(settings.parent)
    lines = []
    for words in [text.split() for text in TEXTS if len(text) < 65]:
        encoded = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        best, places = model(**encoded).logits[0].argmax(1), encoded.word_ids()
        lines += [f"{word}\t{labels[best[places.index(at)]]}" for at, word in enumerate(words)] + [""]
    found = bench.refit("eval", "tagger", "--data", bench.write("tags.conll", "\n".join(lines)), "--task", "tagging")
    bench.compare("eval tagger", found and [found["f1"], found["accuracy"]], [1.0, 1.0])


def make_pictures(bench):
    """Noise and words of many shapes. Of some tall pictures Pillow 13 makes the rows before the columns, which refit does
    not, nor Pillow up to 12: none of these is one of them.
    """
    import numpy
    from PIL import Image, ImageDraw

    random = numpy.random.default_rng(0)
    noise = lambda *shape: Image.fromarray(random.integers(0, 256, shape, dtype=numpy.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter of a turn

    def drawn(width, height):
        picture = Image.new("RGB", (width, height), (250, 240, 200))
        draw = ImageDraw.Draw(picture)
        draw.rectangle((0, 0, width // 3, height), fill=(20, 60, 10))
        for at in range(0, height, 12):
            draw.text((at % 20, at), "Learn from models.", fill=(at, 30, 255 - at))
        return picture

    exact, gray, tall, strip, wide = noise(32, 32, 3), noise(45, 61), noise(84, 60, 3), noise(128, 32, 3), noise(41, 97, 3)
    made = dict(exact=exact, gray=gray, tall=tall, strip=strip, wide=wide, tall_words=drawn(90, 125), wide_words=drawn(150, 60))
    for kind in KINDS:
        (bench.folder / kind).mkdir()
    for name, picture in made.items():
        picture.save(bench.folder / "png" / f"{name}.png")
    for kind, subsampling in (("jpeg", "4:4:4"), ("halved", "4:2:0")):
        for name, keys in dict(plain={}, turned=dict(exif=turned)).items():
            drawn(125, 90).save(bench.folder / kind / f"{name}.jpg", quality=90, subsampling=subsampling, **keys)


def pictures(bench):
    """Classes and vectors of pictures, and what happens to them before."""
    import transformers as t

    make_pictures(bench)
    bit = t.BitImageProcessorPil(size=dict(shortest_edge=36), crop_size=SQUARE, **IMAGENET)
    convnext = t.ConvNextImageProcessorPil(size=dict(shortest_edge=32), crop_pct=0.875, **IMAGENET)
    for name, kind, keys, processors in [
        ("vit", t.ViTForImageClassification, VIT, [t.ViTImageProcessorPil(size=SQUARE)]),
        ("vit-typeless", t.ViTForImageClassification, VIT, []),
        ("dinov2", t.Dinov2ForImageClassification, VIT, [bit]),
        ("resnet", t.ResNetForImageClassification, RESNET, [convnext]),
    ]:
        model = bench.model(name, kind, *processors, **keys)
        if not processors:
            bench.write(f"{name}/preprocessor_config.json", dict(size=32))
        for kind, bound in KINDS.items():
            pixels = seen(bench, name, kind)
            theirs = [dict(zip(LABELS, row)) for row in model(pixels).logits.softmax(1).tolist()]
            bench.compare(f"classify {name} {kind}", bench.classes(name, "--input", bench.folder / kind), theirs, bound)
            base = model.base_model(pixels)
            theirs = base.pooler_output.flatten(1) if name == "resnet" else base.last_hidden_state[:, 0]
            bench.compare(f"embed {name} {kind}", bench.vectors(name, "--input", bench.folder / kind), theirs.tolist(), bound)


def seen(bench, name, kind):
    """Pictures of a kind as a model sees them."""
    import torch
    import transformers as t
    from transformers.image_utils import load_image

    processor = t.AutoImageProcessor.from_pretrained(bench.folder / name, backend="pil")
    loaded = [load_image(str(file)) for file in sorted((bench.folder / kind).iterdir())]
    return torch.cat([processor(picture, return_tensors="pt")["pixel_values"] for picture in loaded])


def clip(bench):
    """Texts and pictures in one space."""
    import transformers as t

    pairs = byte_pairs(after=["<|startoftext|>", "<|endoftext|>"], end="</w>")
    tokenizer = t.CLIPTokenizer(**pairs, model_max_length=77)
    marks = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id)
    text = dict(TOWER, **marks, hidden_size=24, vocab_size=len(tokenizer))
    vision = dict(TOWER, hidden_size=32, image_size=32, patch_size=8)
    processor = t.CLIPImageProcessorPil(size=dict(shortest_edge=32), crop_size=SQUARE)
    model = bench.model("clip", t.CLIPModel, processor, tokenizer, text_config=text, vision_config=vision, projection_dim=12)
    pipeline = t.pipeline("zero-shot-image-classification", model=str(bench.folder / "clip"))
    for kind, bound in KINDS.items():
        folder = bench.folder / kind
        asked = [pipeline(str(file), LABELS, hypothesis_template="a photo of a {}.") for file in sorted(folder.iterdir())]
        theirs = [{told["label"]: told["score"] for told in row} for row in asked]
        bench.compare(f"classify clip {kind}", bench.classes("clip", "--input", folder, *WORDED), theirs, bound)
        theirs = model.get_image_features(seen(bench, "clip", kind)).pooler_output.tolist()
        bench.compare(f"embed clip {kind}", bench.vectors("clip", "--input", folder), theirs, bound)
    theirs = model.get_text_features(**tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")).pooler_output
    bench.compare("embed clip texts", bench.vectors("clip", "--input", bench.texts), theirs.tolist())


def llama_tokenizer():
    """A byte-level tokenizer as Llama 3 has it."""
    import transformers as t
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    begin, end = "<|begin_of_text|>", "<|eot_id|>"
    trained = Tokenizer(models.BPE(**byte_pairs(after=[begin, end]), ignore_merges=True))
    split, level = pre_tokenizers.Split(Regex(LLAMA_SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trained.pre_tokenizer, trained.decoder = pre_tokenizers.Sequence([split, level]), decoders.ByteLevel()
    trained.post_processor = processors.TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, trained.token_to_id(begin))])
    return t.PreTrainedTokenizerFast(tokenizer_object=trained, bos_token=begin, eos_token=end, chat_template=CHAT)


def chats(bench):
    """Answers to what a chat template makes of a prompt."""
    import transformers as t

    tokenizer = llama_tokenizer()
    marks = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, vocab_size=len(tokenizer))
    model = bench.model("llama", t.LlamaForCausalLM, tokenizer, **TOWER, **marks, hidden_size=32, num_key_value_heads=2, max_position_embeddings=512)
    asked, system = ['He said "<b>&amp;</b>", it\'s \\ and ☂', " what is it? "], "Answer <briefly>."
    theirs = []
    for prompt in asked:
        messages = [dict(role="system", content=system), dict(role="user", content=prompt)]
        with mock.patch("transformers.utils.chat_template_utils.datetime", mock.Mock(now=lambda: DATE)):
            ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        read = ids["input_ids"].shape[1]
        answer = model.generate(**ids, max_new_tokens=40, do_sample=False, pad_token_id=tokenizer.eos_token_id)[0, read:]
        theirs.append([read, tokenizer.decode(answer, skip_special_tokens=True)])
    prompts = [part for prompt in asked for part in ("--prompt", prompt)]
    flags = ["--chat", "--system", system, "--date", f"{DATE:%Y-%m-%d}", "--max-tokens", "40"]
    found = bench.refit("generate", "llama", *prompts, *flags)
    bench.compare("generate llama --chat", found and [[row["prompt_tokens"], row["text"]] for row in found["answers"]], theirs)


def sentences(bench):
    """Vectors of a sentence encoder: the class token, of length 1, of lowered texts after a prompt."""
    import transformers as t

    from sentence_transformers import SentenceTransformer

    tokenizer = word_pieces(do_lower_case=False)
    bench.model("encoder", t.BertModel, tokenizer, **BERT, vocab_size=len(tokenizer))
    parts = enumerate([("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")])
    modules = [dict(idx=at, name=str(at), path=path, type=f"sentence_transformers.models.{kind}") for at, (path, kind) in parts]
    bench.write("encoder/modules.json", modules)
    pooling = dict(word_embedding_dimension=16, pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)
    bench.write("encoder/1_Pooling/config.json", pooling)
    bench.write("encoder/sentence_bert_config.json", dict(max_seq_length=24, do_lower_case=True))
    prompts = dict(prompts=dict(query="The court: ", document=""), default_prompt_name="query")
    bench.write("encoder/config_sentence_transformers.json", prompts)
    theirs = SentenceTransformer(str(bench.folder / "encoder")).encode(TEXTS).tolist()
    bench.compare("embed encoder", bench.vectors("encoder", "--input", bench.texts), theirs)


if __name__ == "__main__":
    main()
