"""
bench.py [OPTION...] CACHE DATA REPORT
	recsys beside its rivals, in the server that the PG* variables name and in
	this process: measures the parts asked for and writes a report with plots
	(bench_report.py) and the figures as bench.json into the folder of REPORT,
	after each part anew.  Made sets and exact answers are kept in the folder
	CACHE; DATA holds the folders of others.  test/bench/bench makes the server
	and tells the options; README.md says what is measured and how.
"""
import argparse
import contextlib
import os
import statistics
import sys
import time
import traceback
from pathlib import Path

import bench_report
import rivals
from compare import (EF_SWEEP, QUICK_SWEEP, Comparison, Contender,
					 machine_lines, say)
from filter import QUERIES as FILTER_QUERIES
from filter import QUICK_QUERIES as QUICK_FILTER_QUERIES
from filter import SHARES, FilterBench
from filter_data import ATTRIBUTES, FilteredSet
from ivfpq import QUERIES, QUICK_QUERIES, LargeSet, made_folder
from pq import Connection
from results import (HNSW, IVFPQ, PGVECTOR, Built, Failure, FilterResult,
					 FilterTiming, Results, SetResult, Timing)
from targets import FILTER_K

PARTS = ("recall", "growth", "filter")
ROWS = (10_000, 100_000, 1_000_000)
QUICK_ROWS = (10_000,)
REAL = "gowalla"

HNSW_SWEEP = {10: (5, 10, 15, 20, 80, 160, 320),
			  100: (5, 10, 20, 25, 30, 80, 160, 320),
			  1000: (5, 10, 20, 30, 80, 160)}
DEFAULTS = ", defaults"

BLOCKS, QUICK_BLOCKS = 8, 4
REPEATED = 100_000			# rows up to which builds are repeated
NODE_BYTES = 1148			# of recsys_hnsw, that a build keeps of a row
SHORT_SHARE = 1 / 16		# of what all rows want, in the build short of memory
LEAST_MEMORY = 32			# MB for each process, or there is no worker
REPEATS = 3
FILTER_ROWS = 1_000_000		# no more for the part filter
QUICK_COLUMNS = ("anywhere", "category")
FILTER_NAMES = {"hnsw": HNSW, "ivfpq": IVFPQ}	# of filter.py
PATIENCE = 60				# seconds for a server that is recovering


class SetBench(Comparison):
	"""All contestants on one set."""
	SYSTEMS = {
		HNSW: ("rec", "USING recsys_hnsw (embedding {})"),
		IVFPQ: ("rec", "USING recsys_ivfpq (embedding {})"),
		PGVECTOR: Comparison.SYSTEMS["pgvector"],
	}

	def __init__(self, data, quick, names, libraries):
		super().__init__(data, quick, names)
		self.libraries = libraries

	def contenders(self, k):
		found = []
		for system in self.systems:
			if system.name == PGVECTOR:
				found += self.plain_scans(
					system, k, QUICK_SWEEP if self.quick else EF_SWEEP)
				found += self.sorted_scans(system, k)
			else:
				found += self.own_scans(system, k)
		for library in self.libraries:
			found += library.contenders(k, self.quick)
		return found

	def own_scans(self, system, k):
		statement = self.select(system, k)
		found = [Contender(system.name + DEFAULTS, statement, system,
						   "RESET recsys.hnsw_ef_search")]
		sweep = HNSW_SWEEP[k] if system.name == HNSW else ()
		return found + [
			Contender(f"{system.name}, ef_search {ef}", statement, system,
					  f"SET recsys.hnsw_ef_search = {ef}") for ef in sweep]

	def floors(self, k):
		found = [Contender("floor: SELECT 1",
						   self.prepare(f"one_{k}", "SELECT 1"),
						   parameter=False)]
		found += [Contender(f"floor: {s.name}, empty index",
							self.select(s, k, s.name + "_empty"))
				  for s in self.systems]
		return found + [library.floor() for library in self.libraries]

	def run_block(self, contender, k, queries, warm):
		if not isinstance(contender, rivals.InProcess):
			super().run_block(contender, k, queries, warm)
			return
		vectors = self.data.queries
		contender.run(k, [vectors[i:i + 1] for i in warm])
		seconds, cpu, ids = contender.run(k, [vectors[i:i + 1] for i in queries])
		contender.seconds.append(seconds)
		contender.cpu.append(cpu)
		if contender.library in self.libraries:
			contender.queries += len(ids)
			self.score(contender, k, queries, ids)

	def build_library(self, library, repeats, threads):
		for _ in range(repeats):
			build = library.build(self.data.items, threads)
			say(f"  {library.name} with {threads} threads: "
				f"{build.seconds:.1f} s, CPU {build.cpu:.1f} s")

	def build_short(self, memory, workers):
		"""recsys_hnsw in so many MB."""
		system = next(s for s in self.systems if s.name == HNSW)
		self.conn.exec(f"SET maintenance_work_mem = '{memory}MB'")
		build = self.build_one(system, workers)
		self.settle()
		size = int(self.conn.value(
			f"SELECT pg_relation_size('{system.index()}')"))
		return Built(HNSW, workers + 1, [build.seconds], [build.cpu], size, memory)

	def built(self):
		return [Built(s.name, workers + 1, [b.seconds for b in builds],
					  [b.cpu for b in builds], s.size)
				for s in self.systems for workers, builds in s.builds.items()] \
			+ [Built(s.name, s.built[0].workers + 1,
					 [b.seconds for b in s.built], [b.cpu for b in s.built],
					 s.size) for s in self.libraries if s.built]


