"""Write a tower as a safetensors file that recsys.import_model() reads.

A tower turns the feature columns of one row into a vector.  It is written
down as a *spec*: features, then nodes in the order of evaluation, each with
an op, the names of its inputs, the name of its output, its fields and its
tensors.  src/tower/README.md of recsys is the reference of the format and of
every op.  This module needs numpy alone.

    import numpy as np
    import recsys_export as rx

    rng = np.random.default_rng(0)
    arrays = {
        "genre": rng.normal(size=(5, 8)).astype(np.float32),
        "w1": rng.normal(size=(4, 9)).astype(np.float32),
        "b1": np.zeros(4, np.float32),
    }
    user = rx.tower(
        features=[
            rx.feature("age", "float", default=30),
            rx.feature("liked", "text[]", default=[]),
        ],
        nodes=[
            rx.node("zscore", ["age"], "age_z", mean=35.0, std=12.0),
            rx.node("vocabulary", ["liked"], "liked_ix",
                    values=["drama", "comedy", "horror"], first_index=2,
                    oov_index=1, padding_index=0),
            rx.node("embedding_bag", ["liked_ix"], "taste", mode="mean",
                    padding_index=0, max_length=50, keep="last",
                    tensors={"table": "genre"}),
            rx.node("concat", ["age_z", "taste"], "x"),
            rx.node("linear", ["x"], "h", layout="out_in",
                    tensors={"weight": "w1", "bias": "b1"}),
            rx.node("l2_normalise", ["h"], "out", epsilon=1e-12,
                    clamp="max_norm"),
        ],
        output="out",
        ignore=["user_id"])
    rx.export("movies.safetensors", rx.bundle(user=user), arrays,
              golden={"user": [{"age": 41, "liked": ["drama", "western"]}]})

and in the database

    SELECT recsys.import_model('movies', $1);       -- $1: the file, bytea
    SELECT recsys.embed('movies/user', u) FROM users u WHERE user_id = 7;

`forward` is the reference: it evaluates a spec in float64.  `export` runs it
on the golden rows and stores what it answers; the database runs the same rows
at import and refuses a file whose answers it cannot reproduce.

A model trained elsewhere should rather be held against its own framework:
pass the framework's outputs as `expected` and `export` raises an error where
the reference differs from them by more than the tolerance.
"""

import json
import math
import struct

import numpy as np

__all__ = ["SpecError", "feature", "node", "tower", "bundle", "single",
           "dumps", "export", "forward", "OPS"]

FORMAT = 1
FEATURE_TYPES = ("int", "bool", "float", "text",
                 "int[]", "text[]", "float[]", "vector")
DTYPES = {"float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32"}


class SpecError(ValueError):
    """The spec, an array or a feature value is not as the format asks."""


# ---------------------------------------------------------------- the spec

def feature(name, type, **fields):
    """One input column.

    type is one of FEATURE_TYPES.  Fields: default (a value of that type, for
    a NULL; without it a NULL is an error), dim (of a vector, required),
    null_elements ("error", the default; "padding" for int[] and text[];
    "zero" for float[] and vector).
    """
    if type not in FEATURE_TYPES:
        raise SpecError(f'feature "{name}": unknown type "{type}"')
    return {"name": name, "type": type, **fields}


def node(op, inputs, output, tensors=None, **fields):
    """One step: output = op(inputs), with fields and tensors {role: name}."""
    if op not in OPS:
        raise SpecError(f'node "{output}": unknown op "{op}"')
    step = {"op": op, "inputs": list(inputs), "output": output, **fields}
    if tensors:
        step["tensors"] = dict(tensors)
    _check_fields(step)
    return step


def tower(features, nodes, output, ignore=(), tolerance=1e-4):
    """One tower.  ignore: columns that a row may have and that are not read.

    tolerance: how far an output may lie from its golden row, times the larger
    of 1 and the golden row's own largest absolute value.
    """
    return {"features": list(features), "nodes": list(nodes),
            "output": output, "ignore": list(ignore), "tolerance": tolerance}


def bundle(**towers):
    """A spec of several towers, called 'model/user', 'model/item', ..."""
    return {"format": FORMAT, "towers": towers}


