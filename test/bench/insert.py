"""
insert.py [OPTION...] CACHE REPORT
	Measures inserts into indexes that have rows already, in the server that the
	PG* variables name, and writes a report.  test/bench/insert makes the server
	and tells the options; README.md says what is measured and how.
"""
import argparse
import os
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from compare import (Comparison, System, build_table, copy_data, machine_lines,
					 say, size_lines, spread, vector_bytes, wire)
from ivfpq import made_folder
from pgbench import pgbench
from pq import Parameter

LABELS = {"hnsw": "recsys_hnsw", "ivfpq": "recsys_ivfpq",
		  "pgvector": "pgvector HNSW", "none": "no index"}
BLOCKS = 4
BATCH = 100					# rows of a transaction of many
BULK_ROWS = 10_000
WRITERS = 8
K = 10
RECALL_QUERIES = 200
EF_SEARCH = 100				# of pgvector, where recall is measured

# Phases
SINGLE = "one row a transaction, synchronous_commit = {}"
BATCHED = f"{BATCH} rows a transaction, synchronous_commit = {{}}"
CLIENTS = "pgbench, {} clients, one row a transaction"
BULK = f"INSERT ... SELECT of {BULK_ROWS} rows"
STEADY = "one row a transaction, full_page_writes = off"


@dataclass
class Amounts:
	"""Rows that each phase inserts into each table."""
	single: int				# in transactions of their own
	batched: int				# in transactions of BATCH
	alone: int					# by one client of pgbench
	together: int				# by WRITERS clients

	def all(self):
		return 3 * self.single + 2 * self.batched + self.alone + \
			self.together + BULK_ROWS


AMOUNTS = Amounts(2000, 4000, 4000, 8000)
QUICK_AMOUNTS = Amounts(400, 800, 800, 1600)


@dataclass
class Measured:
	"""What a phase came to for one system."""
	rows: int = 0
	seconds: list = field(default_factory=list)		# of each statement
	elapsed: list = field(default_factory=list)		# of each block
	wal: int = 0				# bytes

	def rate(self):
		return self.rows / sum(self.elapsed)

	def quantile(self, share):
		return float(np.quantile(self.seconds, share))

	def bytes(self):
		return self.wal / self.rows

	def ratios(self, other):
		"""How many times faster than another, block by block."""
		return [b / a for a, b in zip(self.elapsed, other.elapsed)]


class GrowingSet:
	"""Items of which the first are indexed and the others inserted."""
	metric = "ip"

	def __init__(self, folder, rows):
		self.name = folder.name
		self.all = np.load(folder / "items.npy", mmap_mode="r")
		self.items = self.all[:rows]
		self.queries = np.load(folder / "queries.npy")[:RECALL_QUERIES]
		self.parameters = [wire(q) for q in self.queries]

	def recall(self, rows, answers):
		"""Of lists of ids, when the first rows are in the table; by distance."""
		scores = self.queries.astype(np.float64) @ \
			self.all[:rows].T.astype(np.float64)
		kth = np.partition(scores, -K, axis=1)[:, -K]
		kth -= 1e-9 * np.abs(kth)
		return float(np.mean([(scores[i, list(set(ids))] >= kth[i]).sum() / K
							  for i, ids in enumerate(answers)]))


