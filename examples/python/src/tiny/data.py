"""Examples as the stage kind `dataset` writes them: JSON lines with `text` and `label`."""

import json


def features(text):
    """The words of a text, and each word with its neighbour."""
    words = text.split()
    return words + [f"{a} {b}" for a, b in zip(words, words[1:])]


def read_examples(path):
    """Pairs of features and target (1 for harm, 0 for help), in the order of the file."""
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [(features(row["text"]), 1.0 if row["label"] == "harm" else 0.0) for row in rows]