def single(tower):
    """A spec of one tower, called 'model'."""
    return {"format": FORMAT, "towers": {"": tower}}


def _check_fields(step):
    """Refuse a node with a field or a tensor that its op does not know."""
    op = OPS[step["op"]]
    where = f'node "{step["output"]}" ({step["op"]})'
    fields = set(step) - {"op", "inputs", "output", "tensors"}
    tensors = set(step.get("tensors", {}))
    if len(tensors) < len(step.get("tensors", {})):
        raise SpecError(f"{where}: a tensor role is given twice")
    if not op.least <= len(step["inputs"]) <= op.most:
        raise SpecError(f"{where}: {len(step['inputs'])} inputs")
    for name in op.fields - fields:
        raise SpecError(f'{where}: field "{name}" is missing')
    for name in op.tensors - tensors:
        raise SpecError(f'{where}: tensor "{name}" is missing')
    for name in fields - op.fields - op.either - op.maybe:
        raise SpecError(f'{where}: unknown field "{name}"')
    for name in tensors - op.tensors - op.either - op.maybe_tensors:
        raise SpecError(f'{where}: unknown tensor "{name}"')
    for name in op.either:
        if (name in fields) == (name in tensors):
            raise SpecError(f'{where}: give "{name}" as a field or as a '
                            'tensor, and not as both')


# ---------------------------------------------------------------- the file

