"""What transformers makes of sentences, texts, pairs and questions, and which answers it reads from numbers, for the test
`parity_of_features` of the crate `data` to reproduce. See README.md beside this file.

Windows, answers and texts of answers are those of transformers' port of BERT's program for SQuAD, with one thing put back
as BERT has it: a stretch that begins inside a word loses its `##` before it is looked for. Strides are no longer than
windows, where the port breaks and BERT's program does not.
"""

import argparse
import collections
import csv
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy
from transformers import BertTokenizer, BertTokenizerFast
from transformers.data.metrics import squad_metrics
from transformers.data.processors import squad

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "src/data/tests/golden/features.jsonl"
OWN_WORDS = "the what who which binds drug gene cell ##s ##ing ##ase pro ##tein in of a is not and kinase".split()
OWN_TEXTS = [
    ("Which gene binds Pro-tein 9?", "The gene\u202fcalled A-9 (the  drug's kinase)\nis not in the cells; protein\u00e9 binds a gene.", "A-9"),
    ("who?", "Genes (a, b; c) and genes: [a-9] binding in 1,000 cells, 5.5% of cells.", "1,000 cells"),
    ("what is it", "\u03b2-kinase and NA\u00cfVE cells, \u01c5 is \u0130n\u00a0the drug-ase.", "NA\u00cfVE cells"),
    ("a", "drugs drugs drugs drug drugs, drugs. " * 6, "drugs. drugs"),
]


def number(seed, window, place, which):
    """A small number that is exact in 32 bits, with many ties."""
    return ((seed * 7919 + window * 104729 + place * 1299709 + which * 15485863) % 401 - 200) / 16


class AnyNumpy:
    """NumPy 2.1 refuses what the program asks of it for a mask that is not looked at here."""

    def __getattr__(self, name):
        return getattr(numpy, name)

    @staticmethod
    def where(condition):
        return numpy.where(numpy.atleast_1d(condition))


squad.np = AnyNumpy()


