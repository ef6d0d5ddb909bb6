"""What DVC makes of the projects in tests/fixtures/dvc, kept in tests/golden/dvc.json for tests/it/import_dvc.rs.

    pip install dvc==3.67.1
    python tests/parity/dvc.py            # writes the file
    python tests/parity/dvc.py --check    # compares with it

Each project is copied, `dvc repro` is run in the copy, and every file below the outputs of its dvc.lock is kept by its
path and text. Outputs of stages that are frozen are the project's own files and are left out.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from ruamel.yaml import YAML

HERE = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = HERE / "golden" / "dvc.json"


def outputs(project):
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / project.name
        shutil.copytree(project, copy)
        surroundings = {**os.environ, "SHELL": "/bin/sh", "GREETING": "good day"}
        for command in ["git init -q", "dvc init -q", "dvc repro -q"]:
            subprocess.run(command.split(), cwd=copy, env=surroundings, check=True)
        stages = YAML(typ="safe").load(copy / "dvc.yaml")["stages"]
        files = {}
        for name, stage in YAML(typ="safe").load(copy / "dvc.lock")["stages"].items():
            definition = stages[name.split("@")[0]]
            if definition.get("frozen"):
                continue
            wdir = definition.get("wdir", ".")
            for out in stage["outs"]:
                path = copy / wdir / out["path"]
                below = [path] if path.is_file() else sorted(path.rglob("*"))
                for file in below:
                    files[str(file.relative_to(copy))] = file.read_text()
        return dict(sorted(files.items()))


def main():
    fixtures = sorted((HERE / "fixtures" / "dvc").iterdir())
    found = {project.name: outputs(project) for project in fixtures}
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    if "--check" in sys.argv:
        if GOLDEN.read_text() != text:
            sys.exit(f"{GOLDEN} differs from what DVC gives")
    else:
        GOLDEN.write_text(text)
    for name, files in found.items():
        print(f"{name}: {len(files)} files, {sum(map(len, files.values()))} characters")


main()