class InsertBench(Comparison):
	SYSTEMS = {
		"hnsw": ("rec", "USING recsys_hnsw (embedding {})"),
		"ivfpq": ("rec", "USING recsys_ivfpq (embedding {})"),
		"pgvector": Comparison.SYSTEMS["pgvector"],
	}

	def __init__(self, data, quick, names):
		super().__init__(data, quick, names)
		self.amounts = QUICK_AMOUNTS if quick else AMOUNTS
		self.next = len(data.items)		# the first that is not inserted yet
		self.floor = System("none", self.systems[-1].schema, "")
		self.contestants = self.systems + [self.floor]
		self.phases = {}
		self.recalls = []				# before and after: a dict of each

	def load(self):
		super().load()
		dim = self.data.items.shape[1]
		model = self.systems[-1].table()
		self.conn.exec(
			f"CREATE TABLE {self.floor.table()} (LIKE {model} INCLUDING ALL); "
			f"INSERT INTO {self.floor.table()} SELECT * FROM {model}")
		for schema in {s.schema for s in self.contestants}:
			self.conn.exec(f"CREATE TABLE {schema}_new (id int PRIMARY KEY, "
						   f"embedding {schema}.vector({dim}) NOT NULL)")
			self.conn.copy(f"COPY {schema}_new FROM STDIN (FORMAT binary)",
						   copy_data(self.data.all[self.next:],
									 first_id=self.next))
			self.conn.exec(f"VACUUM (FREEZE, ANALYZE) {schema}_new")
		self.conn.exec(f"CREATE SEQUENCE place CACHE {BATCH}")
		for system in self.contestants:
			self.prepare(system.name,
						 f"INSERT INTO {system.table()} VALUES ($1, $2)")

	# ----- the ways to insert: seconds of each statement, and of all -----

	def parameters(self, ids):
		return [Parameter(struct.pack(">i", i), vector_bytes(self.data.all[i]))
				for i in ids]

	def single(self, system, ids):
		"""Each row in a transaction of its own."""
		parameters = self.parameters(ids)
		start = time.perf_counter()
		seconds, _ = self.conn.time_prepared(system.name, parameters)
		return seconds, time.perf_counter() - start

	def batched(self, system, ids):
		"""BATCH rows in a transaction."""
		seconds = []
		parameters = self.parameters(ids)
		start = time.perf_counter()
		for first in range(0, len(ids), BATCH):
			self.conn.exec("BEGIN")
			seconds += self.conn.time_prepared(
				system.name, parameters[first:first + BATCH])[0]
			self.conn.exec("COMMIT")
		return seconds, time.perf_counter() - start

	def by_pgbench(self, clients):
		"""
		Clients share the rows by a sequence.  Each takes BATCH numbers at once
		and inserts a multiple of BATCH rows, so that all are taken.
		"""
		def insert(system, ids):
			self.conn.exec(f"ALTER SEQUENCE place RESTART {ids[0]}")
			run = pgbench(
				f"INSERT INTO {system.table()} SELECT id, embedding "
				f"FROM {system.schema}_new "
				"WHERE id = (SELECT nextval('place'))::int;\n",
				clients, "-t", len(ids) // clients,
				settings="-c synchronous_commit=off")
			return run.seconds.tolist(), len(ids) / run.per_second
		return insert

	def bulk(self, system, ids):
		start = time.perf_counter()
		self.conn.exec(
			f"INSERT INTO {system.table()} SELECT id, embedding "
			f"FROM {system.schema}_new WHERE id BETWEEN {ids[0]} AND {ids[-1]}")
		elapsed = time.perf_counter() - start
		return [elapsed], elapsed

	# ----- phases -----

	def wal_position(self):
		return self.conn.value("SELECT pg_current_wal_insert_lsn()")

	def measure(self, measured, system, ids, insert):
		before = self.wal_position()
		seconds, elapsed = insert(system, ids)
		measured.wal += int(self.conn.value(
			f"SELECT pg_wal_lsn_diff('{self.wal_position()}', '{before}')"))
		measured.rows += len(ids)
		measured.seconds += seconds
		measured.elapsed.append(elapsed)

	def phase(self, name, rows, blocks, insert):
		"""Insert rows into each table, in blocks in turn, after a checkpoint."""
		found = {s.name: Measured() for s in self.contestants}
		self.phases[name] = found
		self.conn.exec("CHECKPOINT")
		for b in range(blocks):
			ids = range(self.next, self.next + rows // blocks)
			self.next += len(ids)
			turn = b * len(found) // blocks
			for system in self.contestants[turn:] + self.contestants[:turn]:
				self.measure(found[system.name], system, ids, insert)
		say(f"  {name}: " + ", ".join(f"{LABELS[s]} {m.rate():.0f}"
									  for s, m in found.items())
			+ " rows a second")

	def page_images(self, on):
		self.conn.exec(f"ALTER SYSTEM SET full_page_writes = {on}")
		self.conn.exec("SELECT pg_reload_conf()")
		while self.conn.value("SHOW full_page_writes") != on:
			time.sleep(0.05)
		self.conn.exec("CHECKPOINT")

	def run(self):
		n = self.amounts
		for commit in "off", "on":
			self.conn.exec(f"SET synchronous_commit = {commit}")
			self.phase(SINGLE.format(commit), n.single, BLOCKS, self.single)
			self.phase(BATCHED.format(commit), n.batched, BLOCKS, self.batched)
		self.conn.exec("SET synchronous_commit = off")
		self.phase(CLIENTS.format(1), n.alone, 1, self.by_pgbench(1))
		self.phase(CLIENTS.format(WRITERS), n.together, 1,
				   self.by_pgbench(WRITERS))
		self.phase(BULK, BULK_ROWS, 1, self.bulk)
		self.page_images("off")
		self.phase(STEADY, n.single, BLOCKS, self.single)
		self.page_images("on")

	def measure_recall(self):
		found = {}
		for system in self.systems:
			rows = int(self.conn.value(f"SELECT count(*) FROM {system.table()}"))
			if rows != self.next:
				raise RuntimeError(f"{system.name} has {rows} rows, "
								   f"not {self.next}")
			if system.name == "pgvector":
				self.conn.exec(f"SET hnsw.ef_search = {EF_SEARCH}")
			_, answers = self.conn.time_prepared(self.select(system, K),
												 self.data.parameters)
			self.conn.exec(f"DEALLOCATE {system.table()}_{K}")
			found[system.name] = self.data.recall(rows, answers)
		self.recalls.append(found)


# ----- the report -----

def phase_lines(bench, name):
	found = bench.phases[name]
	floor, rival = found["none"], found.get("pgvector")
	lines = ["", f"## {name[0].upper()}{name[1:]}", "",
			 "| | p50 ms | p99 ms | rows a second | times pgvector's | WAL bytes "
			 "a row | of the index |", "|---" * 7 + "|"]
	for system, m in found.items():
		ratio = spread(m.ratios(rival)) if rival else ""
		index = f"{m.bytes() - floor.bytes():.0f}" if m is not floor else ""
		lines.append(
			f"| {LABELS[system]} | {1000 * m.quantile(0.5):.3f} | "
			f"{1000 * m.quantile(0.99):.3f} | {m.rate():.0f} | {ratio} | "
			f"{m.bytes():.0f} | {index} |")
	return lines


def scaling_lines(bench):
	one, many = (bench.phases[CLIENTS.format(n)] for n in (1, WRITERS))
	return ["", f"**{WRITERS} clients over one:** " + "; ".join(
		f"{LABELS[s]} {many[s].rate() / one[s].rate():.2f}" for s in one)]


def recall_lines(bench):
	before, after = bench.recalls
	lines = ["", f"## Recall@{K}", "",
			 f"| | {len(bench.data.items)} rows, as built | with "
			 f"{bench.next - len(bench.data.items)} more |", "|---|---|---|"]
	return lines + [f"| {LABELS[s]} | {before[s]:.4f} | {after[s]:.4f} |"
					for s in before] + [
		"", f"{RECALL_QUERIES} queries; pgvector with hnsw.ef_search = "
		f"{EF_SEARCH}, recsys with nothing set."]


def verdict_lines(bench):
	"""The targets, for each index of recsys."""
	lines = ["", "## Targets"]
	for s in bench.systems:
		if s.schema != "rec":
			continue
		lines += [""]
		for commit in "off", "on":
			m, rival = (bench.phases[SINGLE.format(commit)][n]
						for n in (s.name, "pgvector"))
			met = m.quantile(0.5) <= rival.quantile(0.5)
			lines.append(
				f"- {LABELS[s.name]}, {SINGLE.format(commit)}: median "
				f"{rival.quantile(0.5) / m.quantile(0.5):.2f} times as fast as "
				f"pgvector's: **{'met' if met else 'missed'}**")
		m, rival = (bench.phases[STEADY][n] for n in (s.name, "pgvector"))
		met = m.bytes() <= rival.bytes()
		lines.append(f"- {LABELS[s.name]}: {m.bytes():.0f} bytes of WAL a row, "
					 f"pgvector {rival.bytes():.0f}: "
					 f"**{'met' if met else 'missed'}**")
	return lines


def report(bench, seconds):
	n, dim = bench.data.items.shape
	commit = os.environ.get("RECSYS_COMMIT")
	lines = [f"# Inserts: {n} x {dim}", "",
			 f"- data: {bench.data.name}, metric ip; a table for each index, "
			 "blocks of rows in turn, a checkpoint before each section; one "
			 "connection, prepared statement, binary parameters"]
	lines += machine_lines(bench.conn, {
		s: bench.conn.value(f"SHOW {s}") for s in
		("fsync", "full_page_writes", "wal_buffers", "autovacuum", "jit")})
	versions = sorted({f"{'pgvector' if s.schema == 'pgv' else 'recsys'} "
					   f"{s.version}" for s in bench.systems})
	lines += ["- " + ", ".join(versions) + (f" ({commit})" if commit else "")
			  + "; indexes with all defaults",
			  "- ratios are of a block's time: the median, and in brackets the "
			  f"least and the largest; the run took {seconds:.0f} s"]
	lines += build_table(bench.systems) + size_lines(bench.systems, n)
	for name in bench.phases:
		lines += phase_lines(bench, name)
	lines += scaling_lines(bench) + recall_lines(bench)
	if "pgvector" in bench.phases[STEADY]:
		lines += verdict_lines(bench)
	return "\n".join(lines) + "\n"


def arguments():
	parser = argparse.ArgumentParser()
	parser.add_argument("--rows", type=int)
	parser.add_argument("--quick", action="store_true")
	parser.add_argument("--only")
	for name in ("cache", "report"):
		parser.add_argument(name, type=Path)
	args = parser.parse_args()
	args.rows = args.rows or (10_000 if args.quick else 100_000)
	args.names = args.only.split(",") if args.only else \
		list(InsertBench.SYSTEMS)
	if unknown := set(args.names) - set(InsertBench.SYSTEMS):
		parser.error(f"no such contestant: {', '.join(sorted(unknown))}")
	return args


def main():
	start = time.monotonic()
	args = arguments()
	amounts = QUICK_AMOUNTS if args.quick else AMOUNTS
	data = GrowingSet(made_folder(args.cache, args.rows + amounts.all()),
					  args.rows)
	bench = InsertBench(data, args.quick, args.names)
	say(f"loading {data.name}: {args.rows} of {len(data.all)} items")
	bench.load()
	say("building the indexes")
	bench.build(1, (os.cpu_count() - 1,))
	bench.measure_recall()
	say("inserting")
	bench.run()
	bench.measure_recall()
	text = report(bench, time.monotonic() - start)
	args.report.write_text(text)
	say("")
	say(text)


if __name__ == "__main__":
	sys.exit(main())