class AsBert:
    """A tokenizer whose pieces become text as in BERT's program."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def convert_ids_to_tokens(self, ids):
        return self.tokenizer.convert_ids_to_tokens(ids)

    def convert_tokens_to_string(self, tokens):
        return " ".join(tokens).replace(" ##", "").replace("##", "")


def question_case(tokenizer, question, context, answer, start, options, seed):
    example = squad.SquadExample("q", question, context, answer, start, "", answers=[])
    features = squad.squad_convert_example_to_features(
        example, options["max_length"], options["stride"], options["max_question"], "max_length", True
    )
    windows, results = [], []
    for i, feature in enumerate(features):
        feature.unique_id, feature.example_index = i, 0
        length = sum(feature.attention_mask)
        windows.append(
            {
                "ids": feature.input_ids[:length],
                "segments": feature.token_type_ids[:length],
                "max_context": [bool(feature.token_is_max_context.get(at, False)) for at in range(length)],
                "answer": [feature.start_position, feature.end_position],
            }
        )
        size = options["max_length"]
        results.append(
            squad.SquadResult(i, [number(seed, i, at, 0) for at in range(size)], [number(seed, i, at, 1) for at in range(size)])
        )
    candidates = []
    if features:
        with tempfile.TemporaryDirectory() as folder:
            nbest = os.path.join(folder, "nbest.json")
            squad_metrics.compute_predictions_logits(
                [example], features, results, 20, 30, True, os.path.join(folder, "p.json"), nbest, None, False, False, 0.0,
                AsBert(tokenizer),
            )
            with open(nbest) as file:
                candidates = [[one["text"], one["probability"]] for one in json.load(file)["q"]]
    return {"kind": "question", "question": question, "context": context, "answer": answer, "start": start,
            "options": options, "seed": seed, "windows": windows, "candidates": candidates}


def tagging_case(fast, tokens, max_length):
    made = fast(tokens, is_split_into_words=True, truncation=True, max_length=max_length)
    words = made.word_ids()
    first = [word is not None and word != before for word, before in zip(words, [None] + words[:-1])]
    return {"kind": "tagging", "tokens": tokens, "max_length": max_length, "ids": made["input_ids"], "words": words, "first": first}


def texts_case(slow, texts, max_length):
    made = slow(*texts, truncation="longest_first", max_length=max_length)
    return {"kind": "texts", "texts": texts, "max_length": max_length, "ids": made["input_ids"], "segments": made["token_type_ids"]}


def tokenizers(vocabulary, folder):
    path = pathlib.Path(folder) / "vocab.txt"
    path.write_text("".join(f"{entry}\n" for entry in vocabulary), encoding="utf-8")
    slow, fast = BertTokenizer(str(path)), BertTokenizerFast(str(path))
    squad.squad_convert_example_to_features_init(slow)
    return slow, fast


def own_cases(folder):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *OWN_WORDS]
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()] + ["\u03b2"]
    vocabulary = list(dict.fromkeys(vocabulary + letters + ["##" + one for one in letters]))
    slow, fast = tokenizers(vocabulary, folder)
    yield {"kind": "vocabulary", "entries": vocabulary}
    for i, (question, context, answer) in enumerate(OWN_TEXTS):
        for max_length, stride, max_question in [(384, 128, 64), (24, 5, 7), (28, 3, 64)]:
            options = {"max_length": max_length, "stride": stride, "max_question": max_question}
            if len(slow.tokenize(question)[:max_question]) + 4 <= max_length:
                at = context.find(answer)
                yield question_case(slow, question, context, answer if at >= 0 else context[:4], max(at, 0), options, i)
        for max_length in (8, 30, 128):
            yield tagging_case(fast, context.split(" ") if i else [word for word in context.split() if word], max_length)
            yield texts_case(slow, [context], max_length)
            yield texts_case(slow, [question, context], max_length)


def real_cases(data, folder):
    vocabulary = (data / "vocab/scivocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    slow, fast = tokenizers(vocabulary, folder)
    yield {"kind": "vocabulary", "entries": vocabulary}
    count = collections.Counter()
    for path in sorted((data / "qa").glob("SQuAD-v1.1/*.json")) + sorted((data / "qa").glob("BioASQ-7b/BioASQ-*.json")):
        for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
            for paragraph in article["paragraphs"]:
                for item in paragraph["qas"]:
                    answers = [one for one in item.get("answers", []) if one["text"]]
                    context, n = paragraph["context"], count["question"]
                    answer = answers[0] if answers else {"text": context.split()[0], "answer_start": 0}
                    at = answer["answer_start"]
                    if context[at : at + len(answer["text"])] != answer["text"] or context[0].isspace():
                        continue
                    count["question"] += 1
                    options = {"max_length": (384, 128)[n % 2], "stride": (128, 30)[n % 2], "max_question": 64}
                    yield question_case(slow, item["question"], context, answer["text"], at, options, n)
    for path in sorted((data / "ner").glob("*/*.txt")):
        if path.name == "labels.txt":
            continue
        for block in path.read_text(encoding="utf-8").split("\n\n"):
            tokens = [line.split()[0] for line in block.split("\n") if line.split()]
            if tokens:
                count["tagging"] += 1
                yield tagging_case(fast, tokens, (128, 24)[count["tagging"] % 2])
    before = "A text."
    for name in ["ChemProt/dev.csv", "DDI-2013/dev.csv"]:
        with open(data / "re" / name, encoding="utf-8-sig", newline="") as file:
            quoting = csv.QUOTE_MINIMAL if name.startswith("Chem") else csv.QUOTE_NONE
            for row in csv.DictReader(file, delimiter="\t", quoting=quoting):
                count["texts"] += 1
                texts = [row["sentence"]] if count["texts"] % 2 else [before, row["sentence"]]
                before = row["sentence"]
                yield texts_case(slow, texts, (128, 65)[count["texts"] % 3 == 0])
    print(dict(count), file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--freeze", action="store_true", help="write the file that the ordinary tests read")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cases = own_cases(folder) if arguments.freeze else real_cases(arguments.data, folder)
        path = GOLDEN if arguments.freeze else pathlib.Path(folder) / "features.jsonl"
        with open(path, "w", encoding="utf-8") as file:
            for case in cases:
                file.write(json.dumps(case, ensure_ascii=False, separators=(",", ":")) + "\n")
        if arguments.freeze:
            return 0
        environment = dict(os.environ, PIPELINE_PARITY=folder)
        command = ["cargo", "test", "-p", "data", "parity_of_features", "--", "--nocapture"]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
