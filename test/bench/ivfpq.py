"""
ivfpq.py [OPTION...] CACHE DATA REPORT
	Measures recsys_ivfpq, with a refine tape and without, beside pgvector's
	HNSW in the server that the PG* variables name, and writes a report: first
	with everything in shared buffers, then with far too little memory.  Made
	sets are kept in the folder CACHE; DATA holds the folders of others.
	test/bench/ivfpq makes the server and tells the options; README.md says what
	is measured and how.
"""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import made
from compare import (Comparison, Contender, build_table, machine_lines,
					 query_lines, rival, say, size_lines, wire)

SYSTEMS = {
	"ivfpq_sq8": ("rec", "USING recsys_ivfpq (embedding {}) WITH (refine = sq8)"),
	"ivfpq_none": ("rec", "USING recsys_ivfpq (embedding {}) WITH (refine = none)"),
	"hnsw": ("rec", "USING recsys_hnsw (embedding {})"),
	"pgvector": Comparison.SYSTEMS["pgvector"],
}
LABELS = {"ivfpq_sq8": "ivfpq, refine sq8",
		  "ivfpq_none": "ivfpq, refine none",
		  "hnsw": "recsys_hnsw"}
EF_SWEEP = {10: (40, 100, 200, 400), 100: (100, 200, 400, 1000),
			1000: (1000,)}
QUERIES = {10: 1000, 100: 400, 1000: 160}
QUICK_QUERIES = {10: 200, 100: 100, 1000: 40}
COLD_QUERIES = {10: 100, 100: 50, 1000: 25}
TARGET = 0.95				# of recall, for the choice among rivals
SMALL = "64MB"
BEST = 1000					# exact scores kept of each query
BLOCK = 16384


class LargeSet:
	"""Items in a file, queries, and the exact answer, kept in a file too."""
	metric = "ip"

	def __init__(self, folder, cache):
		self.name = folder.name
		self.items = np.load(folder / "items.npy", mmap_mode="r")
		self.queries = np.load(folder / "queries.npy").astype(np.float32)
		self.parameters = [wire(q) for q in self.queries]
		answers = cache / f"{self.name}.best.npy"
		if not answers.exists():
			say("computing the exact answers")
			np.save(answers, exact_best(self.items, self.queries))
		self.best = np.load(answers)
		self.tolerance = 1e-9 * np.abs(self.best).max(axis=1)

	def kth_scores(self, k):
		return self.best[:, k - 1]

	def scores_of(self, query, found):
		items = self.items[found].astype(np.float64)
		return -(items @ self.queries[query].astype(np.float64))


def exact_best(items, queries):
	"""
	The BEST least distances of each query, in order, in float64.  Candidates
	are found in float32, a few more than needed, which is far beyond its error.
	"""
	keep = BEST + 100
	scores = np.empty((len(queries), 0), np.float32)
	ids = np.empty((len(queries), 0), np.int64)
	for first in range(0, len(items), BLOCK):
		x = items[first:first + BLOCK].astype(np.float32)
		scores = np.concatenate([scores, -(queries @ x.T)], axis=1)
		new = np.broadcast_to(first + np.arange(len(x)), (len(queries), len(x)))
		ids = np.concatenate([ids, new], axis=1)
		if scores.shape[1] > keep:
			near = np.argpartition(scores, keep - 1, axis=1)[:, :keep]
			scores = np.take_along_axis(scores, near, axis=1)
			ids = np.take_along_axis(ids, near, axis=1)
	exact = np.array([-(items[i].astype(np.float64) @ q.astype(np.float64))
					  for i, q in zip(ids, queries)])
	return np.sort(exact, axis=1)[:, :BEST]


def made_folder(cache, rows, dim=128):
	"""
	The made set, in a folder that is named after rows, dimensions and generator.
	"""
	version = f"{zlib.crc32(Path(made.__file__).read_bytes()):08x}"
	for old in cache.glob("made-*"):
		if version not in old.name:
			shutil.rmtree(old) if old.is_dir() else old.unlink()
	shape = f"{rows}" if dim == 128 else f"{rows}x{dim}"
	folder = cache / f"made-{shape}-{version}"
	if not (folder / "items.npy").exists():
		say(f"making {rows} rows")
		made.write(folder, made.MadeSet(rows, dim), max(QUERIES.values()))
	return folder


