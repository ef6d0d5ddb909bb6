"""What `\\w` matches in Python, and what Python's edition of Unicode has not assigned: every code point, in ranges, for the
test `parity_of_word_characters` of the crate `data`. See README.md beside this file.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unicodedata

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "src/data/tests/golden/word_characters.txt"


def ranges(holds):
    """`FIRST-LAST` in hexadecimal digits for each run of code points of which `holds` is true; no surrogates."""
    runs = []
    for code in range(sys.maxunicode + 1):
        if 0xD800 <= code < 0xE000 or not holds(chr(code)):
            continue
        if runs and runs[-1][1] == code - 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return " ".join(f"{first:x}-{last:x}" for first, last in runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--freeze", action="store_true", help="write the file that the ordinary tests read")
    arguments = parser.parse_args()
    word = re.compile(r"\w")
    text = (
        f"unicode {unicodedata.unidata_version}\n"
        f"word {ranges(word.match)}\n"
        f"unassigned {ranges(lambda c: unicodedata.category(c) == 'Cn')}\n"
    )
    if arguments.freeze:
        GOLDEN.write_text(text)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "word_characters.txt").write_text(text)
        environment = dict(os.environ, PIPELINE_PARITY=folder)
        command = ["cargo", "test", "-p", "data", "parity_of_word_characters"]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
