"""Scores of random and adversarial predictions by seqeval, scikit-learn, SciPy and the official SQuAD script, for the
test `parity` of the crate `data` to reproduce. See README.md beside this file.
"""

import argparse
import csv
import importlib.util
import io
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import warnings

import numpy
from scipy.stats import pearsonr
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support as lenient_scores
from seqeval.metrics.v1 import precision_recall_fscore_support as strict_scores
from seqeval.scheme import IOB1, IOB2, IOBES
from sklearn.metrics import accuracy_score
from sklearn.metrics import precision_recall_fscore_support as sklearn_scores
from sklearn.preprocessing import MultiLabelBinarizer

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GOLDEN = ROOT / "src/data/tests/golden/metrics.jsonl"


def row(metric, value, label=None):
    return {"metric": metric, "class": label, "value": float(value)}


def rows_of(scores, labels):
    """Rows of each class from the arrays (precision, recall, f1, support)."""
    rows = []
    for metric, values in zip(("precision", "recall", "f1"), scores):
        rows += [row(metric, 100 * value, label) for label, value in zip(labels, values)]
    return rows


def tag_lines(example_id, tags):
    """Predictions as the canonical form has them: a line a tag, one `O` line where there is nothing else."""
    lines = [
        {"example_id": example_id, "start": i, "end": i + 1, "label": tag} for i, tag in enumerate(tags) if tag != "O"
    ]
    return lines or [{"example_id": example_id, "start": 0, "end": len(tags), "label": "O"}]


def tagging_case(sentences, mode, scheme, scheme_name):
    """`sentences`: (tokens, right tags, predicted tags)."""
    right = [tags for _, tags, _ in sentences]
    predicted = [tags for _, _, tags in sentences]

    def scores(average):
        if mode == "strict":
            return strict_scores(right, predicted, average=average, scheme=scheme)
        return lenient_scores(right, predicted, average=average)

    micro, macro, each = scores("micro"), scores("macro"), scores(None)
    types = types_found(right, predicted, mode, scheme)
    assert len(types) == len(each[0])
    expected = [row(name, 100 * value) for name, value in zip(("precision", "recall", "f1"), micro)]
    expected += [row("macro_f1", 100 * macro[2])] + rows_of(each[:3], types)
    examples = [
        {"task": "tagging", "id": str(i), "tokens": tokens, "tags": tags}
        for i, (tokens, tags, _) in enumerate(sentences)
    ]
    predictions = [line for i, (_, _, tags) in enumerate(sentences) for line in tag_lines(str(i), tags)]
    options = {"mode": mode, "encoding": scheme_name}
    return {"metric": "span_f1", "options": options, "examples": examples, "predictions": predictions, "expected": expected}


def types_found(right, predicted, mode, scheme):
    """The types seqeval has rows for, in its order."""
    if mode == "strict":
        from seqeval.scheme import Entities

        found = Entities(right, scheme, False).unique_tags | Entities(predicted, scheme, False).unique_tags
        return sorted(found)
    from seqeval.metrics.sequence_labeling import get_entities

    return sorted({entity[0] for entity in get_entities(right)} | {entity[0] for entity in get_entities(predicted)})


def disturbed(tags, alphabet, generator, rate):
    return [generator.choice(alphabet) if generator.random() < rate else tag for tag in tags]


def random_sentences(alphabet, count, generator):
    sentences = []
    for _ in range(count):
        length = generator.randint(1, 12)
        right = [generator.choice(alphabet) for _ in range(length)]
        predicted = disturbed(right, alphabet, generator, generator.choice([0.0, 0.1, 0.5, 1.0]))
        sentences.append(([f"w{i}" for i in range(length)], right, predicted))
    return sentences


def alphabet_of(roles, types):
    return ["O"] * 3 + [f"{role}-{kind}" for role in roles for kind in types]


def conll(path):
    sentences, tokens, tags = [], [], []
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.strip():
            token, tag = line.rstrip("\r").rsplit(" ", 1)
            tokens.append(token)
            tags.append(tag)
        elif tokens:
            sentences.append((tokens, tags))
            tokens, tags = [], []
    if tokens:
        sentences.append((tokens, tags))
    return sentences


def label_case(texts, right, predicted, classes, negative):
    micro = sklearn_scores(right, predicted, labels=classes, average="micro", zero_division=0)
    macro = sklearn_scores(right, predicted, labels=classes, average="macro", zero_division=0)
    each = sklearn_scores(right, predicted, labels=classes, average=None, zero_division=0)
    expected = [row(name, 100 * value) for name, value in zip(("precision", "recall", "f1"), micro)]
    expected += [row("macro_f1", 100 * macro[2]), row("accuracy", 100 * accuracy_score(right, predicted))]
    expected += rows_of(each[:3], classes)
    examples = [
        {"task": "classification", "id": str(i), "text": text, "label": label}
        for i, (text, label) in enumerate(zip(texts, right))
    ]
    predictions = [{"example_id": str(i), "label": label, "score": 0.5} for i, label in enumerate(predicted)]
    options = {"classes": classes} if negative is None else {"negative": negative}
    return {"metric": "micro_f1", "options": options, "examples": examples, "predictions": predictions, "expected": expected}