def dumps(spec, arrays, golden=None, expected=None):
    """The bytes of the file.

    arrays: {name: numpy array}; float64 is stored as float32 (the database
    computes in float32), float32 and float16 as they are, integers as int64
    or int32.  golden: {tower name: [features, ...]}, features being a dict
    from feature name to value.  expected: {tower name: [vector, ...]}, what
    another implementation answers to the golden rows.
    """
    stored = {name: _storable(name, a) for name, a in arrays.items()}
    for name in _unused(spec, stored):
        raise SpecError(f'no node uses array "{name}"')
    answers = {}
    for which, rows in (golden or {}).items():
        answers[which] = [_golden_row(spec, stored, which, row, k, expected)
                          for k, row in enumerate(rows)]
    meta = {"recsys.spec": json.dumps(spec, allow_nan=False),
            "recsys.golden": json.dumps(answers, allow_nan=False)}
    header, parts, offset = {"__metadata__": meta}, [], 0
    for name, a in stored.items():
        data = a.tobytes()
        header[name] = {"dtype": DTYPES[a.dtype.name], "shape": list(a.shape),
                        "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
        parts.append(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def export(path, spec, arrays, golden=None, expected=None):
    """Write dumps() of the same arguments to the file path."""
    data = dumps(spec, arrays, golden, expected)
    with open(path, "wb") as out:
        out.write(data)


def _storable(name, a):
    a = np.asarray(a)
    if a.dtype == np.float64:
        a = a.astype(np.float32)
    elif a.dtype.kind in "iu" and a.dtype.name not in DTYPES:
        a = a.astype(np.int64)
    if a.dtype.name not in DTYPES:
        raise SpecError(f'array "{name}" has type {a.dtype.name}')
    if a.dtype.kind == "f" and not np.isfinite(a).all():
        raise SpecError(f'array "{name}" has a NaN or an infinity')
    return np.ascontiguousarray(a).astype(a.dtype.newbyteorder("<"))


def _unused(spec, arrays):
    used = {name for tower in spec["towers"].values()
            for step in tower["nodes"]
            for name in step.get("tensors", {}).values()}
    return [name for name in arrays if name not in used]


def _golden_row(spec, arrays, which, row, k, expected):
    output = forward(spec, arrays, row, tower=which)
    if expected is not None and which in expected:
        want = np.asarray(expected[which][k], np.float64)
        limit = (spec["towers"][which].get("tolerance", 1e-4)
                 * max(1.0, float(np.abs(want).max())))
        error = float(np.abs(want - output).max())
        if not error <= limit:
            raise SpecError(f'tower "{which}", golden row {k}: the expected '
                            f"output differs by {error:g} from the spec's")
        output = want
    return {"features": {name: _plain(v) for name, v in row.items()},
            "output": output.tolist()}


def _plain(value):
    """A feature value as the json module takes it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


# ------------------------------------------------------------ the reference

def forward(spec, arrays, features, tower=""):
    """What a tower answers to one row, in float64: the reference.

    features: dict from feature name to value, None for NULL.
    """
    net = spec["towers"][tower]
    names = {f["name"] for f in net["features"]}
    for name in features:
        if name not in names and name not in net.get("ignore", ()):
            raise SpecError(f'unknown feature "{name}"')
    wires = {}
    for f in net["features"]:
        if f["name"] not in features:
            raise SpecError(f'feature "{f["name"]}" is missing')
        wires[f["name"]] = _bind(f, _plain(features[f["name"]]))
    for step in net["nodes"]:
        _check_fields(step)
        tensors = {role: _stored_value(arrays[name])
                   for role, name in step.get("tensors", {}).items()}
        inputs = [wires[name] for name in step["inputs"]]
        wires[step["output"]] = OPS[step["op"]].run(step, tensors, inputs)
    return _dense(wires[net["output"]])


def _stored_value(a):
    """An array as the file keeps it, widened for the reference."""
    a = np.asarray(a)
    if a.dtype.kind == "f":
        return (a.astype(np.float32) if a.dtype == np.float64
                else a).astype(np.float64)
    return a


def _bind(f, value):
    """A feature's value, with defaults in the place of NULLs."""
    name, kind = f["name"], f["type"]
    if value is None:
        if "default" not in f:
            raise SpecError(f'feature "{name}" is null and has no default')
        value = f["default"]
    if kind == "bool":
        return int(value)
    if kind in ("int", "text"):
        return value
    if kind == "float":
        return float(value)
    policy = f.get("null_elements", "error")
    if any(v is None for v in value) and policy == "error":
        raise SpecError(f'feature "{name}" has a null element')
    if kind in ("int[]", "text[]"):
        return list(value)
    numbers = np.array([0.0 if v is None else float(v) for v in value])
    if kind == "vector":
        if len(numbers) != f["dim"]:
            raise SpecError(f'feature "{name}": expected {f["dim"]} '
                            f"dimensions, not {len(numbers)}")
        return numbers.astype(np.float32).astype(np.float64)
    return numbers


def _dense(value):
    """A scalar as a vector of one element; a vector as it is."""
    return np.atleast_1d(np.asarray(value, np.float64))


def _each(run):
    """Make an op on one value run on a list too, element by element."""
    def over(step, tensors, inputs):
        value = inputs[0]
        if isinstance(value, (list, np.ndarray)):
            return [run(step, tensors, v) for v in value]
        return run(step, tensors, value)
    return over


def _out_of_vocabulary(step, value):
    if step["oov_index"] is None:
        raise SpecError(f'node "{step["output"]}": value {value!r} is not in '
                        "the vocabulary")
    return step["oov_index"]


def _vocabulary(step, tensors, inputs):
    values = tensors["values"] if "values" in tensors else step["values"]
    index = {v if isinstance(v, str) else int(v): step["first_index"] + k
             for k, v in enumerate(values)}

    def one(_step, _tensors, value):
        if value is None:
            return step["padding_index"]
        if value in index:
            return index[value]
        return _out_of_vocabulary(step, value)
    return _each(one)(step, tensors, inputs)


def _identity(step, tensors, value):
    if value is None:
        return step["padding_index"]
    index = value + step["offset"]
    if 0 <= index < step["size"]:
        return index
    return _out_of_vocabulary(step, value)


def _hash(step, tensors, value):
    if value is None:
        return step["padding_index"]
    data = str(value).encode()
    if step["function"] == "fnv1a_64":
        h = fnv1a_64(data)
    elif step["function"] == "murmur3_32":
        h = murmur3_32(data, step["seed"])
    else:
        raise SpecError(f'unknown hash function "{step["function"]}"')
    return step["first_index"] + h % step["buckets"]


def fnv1a_64(data):
    """Fowler, Noll and Vo's hash 1a, 64 bits."""
    h = 0xcbf29ce484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return h


def murmur3_32(data, seed):
    """Appleby's MurmurHash3, the x86 variant of 32 bits."""
    mask, h = 0xffffffff, seed & 0xffffffff
    body = len(data) // 4 * 4
    for k in struct.unpack(f"<{body // 4}I", data[:body]):
        h ^= _murmur3_mix(k)
        h = (h << 13 | h >> 19) & mask
        h = (h * 5 + 0xe6546b64) & mask
    if len(data) > body:
        h ^= _murmur3_mix(int.from_bytes(data[body:], "little"))
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85ebca6b & mask
    h = (h ^ h >> 13) * 0xc2b2ae35 & mask
    return h ^ h >> 16


def _murmur3_mix(k):
    k = k * 0xcc9e2d51 & 0xffffffff
    k = (k << 15 | k >> 17) & 0xffffffff
    return k * 0x1b873593 & 0xffffffff


def _bucketise(step, tensors, value):
    return int(np.searchsorted(step["boundaries"], value, side=step["side"]))


def _embedding(step, tensors, inputs):
    return tensors["table"][inputs[0]]


def _embedding_bag(step, tensors, inputs):
    ids = inputs[0]
    weights = inputs[1] if len(inputs) > 1 else np.ones(len(ids))
    if len(weights) != len(ids):
        raise SpecError(f'node "{step["output"]}": {len(ids)} indexes and '
                        f"{len(weights)} weights")
    most = step["max_length"]
    if most is not None and len(ids) > most:
        part = slice(0, most) if step["keep"] == "first" else slice(-most, None)
        ids, weights = ids[part], weights[part]
    total = np.zeros(tensors["table"].shape[1])
    weight = square = 0.0
    for i, w in zip(ids, weights):
        if i == step["padding_index"]:
            continue
        total += w * tensors["table"][i]
        weight += w
        square += w * w
    divisor = {"sum": 1.0, "mean": weight,
               "sqrtn": math.sqrt(square)}[step["mode"]]
    return total / divisor if divisor != 0.0 else np.zeros_like(total)


def _one_hot(step, tensors, inputs):
    row = np.zeros(step["size"])
    row[inputs[0]] = 1.0
    return row


def _either(step, tensors, name):
    return tensors[name] if name in tensors else np.float64(step[name])


def _zscore(step, tensors, inputs):
    return ((inputs[0] - _either(step, tensors, "mean"))
            / _either(step, tensors, "std"))


def _min_max(step, tensors, inputs):
    low = _either(step, tensors, "min")
    y = (inputs[0] - low) / (_either(step, tensors, "max") - low)
    return np.clip(y, 0.0, 1.0) if step["clip"] else y


def _log1p(step, tensors, inputs):
    x = np.asarray(inputs[0], np.float64)
    if step["negative"] == "signed":
        return np.sign(x) * np.log1p(np.abs(x))
    if step["negative"] == "clamp":
        return np.log1p(np.maximum(x, 0.0))
    if (x < 0).any():
        raise SpecError(f'node "{step["output"]}": negative input')
    return np.log1p(x)


def _concat(step, tensors, inputs):
    return np.concatenate([_dense(x) for x in inputs])


def _matrix(step, tensors):
    """The weight as (out, in)."""
    weight = tensors["weight"]
    return weight if step["layout"] == "out_in" else weight.T


def _linear(step, tensors, inputs):
    y = _matrix(step, tensors) @ _dense(inputs[0])
    return y + tensors["bias"] if "bias" in tensors else y


def _gelu(step, tensors, inputs):
    x = _dense(inputs[0])
    if step["approximate"] == "tanh":
        inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x ** 3)
        return 0.5 * x * (1.0 + np.tanh(inner))
    erf = np.vectorize(math.erf, otypes=[np.float64])
    return 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)))


