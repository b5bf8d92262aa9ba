"""Train the demo's model and write what the SQL loads.

    train.py OUT                Debian's package list
    train.py OUT FOLDER         a MovieLens folder

Writes to the folder OUT: items.tsv, item_vectors.bin, events.tsv,
held_out.tsv (all for COPY), tower.safetensors, and python.tsv with the
metrics.  OUT must exist.
"""

import json
import os
import random
import sys
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, os.path.join(HERE, "..", "..", "tools"))

import fit    # noqa: E402
import recsys_export as rx    # noqa: E402

START = float(os.environ.get("DEMO_START", time.time()))
GOLDEN_ROWS = 8


def progress(text):
    print(f"[{time.time() - START:5.1f} s] {text}", flush=True)


# ----------------------------------------------------------------- the files

def write_copy(path, rows):
    """A text file for COPY; None is NULL, a list is an array of texts."""
    def field(value):
        if value is None:
            return r"\N"
        if isinstance(value, list):
            value = "{" + ",".join(
                '"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"'
                for v in value) + "}"
        return (str(value).replace("\\", "\\\\").replace("\t", "\\t")
                .replace("\n", "\\n").replace("\r", "\\r"))
    with open(path, "w", encoding="utf-8") as out:
        for row in rows:
            out.write("\t".join(map(field, row)) + "\n")


def write_vectors(path, ids, vectors):
    """A binary file for COPY: (id integer, embedding vector)."""
    d = vectors.shape[1]
    row = np.dtype([("fields", ">i2"), ("id_length", ">i4"), ("id", ">i4"),
                    ("length", ">i4"), ("dim", ">i2"), ("unused", ">i2"),
                    ("x", ">f4", (d,))])
    table = np.zeros(len(ids), row)
    table["fields"], table["id_length"], table["id"] = 2, 4, ids
    table["length"], table["dim"], table["x"] = 4 + 4 * d, d, vectors
    with open(path, "wb") as out:
        out.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        out.write(table.tobytes())
        out.write(b"\xff\xff")


def write_metrics(path, values):
    write_copy(path, [(who, *both) for who, both in values.items()])


# ----------------------------------------------------------------- the tower

def user_tower(model, list_name, lookup, weights, numbers):
    """The spec and the arrays of the user tower.

    lookup: the node that makes indexes of the list: row 0 of the table is
    the padding and whatever the model does not know, item k is row k + 1.
    numbers: (feature name, type, nodes before the z-score) in their order.
    """
    features = [rx.feature(list_name, "int[]", default=[])]
    nodes, parts = [lookup], ["bag"]
    inputs = ["index"]
    if weights:
        features.append(rx.feature(weights, "float[]", default=[]))
        inputs.append(weights)
    nodes.append(rx.node("embedding_bag", inputs, "bag", mode="mean",
                         padding_index=0, max_length=None,
                         tensors={"table": "bag.table"}))
    for k, (name, kind, log) in enumerate(numbers):
        features.append(rx.feature(name, kind, default=0))
        if log:
            nodes.append(rx.node("log1p", [name], f"{name}_log",
                                 negative="error"))
        nodes.append(rx.node("zscore", [f"{name}_log" if log else name],
                             f"{name}_z", mean=float(model.mean[k]),
                             std=float(model.std[k])))
        parts.append(f"{name}_z")
    nodes.append(rx.node("concat", parts, "all"))
    nodes.append(rx.node("linear", ["all"], "out", layout="out_in",
                         tensors={"weight": "out.weight",
                                  "bias": "out.bias"}))
    arrays = {"bag.table": np.vstack([np.zeros((1, model.bag.shape[1]),
                                               np.float32), model.bag]),
              "out.weight": model.weight, "out.bias": model.bias}
    return rx.tower(features, nodes, "out", ignore=["user_id"]), arrays


def export(path, tower, arrays, rows, expected):
    """Write the bundle; rows are golden, expected what fit.py answers."""
    rx.export(path, rx.bundle(user=tower), arrays, golden={"user": rows},
              expected={"user": expected})


# ------------------------------------------------------------- the data sets

