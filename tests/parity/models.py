#!/usr/bin/env python3
"""Whether transformers loads folders of models as they are: no key missing, none left over, a finite answer.
Of a model with ELECTRA's own head it loads the encoder, and what is left over are the head's documented tensors.

  pip install torch transformers
  python models.py FOLDER...
"""
import json, pathlib, sys
import torch, transformers

for folder in sys.argv[1:]:
    kind = json.loads((pathlib.Path(folder) / "config.json").read_text())["architectures"][0]
    model, info = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    left = {name: list(keys) for name, keys in info.items() if keys}
    if kind == "ElectraModel":
        head = left.pop("unexpected_keys", [])
        if not head or not all(key.startswith(("joint.", "classifier.")) for key in head):
            sys.exit(f"{folder}: left over are {head}, which is not a head")
    tokens = transformers.AutoTokenizer.from_pretrained(folder)("the fever .", return_tensors="pt")
    with torch.no_grad():
        answer = model.eval()(**tokens)
    logits = [value for name, value in answer.items() if "logits" in name or "hidden_state" in name]
    finite = logits and all(torch.isfinite(value).all() for value in logits)
    print(folder, kind, [list(value.shape) for value in logits], left or "every key matched")
    if left or not finite:
        sys.exit(f"{folder}: transformers does not load it as it is")
