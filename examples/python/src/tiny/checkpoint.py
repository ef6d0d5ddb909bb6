"""The state of a training in one file, replaced whole: a kill leaves the old state or the new one, never half of one."""

import json
import os


def save_checkpoint(folder, state):
    """Writes beside the old file and renames."""
    new = folder / "state.json.new"
    with open(new, "w") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, folder / "state.json")


def load_checkpoint(folder):
    """The last state, or None where the earlier attempt did not get that far."""
    path = folder / "state.json"
    return json.loads(path.read_text()) if path.exists() else None