def timing(contender, k):
	"""What was measured of a contender, as plain data."""
	floor = contender.label.startswith("floor")
	inside = contender.system is not None
	if floor:
		name = ""
	else:
		name = contender.system.name if inside else contender.library.name
	recall = contender.recall()
	buffers = [contender.buffers / contender.queries,
			   contender.table_buffers / contender.queries] \
		if inside else [None, None]
	return Timing(
		name, contender.label, k, None if recall is None else float(recall),
		contender.median(), contender.p99(), contender.mean_cpu(),
		[statistics.median(b) for b in contender.seconds],
		sum(len(b) for b in contender.seconds), contender.short, *buffers,
		default=contender.label.endswith(DEFAULTS))


def connect_patiently():
	"""A connection, also to a server that has just crashed."""
	end = time.monotonic() + PATIENCE
	while True:
		try:
			return Connection()
		except RuntimeError:
			if time.monotonic() > end:
				raise
			time.sleep(1)


def clean_up():
	"""Drop the tables of the part before."""
	conn = connect_patiently()
	conn.exec(f"SET lock_timeout = '{PATIENCE}s'")
	conn.exec("DROP SCHEMA public CASCADE")
	conn.exec("CREATE SCHEMA public")
	conn.exec("CHECKPOINT")
	conn.close()


@contextlib.contextmanager
def connected(bench):
	"""Its connections end with it, so that it keeps no lock."""
	try:
		yield bench
	finally:
		bench.conn.close()
		bench.watcher.close()


