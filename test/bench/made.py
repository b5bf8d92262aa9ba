"""
made.py FOLDER [--rows N] [--dim D] [--queries N] [--seed S]
	A made set of item vectors, of any size, with the shape of real ones: writes
	items.npy and queries.npy (float32, one vector a row) into FOLDER.

As a module: MadeSet(rows).chunks(size) gives the rows without ever holding all
of them, MadeSet(rows).queries(n) the users.  Rows depend on the seed, the
dimensions and the number of rows, never on the size of the chunks; the first
n queries are the same however many are asked for.
"""
import argparse
from pathlib import Path

import numpy as np

BLOCK = 16384				# rows that share a random stream

# README.md has the shape that these give, beside that of a real set.

# A direction's standard deviation is (1 + i)^-DECAY: factorisations have a
# few strong directions and a long tail.
DECAY = 0.4

# Rows lie around sqrt(rows) centres, the i-th of which is drawn with a weight
# of 1 / (FLAT + i): few tastes have most of the items, none has very many.
FLAT = 10

# Deviation of a row from its centre, whose own length is about 1: residuals
# of k-means stay long, as in real sets, so that codes have something to do.
SPREAD = 0.8

# Lengths follow popularity: log-normal with this sigma, median MEDIAN.  They
# do not depend on the direction.
POPULARITY = 0.55
MEDIAN = 0.5

# A user likes a mix of TASTES centres, with deviation NOISE / sqrt(TASTES);
# users have length 1.
TASTES = 3
NOISE = 0.5


class MadeSet:
	def __init__(self, rows, dim=128, seed=1):
		self.rows, self.dim, self.seed = rows, dim, seed
		rng = self._stream(0)
		deviation = (1 + np.arange(dim, dtype=np.float32)) ** -DECAY
		self.deviation = deviation / np.linalg.norm(deviation)
		clusters = max(16, round(rows ** 0.5))
		self.weights = 1 / (FLAT + np.arange(clusters))
		self.weights /= self.weights.sum()
		self.centres = self._around_zero(rng, clusters)
		# so that no coordinate is special
		self.rotation = np.linalg.qr(rng.standard_normal((dim, dim)))[0] \
			.astype(np.float32)

	def _stream(self, *place):
		return np.random.default_rng([self.seed, self.dim, *place])

	def _around_zero(self, rng, n):
		return self.deviation * rng.standard_normal((n, self.dim),
													dtype=np.float32)

	def _block(self, block):
		"""Rows block * BLOCK and on: BLOCK of them, or what is left."""
		n = min(BLOCK, self.rows - block * BLOCK)
		rng = self._stream(1, block)
		cluster = rng.choice(len(self.weights), n, p=self.weights)
		lengths = MEDIAN * np.exp(POPULARITY * rng.standard_normal(n))
		x = self.centres[cluster] + SPREAD * self._around_zero(rng, n)
		x *= (lengths / np.linalg.norm(x, axis=1))[:, None].astype(np.float32)
		return x @ self.rotation

	def chunks(self, size=BLOCK):
		"""All rows in order, float32, in arrays of size rows."""
		parts, held = [], 0
		for block in range(-(-self.rows // BLOCK)):
			x = self._block(block)
			while held + len(x) >= size:
				take = size - held
				yield np.concatenate(parts + [x[:take]])
				parts, held, x = [], 0, x[take:]
			parts.append(x)
			held += len(x)
		if held:
			yield np.concatenate(parts)

	def queries(self, n):
		rng = self._stream(2)
		q = np.empty((n, self.dim), np.float32)
		for i in range(n):
			tastes = rng.choice(len(self.weights), TASTES, p=self.weights)
			mix = rng.dirichlet(np.ones(TASTES)).astype(np.float32)
			x = mix @ self.centres[tastes] \
				+ NOISE / TASTES ** 0.5 * self._around_zero(rng, 1)[0]
			q[i] = x / np.linalg.norm(x) @ self.rotation
		return q


def write(folder, made, queries):
	"""
	Write both files; a file is complete, or has not its name yet.
	"""
	folder = Path(folder)
	folder.mkdir(parents=True, exist_ok=True)
	np.save(folder / "queries.npy", made.queries(queries))
	temporary = folder / "items.part"
	items = np.lib.format.open_memmap(temporary, "w+", np.float32,
									  (made.rows, made.dim))
	first = 0
	for x in made.chunks():
		items[first:first + len(x)] = x
		first += len(x)
	items.flush()
	temporary.rename(folder / "items.npy")


def main():
	parser = argparse.ArgumentParser()
	parser.add_argument("folder")
	parser.add_argument("--rows", type=int, default=1_000_000)
	parser.add_argument("--dim", type=int, default=128)
	parser.add_argument("--queries", type=int, default=1000)
	parser.add_argument("--seed", type=int, default=1)
	args = parser.parse_args()
	write(args.folder, MadeSet(args.rows, args.dim, args.seed), args.queries)


if __name__ == "__main__":
	main()
