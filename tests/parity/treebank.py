"""Treebank tokens and the steps of NCBI-BERT's text by NLTK 3.4 and Python, for the test `parity` of the crate `data` to
reproduce. See README.md beside this file.
"""

import argparse
import gzip
import inspect
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GOLDEN = ROOT / "src/data/tests/golden/treebank.jsonl"


def formatargspec(args, varargs=None, varkw=None, defaults=(), *_, formatvalue=lambda v: "=" + repr(v), **__):
    """NLTK 3.4 wants this function, which Python 3.11 no longer has; its tokenizers do not depend on it."""
    first = len(args) - len(defaults or ())
    parts = [name + (formatvalue(defaults[i - first]) if i >= first else "") for i, name in enumerate(args)]
    parts += ["*" + varargs] if varargs else []
    parts += ["**" + varkw] if varkw else []
    return "(" + ", ".join(parts) + ")"


if not hasattr(inspect, "formatargspec"):
    inspect.formatargspec = formatargspec

import nltk  # noqa: E402
from nltk.tokenize.treebank import TreebankWordTokenizer  # noqa: E402

TOKENIZER = TreebankWordTokenizer()
# Importing `nltk.tokenize` 3.4 puts four rules into the lists of this class, for `word_tokenize`; the class as it is
# written, and as later versions have it, lacks them.
IMPORTED = (TOKENIZER.STARTING_QUOTES[:], TOKENIZER.PUNCTUATION[:], TOKENIZER.ENDING_QUOTES[:])
CLASS = (IMPORTED[0][1:-1], IMPORTED[1][1:], IMPORTED[2][1:])
assert [len(rules) for rules in CLASS] == [3, 7, 4], "NLTK adds other rules"
assert CLASS[0][0][0].pattern == '^\\"' and CLASS[1][0][0].pattern == r"([:,])([^\d])" and CLASS[2][0][0].pattern == '"'


def tokens(text, rules=CLASS):
    TOKENIZER.STARTING_QUOTES, TOKENIZER.PUNCTUATION, TOKENIZER.ENDING_QUOTES = rules
    return " ".join(TOKENIZER.tokenize(text))


OWN = """The patient's ALT rose 3-fold (from 40 to 120 U/L), i.e. more than expected.
"Quoted words", she said, "aren't rare."
We cannot rule out Crohn's disease; they'll say we can't.
Values were 1,200.5, 3:1 and 5:x, respectively: see Fig. 2A.
A dose of 5 mg... was given; then 10 mg.... Nothing changed...
Was it the drug?! (Yes!) [No.] {Maybe.} <Perhaps.>
The 5'-end and 3'-end, the patients' rights, and the '60s.
Costs were $5 & 10% at #3; mail a@b.org -- or not --- or ---- ever.
He's gonna wanna gimme more 'n that; lemme go, I've gotta.
'Twas d'ye think? 'Tis so. More'n enough, mor'n enough.
wanna, wanna. wanna
CANNOT and CanNot, cannot-do, _cannot, cannots.
Comma ,comma,,comma,,,5,5:5::5 :,
Ends with a quote."
Ends with two.''
Ends with bracket.) ]
''Double singles'' and ``backticks`` and `single` and "".
O'Neil's and o'neil 's and rock 'n' roll; it's 's s' 'S 'M 'D 'LL 're
Dogs' tails. Dogs' "tails'. 'a' 'b 'c''
.
..
...
....
.....
a.b.c. d.e. f.
x.)
(x).
"x."
"x".
'
"
''
' '
" "
p<0.05;n=5.
Tab\there and\u00a0there, \u2018curly\u2019 \u201cquotes\u201d \u2026 and \u2013 dash.
Greek \u03b2-catenin, na\u00efve cells, 5 \u00b1 2 \u00b5m, \u2265 3, \u4e2d\u6587,\u0663 and :\u0967.
\u00dcBER \u0130stanbul \u03a3\u0391\u03a3 '\u0130S 't\u0131s 't\u017f g\u0130mme g\u0131mme Gimme.
\u00e9cannot cannot\u00e9 (cannot) "cannot" 'cannot' can'not
unit\u2009spaces\u2003and\u3000wide wanna\u2003be 's\u00a0's \u00a0's.
\x1cfile\x1dgroup\x1erecord\x1funit wanna\x1c be.
don't DON'T Don't n't N'T 'nt dont't ain't't
we'll WE'LL we'Ll you're YOU'RE they've THEY'VE I'd I'D I'm I'M she's SHE'S
"(quoted)" ("quoted") ["quoted"] {"quoted"} <"quoted"> -"quoted"
a"b"c a''b a'''b ''' '''' a'' b
%%% ;; @@ ## $$ && ?? !! (( )) [[ ]] {{ }} << >>
""".splitlines()


