#!/usr/bin/env python3
"""Replaced token detection at the sizes that are trained, against PyTorch and Hugging Face with the same weights, inputs,
masks and samples: logits, the gradient of every tensor, and the losses of ten steps under ELECTRA's optimizer.

  small           ELECTRA-small (14 M parameters), ten steps, no dropout
  small-dropout   the same with dropout 0.1: PyTorch is given the engine's factors, which are computed anew here from
                  the description in `src/engine/random.rs`
  base            ELECTRA-base (120 M parameters), two steps

PyTorch computes in float64, which is the truth, and again in float32, which shows what f32 can be asked for. Needs about
8 GB of memory for `base`.

  pip install torch transformers safetensors
  python training.py [small small-dropout base] [--freeze]

`--freeze` writes the numbers that it found to `src/engine/tests/golden/training.json`.
"""
import argparse, gc, json, os, pathlib, subprocess, sys, tempfile
import numpy as np, torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining
from transformers.models.electra import modeling_electra

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "src/engine/tests/golden/training.json"
V, MASK, SEED = 31_090, 104, 7
SIZES = {"small": dict(embedding=128, hidden=256, layers=12, generator=64), "base": dict(embedding=768, hidden=768, layers=12, generator=256)}
CASES = {
    "small": dict(size="small", lengths=[128, 77, 33, 110], steps=10, dropout=0.0),
    "small-dropout": dict(size="small", lengths=[128, 77, 33, 110], steps=10, dropout=0.1),
    "base": dict(size="base", lengths=[96, 41], steps=2, dropout=0.0),
}


def config(size, hidden, dropout):
    return ElectraConfig(vocab_size=V, embedding_size=size["embedding"], hidden_size=hidden, num_hidden_layers=size["layers"],
                         num_attention_heads=max(1, hidden // 64), intermediate_size=4 * hidden,
                         hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, attn_implementation="eager")


# ---- dropout as the engine draws it ------------------------------------------------------------------------------------

def philox(counter, key):
    c, k = [np.asarray(x, dtype=np.uint64) for x in counter], [np.uint64(x) for x in key]
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ k[0], p1 & low, (p0 >> np.uint64(32)) ^ c[3] ^ k[1], p0 & low]
        k = [(k[0] + np.uint64(0x9E3779B9)) & low, (k[1] + np.uint64(0xBB67AE85)) & low]
    return c