class Run:
	def __init__(self, args):
		self.args = args
		self.start = time.monotonic()
		self.workers = os.cpu_count() - 1
		self.results = Results(growth="growth" in args.parts)
		if not args.rival:
			self.results.missing.append("rivals, as was asked for")

	# ----- parts that may fail -----

	@contextlib.contextmanager
	def part(self, name):
		"""What fails within is told; the rest of the run goes on."""
		say(f"== {name} ({time.monotonic() - self.start:.0f} s)")
		try:
			yield
		except Exception as error:
			traceback.print_exc()
			reason = " ".join(str(error).split()) or type(error).__name__
			self.results.failures.append(Failure(name, reason))
			say(f"FAILED: {name}: {reason}")
		self.save()

	def save(self):
		folder = self.args.report.parent
		self.results.seconds = time.monotonic() - self.start
		self.results.save(folder / "bench.json")
		bench_report.write(self.results, folder)

	def all(self):
		self.tell_machine()
		for name, make_folder, made in self.sets():
			with self.part(name):
				clean_up()
				self.measure(name, make_folder(), made)
		if "filter" in self.args.parts:
			with self.part("filter"):
				clean_up()
				self.measure_filter()
		self.tell_machine()
		self.results.complete = True
		self.save()

	def tell_machine(self):
		"""At the end again, when versions and load are known."""
		with self.part("machine"):
			self.results.head = self.head()

	def sets(self):
		"""Name, what gives the folder, and whether it is made."""
		found = []
		real = self.args.sets / REAL
		if "recall" in self.args.parts and real.is_dir():
			found.append((REAL, lambda: real, False))
		if {"recall", "growth"} & set(self.args.parts):
			found += [(f"made-{rows}",
					   lambda rows=rows: made_folder(self.args.cache, rows),
					   True) for rows in self.args.rows]
		return found

	# ----- a set -----

	def measure(self, name, folder, made):
		args = self.args
		data = LargeSet(folder, args.cache)
		rows, dim = data.items.shape
		result = SetResult(name, "made by made.py" if made else
						   "a real set, users as queries", rows, dim, made)
		self.results.sets.append(result)
		with connected(SetBench(data, args.quick, self.names(SetBench),
								self.libraries(dim))) as bench:
			say(f"loading {rows} rows")
			bench.load()
			short = self.build_short(bench, rows)
			self.build(bench, rows)
			result.built = bench.built() + short
			self.search(bench, result)

	def search(self, bench, result):
		quick = self.args.quick
		wanted = QUICK_QUERIES if quick else QUERIES
		for k in [k for k in wanted if k <= result.rows]:
			with self.part(f"{result.name}, K = {k}"):
				bench.run(k, min(wanted[k], len(bench.data.queries)),
						  QUICK_BLOCKS if quick else BLOCKS)
				result.timings += [timing(c, k) for c in bench.results[k]]

	def build_short(self, bench, rows):
		"""recsys_hnsw in a part of the memory that its nodes want."""
		wanted = rows * NODE_BYTES / 2**20
		memory = max(int(wanted * SHORT_SHARE), LEAST_MEMORY * (self.workers + 1))
		if wanted < 2 * memory:
			return []
		say(f"building {HNSW} in {memory} MB")
		return [bench.build_short(memory, self.workers)]

	def build(self, bench, rows):
		say("building the indexes")
		repeats = REPEATS if rows <= REPEATED and not self.args.quick else 1
		bench.build(repeats, (self.workers,))
		for library in list(bench.libraries):
			built = False
			with self.part(f"build of {library.name}, {rows} rows"):
				bench.build_library(library, repeats, self.workers + 1)
				built = True
			if not built:
				bench.libraries.remove(library)

	def libraries(self, dim):
		if not self.args.rival:
			return []
		libraries, missing = rivals.installed(dim)
		self.results.missing += [m for m in missing
								 if m not in self.results.missing]
		return libraries

	def names(self, bench):
		return [n for n in bench.SYSTEMS if n != PGVECTOR or self.args.rival]

	# ----- filters -----

	def measure_filter(self):
		args = self.args
		rows = min(max(args.rows), FILTER_ROWS)
		data = FilteredSet(made_folder(args.cache, rows),
						   QUICK_FILTER_QUERIES if args.quick else
						   FILTER_QUERIES)
		columns = QUICK_COLUMNS if args.quick else tuple(ATTRIBUTES)
		result = FilterResult("made by made.py, columns by filter_data.py", rows,
							  {c: ATTRIBUTES[c] for c in columns})
		self.results.filter = result
		with connected(FilterBench(data, args.quick,
								   self.names(FilterBench))) as bench:
			say(f"loading {rows} rows with columns to filter by")
			bench.load()
			say("building the indexes")
			bench.build(1, (self.workers,))
			bench.build_btrees()
			for column in columns:
				with self.part(f"filter, {column}"):
					bench.run([s for s in SHARES if s * rows >= 5], (column,),
							  (FILTER_K,))
				result.timings = [t for point in bench.points
								  for t in filter_timings(point)]

	# ----- the head -----

	def head(self):
		conn = connect_patiently()
		versions = conn.exec("SELECT extname, extversion FROM pg_extension "
							 "WHERE extname IN ('recsys', 'vector') ORDER BY 1")
		machine = [line[2:] for line in machine_lines(conn)]
		conn.close()
		commit = os.environ.get("RECSYS_COMMIT")
		lines = [time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())] + machine
		for name, version in versions:
			lines.append({
				"recsys": f"recsys {version}" + (f" ({commit})" if commit else "")
				+ ", indexes without options",
				"vector": f"pgvector {version}, m = 16, ef_construction = 64",
			}[name])
		lines += [f"{rival.name} {rival.version} in this process, one thread: "
				  f"{rival.settings}" for rival in self.libraries(2)]
		return lines + [
			"one client; a statement is prepared, its parameter binary; blocks "
			"of queries in turn; queries/s is of the median; builds with "
			f"{self.workers} parallel workers and the leader, or as many threads"
			+ ("; **quick**: few queries, one build each" if self.args.quick
			   else "")]


def filter_timings(point):
	"""A point of filter.py as plain data, without the planner's own plans."""
	names = {c.label: FILTER_NAMES.get(c.label, c.label)
			 for c in point.contenders if "planner" not in c.label}
	return [FilterTiming(point.kept.column, point.kept.share, point.limit,
						 names[c.label], float(c.recall()), c.median(), c.short)
			for c in point.contenders if c.label in names]


def arguments():
	parser = argparse.ArgumentParser()
	parser.add_argument("--parts", default=",".join(PARTS))
	parser.add_argument("--rows")
	parser.add_argument("--quick", action="store_true")
	parser.add_argument("--no-rival", dest="rival", action="store_false")
	for name in ("cache", "sets", "report"):
		parser.add_argument(name, type=Path)
	args = parser.parse_args()
	args.parts = args.parts.split(",")
	if unknown := set(args.parts) - set(PARTS):
		parser.error(f"no such part: {', '.join(sorted(unknown))}")
	try:
		args.rows = sorted({int(n) for n in args.rows.split(",")}) \
			if args.rows else QUICK_ROWS if args.quick else ROWS
	except ValueError:
		parser.error(f"--rows {args.rows}: not numbers with commas between")
	return args


def main():
	args = arguments()
	run = Run(args)
	run.all()
	say("")
	say(args.report.read_text())
	return 1 if run.results.failures else 0


if __name__ == "__main__":
	sys.exit(main())
