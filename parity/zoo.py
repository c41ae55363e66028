"""Makes tiny random models of every family with transformers, and what they answer, for the tests of refit-nn.

    python3 parity/zoo.py DIR [--venv DIR]

Writes DIR/text/NAME/{config.json, model.safetensors} as transformers saves them, and DIR/text/NAME/expected.safetensors: a batch
of token rows of different length (`ids`, `mask`, where there are segments `types`), the states after the last layer, the
logits, a fixed `probe` and the gradient of sum(probe * logits) for every weight, and for decoders 64 greedy words after
prompts of different length. Models that answer a text are given `answers`, and write greedy ones to the prompts.
DIR/pictures holds the same for models that read pictures, DIR/defaults what each family's configuration is by itself.
`REFIT_ZOO=DIR cargo test -p refit-nn` compares; transformers and torch are installed from PyPI into the virtual
environment if they are not there.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

PACKAGES = {"transformers": "5.24.0", "torch": "2.15.0", "safetensors": "0.8.0", "tokenizers": "0.23.3", "pillow": "13.0.0"}
LENGTHS = [7, 5, 1]
PROMPTS = [4, 2]
WORDS = 64


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "refit-parity-zoo")
    parser.add_argument("--check", action="store_true", help="load what the tests saved in DIR/*/NAME/saved, and compare every weight bit by bit")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.here:
        python = prepare(options.venv)
        os.execv(python, [python, __file__, str(options.out), "--here", *["--check"] * options.check])
    if options.check:
        sys.exit(check_all(options.out))
    make_all(options.out)


def prepare(folder):
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    check = f"from importlib.metadata import version; assert {{n: version(n) for n in {list(PACKAGES)}}} == {PACKAGES}"
    if subprocess.run([python, "-c", check], capture_output=True).returncode:
        wanted = [f"{name}=={version}" for name, version in PACKAGES.items()]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    return str(python)


def families():
    import torch
    import transformers as t

    small = dict(vocab_size=61, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40, max_position_embeddings=80)
    bert = t.BertConfig(**small)
    roberta = dict(small, max_position_embeddings=82, type_vocab_size=1, pad_token_id=1)
    distil = t.DistilBertConfig(vocab_size=61, dim=24, n_layers=2, n_heads=4, hidden_dim=40, max_position_embeddings=80)
    gpt2 = dict(vocab_size=61, n_positions=80, n_embd=24, n_layer=2, n_head=4, bos_token_id=60, eos_token_id=60)
    opt = dict(vocab_size=61, hidden_size=24, num_hidden_layers=2, ffn_dim=40, max_position_embeddings=80, num_attention_heads=4, word_embed_proj_dim=24)
    llama = dict(small, num_key_value_heads=2)
    rope = lambda **keys: dict(rope_parameters=dict(rope_theta=1000.0, **keys))
    llama3 = rope(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=20)
    yield "bert", t.BertModel(bert)
    yield "bert-gamma", t.BertModel(bert)
    yield "bert-half", t.BertModel(bert)
    yield "bert-sharded", t.BertModel(bert)
    yield "bert-sequence", t.BertForSequenceClassification(t.BertConfig(**small, num_labels=3))
    yield "bert-words", t.BertForMaskedLM(bert)
    yield "bert-span", t.BertForQuestionAnswering(bert)
    yield "roberta", t.RobertaModel(t.RobertaConfig(**roberta))
    yield "roberta-sequence", t.RobertaForSequenceClassification(t.RobertaConfig(**roberta, num_labels=3))
    yield "roberta-words", t.RobertaForMaskedLM(t.RobertaConfig(**roberta))
    yield "xlm-roberta-token", t.XLMRobertaForTokenClassification(t.XLMRobertaConfig(**roberta, num_labels=5))
    yield "distilbert", t.DistilBertModel(distil)
    yield "distilbert-sequence", t.DistilBertForSequenceClassification(distil)
    yield "distilbert-words", t.DistilBertForMaskedLM(distil)
    yield "gpt2", t.GPT2LMHeadModel(t.GPT2Config(**gpt2))
    yield "gpt2-half", t.GPT2LMHeadModel(t.GPT2Config(**gpt2))
    yield "gpt2-states", t.GPT2Model(t.GPT2Config(**gpt2))
    yield "gpt2-inner", t.GPT2LMHeadModel(t.GPT2Config(**gpt2, n_inner=56))
    yield "opt", t.OPTForCausalLM(t.OPTConfig(**opt))
    yield "opt-after", t.OPTForCausalLM(t.OPTConfig(**dict(opt, word_embed_proj_dim=16, do_layer_norm_before=False)))
    yield "llama", t.LlamaForCausalLM(t.LlamaConfig(**llama))
    yield "llama-half", t.LlamaForCausalLM(t.LlamaConfig(**llama))
    yield "llama-tied-biased", t.LlamaForCausalLM(t.LlamaConfig(**llama, tie_word_embeddings=True, attention_bias=True, mlp_bias=True, head_dim=8))
    yield "llama-linear", t.LlamaForCausalLM(t.LlamaConfig(**llama, **rope(rope_type="linear", factor=2.0)))
    yield "llama-llama3", t.LlamaForCausalLM(t.LlamaConfig(**llama, **llama3))
    yield "llama-yarn", t.LlamaForCausalLM(t.LlamaConfig(**dict(llama, head_dim=16), **rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=20)))
    yarn = lambda **keys: t.LlamaForCausalLM(t.LlamaConfig(**dict(llama, head_dim=16), **rope(rope_type="yarn", **keys)))
    yield "llama-yarn-gain", yarn(factor=4.0, attention_factor=0.8, original_max_position_embeddings=20)
    yield "llama-yarn-scales", yarn(factor=4.0, mscale=0.7, mscale_all_dim=0.4, beta_fast=8, beta_slow=2, truncate=False, original_max_position_embeddings=20)
    yield "llama-yarn-short", yarn(factor=4.0, original_max_position_embeddings=4)  # no pair turns often: none is slowed
    yield "llama-yarn-ratio", yarn(factor=None, original_max_position_embeddings=20)
    yield "llama-dynamic", t.LlamaForCausalLM(t.LlamaConfig(**llama, **rope(rope_type="dynamic", factor=2.0)))
    # As older files say it: by `type`, and the length it was trained for beside the map.
    old = t.LlamaForCausalLM(t.LlamaConfig(**llama, **llama3))
    yield "llama-rope-old", old
    yield "mistral", t.MistralForCausalLM(t.MistralConfig(**llama, sliding_window=4))
    yield "qwen2", t.Qwen2ForCausalLM(t.Qwen2Config(**llama))
    yield "qwen3", t.Qwen3ForCausalLM(t.Qwen3Config(**llama, head_dim=8))
    both_ways = dict(is_causal=False)  # decoders that make vectors of texts
    yield "gpt2-both-ways", t.GPT2Model(t.GPT2Config(**gpt2, **both_ways))
    yield "opt-both-ways", t.OPTModel(t.OPTConfig(**opt, **both_ways))
    yield "llama-both-ways", t.LlamaModel(t.LlamaConfig(**llama, **both_ways))
    yield "mistral-both-ways", t.MistralModel(t.MistralConfig(**llama, **both_ways, sliding_window=2))
    yield "qwen2-both-ways", t.Qwen2Model(t.Qwen2Config(**llama, **both_ways))
    padded = dict(pad_token_id=1, num_labels=3)
    yield "gpt2-sequence", t.GPT2ForSequenceClassification(t.GPT2Config(**gpt2, **padded))
    yield "gpt2-token", t.GPT2ForTokenClassification(t.GPT2Config(**gpt2, **padded))
    yield "opt-sequence", t.OPTForSequenceClassification(t.OPTConfig(**dict(opt, word_embed_proj_dim=16), num_labels=3))
    yield "llama-sequence", t.LlamaForSequenceClassification(t.LlamaConfig(**llama, **padded))
    yield "llama-token", t.LlamaForTokenClassification(t.LlamaConfig(**llama, **padded))
    yield "mistral-sequence", t.MistralForSequenceClassification(t.MistralConfig(**llama, **padded, sliding_window=4))
    yield "mistral-token", t.MistralForTokenClassification(t.MistralConfig(**llama, **padded))
    yield "qwen2-sequence", t.Qwen2ForSequenceClassification(t.Qwen2Config(**llama, **padded))
    yield "qwen3-token", t.Qwen3ForTokenClassification(t.Qwen3Config(**llama, **padded, head_dim=8))
    mixtral = t.MixtralConfig(**llama, num_local_experts=5, num_experts_per_tok=2)
    yield "mixtral", t.MixtralForCausalLM(mixtral)
    yield "mixtral-fused", t.MixtralForCausalLM(mixtral)
    yield "mixtral-window", t.MixtralForCausalLM(t.MixtralConfig(**llama, num_local_experts=4, num_experts_per_tok=2, sliding_window=4))
    yield "mixtral-sequence", t.MixtralForSequenceClassification(t.MixtralConfig(**llama, **padded, num_local_experts=4, num_experts_per_tok=3))
    long = dict(llama, num_hidden_layers=1, max_position_embeddings=4200)
    yield "llama-long", t.LlamaForCausalLM(t.LlamaConfig(**long))
    yield "mistral-long", t.MistralForCausalLM(t.MistralConfig(**long, sliding_window=1000, rope_parameters=dict(rope_type="default", rope_theta=1e6)))
    t5 = dict(vocab_size=61, d_model=24, d_kv=8, d_ff=40, num_layers=2, num_heads=4, relative_attention_num_buckets=8, relative_attention_max_distance=20, decoder_start_token_id=0)
    yield "t5", t.T5ForConditionalGeneration(t.T5Config(**t5, num_decoder_layers=1))
    flan = t.T5ForConditionalGeneration(t.T5Config(**t5, feed_forward_proj="gated-gelu", tie_word_embeddings=False))
    flan.lm_head.weight = torch.nn.Parameter(torch.randn_like(flan.lm_head.weight))
    yield "t5-flan", flan
    yield "t5-gelu", t.T5ForConditionalGeneration(t.T5Config(**t5, feed_forward_proj="gelu"))
    yield "t5-gated-silu", t.T5ForConditionalGeneration(t.T5Config(**t5, feed_forward_proj="gated-silu"))
    yield "t5-encoder", t.T5EncoderModel(t.T5Config(**t5))


def picture_families():
    import torch
    import transformers as t

    vit = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=4, image_size=16, patch_size=5)
    tower = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4)
    vision = dict(tower, hidden_size=32, num_attention_heads=2, num_hidden_layers=1, image_size=16, patch_size=5)
    text = dict(tower, vocab_size=61, max_position_embeddings=80)
    clip = lambda end: t.CLIPConfig(text_config=dict(text, eos_token_id=end), vision_config=vision, projection_dim=12)
    yield "vit", t.ViTModel(t.ViTConfig(**vit, intermediate_size=40))
    yield "vit-classes", t.ViTForImageClassification(t.ViTConfig(**vit, intermediate_size=40, num_labels=3))
    yield "dinov2", t.Dinov2Model(t.Dinov2Config(**vit))
    yield "dinov2-classes", t.Dinov2ForImageClassification(t.Dinov2Config(**vit, num_labels=3))
    yield "clip", t.CLIPModel(clip(60))
    yield "clip-old", t.CLIPModel(clip(2))
    # Other sizes than the configuration names: positions are interpolated.
    yield "vit-large", t.ViTForImageClassification(t.ViTConfig(**vit, intermediate_size=40, num_labels=3))
    yield "dinov2-large", t.Dinov2Model(t.Dinov2Config(**vit))
    yield "dinov2-small", t.Dinov2ForImageClassification(t.Dinov2Config(**vit, num_labels=3))
    yield "clip-large", t.CLIPModel(clip(60))
    resnet = dict(embedding_size=8, hidden_sizes=[16, 24], depths=[2, 2], num_labels=3)
    yield "resnet", t.ResNetModel(t.ResNetConfig(**resnet))
    yield "resnet-basic", t.ResNetForImageClassification(t.ResNetConfig(**resnet, layer_type="basic", downsample_in_first_stage=True))
    yield "resnet-bottleneck", t.ResNetForImageClassification(t.ResNetConfig(**resnet, downsample_in_bottleneck=True))
    grouped = t.ResNetForImageClassification(t.ResNetConfig(**resnet, norm="group", num_groups=2))
    for name, norm in [(name, norm) for name, norm in grouped.named_modules() if name.endswith("normalization")]:
        grouped.get_submodule(name.rpartition(".")[0]).normalization = torch.nn.GroupNorm(2, norm.num_features)
    yield "resnet-groups", grouped


def make_all(out):
    import torch

    make_defaults(out / "defaults")
    torch.manual_seed(0)
    for kind, list_of, make in (("text", families, make_text), ("pictures", picture_families, make_picture)):
        for name, model in list_of():
            torch.manual_seed(len(name))
            for weight in model.parameters():  # starts are too tame to tell mistakes apart
                weight.data += 0.2 * torch.randn_like(weight)
            for name_of, buffer in model.named_buffers():
                if "running" in name_of:
                    buffer += torch.rand_like(buffer)
            if half(name):
                store_as(model, half(name))
                store_as(model, torch.float32)  # what the file can hold
            make(out / kind / name, model.eval())
            print(name, file=sys.stderr)


def half(name):
    """The type that the file of a `-half` model has; none for others."""
    import torch

    if not name.endswith("-half"):
        return None
    return torch.float16 if name.startswith("gpt2") else torch.bfloat16


def store_as(model, dtype):
    """Weights as `dtype`; what is computed from the configuration alone, such as rotations, keeps its digits."""
    for weight in model.parameters():
        weight.data = weight.data.to(dtype)


def check_all(out):
    """Number of models that are another after they went through the tests."""
    import json
    import torch
    import transformers as t

    t.logging.set_verbosity_error()
    wrong = checked = 0
    for saved in sorted(out.glob("*/*/saved")):
        kind = getattr(t, json.loads((saved / "config.json").read_text())["architectures"][0], None)
        if kind is None:
            continue  # a variant of our own
        first, again = (kind.from_pretrained(folder).state_dict() for folder in (saved.parent, saved))
        differ = [name for name in first if not torch.equal(first[name], again[name])]
        checked += 1
        wrong += bool(differ)
        if differ:
            print(f"{saved.parent.name}: {', '.join(differ[:5])} differ", file=sys.stderr)
    print(f"{wrong} of {checked} models differ after they were read and saved")
    return wrong or not checked


def make_defaults(folder):
    """What a `config.json` means that names nothing but its family."""
    import json
    import transformers as t

    folder.mkdir(parents=True, exist_ok=True)
    kinds = t.BertConfig, t.RobertaConfig, t.DistilBertConfig, t.GPT2Config, t.OPTConfig, t.LlamaConfig, t.MistralConfig, t.MixtralConfig, t.Qwen2Config, t.Qwen3Config, t.T5Config, t.ViTConfig, t.Dinov2Config, t.CLIPConfig, t.ResNetConfig
    for kind in kinds:
        (folder / f"{kind.model_type}.json").write_text(json.dumps(kind().to_dict()))


def make_text(folder, model):
    import torch
    from safetensors.torch import save_file

    save(model, folder)
    config = model.config
    decodes = hasattr(model, "lm_head") and config.model_type not in ("roberta", "xlm-roberta")
    answers = decodes and config.model_type == "t5"
    lengths = LENGTHS + [4100] if folder.name.endswith("-long") else LENGTHS
    ids, mask = batch(lengths, left=False)
    inputs = dict(input_ids=ids, attention_mask=mask)
    tensors = dict(ids=ids, mask=mask)
    if config.model_type in ("gpt2", "opt", "llama", "mistral", "mixtral", "qwen2", "qwen3"):
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    if getattr(config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = tensors["types"] = torch.randint(0, config.type_vocab_size, ids.shape) * mask
    read = mask
    if answers:
        # One token less in what the test gives: the start is the model's own.
        tensors["answers"], tensors["answer_mask"] = batch([3, 0, 6], left=False)
        started = [torch.nn.functional.pad(tensors[key], (1, 0), value=value) for key, value in (("answers", 0), ("answer_mask", 1))]
        inputs["decoder_input_ids"], inputs["decoder_attention_mask"] = started
        read = started[1]
    answer = model(**inputs, output_hidden_states=True)
    logits = answer.logits if "logits" in answer else answer.last_hidden_state if "last_hidden_state" in answer else torch.stack([answer.start_logits, answer.end_logits], -1)
    states = answer.encoder_last_hidden_state if answers else answer.last_hidden_state if "last_hidden_state" in answer else answer.hidden_states[-1]
    probe = torch.randn_like(logits)
    if probe.dim() == 3:
        probe = probe * read[:, :, None]
    (probe * logits).sum().backward()
    tensors |= dict(states=states, logits=logits, probe=probe)
    if decodes:
        ids, mask = batch(PROMPTS, left=not answers)
        with torch.no_grad():
            tensors["prompts"], tensors["prompt_mask"] = ids, mask
            words = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=WORDS, min_new_tokens=WORDS, eos_token_id=None, pad_token_id=1)
            tensors["words"] = words[:, 1 if answers else ids.shape[1] :]
    tensors |= gradients(model, folder)
    save_file({key: value.detach().contiguous().clone() for key, value in tensors.items()}, folder / "expected.safetensors")


def save(model, folder):
    """As transformers saves; the weights of a `-fused` model by the names they have in memory, those of a `-half` one in
    half precision, those of a `-sharded` one in several files. A `-gamma` model has norms, and a `-rope-old` one a configuration,
    as older versions saved them.
    """
    import json
    import torch
    from safetensors.torch import load_file, save_file

    kind, dtype = folder.name.rpartition("-")[2], half(folder.name)
    if dtype:
        store_as(model, dtype)
    model.save_pretrained(folder, save_original_format=kind != "fused", max_shard_size="20KB" if kind == "sharded" else "5GB")
    if dtype:
        store_as(model, torch.float32)
    if kind == "gamma":
        tensors = load_file(folder / "model.safetensors")
        older = lambda name: name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        save_file({older(name): tensor for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    if folder.name.endswith("-rope-old"):
        keys = json.loads((folder / "config.json").read_text())
        rope = keys.pop("rope_parameters")
        keys |= dict(rope_theta=rope.pop("rope_theta"), original_max_position_embeddings=rope.pop("original_max_position_embeddings"))
        keys |= dict(rope_scaling=dict(rope, type=rope.pop("rope_type")))
        (folder / "config.json").write_text(json.dumps(keys))


def make_picture(folder, model):
    """What the model says of three pictures; for CLIP the scores of two texts."""
    import torch
    from safetensors.torch import save_file

    model.save_pretrained(folder)
    size = {"large": (33, 27), "small": (12, 16)}.get(folder.name.rpartition("-")[2], (16, 16))
    pixels = torch.randn(3, 3, *size)
    tensors = dict(pixels=pixels)
    other = dict(interpolate_pos_encoding=True) if size != (16, 16) and model.config.model_type != "dinov2" else {}
    if model.config.model_type == "clip":
        ids, mask = batch([6, 4], left=False)
        for row, length in enumerate((6, 4)):
            ids[row, length - 1] = 60  # the end of a text, and the highest of all words
        tensors |= dict(ids=ids, mask=mask)
        answer = model(input_ids=ids, attention_mask=mask, pixel_values=pixels, **other)
        logits = answer.logits_per_image
    else:
        answer = model(pixel_values=pixels, **other)
        pooled = answer.pooler_output.flatten(1) if model.config.model_type == "resnet" and "pooler_output" in answer else None
        logits = answer.logits if "logits" in answer else answer.last_hidden_state[:, 0] if pooled is None else pooled
    probe = torch.randn_like(logits)
    (probe * logits).sum().backward()
    tensors |= dict(logits=logits, probe=probe) | gradients(model, folder)
    save_file({key: value.detach().contiguous().clone() for key, value in tensors.items()}, folder / "expected.safetensors")


def gradients(model, folder):
    """Gradients by the names that weights have in files, which are not always those they have in memory."""
    from safetensors.torch import load_file

    for weight in model.parameters():
        weight.data = weight.grad if weight.grad is not None else weight.data * float("nan")
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.fill_(float("nan"))
    place = folder / f"gradients-{folder.name.removesuffix('-half')}"  # gradients keep all their digits
    save(model, place)
    found = {key: value for file in place.glob("*.safetensors") for key, value in load_file(file).items()}
    shutil.rmtree(place)
    return {f"grad.{key}": value for key, value in found.items() if value.is_floating_point() and not value.isnan().any()}


def batch(lengths, left):
    """Rows of words that are neither 0, 1 nor 2, which families keep for padding, filled up with 1."""
    import torch

    ids, mask = torch.ones(len(lengths), max(lengths), dtype=torch.long), torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        at = slice(max(lengths) - length, None) if left else slice(0, length)
        ids[row, at] = torch.randint(3, 60, (length,))
        mask[row, at] = 1
    return ids, mask


if __name__ == "__main__":
    main()