def word_case(sentences):
    def flat(which):
        return [tag[2:] if tag != "O" else "O" for sentence in sentences for tag in sentence[which]]

    right, predicted = flat(1), flat(2)
    classes = sorted((set(right) | set(predicted)) - {"O"})
    macro = sklearn_scores(right, predicted, labels=classes, average="macro", zero_division=0)
    each = sklearn_scores(right, predicted, labels=classes, average=None, zero_division=0)
    case = tagging_case(sentences, "lenient", None, "bio")
    case |= {"metric": "word_f1", "options": {}, "expected": [row("macro_f1", 100 * macro[2])] + rows_of(each[:3], classes)}
    return case


def multi_label_case(count, generator):
    names = ["a", "b", "c", "d"]

    def some():
        return sorted(generator.sample(names, generator.randint(0, 3)))

    right = [some() for _ in range(count)]
    predicted = [some() for _ in range(count)]
    binary = MultiLabelBinarizer(classes=names)
    micro = sklearn_scores(binary.fit_transform(right), binary.transform(predicted), average="micro", zero_division=0)
    examples = [{"task": "multi_label", "id": str(i), "text": "t", "labels": labels} for i, labels in enumerate(right)]
    predictions = []
    for i, labels in enumerate(predicted):
        predictions += [{"example_id": str(i), "label": label} for label in labels] or [{"example_id": str(i)}]
    expected = [row(name, 100 * value) for name, value in zip(("precision", "recall", "f1"), micro)]
    return {"metric": "multi_label_f1", "options": {}, "examples": examples, "predictions": predictions, "expected": expected}


def pearson_case(count, generator):
    right = [generator.randint(0, 40) / 10 for _ in range(count)]
    predicted = [value + generator.gauss(0, 1) for value in right]
    examples = [
        {"task": "regression", "id": str(i), "texts": ["a", "b"], "value": value} for i, value in enumerate(right)
    ]
    predictions = [{"example_id": str(i), "score": value} for i, value in enumerate(predicted)]
    expected = [row("pearson", 100 * pearsonr(right, predicted).statistic)]
    expected += [row("mean_squared_error", numpy.mean((numpy.array(right) - numpy.array(predicted)) ** 2))]
    return {"metric": "pearson", "options": {}, "examples": examples, "predictions": predictions, "expected": expected}


def answer_case(questions, official, generator):
    """`questions`: (context, accepted answers with their places)."""
    examples, predictions, articles, given = [], [], [], {}
    for i, (context, answers) in enumerate(questions):
        key = str(i)
        examples.append({"task": "question_answering", "id": key, "question": "?", "context": context, "answers": answers})
        text = wrong_answer(generator.choice(answers)["text"], context, generator)
        given[key] = text
        predictions.append({"example_id": key, "text": text, "score": 0.5})
        articles.append({"paragraphs": [{"qas": [{"id": key, "answers": answers}]}]})
    with_stderr = sys.stderr
    sys.stderr = io.StringIO()
    try:
        scores = official.evaluate(articles, given)
    finally:
        sys.stderr = with_stderr
    expected = [row("exact_match", scores["exact_match"]), row("f1", scores["f1"])]
    return {"metric": "exact_match", "options": {}, "examples": examples, "predictions": predictions, "expected": expected}


def wrong_answer(text, context, generator):
    words = text.split()
    return generator.choice(
        [
            lambda: text,
            lambda: "The " + text.upper() + ".",
            lambda: " ".join(words[1:]) if len(words) > 1 else "-",
            lambda: " ".join(words + context.split()[:3]),
            lambda: text.replace(" ", "\u00a0"),
            lambda: "an " + text.replace("e", "E") + " , a",
            lambda: "\u2014" + text + "\u2019s",
            lambda: context[:40],
            lambda: "a",
            lambda: "\u0130stanbul the_end theend " + text,
            lambda: "",
        ]
    )()