def hostile(source, count):
    """Random strings over what the rules look at."""
    atoms = list(".,:;()[]{}<>@#$%&?!'\"`- \t") + ["...", "--", "''", "``", "'s ", "n't ", "'ll ", " 's", "5", "a", "b", "_"]
    atoms += ["cannot", "Gimme", "gonna", "wanna ", "wanna", "gotta", "lemme", "d'ye", "mor'n", " 'tis", " 'twas", "\u00e9", "\u0663", "\u00a0"]
    return ["".join(source.choice(atoms) for _ in range(source.randint(1, 14))) for _ in range(count)]


def steps(text):
    """The order of NCBI-BERT's preparation (spec A.1); sentences are given."""
    text = text.lower()
    text = re.sub(r"[\r\n]+", " ", text)
    text = re.sub(r"[^\x00-\x7F]+", " ", text)
    text = tokens(text)
    return re.sub(r"\s's\b", "'s", text)


def case(text):
    return {"text": text, "tokens": tokens(text), "imported": tokens(text, IMPORTED), "steps": steps(text)}


def real_lines(data, limit):
    """Lines of the real text, cased and lowered, and lines of the XML as they stand."""
    lines = []
    for path in sorted((data / "corpus").glob("*.txt.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines += [line.rstrip("\n") for line in file if line.strip()]
    for path in sorted((data / "pubmed").glob("*.xml*")):
        if path.suffix != ".md5":
            opened = gzip.open if path.suffix == ".gz" else open
            with opened(path, "rt", encoding="utf-8") as file:
                lines += [line.rstrip("\n") for line in file if line.strip()]
    if limit:
        lines = random.Random(1).sample(lines, min(limit, len(lines)))
    return lines + [line.lower() for line in lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, help="folder with corpus/ and pubmed/")
    parser.add_argument("--limit", type=int, default=0, help="so many real lines only (each cased and lowered)")
    parser.add_argument("--hostile", type=int, default=50_000, help="random strings")
    parser.add_argument("--freeze", action="store_true", help="write the small file of the ordinary tests")
    arguments = parser.parse_args()
    assert nltk.__version__ == "3.4", f"NLTK {nltk.__version__} has other rules"
    source = random.Random(20)
    small = OWN + hostile(source, 400)
    if arguments.freeze:
        GOLDEN.write_text("".join(json.dumps(case(text)) + "\n" for text in small))
    texts = small + hostile(source, arguments.hostile)
    real = real_lines(arguments.data, arguments.limit) if arguments.data else []
    with tempfile.TemporaryDirectory() as folder:
        differ = 0
        with open(pathlib.Path(folder) / "treebank.jsonl", "w") as file:
            for number, text in enumerate(texts + real):
                found = case(text)
                differ += number >= len(texts) and found["tokens"] != found["imported"]
                file.write(json.dumps(found) + "\n")
        print(f"asked NLTK {nltk.__version__} about {len(texts)} own and random and {len(real)} real lines")
        print(f"the rules that importing adds change {differ} of the real lines")
        ran = subprocess.run(
            ["cargo", "test", "--package", "data", "--test", "it", "parity_of_treebank", "--", "--nocapture"],
            cwd=ROOT,
            env={**os.environ, "PIPELINE_PARITY": folder},
        )
    sys.exit(ran.returncode)


if __name__ == "__main__":
    main()
