"""
tower_model.py
	The user tower that tower and request run: 20 features, of which one is a
	history of 50 items, four are words and 15 are numbers, and three layers of
	256, 128 and 64.  With it rows of features, and the same forward pass in
	numpy, over many rows at a time, in float32.

The weights let the mean of the history's items through to the end and add a
little of all other features: the layers hold the signs of the coordinates
apart, the rest of their weights is small noise.  So an answer lies among the
items of a user's history, as that of a trained tower does.
"""
import numpy as np

import recsys_export as rx

HISTORY, DIM = 50, 64
LAYERS = (256, 128, DIM)
WORDS, WORD_DIM, BUCKETS, VALUES = 4, 16, 100, 50
NUMBERS = 15
NOISE = 0.1					# of the weights that are noise

COLUMNS = ("id int, history int[]"
		   + "".join(f", w{k} text" for k in range(WORDS))
		   + "".join(f", n{k} real" for k in range(NUMBERS)))
IGNORED = ["id", "embedding"]


class Users:
	"""Feature rows; history has the places of items in the tower's table."""

	def __init__(self, history, seed=1):
		rng = np.random.default_rng(seed)
		self.history = history
		self.words = rng.integers(VALUES, size=(len(history), WORDS))
		self.numbers = rng.random((len(history), NUMBERS), np.float32)

	def copy_data(self, block=4096):
		"""COPY's text format, in pieces; ids count from 1."""
		for first in range(0, len(self.history), block):
			part = slice(first, first + block)
			yield "".join(
				f"{first + i + 1}\t{{{','.join(map(str, history))}}}\t"
				+ "\t".join([f"v{w}" for w in words] + [f"{n}" for n in numbers])
				+ "\n" for i, (history, words, numbers) in enumerate(zip(
					self.history[part].tolist(), self.words[part].tolist(),
					self.numbers[part].tolist()))).encode()


class TowerModel:
	def __init__(self, items, seed=1):
		"""items: the table that a history is looked up in, (n, DIM)."""
		rng = np.random.default_rng(seed)
		self.arrays = {
			"items": np.ascontiguousarray(items, np.float32),
			"words": rng.standard_normal((BUCKETS, WORD_DIM), np.float32)}
		width = DIM + WORDS * WORD_DIM + NUMBERS
		for k, out in enumerate(LAYERS):
			weight = rng.standard_normal((out, width), np.float32)
			weight *= NOISE / width
			through(weight, first=k == 0, last=out == DIM)
			self.arrays[f"weight{k}"] = weight
			self.arrays[f"bias{k}"] = np.zeros(out, np.float32)
			width = out
		self.buckets = np.array([rx.fnv1a_64(f"v{v}".encode()) % BUCKETS
								 for v in range(VALUES)])

	def features(self):
		return ([rx.feature("history", "int[]", default=[])]
				+ [rx.feature(f"w{k}", "text", default="") for k in range(WORDS)]
				+ [rx.feature(f"n{k}", "float", default=0)
				   for k in range(NUMBERS)])

	def nodes(self):
		found = [
			rx.node("identity", ["history"], "rows", offset=0, oov_index=0,
					size=len(self.arrays["items"]), padding_index=None),
			rx.node("embedding_bag", ["rows"], "taste", mode="mean",
					padding_index=None, max_length=HISTORY, keep="last",
					tensors={"table": "items"})]
		for k in range(WORDS):
			found += [
				rx.node("hash", [f"w{k}"], f"bucket{k}", function="fnv1a_64",
						buckets=BUCKETS, first_index=0, padding_index=None),
				rx.node("embedding", [f"bucket{k}"], f"word{k}",
						tensors={"table": "words"})]
		found += [rx.node("zscore", [f"n{k}"], f"z{k}", mean=0.5, std=2.0)
				  for k in range(NUMBERS)]
		found.append(rx.node("concat", ["taste"]
							 + [f"word{k}" for k in range(WORDS)]
							 + [f"z{k}" for k in range(NUMBERS)], "x0"))
		for k, out in enumerate(LAYERS):
			found.append(rx.node(
				"linear", [f"x{k}"], f"linear{k}", layout="out_in",
				tensors={"weight": f"weight{k}", "bias": f"bias{k}"}))
			if out != DIM:
				found.append(rx.node("relu", [f"linear{k}"], f"x{k + 1}"))
		found.append(rx.node("l2_normalise", [f"linear{k}"], "y",
							 epsilon=1e-12, clamp="max_norm"))
		return found

	def file(self):
		return rx.dumps(rx.single(rx.tower(self.features(), self.nodes(), "y",
										   ignore=IGNORED)), self.arrays)

	def forward(self, users, rows):
		"""The tower's answers to some rows of users."""
		taste = self.arrays["items"][users.history[rows]].mean(axis=1)
		words = self.arrays["words"][self.buckets[users.words[rows]]]
		x = np.concatenate([taste, words.reshape(len(words), -1),
							(users.numbers[rows] - 0.5) / 2.0], axis=1,
						   dtype=np.float32)
		for k, out in enumerate(LAYERS):
			x = x @ self.arrays[f"weight{k}"].T + self.arrays[f"bias{k}"]
			if out != DIM:
				np.maximum(x, 0, out=x)
		return x / np.linalg.norm(x, axis=1, keepdims=True)


def through(weight, first, last):
	"""Add what lets a vector through, as max(x, 0) and max(-x, 0) inside."""
	eye = np.eye(DIM, dtype=np.float32)
	into = eye if first else np.concatenate([eye, -eye], axis=1)
	rows = into if last else np.concatenate([into, -into])
	weight[:len(rows), :into.shape[1]] += rows


def load(conn, model, users, name="u", table="users"):
	"""Import the model and fill a table with the users."""
	conn.exec(f"SELECT recsys.import_model('{name}', '\\x{model.file().hex()}')")
	conn.exec(f"CREATE TABLE {table} ({COLUMNS})")
	conn.copy(f"COPY {table} FROM STDIN", users.copy_data())
	conn.exec(f"ALTER TABLE {table} ADD PRIMARY KEY (id)")
	conn.exec(f"VACUUM (FREEZE, ANALYZE) {table}")