def _sigmoid(x):
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _affine(y, tensors):
    y = y * tensors["weight"] if "weight" in tensors else y
    return y + tensors["bias"] if "bias" in tensors else y


def _layer_norm(step, tensors, inputs):
    x = _dense(inputs[0])
    return _affine((x - x.mean()) / np.sqrt(x.var() + step["epsilon"]),
                   tensors)


def _batch_norm(step, tensors, inputs):
    x = _dense(inputs[0]) - tensors["mean"]
    return _affine(x / np.sqrt(tensors["variance"] + step["epsilon"]),
                   tensors)


def _l2_normalise(step, tensors, inputs):
    x, epsilon = _dense(inputs[0]), step["epsilon"]
    square = float(x @ x)
    norm = {"max_norm": max(math.sqrt(square), epsilon),
            "add_norm": math.sqrt(square) + epsilon,
            "max_square": math.sqrt(max(square, epsilon)),
            "add_square": math.sqrt(square + epsilon)}[step["clamp"]]
    return x / norm if norm > 0.0 else np.zeros_like(x)


def _same_width(step, inputs):
    rows = [_dense(x) for x in inputs]
    if len({len(x) for x in rows}) > 1:
        raise SpecError(f'node "{step["output"]}": inputs differ in width')
    return rows


def _dcn_cross(step, tensors, inputs):
    x0, x = _same_width(step, inputs)
    bias = tensors.get("bias", 0.0)
    if step["form"] == "vector":
        return x0 * (tensors["weight"] @ x) + bias + x
    return x0 * (_matrix(step, tensors) @ x + bias) + x