@dataclass
class Pass:
	"""The same queries once, and what was read from disk for each of them."""
	seconds: list
	megabytes: float			# a query; None where it cannot be known

	def cells(self):
		read = "?" if self.megabytes is None else f"{self.megabytes:.2f}"
		return (f"{1000 * statistics.median(self.seconds):.2f} | "
				f"{1000 * np.quantile(self.seconds, 0.99):.2f} | {read}")


@dataclass
class Small:
	"""What a contender does with little memory."""
	k: int
	label: str
	first: float
	cold: Pass
	warm: Pass


class Bench(Comparison):
	SYSTEMS = SYSTEMS

	def __init__(self, data, quick, names):
		super().__init__(data, quick, names)
		self.small = []

	def contenders(self, k):
		found = []
		for system in self.systems:
			if system.name == "pgvector":
				sweep = EF_SWEEP[k][:2] if self.quick else EF_SWEEP[k]
				found += self.plain_scans(system, k, sweep)
			else:
				found.append(Contender(f"{LABELS[system.name]}, defaults",
									   self.select(system, k), system))
		return found

	def floors(self, k):
		return [Contender("floor: SELECT 1", self.prepare(f"one_{k}", "SELECT 1"),
						  parameter=False)]

	def chosen(self, k):
		"""Labels for the run with little memory: of each system one."""
		contenders = [c for c in self.results[k] if c.system]
		labels = [c.label for c in contenders if c.system.name != "pgvector"]
		if any(c.system.name == "pgvector" for c in contenders):
			labels.append(rival(contenders, TARGET)[0].label)
		return labels

	# ----- little memory -----

	def restart_cold(self):
		"""Restart the server, with nothing of its files in memory."""
		folder = self.conn.value("SHOW data_directory")
		self.conn.exec("CHECKPOINT")
		self.conn.close()
		self.watcher.close()
		control = [os.environ["PG_BIN"] + "/pg_ctl", "-D", folder, "-w", "-s"]
		subprocess.run(control + ["-m", "fast", "stop"], check=True)
		drop_cached(folder)
		subprocess.run(control + ["-l", folder + "/restart.log", "start"],
					   check=True)
		self.connect()
		self.settle()

	def run_small(self, k, nqueries):
		"""
		Each contender with cold caches, and the same queries once more.  What a
		new connection has to learn about catalogues and plans it learns on an
		empty table.
		"""
		parameters = self.data.parameters[:nqueries]
		for label in self.chosen(k):
			self.restart_cold()
			contender = next(c for c in self.contenders(k) if c.label == label)
			if contender.settings:
				self.conn.exec(contender.settings)
			empty = contender.system.name + "_empty"
			self.conn.time_prepared(self.select(contender.system, k, empty),
									parameters[:8])
			cold = self.run_pass(contender, parameters)
			warm = self.run_pass(contender, parameters)
			self.small.append(Small(k, label, cold.seconds[0], cold, warm))
			say(f"  K = {k}, {SMALL}: {label}")

	def run_pass(self, contender, parameters):
		before = disk_reads(self.conn.pid)
		seconds, _ = self.conn.time_prepared(contender.statement, parameters)
		after = disk_reads(self.conn.pid)
		read = None if before is None else \
			(after - before) / len(parameters) / 2**20
		return Pass(seconds, read)


def server_files(folder):
	return [p for part in ("base", "global") for p in
			Path(folder, part).rglob("*") if p.is_file()]


def drop_cached(folder):
	"""
	Drop a stopped server's files from the system's cache, which the owner of
	files may; what is not yet on disk has to be written before.
	"""
	for path in server_files(folder):
		fd = os.open(path, os.O_RDWR)
		os.fsync(fd)
		os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
		os.close(fd)


def disk_reads(pid):
	"""Bytes that a process has had read from disk, or None."""
	try:
		lines = Path(f"/proc/{pid}/io").read_text().splitlines()
	except OSError:
		return None
	return int(next(l.split()[1] for l in lines if l.startswith("read_bytes")))


