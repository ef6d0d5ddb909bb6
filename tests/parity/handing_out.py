#!/usr/bin/env python3
"""Whether what `pipeline get --format huggingface` writes is what transformers and the hub's own library take.

For a model of every kind that is handed out: the class of `config.json` loads with every key matched (of a native head
the encoder, and what is left over is what the card lists); the tokenizer from `tokenizer.json` alone, from `vocab.txt`
alone and by AutoTokenizer spell alike, texts with accents, long words and specials included; numbers computed by
PyTorch from this folder are those that `pipeline predict` says; and huggingface_hub reads the card and its model-index.

  pip install torch transformers huggingface_hub
  python handing_out.py [PROGRAM]        (target/debug/pipeline)
"""
import json, pathlib, subprocess, sys, tempfile
import huggingface_hub, torch, transformers
from transformers import AutoTokenizer, ElectraTokenizer, PreTrainedTokenizerFast

program = str(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/debug/pipeline").resolve())
root = pathlib.Path(tempfile.mkdtemp())
WORDS = "the of was in seen with and cell fever cough aspirin hepa ##rin a ##b ##c é . , - which sign drug ?".split()
(root / "vocab.txt").write_text("\n".join("[PAD] [UNK] [CLS] [SEP] [MASK]".split() + WORDS) + "\n")
KEYS = ["fever", "cough", "aspirin", "heparin"]


def sentence(i):
    words = [["the", "of", "was", "in", "seen", "with", "and", "cell"][(i * 7 + j * 3) % 8] for j in range(4 + i % 3)]
    words[1 + i % 3] = KEYS[i % 4]
    return words, 1 + i % 3, i % 4


def tags(i):
    words, place, key = sentence(i)
    return "".join(f"{w} {('B-Drug' if key > 1 else 'B-Sign') if j == place else 'O'}\n" for j, w in enumerate(words)) + "\n"


def classes(i):
    words, _, key = sentence(i)
    return ("sentence\tlabel\n" if i == 0 else "") + f"{' '.join(words)}\t{['none', 'sign', 'old', 'new'][key]}\n"


def questions():
    paragraphs = []
    for i in range(24):
        words, place, key = sentence(i)
        start = sum(len(word) + 1 for word in words[:place])
        asked = f"which {'drug' if key > 1 else 'sign'} ?"
        answer = {"text": words[place], "answer_start": start}
        paragraphs.append({"context": " ".join(words), "qas": [{"id": f"q{i}", "question": asked, "answers": [answer]}]})
    return json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]})


(root / "tags.txt").write_text("".join(map(tags, range(24))))
(root / "classes.txt").write_text("".join(map(classes, range(24))))
(root / "asked.txt").write_text(questions())
(root / "corpus.txt").write_text("".join(" ".join(sentence(i)[0]) + " .\n" for i in range(60)))
(root / "notes.txt").write_text("The fever was seen .\nthe cell was seen with aspirin\nheparin in the cell\n")

SIZES = "sizes: { embedding: 16, hidden: 32, layers: 2, heads: 2 }"
text = f"""
stages:
  vocabulary: {{ kind: vocab, needs: {{ vocabulary: ./vocab.txt }}, with: {{ name: v }} }}
  examples: {{ kind: pack, needs: {{ text: ./corpus.txt, vocabulary: vocabulary }}, with: {{ name: e, lengths: [16], seed: 1 }} }}
  pretrain:
    kind: pretrain
    needs: {{ examples: examples.examples-16, vocabulary: vocabulary }}
    with: {{ name: tiny, size: tiny, {SIZES}, steps: 4, batch: 2, learning_rate: 1.0e-3, warmup_steps: 1, held_out: 4, seed: 1 }}
  copy: {{ kind: checkpoint, needs: {{ weights: pretrain.model }}, with: {{ name: copy }} }}
"""
READERS = {"tags": "reader: conll, separator: space", "classes": "reader: tsv", "asked": "reader: squad"}
METRICS = {"tags": "span_f1", "classes": "accuracy", "asked": "exact_match"}
outputs = {"pretrain": None, "pretrain.generator": None, "copy": None}
for task, reader in READERS.items():
    text += f"""
  {task}-data: {{ kind: dataset, needs: {{ train: ./{task}.txt, test: ./{task}.txt }}, with: {{ name: {task}, {reader} }} }}
"""
    for head in ["hf", "native"]:
        name = f"{task}-{head}"
        outputs[f"{name}[2]"] = task if task != "asked" else None
        text += f"""
  {name}:
    kind: finetune
    replicate: {{ seed: [1, 2] }}
    needs: {{ data: {task}-data, start: pretrain }}
    with: {{ name: {task}, head: {head}, epochs: 6, batch: 4, learning_rate: 2.0e-3, max_length: 24, seed: "${{replicate.seed}}" }}
  {name}-predict:
    kind: predict
    matrix: {{ from: {name} }}
    needs: {{ model: {name}.model, data: {task}-data }}
    with: {{ name: {task}{"" if task == "asked" else ", probabilities: true"} }}
  {name}-score:
    kind: score
    matrix: {{ from: {name} }}
    needs: {{ data: {task}-data, predictions: {name}-predict.predictions }}
    with: {{ name: {task}, metric: {METRICS[task]} }}
"""
(root / "p.yaml").write_text(text)


