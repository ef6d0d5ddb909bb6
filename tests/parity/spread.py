"""Means, intervals and paired tests by SciPy and NumPy, and Holm's correction written after his paper, for the test
`parity` of the crate `report` to reproduce. See README.md beside this file.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy
from scipy import stats

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "src/report/tests/golden/statistics.jsonl"


def mean_difference(differences, axis):
    return numpy.mean(differences, axis=axis)


def case(pairs, digits):
    first, second = numpy.array(pairs).T
    test = stats.ttest_rel(second, first)
    interval = test.confidence_interval(0.95)
    # Rounded scores tie on paper and not in their last bits, where SciPy's own tolerance is too small: whole numbers do.
    differences = second - first if digits > 9 else numpy.rint((second - first) * 10**digits)
    exact = stats.permutation_test(
        (differences,), mean_difference, permutation_type="samples", n_resamples=numpy.inf, vectorized=True
    )
    alone = stats.t.interval(0.95, len(pairs) - 1, loc=first.mean(), scale=stats.sem(first))
    return {
        "pairs": pairs,
        "mean": first.mean(),
        "deviation": first.std(ddof=1),
        "half_width": (alone[1] - alone[0]) / 2,
        "difference": (second - first).mean(),
        "t": float(test.statistic),
        "p_t": float(test.pvalue),
        "low": float(interval.low),
        "high": float(interval.high),
        "p_exact": float(exact.pvalue),
    }


def holm(ps):
    """Holm (1979), section 3: the sorted p, times how many are left, never falling."""
    ps = numpy.array(ps)
    order = numpy.argsort(ps, kind="stable")
    corrected = numpy.minimum(1, numpy.maximum.accumulate(ps[order] * (len(ps) - numpy.arange(len(ps)))))
    back = numpy.empty(len(ps))
    back[order] = corrected
    return back.tolist()


def cases(generator, count):
    for number in range(count):
        n = 2 + number % 12
        scale = 10.0 ** generator.choice([-4, -2, 0])
        level = generator.choice([0.0, 0.9, 90.0])
        shift = generator.choice([0.0, 0.5, 2.0, 40.0]) * scale
        digits = generator.choice([3, 17])  # rounded scores have ties
        pairs = []
        for _ in range(n):
            base = level + generator.gauss(0, scale)
            pairs.append([round(base, digits), round(base + shift + generator.gauss(0, scale), digits)])
        first, second = numpy.array(pairs).T
        if numpy.ptp(second - first) > 1e-9 and numpy.ptp(first) > 1e-9:
            yield case(pairs, digits)
    for n in (1, 4, 9):
        ps = [generator.choice([generator.random() ** 3, 0.0625]) for _ in range(n)]
        yield {"ps": ps, "holm": holm(ps)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--freeze", action="store_true", help="write the small cases the ordinary tests read")
    arguments = parser.parse_args()
    generator = random.Random(19370101)
    lines = [json.dumps(case, separators=(",", ":")) + "\n" for case in cases(generator, 36 if arguments.freeze else 400)]
    if arguments.freeze:
        GOLDEN.parent.mkdir(parents=True, exist_ok=True)
        GOLDEN.write_text("".join(lines), encoding="utf-8")
        print(f"wrote {GOLDEN}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "statistics.jsonl").write_text("".join(lines), encoding="utf-8")
        command = ["cargo", "test", "-p", "report", "--test", "parity", "--", "--nocapture"]
        return subprocess.run(command, cwd=ROOT, env=os.environ | {"PIPELINE_PARITY": folder}).returncode


if __name__ == "__main__":
    sys.exit(main())
