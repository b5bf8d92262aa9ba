"""Random towers over every op, and what the reference answers to them.

    parity.py FOLDER SEED COUNT

writes COUNT tower files to FOLDER, and parity.sql, which imports them and
prints one line a tower: its name, and the largest error of embed(record), of
embed(jsonb) and of the golden rows, each relative to the largest element of
the reference's answer.  Prints the ops that the towers use, and all ops.
"""

import json
import os
import random
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../tools"))
import recsys_export as rx  # noqa: E402

WORDS = ["", "drama", "comédie", "ホラー", "it's", 'a "b"', "\\x", "x" * 70,
         "null", "{}", "western", "noir"]


class Maker:
    """One random tower: nodes are added at random, then all are joined."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.np = np.random.default_rng(seed)
        self.features, self.nodes, self.arrays = [], [], {}
        self.columns = {}       # feature name: (SQL type, value maker)
        self.scalars, self.vectors = [], {}     # names; names to widths
        self.count = 0

    def name(self, stem):
        self.count += 1
        return f"{stem}{self.count}"

    def array(self, *shape, positive=False):
        name = self.name("t")
        a = self.np.normal(size=shape)
        a = np.abs(a) + 0.1 if positive else a
        self.arrays[name] = a.astype(
            self.rng.choice([np.float64, np.float32, np.float16]))
        return name

    def node(self, op, inputs, width=None, tensors=None, **fields):
        output = self.name(op + "_")
        self.nodes.append(rx.node(op, inputs, output, tensors=tensors,
                                  **fields))
        if width is not None:
            self.vectors[output] = width
        return output

    def feature(self, kind, sql, value, default, **fields):
        name = self.name("f ")
        self.features.append(rx.feature(name, kind, default=default,
                                        **fields))
        self.columns[name] = (sql, value)
        return name

    # features

    def number(self):
        sql = self.rng.choice(["real", "double precision", "numeric(12,3)",
                               "integer", "smallint", "bigint"])
        whole = sql in ("integer", "smallint", "bigint")
        kind = "int" if whole and self.rng.random() < 0.5 else "float"
        name = self.feature(
            kind, sql, lambda: self.rng.randint(-300, 300) if whole
            else np.float32(self.rng.randint(-9000, 9000) / 8).item(), 3)
        return name

    def boolean(self):
        return self.feature("bool", "boolean",
                            lambda: self.rng.random() < 0.5, True)

    def word(self):
        sql = self.rng.choice(["text", "varchar(80)"])
        return self.feature("text", sql, lambda: self.rng.choice(WORDS), "")

    def integer(self):
        return self.feature("int", self.rng.choice(["integer", "bigint"]),
                            lambda: self.rng.randint(-5, 60), 7)

    def length(self):
        return self.rng.choice([0, 1, 1, 3, 8, 40])

    def bag(self):
        """A list feature, of integers or texts, with or without NULLs."""
        nulls = self.rng.choice(["error", "padding"])
        words = self.rng.random() < 0.5

        def element():
            if nulls == "padding" and self.rng.random() < 0.2:
                return None
            return (self.rng.choice(WORDS) if words
                    else self.rng.randint(-5, 60))
        sql = (self.rng.choice(["text[]", "varchar[]"]) if words
               else self.rng.choice(["integer[]", "bigint[]", "smallint[]"]))
        return self.feature("text[]" if words else "int[]", sql,
                            lambda: [element() for _ in range(self.length())],
                            [], null_elements=nulls), words

    def dense(self):
        dim = self.rng.choice([1, 3, 16])
        name = self.feature(
            "vector", self.rng.choice(["vector", f"vector({dim})", "real[]",
                                       "double precision[]"]),
            lambda: self.np.normal(size=dim).astype(np.float32).tolist(),
            [0.5] * dim, dim=dim)
        self.vectors[name] = dim
        return name

    # lookups

    def index(self, source, words):
        """An index of the feature; returns its name and its size."""
        kind = self.rng.choice(["vocabulary", "hash"] if words
                               else ["vocabulary", "hash", "identity"])
        padding = self.rng.choice([0, 3])
        oov = self.rng.choice([1, 3])
        if kind == "vocabulary":
            values = (WORDS[1:7] if words
                      else self.rng.sample(range(-5, 60), 20))
            fields, tensors = {"values": values}, None
            if not words and self.rng.random() < 0.5:
                name = self.name("t")
                self.arrays[name] = np.array(
                    values, self.rng.choice([np.int32, np.int64]))
                fields, tensors = {}, {"values": name}
            size = 4 + len(values)
            return self.node(kind, [source], tensors=tensors, first_index=4,
                             oov_index=oov, padding_index=padding,
                             **fields), size
        if kind == "hash":
            seed = self.rng.randint(0, 2 ** 32 - 1)
            fields = self.rng.choice([
                {"function": "fnv1a_64"},
                {"function": "murmur3_32", "seed": seed}])
            return self.node(kind, [source], buckets=13, first_index=2,
                             padding_index=padding, **fields), 15
        return self.node(kind, [source], size=30, offset=2, oov_index=oov,
                         padding_index=padding), 30

    def embed_bag(self):
        source, words = self.bag()
        index, size = self.index(source, words)
        inputs, width = [index], self.rng.choice([1, 5, 32])
        fields = self.rng.choice([{"max_length": None},
                                  {"max_length": 5, "keep": "first"},
                                  {"max_length": 5, "keep": "last"}])
        if self.rng.random() < 0.5:
            inputs.append(self.weights(source))
        self.node("embedding_bag", inputs, width,
                  {"table": self.array(size + self.rng.choice([0, 2]), width)},
                  mode=self.rng.choice(["sum", "mean", "sqrtn"]),
                  padding_index=self.rng.choice([None, 0, 3]), **fields)

    def weights(self, source):
        """A list of weights, as long as the list source in every row."""
        sql = self.rng.choice(["real[]", "double precision[]", "boolean[]",
                               "integer[]"])
        nulls = self.rng.choice(["error", "zero"])

        def element():
            if nulls == "zero" and self.rng.random() < 0.2:
                return None
            if sql == "boolean[]":
                return self.rng.random() < 0.7
            weight = self.rng.randint(1, 8)
            return weight if sql == "integer[]" else weight / 4
        name = self.feature("float[]", sql, None, [], null_elements=nulls)
        self.columns[name] = (sql, lambda row: None if row[source] is None
                              else [element() for _ in row[source]])
        return name

    def embed_one(self):
        words = self.rng.random() < 0.5
        source = self.word() if words else self.integer()
        index, size = self.index(source, words)
        self.use_index(index, size)

    def embed_bucket(self):
        bounds = sorted(self.rng.sample(range(-300, 300), 6))
        index = self.node("bucketise", [self.number()], boundaries=bounds,
                          side=self.rng.choice(["left", "right"]))
        self.use_index(index, 7)

    def use_index(self, index, size):
        if self.rng.random() < 0.5:
            self.node("one_hot", [index], size + 1, size=size + 1)
        else:
            width = self.rng.choice([1, 4, 24])
            self.node("embedding", [index], width,
                      {"table": self.array(size, width)})

    # numbers

    def scale(self):
        source = self.rng.choice([self.number, self.boolean])()
        op = self.rng.choice(["zscore", "min_max", "log1p"])
        if op == "zscore":
            y = self.node(op, [source], mean=self.rng.uniform(-50, 50),
                          std=self.rng.uniform(1, 90))
        elif op == "min_max":
            y = self.node(op, [source], clip=self.rng.random() < 0.5,
                          min=-200.5, max=177)
        else:
            y = self.node(op, [source],
                          negative=self.rng.choice(["clamp", "signed"]))
        self.scalars.append(y)

    def scale_vector(self):
        x, n = self.vector()
        op = self.rng.choice(["zscore", "min_max", "log1p"])
        if op == "zscore":
            self.node(op, [x], n, {"std": self.array(n, positive=True)},
                      mean=0.25)
        elif op == "min_max":
            low = self.array(n)
            high = self.name("t")
            self.arrays[high] = (np.float32(self.arrays[low])
                                 + np.float32(1.5))
            self.node(op, [x], n, {"min": low, "max": high}, clip=True)
        else:
            self.node(op, [x], n, negative="signed")

    # layers

    def vector(self):
        x = self.rng.choice(list(self.vectors))
        return x, self.vectors[x]

    def activation(self):
        x, n = self.vector()
        op = self.rng.choice(["relu", "silu", "tanh", "sigmoid", "gelu",
                              "gelu", "leaky_relu"])
        fields = {"gelu": {"approximate": self.rng.choice(["none", "tanh"])},
                  "leaky_relu": {"slope": 0.125}}.get(op, {})
        self.node(op, [x], n, **fields)

    def linear(self):
        x, n = self.vector()
        out = self.rng.choice([1, 7, 48])
        layout = self.rng.choice(["out_in", "in_out"])
        shape = (out, n) if layout == "out_in" else (n, out)
        tensors = {"weight": self.array(*shape)}
        if self.rng.random() < 0.7:
            tensors["bias"] = self.array(out)
        self.node("linear", [x], out, tensors, layout=layout)

    def norm(self):
        x, n = self.vector()
        op = self.rng.choice(["layer_norm", "batch_norm", "l2_normalise"])
        if op == "l2_normalise":
            self.node(op, [x], n, epsilon=self.rng.choice([1e-12, 0.5, 9]),
                      clamp=self.rng.choice(["max_norm", "add_norm",
                                             "max_square", "add_square"]))
            return
        tensors = {}
        if op == "batch_norm":
            tensors = {"mean": self.array(n),
                       "variance": self.array(n, positive=True)}
        for role in ("weight", "bias"):
            if self.rng.random() < 0.6:
                tensors[role] = self.array(n)
        self.node(op, [x], n, tensors, epsilon=self.rng.choice([1e-5, 0.1]))

    def combine(self):
        x, n = self.vector()
        other = self.rng.choice([v for v, m in self.vectors.items()
                                 if m == n])
        op = self.rng.choice(["add", "multiply", "dcn_cross", "dcn_cross"])
        if op != "dcn_cross":
            self.node(op, [x, other], n)
            return
        form = self.rng.choice(["vector", "matrix"])
        layout = self.rng.choice(["out_in", "in_out"])
        tensors = {"weight": self.array(n) if form == "vector"
                   else self.array(n, n)}
        if self.rng.random() < 0.5:
            tensors["bias"] = self.array(n)
        self.node(op, [x, other], n, tensors, form=form,
                  **({} if form == "vector" else {"layout": layout}))

    def concat(self):
        parts = self.rng.sample(list(self.vectors),
                                min(3, len(self.vectors)))
        self.node("concat", parts, sum(self.vectors[p] for p in parts))

    def settle(self):
        """Put each vector through a norm, so that none drowns the others."""
        for x, n in list(self.vectors.items()):
            self.node("l2_normalise", [x], n, epsilon=1e-6, clamp="add_norm")

    def make(self):
        for step in (self.dense, self.embed_bag, self.embed_one,
                     self.embed_bucket, self.scale):
            for _ in range(self.rng.randint(1, 2)):
                step()
        for _ in range(self.rng.randint(4, 12)):
            self.rng.choice([self.activation, self.linear, self.norm,
                             self.combine, self.concat, self.scale_vector])()
        first = set(self.vectors)
        self.settle()
        parts = [v for v in self.vectors if v not in first] + self.scalars
        width = sum(self.vectors.get(p, 1) for p in parts)
        joined = self.node("concat", parts, width)
        out = self.node("linear", [joined], 32, {"weight": self.array(32, width)},
                        layout="out_in")
        return rx.tower(self.features, self.nodes, out, ignore=["id"])

    def row(self):
        row = {}
        for name, (_sql, value) in self.columns.items():
            if value.__code__.co_argcount:
                row[name] = value(row)
            else:
                row[name] = None if self.rng.random() < 0.15 else value()
        return row


def literal(value, sql):
    """A value as an SQL expression of the type."""
    if value is None:
        return f"NULL::{sql}"
    if isinstance(value, list) and not sql.startswith("vector"):
        body = ",".join(literal(v, sql[:-2]) for v in value)
        return f"ARRAY[{body}]::{sql}"
    if isinstance(value, str):
        quoted = value.replace("'", "''")
        return f"'{quoted}'::{sql}"
    return f"'{json.dumps(value)}'::{sql}"


def write_sql(out, name, maker, rows, answers, path):
    columns = ", ".join(f'"{c}" {sql}'
                        for c, (sql, _value) in maker.columns.items())
    out.write(f"SELECT recsys.import_model('{name}', "
              f"pg_read_binary_file('{path}')) \\g /dev/null\n"
              f'CREATE TABLE "{name}" (id int, {columns});\n'
              f"CREATE TABLE {name}_want (id int, j jsonb, y float8[]);\n")
    for k, (row, answer) in enumerate(zip(rows, answers)):
        values = ", ".join(literal(row[c], sql)
                           for c, (sql, _value) in maker.columns.items())
        features = json.dumps(row).replace("'", "''")
        out.write(f'INSERT INTO "{name}" VALUES ({k}, {values});\n'
                  f"INSERT INTO {name}_want VALUES ({k}, '{features}', "
                  f"'{{{','.join(map(repr, answer.tolist()))}}}');\n")
    error = ("(SELECT max(abs(a - b)) / max(abs(b)) "
             "FROM unnest({}::real[], w.y) u (a, b))")
    by_record = error.format(f"recsys.embed('{name}', r)")
    by_json = error.format(f"recsys.embed('{name}', w.j)")
    out.write(f"SELECT '{name}', max({by_record}), max({by_json}), "
              f"recsys.verify_model('{name}') / (SELECT max(abs(v)) "
              f"FROM {name}_want, unnest(y) v) "
              f'FROM "{name}" r JOIN {name}_want w USING (id);\n'
              f'DROP TABLE "{name}", {name}_want;\n'
              f"SELECT recsys.drop_model('{name}') \\g /dev/null\n")


def main(folder, seed, count):
    used = set()
    with open(os.path.join(folder, "parity.sql"), "w") as out:
        for k in range(count):
            maker = Maker(seed + k)
            net = rx.single(maker.make())
            used |= {step["op"] for step in net["towers"][""]["nodes"]}
            rows = [maker.row() for _ in range(12)]
            answers = [rx.forward(net, maker.arrays, row) for row in rows]
            path = os.path.join(folder, f"tower_{k}.safetensors")
            rx.export(path, net, maker.arrays, golden={"": rows})
            os.chmod(path, 0o644)
            write_sql(out, f"tower_{k}", maker, rows, answers, path)
    print("used:", *sorted(used))
    print("all:", *sorted(rx.OPS))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
