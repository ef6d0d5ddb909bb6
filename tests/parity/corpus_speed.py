"""How fast the steps of NCBI-BERT's text are in Python with NLTK 3.4, on one core. See README.md beside this file.

    cargo bench -p data --bench corpus -- --data DIR --sample sample.txt
    venv/bin/python tests/parity/corpus_speed.py sample.txt
"""

import statistics
import sys
import time

import treebank


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        lines = file.read().split("\n")
    size = sum(len(line.encode()) + 1 for line in lines)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        seen = set()
        made = []
        for document in "\n".join(lines).split("\n\n"):
            text = "\n".join(treebank.steps(line) for line in document.split("\n") if line.strip())
            digest = hash(text)
            if digest not in seen:
                seen.add(digest)
                made.append(text)
        times.append(time.perf_counter() - start)
    print(f"{size / 1e6:.1f} MB, {size / 1e6 / statistics.median(times):.2f} MB/s, {len(made)} documents")


if __name__ == "__main__":
    main()
