#!/usr/bin/env python3
"""Whether TensorBoard's own readers see in the event files of a training what its JSON lines say.

  pip install tensorboard
  python tensorboard.py reports/PIPELINE/tensorboard/STAGE...

Each folder is what `pretrain` or `finetune` leaves there, best one that was interrupted and gone on with. Records are read
strictly (every checksum), then as TensorBoard shows them: what an interrupted attempt wrote beyond the step that the next
one went on from must be gone.
"""
import json, math, pathlib, struct, sys

sys.path.pop(0)  # this folder, where the package's name is this file's
from tensorboard.backend.event_processing import event_accumulator, event_file_loader
from tensorboard.compat.proto import event_pb2
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow


def strictly(path):
    """Events of a file; a record with a wrong length or checksum is an error."""
    raw, at = path.read_bytes(), 0
    masked = pywrap_tensorflow.masked_crc32c
    while at < len(raw):
        length, = struct.unpack_from("<Q", raw, at)
        crc, = struct.unpack_from("<I", raw, at + 8)
        assert crc == masked(raw[at:at + 8]), f"{path}: length at {at}"
        body = raw[at + 12:at + 12 + length]
        crc, = struct.unpack_from("<I", raw, at + 12 + length)
        assert crc == masked(body), f"{path}: record at {at}"
        yield event_pb2.Event.FromString(body)
        at += 16 + length
    assert at == len(raw), f"{path} ends inside a record"


def expected(folder):
    """Numbers by tag and step as the JSON lines have them; a start drops what lies beyond its step."""
    numbers, starts = {}, 0
    for line in map(json.loads, (folder / "live.jsonl").read_text().splitlines()):
        event, step = line.pop("event"), line.pop("step")
        if event == "start":
            starts += 1
            for values in numbers.values():
                for late in [s for s in values if s > step]:
                    del values[late]
            continue
        for name, value in line.items():
            if name not in ("time", "seconds") and isinstance(value, (int, float)):
                numbers.setdefault(f"{event}/{name}", {})[step] = value
    return numbers, starts


for folder in map(pathlib.Path, sys.argv[1:]):
    files = sorted(folder.glob("events.out.tfevents.*"))
    wanted, starts = expected(folder)
    assert files and len(files) == starts, f"{folder}: {len(files)} files, {starts} starts"
    events = sum(len(list(strictly(path))) for path in files)
    loaded = sum(len(list(event_file_loader.EventFileLoader(str(path)).Load())) for path in files)
    assert loaded == events, f"{folder}: TensorBoard loads {loaded} of {events} events"
    shown = event_accumulator.EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0})
    shown.Reload()
    tags = shown.Tags()["tensors"] + shown.Tags()["scalars"]
    assert sorted(tags) == sorted(wanted), f"{folder}: {sorted(set(tags) ^ set(wanted))}"
    n = 0
    for tag, values in wanted.items():
        try:
            found = {s.step: s.value for s in shown.Scalars(tag)}
        except KeyError:
            found = {t.step: t.tensor_proto.float_val[0] for t in shown.Tensors(tag)}
        assert sorted(found) == sorted(values), f"{folder}: {tag} at {sorted(set(found) ^ set(values))}"
        for step, value in values.items():
            assert math.isclose(found[step], value, rel_tol=1e-6, abs_tol=1e-30), (tag, step)
            n += 1
    print(f"{folder}: {len(files)} files, {events} records, {len(tags)} tags, {n} numbers, all equal")