def call(*words):
    done = subprocess.run([program, *words], cwd=root, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{words}: {done.stderr}")


call("run", "p.yaml")
TAGS = ["token-classification", "text-classification", "question-answering", "fill-mask", "feature-extraction"]
worst = 0.0
TEXTS = ["The fever was seen.", "Fébrile cells, a-b [MASK] abc", "a" + "b" * 99, "a" + "b" * 150, "東 x́ İ ﬁ", " "]
for number, (output, task) in enumerate(outputs.items()):
    folder = root / f"out-{number}"
    call("get", "p.yaml", output, "--format", "huggingface", "--to", str(folder))

    card = huggingface_hub.ModelCard.load(folder / "README.md")
    data = card.data
    data.to_yaml()
    assert data.library_name == "transformers" and data.license == "unknown", data
    results = data.eval_results or []
    assert data.to_dict().get("pipeline_tag") in (None, *TAGS), data
    assert bool(results) == (output != "copy"), (output, results)
    assert all(result.metric_value is not None and result.dataset_name for result in results)

    config = json.loads((folder / "config.json").read_text())
    kind = config["architectures"][0]
    model, info = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    left = sorted(info.pop("unexpected_keys"))
    assert not any(info.values()), (output, info)
    listed = sorted(line.split("`")[1] for line in card.text.splitlines() if line.startswith(("| `classifier.", "| `joint.")))
    assert left == listed and bool(left) == ("native" in output), (output, left, listed)

    auto = AutoTokenizer.from_pretrained(folder)
    fast = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    other = root / f"slow-{number}"
    other.mkdir()
    for name in ["vocab.txt", "tokenizer_config.json"]:
        (other / name).write_text((folder / name).read_text())
    slow = ElectraTokenizer.from_pretrained(other)
    for one in TEXTS:
        ids = [each(one)["input_ids"] for each in (auto, fast, slow)]
        assert ids[0] == ids[1] == ids[2], (output, one, ids)
    assert auto.model_max_length == config["max_position_embeddings"] and auto.mask_token == "[MASK]"

    if task is None:
        continue
    call("get", "p.yaml", output.replace("[", "-predict[") + ".probabilities", "--to", str(folder / "said"))
    said = [json.loads(line) for line in (folder / "said/probabilities/test.jsonl").read_text().splitlines()]
    head = __import__("safetensors.torch").torch.load_file(folder / "model.safetensors")
    inputs = [line.split("\t")[0].split() for line in (root / "classes.txt").read_text().splitlines()[1:]]
    model.eval()
    labels = json.loads((folder / "reading.json").read_text())["labels"]["labels"]
    shares = []
    for words in inputs:
        row = auto(words, is_split_into_words=True, return_tensors="pt")
        pieces = row.word_ids()
        with torch.no_grad():
            if kind == "ElectraModel":
                if task == "tags":
                    row["token_type_ids"] = torch.ones_like(row["token_type_ids"])
                logits = model(**row).last_hidden_state[0] @ head["classifier.weight"].T + head["classifier.bias"]
                logits = logits if task == "tags" else logits[:1]
            else:
                logits = model(**row).logits.reshape(-1, len(labels))
        if task == "tags":
            first = [pieces.index(word) for word in range(len(words))]
            logits = logits[first]
        shares += logits.softmax(-1).reshape(-1, len(labels)).tolist()
    ours = [line["score"] for line in said]
    theirs = [value for row in shares for value in row]
    assert len(ours) == len(theirs), (output, len(ours), len(theirs))
    by_label = [line["label"] for line in said[: len(labels)]]
    assert by_label == labels, (by_label, labels)
    worst = max(worst, *(abs(a - b) for a, b in zip(ours, theirs)))
    print(output, kind, f"{len(ours)} probabilities, largest difference so far {worst:.1e}")
    assert worst < 1e-5

print(f"{len(outputs)} folders: transformers {transformers.__version__}, huggingface_hub {huggingface_hub.__version__}; largest difference {worst:.1e}")