class _Op:
    """What a node of this op must and may have, and how to run it."""

    def __init__(self, run, fields="", tensors="", either="", maybe="",
                 maybe_tensors="", inputs=(1, 1)):
        self.run = run
        self.fields = set(fields.split())
        self.tensors = set(tensors.split())
        self.either = set(either.split())
        self.maybe = set(maybe.split())
        self.maybe_tensors = set(maybe_tensors.split())
        self.least, self.most = inputs


def _elementwise(function, **kwargs):
    return _Op(lambda step, tensors, inputs:
               function(_dense(inputs[0]), step), **kwargs)


OPS = {
    "vocabulary": _Op(_vocabulary, "first_index oov_index padding_index",
                      either="values"),
    "identity": _Op(_each(_identity), "size offset oov_index padding_index"),
    "hash": _Op(_each(_hash), "buckets function first_index padding_index",
                maybe="seed"),
    "bucketise": _Op(_each(_bucketise), "boundaries side"),
    "embedding": _Op(_embedding, tensors="table"),
    "embedding_bag": _Op(_embedding_bag, "mode padding_index max_length",
                         "table", maybe="keep", inputs=(1, 2)),
    "one_hot": _Op(_one_hot, "size"),
    "zscore": _Op(_zscore, either="mean std"),
    "min_max": _Op(_min_max, "clip", either="min max"),
    "log1p": _Op(_log1p, "negative"),
    "concat": _Op(_concat, inputs=(1, 1000)),
    "linear": _Op(_linear, "layout", "weight", maybe_tensors="bias"),
    "relu": _elementwise(lambda x, step: np.maximum(x, 0.0)),
    "leaky_relu": _elementwise(
        lambda x, step: np.where(x > 0, x, step["slope"] * x),
        fields="slope"),
    "gelu": _Op(_gelu, "approximate"),
    "silu": _elementwise(lambda x, step: x * _sigmoid(x)),
    "tanh": _elementwise(lambda x, step: np.tanh(x)),
    "sigmoid": _elementwise(lambda x, step: _sigmoid(x)),
    "layer_norm": _Op(_layer_norm, "epsilon", maybe_tensors="weight bias"),
    "batch_norm": _Op(_batch_norm, "epsilon", "mean variance",
                      maybe_tensors="weight bias"),
    "l2_normalise": _Op(_l2_normalise, "epsilon clamp"),
    "add": _Op(lambda step, tensors, inputs:
               sum(_same_width(step, inputs)), inputs=(2, 1000)),
    "multiply": _Op(lambda step, tensors, inputs:
                    np.prod(_same_width(step, inputs), axis=0),
                    inputs=(2, 1000)),
    "dcn_cross": _Op(_dcn_cross, "form", "weight", maybe="layout",
                     maybe_tensors="bias", inputs=(2, 2)),
}