def rows(network, layer, place, rate, step, sequence, count, width):
    """Factors of `count` rows of `width` units: each row begins at a block of 128, 32 of them from each of four words."""
    key = philox([6, network, layer, place], [SEED, 0])[:2]
    blocks = -(-width // 128)
    index = np.arange(count * blocks * 16, dtype=np.uint64)
    words = philox([index & np.uint64(0xFFFFFFFF), index >> np.uint64(32), np.full_like(index, sequence), np.full_like(index, step)], key)
    words = np.stack(words).reshape(4, count * blocks, 16).transpose(1, 0, 2)
    halves = np.stack([words & np.uint64(0xFFFF), words >> np.uint64(16)], axis=2).reshape(count, blocks * 128)[:, :width]
    threshold = round(rate * 65536)
    return torch.from_numpy(np.where(halves < threshold, 0.0, 65536 / (65536 - threshold)))


class Given(nn.Module):
    """Dropout whose factors are given."""

    def __init__(self, rate):
        super().__init__()
        self.p, self.factors = rate, None

    def forward(self, x):
        return x if self.factors is None else x * self.factors.to(x.dtype)


def attention(module, query, key, value, mask, scaling=None, dropout=0.0, **_):
    weights = torch.matmul(query, key.transpose(2, 3)) * (query.size(-1) ** -0.5 if scaling is None else scaling)
    weights = module.dropout((weights if mask is None else weights + mask).softmax(-1))
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


def set_dropout(body, network, rate, step, lengths):
    if rate == 0:
        return
    width, heads, t = body.config.hidden_size, body.config.num_attention_heads, max(lengths)

    def by_row(layer, place, width):
        full = torch.ones(len(lengths), t, width, dtype=torch.float64)
        for i, n in enumerate(lengths):
            full[i, :n] = rows(network, layer, place, rate, step, i, n, width)
        return full

    def by_head(layer):
        full = torch.ones(len(lengths), heads, t, t, dtype=torch.float64)
        for i, n in enumerate(lengths):
            full[i, :, :n, :n] = rows(network, layer, 1, rate, step, i, heads * n, n).reshape(heads, n, n)
        return full

    body.embeddings.dropout.factors = by_row(0, 0, body.config.embedding_size)
    for i, layer in enumerate(body.encoder.layer):
        layer.attention.self.dropout.factors = by_head(i)
        layer.attention.output.dropout.factors = by_row(i, 2, width)
        layer.output.dropout.factors = by_row(i, 3, width)


def give_dropout(body, rate):
    for module in list(body.modules()):
        if isinstance(getattr(module, "dropout", None), nn.Dropout):
            module.dropout = Given(rate)


# ---- a case ------------------------------------------------------------------------------------------------------------

def models(size, dropout):
    torch.manual_seed(11)
    disc, gen = ElectraForPreTraining(config(size, size["hidden"], dropout)), ElectraForMaskedLM(config(size, size["generator"], dropout))
    with torch.no_grad():
        for model in (disc, gen):
            for name, w in model.named_parameters():  # as wide as trained ones, biases too
                w.copy_(1 + 0.1 * torch.randn_like(w) if "LayerNorm.weight" in name else 0.03 * torch.randn_like(w))
    gen.electra.embeddings = disc.electra.embeddings
    for model in (disc, gen):
        give_dropout(model.electra, dropout)
    return disc, gen


def batches(case):
    torch.manual_seed(12)
    lengths = torch.tensor(case["lengths"])
    b, t = len(lengths), int(lengths.max())
    for _ in range(case["steps"]):
        ids = torch.randint(105, V, (b, t))
        attention = torch.arange(t)[None] < lengths[:, None]
        types = ((torch.arange(t)[None] >= lengths[:, None] // 2) & attention).long()
        ids[:, 0] = 102
        ids = ids * attention
        slots = [(torch.randperm(n - 2)[: max(1, round(0.15 * n))] + 1).sort().values for n in case["lengths"]]
        rows_ = torch.cat([torch.full_like(s, i) for i, s in enumerate(slots)])
        columns = torch.cat(slots)
        keep = torch.rand(len(rows_)) < 0.15
        right = torch.rand(len(rows_)) < 0.3
        samples = torch.where(right, ids[rows_, columns], torch.randint(105, V, (len(rows_),)))
        yield {"input_ids": ids, "attention_mask": attention.long(), "token_type_ids": types, "slot_rows": rows_,
               "slot_columns": columns, "slot_keep": keep.long(), "samples": samples}


def train(case, dtype):
    """Losses, first logits and gradients, last weights."""
    disc, gen = models(SIZES[case["size"]], case["dropout"])
    disc, gen = disc.to(dtype).train(), gen.to(dtype).train()
    named = {n: w for n, w in disc.named_parameters()}
    named |= {f"generator.{n}": w for n, w in gen.named_parameters() if not n.startswith("electra.embeddings.") and n != "generator_lm_head.weight"}
    table = disc.electra.embeddings.word_embeddings.weight
    found = {"before": {n: w.detach().float().clone() for n, w in named.items()}, "losses": []}
    m, v = {n: torch.zeros_like(w) for n, w in named.items()}, {n: torch.zeros_like(w) for n, w in named.items()}
    for step, b in enumerate(batches(case)):
        r, c, keep, samples, ids = b["slot_rows"], b["slot_columns"], b["slot_keep"].bool(), b["samples"], b["input_ids"]
        seen = dict(attention_mask=b["attention_mask"], token_type_ids=b["token_type_ids"])
        masked = ids.clone()
        masked[r, c] = torch.where(keep, ids[r, c], torch.tensor(MASK))
        set_dropout(gen.electra, 0, case["dropout"], step, case["lengths"])
        hidden = gen.electra(masked, **seen)[0][r, c]
        logits = gen.generator_predictions(hidden) @ table.t() + gen.generator_lm_head.bias
        mlm = F.cross_entropy(logits, ids[r, c], reduction="sum") / (len(r) + 1e-6)
        corrupted = ids.clone()
        corrupted[r, c] = samples
        set_dropout(disc.electra, 1, case["dropout"], step, case["lengths"])
        scores = disc(corrupted, **seen)[0]
        bce = F.binary_cross_entropy_with_logits(scores, (corrupted != ids).to(dtype), reduction="none")
        rtd = (bce * b["attention_mask"]).sum() / (b["attention_mask"].sum() + 1e-6)
        for w in named.values():
            w.grad = None
        (mlm + 50 * rtd).backward()
        norm = torch.sqrt(sum((w.grad ** 2).sum() for w in named.values()))
        if step == 0:
            found["logits"] = scores.detach()[b["attention_mask"].bool()].float()
            found["grad"] = {n: w.grad.float().clone() for n, w in named.items()}
        found["losses"].append({"mlm": mlm.item(), "rtd": rtd.item(), "grad_norm": norm.item()})
        if step + 1 < case["steps"]:
            rate = RATE * (1 - step / STEPS) * min(1.0, step / WARMUP)
            with torch.no_grad():
                for n, w in named.items():
                    g = w.grad / max(norm.item(), 1.0)
                    m[n].mul_(0.9).add_(g, alpha=0.1)
                    v[n].mul_(0.999).addcmul_(g, g, value=0.001)
                    u = m[n] / (v[n].sqrt() + 1e-6)
                    w -= rate * (u if "LayerNorm" in n or "bias" in n else u + 0.01 * w)
    return found, disc.config, gen.config


RATE, WARMUP, STEPS = 5e-4, 4, 12


def distance(found, truth):
    """The measures of the Rust side: `src/engine/tests/it/steps.rs`."""
    whole = sum(float((t.double() ** 2).sum()) for t in truth["grad"].values()) ** 0.5
    skipped = "electra.embeddings.word_embeddings.weight"
    gradients = {}
    for n, t in truth["grad"].items():
        a, b = (found["grad"][n], t) if n != skipped else (found["grad"][n][1:], t[1:])
        gradients[n] = float((a.double() - b.double()).norm()) / max(float(b.double().norm()), 1e-5 * whole)
    losses = max(abs(a[k] - b[k]) / max(1.0, abs(b[k])) for a, b in zip(found["losses"], truth["losses"]) for k in ("mlm", "rtd"))
    norms = max(abs(a["grad_norm"] - b["grad_norm"]) / max(1.0, b["grad_norm"]) for a, b in zip(found["losses"], truth["losses"]))
    worst = max(gradients, key=gradients.get)
    return {"logits": float((found["logits"] - truth["logits"]).abs().max()), "gradient": gradients[worst],
            "worst_gradient": worst, "losses": losses, "gradient_norm": norms}


def write(folder, name):
    case = CASES[name]
    truth, disc, gen = train(case, torch.float64)
    gc.collect()
    single, _, _ = train(case, torch.float32)
    torch_f32 = distance(single, truth)
    del single
    gc.collect()
    folder = folder / name
    folder.mkdir()
    tensors = {f"before.{n}": w for n, w in truth["before"].items()} | {f"grad.{n}": w for n, w in truth["grad"].items()}
    tensors["discriminator_logits"] = truth["logits"]
    for step, batch in enumerate(batches(case)):
        tensors |= {f"step{step}.{n}": t for n, t in batch.items()}
    save_file({n: t.contiguous() for n, t in tensors.items()}, str(folder / "rtd.safetensors"))
    (folder / "rtd.json").write_text(json.dumps({
        "steps": STEPS, "warmup": WARMUP, "learning_rate": RATE, "dropout_seed": SEED if case["dropout"] else None,
        "discriminator": disc.to_dict(), "generator": gen.to_dict(), "losses": truth["losses"]}, default=str))
    return {"case": name, "steps": case["steps"], "lengths": case["lengths"], "dropout": case["dropout"], "pytorch_f32": torch_f32}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--freeze", action="store_true")
    arguments = parser.parse_args()
    modeling_electra.eager_attention_forward = attention
    table = []
    for name in arguments.cases:
        with tempfile.TemporaryDirectory() as place:
            entry = write(pathlib.Path(place), name)
            environment = dict(os.environ, PIPELINE_PARITY=place)
            done = subprocess.run(["cargo", "test", "-p", "engine", "parity_of_training", "--", "--nocapture"], cwd=ROOT, env=environment,
                                  check=False, stderr=subprocess.PIPE, text=True)
            lines = [line for line in done.stderr.splitlines() if line.startswith('{"logits"')]
            if done.returncode or len(lines) != 1:
                sys.exit(f"{name}: {done.stdout} {done.stderr}")
            entry["engine"] = json.loads(lines[0])
        print(json.dumps(entry), flush=True)
        table.append(entry)
    if arguments.freeze:
        header = {"made_with": f"tests/parity/training.py, PyTorch {torch.__version__.split('+')[0]}", "cases": table}
        GOLDEN.write_text(json.dumps(header, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
