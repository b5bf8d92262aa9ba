"""
filter_data.py
	A made set with columns to filter by.  They differ in how the rows that a
	filter takes lie to one another and to the queries.  With it the conditions
	that take a share of the rows, and the exact answers under them.
"""
from dataclasses import dataclass

import numpy as np

from compare import wire

ATTRIBUTES = {
	"anywhere": "drawn at random",
	"category": "Zipf, taken by = or = ANY",
	"near": "the least angles to one of the rows",
	"far": "the least along the mean direction of the queries",
}
SEED = 7
BLOCK = 65536

# Rows a category on average; the i-th has a weight of 1 / i, so that for each
# share there is one that has about as many rows, down to a hundred-thousandth.
CATEGORY_ROWS = 50

# How far a share by categories may be off.
SLACK = 0.05


@dataclass
class Filter:
	column: str
	share: float				# that is wanted
	condition: str				# in SQL
	matching: np.ndarray		# of bool, by row

	def rows(self):
		return int(self.matching.sum())


class FilteredSet:
	"""Items, their columns, and the queries of each column."""
	metric = "ip"

	def __init__(self, folder, nqueries):
		self.name = folder.name
		self.items = np.load(folder / "items.npy", mmap_mode="r")
		self.queries = np.load(folder / "queries.npy").astype(np.float32)
		self.parameters = [wire(q) for q in self.queries]
		self.tolerance = np.zeros(len(self.queries))
		self.asked = dict.fromkeys(ATTRIBUTES, np.arange(nqueries))
		self.asked["far"], mean = alike(self.queries, nqueries)
		rng = np.random.default_rng(SEED)
		n = len(self.items)
		self.columns = {
			"anywhere": rng.permutation(n),
			"category": zipf(rng, n),
			"near": ranks(-self._along(self.items[rng.integers(n)], True)),
			"far": ranks(self._along(mean, False))}

	def _along(self, direction, cosine):
		"""Each item's part along a direction, or its cosine."""
		found = np.empty(len(self.items), np.float32)
		for first in range(0, len(found), BLOCK):
			x = self.items[first:first + BLOCK].astype(np.float32)
			found[first:first + len(x)] = x @ direction
			if cosine:
				found[first:first + len(x)] /= np.linalg.norm(x, axis=1)
		return found

	def table_columns(self):
		"""As a table has them, in the order of ATTRIBUTES."""
		return [self.columns[name].astype(">i4") for name in ATTRIBUTES]

	def filter(self, column, share):
		values = self.columns[column]
		rows = max(1, round(share * len(values)))
		if column != "category":
			return Filter(column, share, f"{column} < {rows}", values < rows)
		chosen = choose(np.bincount(values), rows)
		condition = f"category = {chosen[0]}" if len(chosen) == 1 else \
			"category = ANY ('{" + ",".join(map(str, chosen)) + "}')"
		return Filter(column, share, condition, np.isin(values, chosen))

	def compute_scores(self, column):
		"""Of all items to the column's queries; they are known in float32."""
		asked = self.asked[column]
		self.scores = np.empty((len(asked), len(self.items)), np.float32)
		for first in range(0, len(self.items), BLOCK):
			x = self.items[first:first + BLOCK].astype(np.float32)
			self.scores[:, first:first + len(x)] = -(self.queries[asked] @ x.T)
		self.tolerance[asked] = 1e-5 * np.abs(self.scores).max(axis=1)

	def kth_scores(self, kept, k):
		"""The k-th distance of each query, NaN for those of other columns."""
		found = np.full(len(self.queries), np.nan)
		found[self.asked[kept.column]] = np.partition(
			self.scores[:, kept.matching], k - 1, axis=1)[:, k - 1]
		return found

	def scores_of(self, query, found):
		items = self.items[found].astype(np.float64)
		return -(items @ self.queries[query].astype(np.float64))


def ranks(values):
	"""The place of each value, from 0 for the least."""
	found = np.empty(len(values), np.int64)
	found[np.argsort(values, kind="stable")] = np.arange(len(values))
	return found


def zipf(rng, n):
	categories = max(100, n // CATEGORY_ROWS)
	weights = 1 / (1 + np.arange(categories))
	return rng.choice(categories, n, p=weights / weights.sum())


def choose(counts, rows):
	"""Categories that have about so many rows together, few rather than many."""
	chosen, missing = [], rows
	for category in np.argsort(-counts, kind="stable"):
		if 0 < counts[category] <= missing + SLACK * rows:
			chosen.append(int(category))
			missing -= counts[category]
		if missing <= SLACK * rows:
			break
	if not chosen:
		chosen.append(int(np.where(counts > 0, counts, counts.max()).argmin()))
	return chosen


def alike(queries, n):
	"""Queries that point to one side, and the direction that they have in mean."""
	mean = queries.mean(axis=0)
	for _ in range(10):
		chosen = np.sort(np.argsort(-(queries @ mean))[:n])
		mean = queries[chosen].mean(axis=0)
	return chosen, mean / np.linalg.norm(mean)
