"""Ids of real and hostile lines, and of every code point, by Hugging Face's BertTokenizer, for the test `parity_of_pieces`
of the crate `data` to reproduce. See README.md beside this file.

The slow tokenizer's two parts (BasicTokenizer and WordpieceTokenizer, the authors' code) decide. The slow tokenizer as it
is called and the fast one are asked too, and where they differ the characters that make them differ are named: both
lower-case a capital sigma without looking at its neighbours, and the fast one has older tables of Unicode.
"""

import argparse
import collections
import gzip
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
from transformers import BertTokenizer, BertTokenizerFast  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GOLDEN = ROOT / "src/data/tests/golden/wordpiece.jsonl"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# What raw biomedical text holds now and then, and what it should not.
POOLS = {
    "greek": "αβγδεζηθικλμνξοπρστυφχψωςΑΒΓΔΘΛΞΠΣΦΨΩάέήίόύώΆΈϐϑϕµ",
    "accents": "àáâãäåçèéêëìíîïñòóôõöøùúûüýÿÀÁÂÇÉÈÑÖÜßẞŁłŞşİıŒœÆæĐđ",
    "combining": "\u0300\u0301\u0302\u0303\u0308\u030a\u0327\u0328\u0304\u0323\u20d7\u0345",
    "control": "\u0000\u0001\u0007\u000b\u000c\u001b\u001c\u001f\u007f\u0080\u0085\u009f\ufffd\ufeff\u200b\u200c\u200d\u200e\u202a\u00ad\u2060\ue000",
    "space": "\t\r\u00a0\u1680\u2002\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000",
    "cjk": "漢字中文藥物研究日本語カタカナひらがな한국어豈更㐀𠀀𪜀丽",
    "signs": "±×÷≤≥≈≠∞°µ·•…–—‘’“”„«»€£¥§¶†‡‰′″→←↔↑↓∆∂∑√∫☆♀♂™®©½¼²³₂⁺⁻ﬁﬂ",
    "marks": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡¿\u037e\u0387\u1fef",
}


# Younger editions of Unicode changed their category: U+1171E from Mn to Mc, U+0295 from Ll to Lo.
CHANGED = "\U0001171e\u0295"


def files_of(vocabulary, folder, name):
    path = pathlib.Path(folder) / name
    path.write_text("\n".join(vocabulary) + "\n", encoding="utf-8", newline="\n")
    return BertTokenizer(str(path)), BertTokenizerFast(str(path))


def part_ids(tokenizer, text):
    words = tokenizer.basic_tokenizer.tokenize(text)
    pieces = [piece for word in words for piece in tokenizer.wordpiece_tokenizer.tokenize(word)]
    return tokenizer.convert_tokens_to_ids(pieces)


def slow_ids(tokenizer, text):
    return tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text))


def fast_ids(tokenizer, texts):
    return tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]


def hostile(line, generator):
    """A line with some characters put in, and now and then joined, doubled or shouted."""
    line = list(line)
    for _ in range(generator.randint(1, 6)):
        pool = POOLS[generator.choice(list(POOLS))]
        at = generator.randint(0, len(line))
        line[at:at] = generator.choices(pool, k=generator.randint(1, 3))
    text = "".join(line)
    if generator.random() < 0.05:
        text = text.upper()
    if generator.random() < 0.02:
        text = text.replace(" ", "")
    return text


def real_lines(data, generator):
    for path in sorted(data.glob("corpus/*.txt.gz")):
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
            for line in file:
                line = line.rstrip("\n")
                if line:
                    yield line
                    if generator.random() < 0.3:
                        yield hostile(line, generator)


def every_character():
    """A vocabulary that spells everything, and texts that show what becomes of each code point."""
    points = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    kept = [c for c in points if unicodedata.category(c)[0] not in "CZ"]
    vocabulary = SPECIALS + kept + ["##" + c for c in kept]
    # An unassigned code point is a control character here and may be a letter in a younger Unicode.
    known = [c for c in points if unicodedata.category(c) != "Cn" and c not in CHANGED]
    # Noncharacters stay unassigned for ever.
    known += [c for c in points if unicodedata.category(c) == "Cn" and (ord(c) & 0xFFFE) == 0xFFFE]
    texts = [f"a{c}b {c} {c}{c}\u0301\u0323{c}" for c in known]
    texts += [f"{c}Σ Σ{c} {c}Σ{c}" for c in known]
    print(f"{len(known)} code points known to Unicode {unicodedata.unidata_version}, {len(points) - len(known)} left out")
    return vocabulary, texts


def blamed(text, right, asked):
    """The character without which both agree, or all that are not ASCII where no single one suffices."""
    strange = sorted({c for c in text if ord(c) > 126 or ord(c) < 32}, key=lambda c: (c != "Σ", c))
    for c in strange:
        rest = text.replace(c, "")
        if right(rest) == asked(rest):
            return c
    return "".join(strange)