def cases(arguments, generator):
    """Small cases, to be frozen."""
    types = ["X", "Y"]
    for roles, scheme, name in (("BI", IOB2, "bio"), ("BI", IOB1, "iob1"), ("BIES", IOBES, "iobes")):
        sentences = random_sentences(alphabet_of(roles, types), 60, generator)
        yield tagging_case(sentences, "strict", scheme, name)
        yield tagging_case(sentences, "lenient", None, "bio")
    yield word_case(random_sentences(alphabet_of("BI", types), 40, generator))
    names = ["CPR:3", "CPR:4", "false"]
    right = [generator.choice(names) for _ in range(80)]
    predicted = [generator.choice(names) for _ in right]
    yield label_case(["t"] * 80, right, predicted, names[:2], ["false"])
    yield label_case(["t"] * 80, right, predicted, ["CPR:4", "unseen"], None)
    yield multi_label_case(40, generator)
    yield pearson_case(30, generator)
    official = arguments.official
    if official:
        context = "The drug an\u00e1lysis of a U.S. trial (in 1998) showed that the b-cell's count fell by 12.5 % ."
        texts = ["The drug", "a U.S. trial", "1998", "the b-cell's count", "12.5 %", "fell"]
        made = [{"text": text, "answer_start": context.index(text)} for text in texts]
        made = [{"text": answer["text"], "start": answer["answer_start"]} for answer in made]
        questions = [(context, generator.sample(made, generator.randint(1, 3))) for _ in range(80)]
        yield answer_case(questions, official, generator)


def real_cases(arguments, generator):
    lines = 0
    for path in sorted(arguments.data.glob("ner/*/*.txt")):
        if path.name == "labels.txt":
            continue
        gold = conll(path)
        alphabet = sorted({tag for _, tags in gold for tag in tags})
        sentences = [(tokens, tags, disturbed(tags, alphabet, generator, 0.15)) for tokens, tags in gold]
        lines += len(sentences)
        yield tagging_case(sentences, "lenient", None, "bio")
        yield tagging_case(sentences, "strict", IOB2, "bio")
        yield word_case(sentences)
    for path in sorted(arguments.data.glob("re/*/*.csv")):
        quoting = csv.QUOTE_MINIMAL if "ChemProt" in str(path) else csv.QUOTE_NONE
        with open(path, encoding="utf-8-sig", newline="") as file:
            table = [line for line in csv.reader(file, delimiter="\t", quoting=quoting) if len(line) == 3][1:]
        right = [line[2] for line in table]
        names = sorted(set(right))
        predicted = [generator.choice(names) if generator.random() < 0.3 else label for label in right]
        negative = [name for name in names if "false" in name]
        lines += len(table)
        yield label_case([line[1] for line in table], right, predicted, [n for n in names if n not in negative], negative)
    for path in sorted(arguments.data.glob("qa/SQuAD-v1.1/*.json")) if arguments.official else []:
        questions = []
        for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    answers = [
                        {"text": answer["text"], "start": answer["answer_start"]}
                        for answer in question["answers"]
                        if answer["text"]
                        and paragraph["context"][answer["answer_start"] :].startswith(answer["text"])
                    ]
                    if answers:
                        questions.append((paragraph["context"], answers))
        lines += len(questions)
        yield answer_case(questions, arguments.official, generator)
    for roles, scheme, name in (("BI", IOB2, "bio"), ("BI", IOB1, "iob1"), ("BIES", IOBES, "iobes")):
        for _ in range(20):
            sentences = random_sentences(alphabet_of(roles, ["X", "Y", "Z"]), 300, generator)
            lines += len(sentences)
            yield tagging_case(sentences, "strict", scheme, name)
            yield tagging_case(sentences, "lenient", None, "bio")
    print(f"{lines} examples")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, help="folder of the real data sets")
    parser.add_argument("--squad-script", type=pathlib.Path, help="the official evaluate-v1.1.py")
    parser.add_argument("--freeze", action="store_true", help="write the small cases the ordinary tests read")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    arguments.official = None
    if arguments.squad_script:
        spec = importlib.util.spec_from_file_location("squad", arguments.squad_script)
        arguments.official = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(arguments.official)
    else:
        print("without --squad-script answers are not compared")
    generator = random.Random(20190419)
    if arguments.freeze:
        GOLDEN.parent.mkdir(parents=True, exist_ok=True)
        with open(GOLDEN, "w", encoding="utf-8") as file:
            for case in cases(arguments, generator):
                file.write(json.dumps(case, ensure_ascii=False, separators=(",", ":")) + "\n")
        print(f"wrote {GOLDEN}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        with open(pathlib.Path(folder) / "metrics.jsonl", "w", encoding="utf-8") as file:
            for case in cases(arguments, generator):
                file.write(json.dumps(case, ensure_ascii=False) + "\n")
            for case in real_cases(arguments, generator) if arguments.data else []:
                file.write(json.dumps(case, ensure_ascii=False) + "\n")
        command = ["cargo", "test", "-p", "data", "--test", "it", "parity", "--", "--nocapture"]
        return subprocess.run(command, cwd=ROOT, env=os.environ | {"PIPELINE_PARITY": folder}).returncode


if __name__ == "__main__":
    sys.exit(main())
