"""
filter.py [OPTION...] CACHE REPORT
	Measures scans with a filter: recsys_ivfpq with filter columns beside
	pgvector's iterative scan and the exact plan, in the server that the PG*
	variables name, and writes a report.  test/bench/filter makes the server;
	README.md says what is measured and how.
"""
import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

from compare import (Comparison, Contender, build_table, machine_lines, say,
					 size_lines)
from ivfpq import LargeSet, made_folder

KS = (10, 100)
SHARES = (0.5, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0001, 0.00001)
QUICK_SHARES = (0.1, 0.01, 0.001)
COLUMNS = {"anywhere": "drawn at random",
		   "near": "the least along one direction"}
QUERIES = 100
QUICK_QUERIES = 40
BLOCKS = 4
EXACT_QUERIES = 8			# a block, of the plan without an index


class FilteredSet(LargeSet):
	"""Exact scores of all items, for a filter to choose among."""

	def __init__(self, folder, cache, nqueries):
		super().__init__(folder, cache)
		self.scores = np.empty((nqueries, len(self.items)), np.float32)
		for first in range(0, len(self.items), 65536):
			x = self.items[first:first + 65536].astype(np.float32)
			self.scores[:, first:first + len(x)] = -(self.queries[:nqueries] @ x.T)
		# the k-th score is known in float32
		self.tolerance = 1e-5 * np.abs(self.best).max(axis=1)

	def kth_of(self, matching, k):
		return np.partition(self.scores[:, matching], k - 1, axis=1)[:, k - 1]


class FilterBench(Comparison):
	SYSTEMS = {
		"ivfpq": ("rec", "USING recsys_ivfpq (embedding {}, anywhere, near)"),
		"pgvector": Comparison.SYSTEMS["pgvector"],
	}
	COLUMNS = ", anywhere int, near int"

	def fill(self, system):
		"""Two orders of the rows, of which a filter takes the first."""
		table = system.table()
		self.conn.exec(
			f"UPDATE {table} t SET anywhere = a - 1, near = n - 1 FROM ("
			"SELECT id, row_number() OVER (ORDER BY hashint4(id), id) AS a, "
			"row_number() OVER (ORDER BY (embedding::real[])[1] + "
			"0.3 * (embedding::real[])[2], id) AS n "
			f"FROM {table}) r WHERE r.id = t.id")
		self.conn.exec(f"VACUUM FULL {table}")
		rows = self.conn.exec(f"SELECT anywhere, near FROM {table} ORDER BY id")
		self.values = np.array(rows, dtype=np.int64)

	def point_contenders(self, column, first, k):
		"""The first rows of a column's order: their best k."""
		found = []
		for system in self.systems:
			statement = (f"SELECT id FROM {system.table()} WHERE {column} < "
						 f"{first} ORDER BY {system.distance('ip')} LIMIT {k}")
			name = self.prepare(f"{system.name}_{column}_{first}_{k}", statement)
			settings = "SET enable_indexscan = on; SET enable_seqscan = off"
			if system.name == "pgvector":
				settings += ("; SET hnsw.iterative_scan = strict_order; "
							 "SET hnsw.ef_search = 100; "
							 f"SET hnsw.max_scan_tuples = {len(self.values)}")
			found.append(Contender(system.name, name, system, settings))
		name = self.prepare(f"exact_{column}_{first}_{k}", statement.replace(
			system.table(), self.systems[0].table()).replace(
			system.schema, self.systems[0].schema))
		found.append(Contender("exact", name, None,
							   "SET enable_indexscan = off; SET enable_seqscan = on"))
		return found

	def run_point(self, column, share, k, nqueries):
		first = max(1, round(share * len(self.values)))
		matching = self.values[:, list(COLUMNS).index(column)] < first
		k = min(k, first)
		self.kth = self.data.kth_of(matching, k)
		contenders = self.point_contenders(column, first, k)
		blocks = np.array_split(np.arange(nqueries), BLOCKS)
		for b, block in enumerate(blocks):
			turn = b % len(contenders)
			for c in contenders[turn:] + contenders[:turn]:
				queries = block if c.system else block[:EXACT_QUERIES]
				self.run_block(c, k, queries, blocks[b - 1][:4])
		say(f"  {column}, {share:.3%}, K = {k}")
		return contenders


def cell(contender):
	recall = contender.recall()
	what = "" if recall is None else f"{recall:.3f}; "
	what += f"{1000 * contender.median():.2f}; {1000 * contender.mean_cpu():.2f}"
	if contender.queries:
		what += f"; {contender.buffers / contender.queries:.0f}"
	return what + (f"; {contender.short} short" if contender.short else "")


def report(bench, points, head, seconds):
	n, dim = bench.data.items.shape
	lines = [f"# Filters: {n} x {dim}", "",
			 f"- data: {bench.data.name}, inner product; one client, prepared "
			 "statements, blocks of queries in turn"] + head
	lines += ["- " + ", ".join(f"{s.name} {s.version}" for s in bench.systems),
			  f"- the run took {seconds:.0f} s", "",
			  "In the cells: recall; median ms; CPU ms of the server; index "
			  "pages. Exact is the plan without an index."]
	lines += build_table(bench.systems) + size_lines(bench.systems, n)
	for column, what in COLUMNS.items():
		for k in KS:
			labels = [c.label for c in points[column, k][0][1]]
			lines += ["", f"## {column} ({what}), K = {k}", "",
					  "| rows that match | " + " | ".join(labels) + " |",
					  "|---|" + "---|" * len(labels)]
			lines += [f"| {share:.3%} | " + " | ".join(map(cell, contenders))
					  + " |" for share, contenders in points[column, k]]
	return "\n".join(lines) + "\n"


def arguments():
	parser = argparse.ArgumentParser()
	parser.add_argument("--rows", type=int)
	parser.add_argument("--quick", action="store_true")
	parser.add_argument("--no-rival", action="store_true")
	for name in ("cache", "report"):
		parser.add_argument(name, type=Path)
	args = parser.parse_args()
	args.rows = args.rows or (100_000 if args.quick else 1_000_000)
	return args


def main():
	start = time.monotonic()
	args = arguments()
	nqueries = QUICK_QUERIES if args.quick else QUERIES
	data = FilteredSet(made_folder(args.cache, args.rows), args.cache, nqueries)
	names = ("ivfpq",) if args.no_rival else ("ivfpq", "pgvector")
	bench = FilterBench(data, args.quick, names)
	say(f"loading {data.name}: {len(data.items)} items")
	bench.load()
	say("building the indexes")
	bench.build(1, (os.cpu_count() - 1,))
	points = {}
	for column in COLUMNS:
		for k in KS:
			points[column, k] = [
				(share, bench.run_point(column, share, k, nqueries))
				for share in (QUICK_SHARES if args.quick else SHARES)]
	text = report(bench, points, machine_lines(bench.conn),
				  time.monotonic() - start)
	args.report.write_text(text)
	say("")
	say(text)


if __name__ == "__main__":
	sys.exit(main())