def train_debian(out):
    import catalogue
    progress("reading the package list that apt has")
    packages = catalogue.read_records()
    if len(packages) < 10000:
        sys.exit(f"apt knows only {len(packages)} packages; as root, run "
                 "apt-get update, or give a MovieLens folder: "
                 "make demo DATA=folder")
    cat = catalogue.Catalogue(packages)
    chance = random.Random(1)
    jobs = cat.jobs()
    chance.shuffle(jobs)
    aside, jobs = jobs[:len(jobs) // 10], jobs[len(jobs) // 10:]
    progress(f"{len(cat.names):,} packages; simulating "
             f"{catalogue.TRAIN + catalogue.TEST:,} machines from "
             f"{len(jobs) + len(aside):,} jobs")
    examples = cat.machines(jobs, catalogue.TRAIN, chance)
    test = cat.machines(aside, catalogue.TEST, chance)

    progress(f"item vectors of {catalogue.DIMENSIONS} dimensions from what "
             "the machines chose")
    choices = examples.kept + examples.hidden
    vectors = fit.factorise(
        fit.sp.vstack([choices, cat.relations(aside)]).tocsr(),
        catalogue.DIMENSIONS)
    model = train_tower(examples, vectors)
    popularity = np.asarray(choices.sum(0)).ravel().astype(int)
    values = evaluate(model, test, popularity)

    progress("writing the files")
    tower, arrays = user_tower(
        model, "packages",
        rx.node("identity", ["packages"], "index", size=len(cat.names) + 1,
                offset=0, oov_index=0, padding_index=0), None,
        [("n_packages", "int", True), ("mean_log_size", "float", False),
         ("lib_share", "float", False), ("devel_share", "float", False),
         ("desktop_share", "float", False)])
    count = np.diff(test.history.indptr)
    golden = [{"packages": test.history[u].indices + 1,
               "n_packages": count[u],
               **dict(zip(("mean_log_size", "lib_share", "devel_share",
                           "desktop_share"), test.numbers[u, 1:]))}
              for u in range(GOLDEN_ROWS)]
    export(os.path.join(out, "tower.safetensors"), tower, arrays, golden,
           model.users(test.history, test.numbers)[:GOLDEN_ROWS])
    write_copy(os.path.join(out, "items.tsv"),
               [(i + 1, name, cat.section[i], cat.size_kb[i],
                 cat.records[i].get("Description", ""))
                for i, name in enumerate(cat.names)])
    write_items(out, np.arange(len(vectors)) + 1, vectors)
    write_users(out, test, np.arange(len(cat.names)) + 1)
    write_metrics(os.path.join(out, "python.tsv"), values)


def train_movielens(out, folder):
    import movielens
    progress(f"reading {folder}")
    films = movielens.MovieLens(folder)
    chance = np.random.default_rng(1)
    users = films.sample(movielens.TRAIN, chance)
    progress(f"{len(films.history[0]) + len(films.later[0]):,} ratings of "
             f"{films.user_count:,} users; training on {len(users):,}")
    examples = films.examples(users, chance)
    whole = films.matrix(users, "history")
    progress(f"item vectors of {movielens.DIMENSIONS} dimensions")
    vectors = fit.factorise(movielens.liking(whole),
                            movielens.DIMENSIONS)
    model = train_tower(examples, vectors)

    mine = users
    if len(users) > movielens.TEST:
        mine = np.sort(chance.choice(users, movielens.TEST, replace=False))
    test = films.test(mine)
    popularity = np.asarray((whole >= movielens.LIKED).sum(0)).ravel()
    values = evaluate(model, test, popularity)

    progress("writing the files")
    tower, arrays = user_tower(
        model, "films",
        rx.node("vocabulary", ["films"], "index", first_index=1, oov_index=0,
                padding_index=0, tensors={"values": "film.ids"}), "ratings",
        [("n_ratings", "int", True), ("mean_rating", "float", False),
         ("mean_year", "float", False)])
    arrays["film.ids"] = films.ids
    golden = [{"films": films.ids[test.history[u].indices],
               "ratings": test.history[u].data,
               "n_ratings": test.history[u].nnz,
               "mean_rating": test.numbers[u, 1],
               "mean_year": test.numbers[u, 2]}
              for u in range(GOLDEN_ROWS)]
    export(os.path.join(out, "tower.safetensors"), tower, arrays, golden,
           model.users(test.history, test.numbers)[:GOLDEN_ROWS])
    write_copy(os.path.join(out, "items.tsv"),
               zip(films.ids, films.titles, films.genres, films.years))
    write_items(out, films.ids, vectors)
    write_users(out, test, films.ids, ratings=True)
    write_metrics(os.path.join(out, "python.tsv"), values)


def train_tower(examples, vectors):
    progress(f"user tower from {examples.history.shape[0]:,} histories of "
             f"{examples.history.nnz / examples.history.shape[0]:.0f} items "
             "on average")
    return fit.train(examples, vectors)


def evaluate(model, test, popularity):
    kept = np.diff(test.hidden.indptr) > 0
    some = fit.Examples(test.history[kept], test.kept[kept],
                        test.hidden[kept], test.numbers[kept])
    progress(f"recall@20 of {kept.sum():,} users in Python")
    return fit.evaluate(model, some, popularity)


def write_items(out, ids, vectors):
    there = np.any(vectors != 0, axis=1)
    write_vectors(os.path.join(out, "item_vectors.bin"), ids[there],
                  vectors[there])


def write_users(out, test, ids, ratings=False):
    """events.tsv and held_out.tsv; users are numbered from 1."""
    def pairs(m):
        user = np.repeat(np.arange(m.shape[0]) + 1, np.diff(m.indptr))
        columns = [user, ids[m.indices]]
        return zip(*columns, m.data) if ratings and m is test.history \
            else zip(*columns)
    write_copy(os.path.join(out, "events.tsv"), pairs(test.history))
    write_copy(os.path.join(out, "held_out.tsv"), pairs(test.hidden))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        train_debian(sys.argv[1])
    elif len(sys.argv) == 3:
        train_movielens(*sys.argv[1:])
    else:
        sys.exit(__doc__)