def random_read(folder, reads=200):
	"""Median seconds of a read of 8 kB that is not cached."""
	path = max(server_files(folder), key=lambda p: p.stat().st_size)
	blocks = path.stat().st_size // 8192
	rng = np.random.default_rng(1)
	fd = os.open(path, os.O_RDWR)
	os.fsync(fd)
	os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
	os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
	seconds = []
	for block in rng.choice(blocks, min(reads, blocks), replace=False):
		start = time.perf_counter()
		os.pread(fd, 8192, int(block) * 8192)
		seconds.append(time.perf_counter() - start)
	os.close(fd)
	return statistics.median(seconds)


# ----- the report -----

def small_lines(bench, read):
	lines = ["", f"## shared_buffers = {SMALL}", "",
			 "Cold: after a restart, nothing in the system's cache; warm: the "
			 "same queries again. A random read of 8 kB from this disk takes "
			 f"{1e6 * read:.0f} µs.", "",
			 "| K | | first ms | cold median ms | cold p99 ms | MB read a query "
			 "| warm median ms | warm p99 ms | MB read a query |",
			 "|---|---|---|---|---|---|---|---|---|"]
	for s in bench.small:
		lines.append(f"| {s.k} | {s.label} | {1000 * s.first:.1f} | "
					 f"{s.cold.cells()} | {s.warm.cells()} |")
	return lines


def report(bench, head, read, seconds):
	n, dim = bench.data.items.shape
	commit = os.environ.get("RECSYS_COMMIT")
	lines = [f"# recsys_ivfpq: {n} x {dim}", "",
			 f"- data: {bench.data.name}, metric {bench.data.metric}; one "
			 "client, prepared statements, binary parameter, blocks of queries "
			 "in turn"] + head
	versions = {f"{'pgvector' if s.name == 'pgvector' else 'recsys'} "
				f"{s.version}" for s in bench.systems}
	lines += ["- " + ", ".join(sorted(versions))
			  + (f" ({commit})" if commit else "") + "; a table for each index",
			  f"- the run took {seconds:.0f} s"]
	lines += build_table(bench.systems) + size_lines(bench.systems, n)
	for k, contenders in bench.results.items():
		lines += query_lines(k, contenders)
		lines += [f"{c.disordered} of {c.queries} queries of {c.label} gave rows "
				  "out of order." for c in contenders if c.disordered]
	return "\n".join(lines + small_lines(bench, read)) + "\n"


def arguments():
	parser = argparse.ArgumentParser()
	parser.add_argument("--rows", type=int)
	parser.add_argument("--data")
	parser.add_argument("--quick", action="store_true")
	parser.add_argument("--no-rival", action="store_true")
	parser.add_argument("--hnsw", action="store_true")
	parser.add_argument("--only")
	for name in ("cache", "sets", "report"):
		parser.add_argument(name, type=Path)
	args = parser.parse_args()
	args.rows = args.rows or (100_000 if args.quick else 1_000_000)
	left_out = [name for name, out in
				(("hnsw", not args.hnsw), ("pgvector", args.no_rival)) if out]
	args.names = args.only.split(",") if args.only else \
		[name for name in SYSTEMS if name not in left_out]
	if unknown := set(args.names) - set(SYSTEMS):
		parser.error(f"no such contestant: {', '.join(sorted(unknown))}")
	return args


def main():
	start = time.monotonic()
	args = arguments()
	folder = args.sets / args.data if args.data else \
		made_folder(args.cache, args.rows)
	data = LargeSet(folder, args.cache)
	bench = Bench(data, args.quick, args.names)
	say(f"loading {data.name}: {len(data.items)} items")
	bench.load()
	say("building the indexes")
	bench.build(1, (os.cpu_count() - 1,))
	for k, n in (QUICK_QUERIES if args.quick else QUERIES).items():
		bench.run(k, min(n, len(data.queries)), 4)
	head = machine_lines(bench.conn)
	bench.conn.exec(f"ALTER SYSTEM SET shared_buffers = '{SMALL}'")
	for k, n in COLD_QUERIES.items():
		bench.run_small(k, n)
	read = random_read(bench.conn.value("SHOW data_directory"))
	text = report(bench, head, read, time.monotonic() - start)
	args.report.write_text(text)
	say("")
	say(text)


if __name__ == "__main__":
	sys.exit(main())