def report(name, n, blame):
    print(f"  {name} differs on {sum(blame.values())} of {n} lines")
    groups = collections.defaultdict(list)
    for characters, lines in blame.items():
        label = "several" if len(characters) > 1 else unicodedata.category(characters)
        groups[label].append((characters, lines))
    for label, found in sorted(groups.items()):
        found.sort()
        shown = ", ".join(" ".join(f"U+{ord(c):04X}" for c in characters) + f" ({n})" for characters, n in found[:8])
        print(f"    because of {label}: {len(found)} characters, {shown}{' …' if len(found) > 8 else ''}")


def answers(vocabulary, texts, folder, name, write):
    slow, fast = files_of(vocabulary, folder, name)
    write({"vocabulary": vocabulary, "max_word_chars": 100})
    called, quick = collections.Counter(), collections.Counter()
    pieces = 0

    def right(text):
        return part_ids(slow, text)

    for begin in range(0, len(texts), 1000):
        some = texts[begin : begin + 1000]
        for text, fast_answer in zip(some, fast_ids(fast, some)):
            ids = right(text)
            pieces += len(ids)
            if slow_ids(slow, text) != ids:
                called[blamed(text, right, lambda rest: slow_ids(slow, rest))] += 1
            if fast_answer != ids:
                quick[blamed(text, right, lambda rest: fast_ids(fast, [rest])[0])] += 1
            write({"text": text, "ids": ids})
    print(f"{name}: {len(texts)} lines, {pieces} pieces")
    report("HF slow as called", len(texts), called)
    report("HF fast", len(texts), quick)


# Written for this test; nothing here is anybody's text.
TEXTS = [
    "The receptor binds TNF-α (p<0.05), but not IL‐6.",
    "naïve T cells; façade, Übergang, São, coöperate",
    "cafe\u0301s and Cafés",
    "ΟΔΥΣΣΕΥΣ Σ ΑΣ. ΑΣ' ΣΑΣ",
    "İstanbul ıIİ",
    "a\u0000b a\u00adb a\u200bb a\ufffdb \ufeffa",
    "10\u00a0mg\u2009/\u2009kg\u3000per\u2028day\u0085night",
    "漢字かな交じり文 한글 and 薬",
    "豈更 𠀀𪜀",
    "±5 °C → 37℃ ≥ 0.1‰",
    "don't (e.g. `this') [MASKED] @GENE$ #1 50% x_y {z} a\\b",
    "\u037e\u0387\u1fef;·`",
    "e\u0323\u0301 e\u0301\u0323 \u0301e",
    "ﬁbrosis ½ ² ﬂ",
    "x" * 100 + " " + "x" * 101,
    "",
    " \t ",
    "Straße STRASSE ẞ",
    "1,234.5 1e-4 -- ... ---",
    "अनुच्छेद ไทย עברית العربية",
]


def golden():
    """A small vocabulary over the texts above: letters, and some longer pieces."""
    letters = set()
    for text in TEXTS:
        for c in unicodedata.normalize("NFD", text.lower()):
            if unicodedata.category(c)[0] not in "CZ" and unicodedata.category(c) != "Mn":
                letters.add(c)
    letters -= {"℃", "薬"}  # so that there is something unknown
    longer = ["the", "receptor", "bind", "tnf", "cafe", "naive", "##ell", "ce", "##lls", "stra", "##ße", "10", "mg"]
    longer += ["xx", "##xx", "##ος", "##σσ", "ας", "fi", "##br"]
    return SPECIALS + sorted(letters) + sorted("##" + c for c in letters) + longer


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, help="folder with corpus/*.txt.gz and vocab/scivocab.txt")
    parser.add_argument("--freeze", action="store_true", help="write the small cases the ordinary tests read")
    arguments = parser.parse_args()
    generator = random.Random(20190419)
    with tempfile.TemporaryDirectory() as folder:
        target = GOLDEN if arguments.freeze else pathlib.Path(folder) / "wordpiece.jsonl"
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "w", encoding="utf-8", newline="\n") as file:

            def write(case):
                file.write(json.dumps(case, ensure_ascii=False, separators=(",", ":")) + "\n")

            answers(golden(), TEXTS, folder, "written", write)
            if not arguments.freeze:
                vocabulary, texts = every_character()
                answers(vocabulary, texts, folder, "characters", write)
                if arguments.data:
                    text = (arguments.data / "vocab/scivocab.txt").read_text(encoding="utf-8")
                    lines = list(real_lines(arguments.data, generator))
                    answers(text.split("\n")[:-1], lines, folder, "scivocab", write)
        if arguments.freeze:
            print(f"wrote {GOLDEN}")
            return 0
        command = ["cargo", "test", "-p", "data", "--test", "it", "parity_of_pieces", "--", "--nocapture"]
        return subprocess.run(command, cwd=ROOT, env=os.environ | {"PIPELINE_PARITY": folder}).returncode


if __name__ == "__main__":
    sys.exit(main())
