#!/usr/bin/env python3
"""Released weights of every head, through the kind `checkpoint`, against PyTorch and transformers, and back.

Each head is saved as transformers 3.4 did (`position_ids` among the tensors, the tied table of a generator twice,
`gamma` and `beta` where TensorFlow's names were kept) in both layouts of `torch.save`; `pipeline` makes a model of it;
the engine's logits are compared with PyTorch's in float64 (`cargo test -p engine parity_of_checkpoints`); and what
`pipeline` wrote is loaded by transformers: every key matched, the same logits.

  pip install torch transformers safetensors
  python checkpoints.py --program target/debug/pipeline [--freeze]

`--freeze` writes the two small ones that the ordinary tests read.
"""
import argparse, collections, json, os, pathlib, shutil, subprocess, sys, tempfile
import torch, transformers
from safetensors.torch import save_file
from transformers import (ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining, ElectraForQuestionAnswering,
                          ElectraForSequenceClassification, ElectraForTokenClassification, ElectraModel)

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "src/engine/tests/golden/checkpoints"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "fever", "was", "seen", "in", "a", "cell", "##s", "."]
LENGTHS = [12, 7, 2]
NAMES = {"id2label": {0: "B-Sign", 1: "I-Sign", 2: "O"}, "label2id": {"B-Sign": 0, "I-Sign": 1, "O": 2}}
HEADS = {
    "body": (ElectraModel, {}),
    "discriminator": (ElectraForPreTraining, {}),
    "generator": (ElectraForMaskedLM, {}),
    "tokens": (ElectraForTokenClassification, NAMES),
    "sequence": (ElectraForSequenceClassification, {"num_labels": 4}),
    "regression": (ElectraForSequenceClassification, {"num_labels": 1, "problem_type": "regression"}),
    "questions": (ElectraForQuestionAnswering, {}),
}


def spread(model):  # wider than first values, so that nothing hides near zero
    with torch.no_grad():
        for name, w in model.named_parameters():
            w.copy_(1 + 0.2 * torch.randn_like(w) if "LayerNorm.weight" in name else 0.15 * torch.randn_like(w))


def inputs():
    width = max(LENGTHS)
    attention = (torch.arange(width)[None] < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.randint(5, len(WORDS), (len(LENGTHS), width)) * attention
    ids[:, 0] = 2
    types = (torch.arange(width)[None] >= torch.tensor(LENGTHS)[:, None] // 2).long() * attention
    return {"input_ids": ids, "attention_mask": attention, "token_type_ids": types}


def logits(model, batch):
    with torch.no_grad():
        out = model.double().eval()(**batch)
    model.float()
    found = {k: v for k, v in out.items() if "logits" in k}
    if not found:
        found = {"hidden": out[0]}
    if isinstance(model, ElectraForMaskedLM):  # the engine never has all of them: the original token's alone
        ids = batch["input_ids"][..., None]
        found = {"log_probabilities": found["logits"].log_softmax(-1).gather(-1, ids)[..., 0]}
    return found


def as_of_2020(model, gamma):
    """The state dict under the names of transformers 3.4."""
    state = collections.OrderedDict()
    prefix = "" if isinstance(model, ElectraModel) else "electra."
    for name, tensor in model.state_dict().items():
        if name.endswith(("position_ids", "token_type_ids")):
            continue
        if gamma:
            name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        state[name] = tensor
        if name.endswith("word_embeddings.weight"):
            state[f"{prefix}embeddings.position_ids"] = torch.arange(model.config.max_position_embeddings)[None]
    if isinstance(model, ElectraForMaskedLM):
        state["generator_lm_head.weight"] = model.electra.embeddings.word_embeddings.weight
    state._metadata = collections.OrderedDict([("", {"version": 1})])
    return state


def write(folder, name, is_legacy, embedding, layers=2):
    cls, extra = HEADS[name]
    config = ElectraConfig(vocab_size=len(WORDS), embedding_size=embedding, hidden_size=16,
                           num_hidden_layers=layers, num_attention_heads=2, intermediate_size=24, max_position_embeddings=16, **extra)
    model = cls(config)
    spread(model)
    released = folder / "released"
    released.mkdir(parents=True)
    torch.save(as_of_2020(model, gamma=is_legacy), released / "pytorch_model.bin",
               _use_new_zipfile_serialization=not is_legacy)
    stated = config.to_dict() | {"architectures": [cls.__name__]}
    keys = ["architectures", "model_type", "vocab_size", "embedding_size", "hidden_size", "num_hidden_layers",
            "num_attention_heads", "intermediate_size", "max_position_embeddings", "type_vocab_size", "hidden_act",
            "hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range", "layer_norm_eps",
            "id2label", "label2id", "problem_type"]
    stated = {key: stated[key] for key in keys if stated.get(key) is not None}
    (released / "config.json").write_text(json.dumps(stated, indent=1) + "\n")
    (released / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    batch = inputs()
    truth = batch | {k: v.to(torch.float32).contiguous() for k, v in logits(model, batch).items()}
    save_file(truth, str(folder / "truth.safetensors"))
    return cls, batch, truth


def run(command, **more):
    done = subprocess.run([str(word) for word in command], check=False, **more)
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}")


def freeze():
    torch.manual_seed(34)
    shutil.rmtree(GOLDEN, ignore_errors=True)
    for name, is_legacy in [("discriminator", True), ("tokens", False)]:
        write(GOLDEN / name, name, is_legacy, embedding=8, layers=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target/debug/pipeline")
    parser.add_argument("--freeze", action="store_true")
    arguments = parser.parse_args()
    if arguments.freeze:
        return freeze()
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        made, stages = {}, []
        for name in HEADS:
            for layout in ["zip", "legacy"]:
                for embedding in [8, 16]:
                    case = f"{name}-{layout}-{embedding}"
                    made[case] = write(place / case, name, layout == "legacy", embedding)
                    stages.append(f"  {case}: {{ kind: checkpoint, needs: {{ weights: ./{case}/released }}, with: {{ name: {case} }} }}\n")
        (place / "p.yaml").write_text("stages:\n" + "".join(stages))
        run([arguments.program.resolve(), "run", "p.yaml"], cwd=place)
        for case in made:
            run([arguments.program.resolve(), "get", "p.yaml", f"{case}.model", "--to", place / case],
                cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        environment = dict(os.environ, PIPELINE_PARITY=str(place))
        run(["cargo", "test", "-p", "engine", "parity_of_checkpoints", "--", "--nocapture"], cwd=ROOT, env=environment)
        worst = 0.0
        for case, (cls, batch, truth) in made.items():
            model, info = cls.from_pretrained(place / case / "model", output_loading_info=True)
            left = {name: list(keys) for name, keys in info.items() if keys}
            if left:
                sys.exit(f"{case}: transformers does not load it as it is: {left}")
            for name, value in logits(model, batch).items():
                worst = max(worst, (value.float() - truth[name]).abs()[batch["attention_mask"].bool()
                            if value.dim() > 1 and value.shape[:2] == batch["input_ids"].shape else ...].max().item())
        print(f"transformers {transformers.__version__} loads all {len(made)}, every key matched; "
              f"largest difference of logits {worst:.1e}")
        if worst > 1e-6:
            sys.exit("logits differ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
