"""Trains a logistic regression, saving its state after every epoch, so that a killed run goes on where it was.

`pipelines/python.yaml` runs it. Needs Python 3 and nothing else.
"""

import json
import os
import sys
from pathlib import Path

# The program lies in the folder `code` of the stage; its package lies beside it in `src/`.
sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from tiny.checkpoint import load_checkpoint, save_checkpoint
from tiny.data import read_examples
from tiny.model import Model


def main():
    params = json.loads(Path("params.json").read_text())
    train = read_examples("data/train.jsonl")
    test = read_examples("data/test.jsonl")

    # PIPELINE_CHECKPOINT names a folder that survives a kill; PIPELINE_RESUME is 1 when an earlier attempt left one.
    folder = Path(os.environ["PIPELINE_CHECKPOINT"])
    state = load_checkpoint(folder) if os.environ["PIPELINE_RESUME"] == "1" else None
    if state:
        print(f"going on after epoch {state['epoch']} of {params['epochs']}", flush=True)
    model = Model(state["weights"] if state else {})
    history = state["history"] if state else []

    for epoch in range(len(history) + 1, params["epochs"] + 1):
        # The order depends on seed and epoch alone, never on what came before: a resumed run makes the same steps.
        loss = model.train_epoch(train, params["learning_rate"], seed=f"{params['seed']}/{epoch}")
        history.append({"epoch": epoch, "loss": loss, "accuracy": model.accuracy(test)})
        save_checkpoint(folder, {"epoch": epoch, "weights": model.weights, "history": history})
        print(f"epoch {epoch}: loss {loss:.4f}", flush=True)

    Path("model.json").write_text(json.dumps(model.weights, sort_keys=True))
    with open("history.csv", "w") as file:
        file.write("epoch,loss,accuracy\n")
        for row in history:
            file.write(f"{row['epoch']},{row['loss']:.6f},{row['accuracy']:.4f}\n")
    # Rows of the report: fields are dataset, split, metric, class, value, n.
    with open("metrics.jsonl", "w") as file:
        for split, examples in (("train", train), ("test", test)):
            row = {"split": split, "metric": "accuracy", "value": model.accuracy(examples), "n": len(examples)}
            file.write(json.dumps(row) + "\n")
        for row in history:
            row = {"split": "train", "metric": "loss", "class": str(row["epoch"]), "value": row["loss"]}
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
