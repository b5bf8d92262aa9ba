"""
made_shape.py FOLDER...
	The shape of sets of item vectors (items.npy, queries.npy), as a table with
	a column a set: what decides how hard a set is for an inverted file.
"""
import sys
from pathlib import Path

import numpy as np

QUERIES = 200
BLOCK = 16384


def quantiles_line(name, values, levels):
	values = np.quantile(values, levels)
	return name, ", ".join(f"{v:.2f}" for v in values)


def spectrum_line(name, x):
	"""Share of the variance in the strongest directions."""
	w = np.linalg.eigvalsh(np.cov(x.T))[::-1]
	share = np.cumsum(w) / w.sum()
	return name, ", ".join(f"{share[i - 1]:.2f}" for i in (1, 8, 32, 64))


def nearest(x, centres):
	squares = (centres ** 2).sum(1)
	return np.concatenate([
		np.argmin(squares - 2 * (x[i:i + BLOCK] @ centres.T), 1)
		for i in range(0, len(x), BLOCK)])


def cluster(x, lists, rng):
	"""k-means as the index does it for inner product; the list of each row."""
	squares = (x ** 2).sum(1)
	augmented = np.c_[x, np.sqrt(squares.max() - squares)]
	sample = augmented[rng.choice(len(x), min(len(x), 64 * lists), False)]
	centres = sample[:lists].copy()
	for _ in range(8):
		found = nearest(sample, centres)
		sums = np.zeros_like(centres)
		np.add.at(sums, found, sample)
		counts = np.bincount(found, minlength=lists)[:, None]
		centres = np.where(counts > 0, sums / np.maximum(counts, 1), centres)
	return nearest(augmented, centres)


def means(x, found, lists):
	sums = np.zeros((lists, x.shape[1]), np.float32)
	np.add.at(sums, found, x)
	return sums / np.maximum(np.bincount(found, minlength=lists), 1)[:, None]


def in_part(found, near, centres, width, queries, part):
	"""Share of the rows near that lie in the lists met in a part of the set."""
	counts = np.bincount(found, minlength=len(centres))
	rho = np.sqrt(width / centres.shape[1])
	lengths = np.linalg.norm(queries, axis=1)
	order = np.argsort(-(queries @ centres.T
						 + 1.5 * lengths[:, None] * rho), axis=1)
	rows_before = np.cumsum(counts[order], 1) - counts[order]
	place = np.argsort(order, axis=1)
	reached = np.take_along_axis(
		rows_before, np.take_along_axis(place, found[near], 1), 1)
	return (reached < part * len(found)).mean()


def residual_lines(x, queries, near, rng):
	lists = max(1, round(len(x) ** 0.75 / 22))
	found = cluster(x, lists, rng)
	centres = means(x, found, lists)
	counts = np.bincount(found, minlength=lists)
	c = centres[found]
	plain = ((x - c) ** 2).sum(1)
	width = np.bincount(found, plain, lists) / np.maximum(counts, 1)
	factor = (x * c).sum(1) / np.maximum((c ** 2).sum(1), 1e-12)
	r = x - factor[:, None] * c
	squares = (x ** 2).sum(1)
	residual = (r ** 2).sum(1)
	yield "lists", str(lists)
	yield "rows of the longest list over the mean", \
		f"{counts.max() * lists / len(x):.1f}"
	yield "\\|x - c\\|² over \\|x\\|², mean", f"{plain.sum() / squares.sum():.2f}"
	yield "the same with x's part along c taken off", \
		f"{residual.sum() / squares.sum():.2f}"
	yield quantiles_line("cosine of x and c: 0.1, 0.5, 0.9", np.sqrt(
		np.maximum(1 - residual / squares, 0)), (0.1, 0.5, 0.9))
	unit = r / np.sqrt(np.maximum(residual, 1e-12))[:, None]
	yield spectrum_line("unit residuals: variance in 1, 8, 32, 64", unit)
	for k in (10, 1000):
		share = in_part(found, near[:, :k], centres, width, queries, 0.01)
		yield f"best {k} in the lists met in 1% of the rows", f"{share:.2f}"


def best_rows(x, queries):
	"""
	The 1000 best rows of each query, and the scores of the best, the 10th and
	the 1000th in standard deviations of all scores.
	"""
	near, best = [], []
	for q in queries:
		scores = x @ q
		found = np.argpartition(scores, -1000)[-1000:]
		found = found[np.argsort(-scores[found])]
		near.append(found)
		best.append(scores[found[[0, 9, 999]]] / scores.std())
	return np.array(near), np.array(best)


def shape(folder):
	rng = np.random.default_rng(1)
	x = np.load(folder / "items.npy").astype(np.float32)
	queries = np.load(folder / "queries.npy").astype(np.float32)[:QUERIES]
	lengths = np.linalg.norm(x, axis=1)
	near, best = best_rows(x, queries)
	rank = np.searchsorted(np.sort(lengths), lengths[near[:, :10]]) / len(x)
	yield "rows", str(len(x))
	yield quantiles_line(
		"length over the median: 0.01, 0.1, 0.9, 0.99, 1",
		lengths / np.median(lengths), (0.01, 0.1, 0.9, 0.99, 1))
	yield spectrum_line("directions: variance in 1, 8, 32, 64",
						x / lengths[:, None])
	yield "score of the best, the 10th, the 1000th, in deviations", ", ".join(
		f"{v:.1f}" for v in best.mean(0))
	yield quantiles_line("length of the best 10, as quantile: 0.1, 0.5",
						 rank, (0.1, 0.5))
	yield from residual_lines(x, queries, near, rng)


def main():
	columns = [(Path(f).name, dict(shape(Path(f)))) for f in sys.argv[1:]]
	print("| | " + " | ".join(name for name, _ in columns) + " |")
	print("|---|" + "---|" * len(columns))
	for line in columns[0][1]:
		print(f"| {line} | " + " | ".join(c[line] for _, c in columns) + " |")


if __name__ == "__main__":
	sys.exit(main())
