"""
filter.py [OPTION...] CACHE REPORT
	Measures scans with a filter: recsys's indexes with filter columns beside
	pgvector's iterative scan and the exact plans, and what the planner takes by
	itself, in the server that the PG* variables name, and writes a report.
	test/bench/filter makes the server and tells the options; README.md says
	what is measured and how.
"""
import argparse
import contextlib
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from compare import (Comparison, Contender, System, build_table, machine_lines,
					 say, size_lines)
from filter_data import ATTRIBUTES, Filter, FilteredSet
from ivfpq import made_folder

KS = (10, 100)
SHARES = (0.5, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0001, 0.00001)
QUERIES = 100
QUICK_QUERIES = 40
BLOCKS = 4
EXAMINED = 3				# queries that are explained

# Seconds of each contender at each point, if the fewest queries take no more.
BUDGET = 0.5
QUICK_BUDGET = 0.2
FEWEST = 4
SLOW = 0.02					# seconds of a query that needs no warm caches

# Targets
RECALL = 0.95
TIMES_PGVECTOR = 5			# faster, or else faster than the exact plan
TIMES_FROM = 0.1			# from this share down
TIMES_EXACT = 2				# slower, with rows that are far from the query
TIMES_BEST = 1.5			# slower than the best plan is the planner's

# The rival's hnsw.ef_search is raised until its recall is RECALL, by so many queries.
PGVECTOR_SWEEP = (40, 80, 160, 320, 640, 1000)
TRIED, TRIED_SLOW = 12, 4
TUNED_FROM = 0.001			# share of the rows below which it stays as it is
PGVECTOR_DEFAULTS = "pgvector, defaults"

SCANS = ("seqscan", "indexscan", "bitmapscan", "sort")
NODES = {"Seq Scan": "seq", "Bitmap Heap Scan": "bitmap"}
INDEX, BITMAP, SEQ = "index", "bitmap, sort", "seq, sort"

KEYS = ", ".join(ATTRIBUTES)


@dataclass
class Measured(Contender):
	"""A plan of the planner, forced or its own."""
	bare: bool = False			# runs where the table has no B-tree
	note: str = ""				# a setting that differs from point to point
	plan: str = ""
	cost: float = 0
	pages: list = field(default_factory=list)	# of each query explained
	visited: list = field(default_factory=list)

	def forget(self):
		"""What a trial has measured."""
		self.seconds, self.cpu, self.hits = [], [], []
		self.short = 0


@dataclass
class Choice:
	"""What the planner takes by itself, and what it might have taken."""
	system: System
	btree: bool
	taken: Measured
	others: list

	def ratio(self):
		best = min(c.median() for c in self.others + [self.taken])
		return self.taken.median() / best


@dataclass
class Point:
	kept: Filter
	limit: int
	k: int						# rows that there are, up to the limit
	contenders: list
	choices: list = field(default_factory=list)

	def of(self, label):
		return next((c for c in self.contenders if c.label == label), None)

	def exact(self):
		return min((self.of(SEQ), self.of(BITMAP)), key=Contender.median)


def enable(*scans):
	return "; ".join(f"SET enable_{s} = {'on' if s in scans else 'off'}"
					 for s in SCANS)


def plan_name(node, index):
	"""A plan in a few words, such as "parallel seq, sort"."""
	words = []
	parallel = ""
	while True:
		kind = node["Node Type"]
		if kind.startswith("Gather"):
			parallel = "parallel "
		elif "Sort" in kind:
			words.append("sort")
		elif kind == "Index Scan":
			words.append(INDEX if node["Index Name"] == index else "btree")
		elif kind not in ("Limit", "Result", "Bitmap Index Scan", "BitmapOr"):
			words.append(NODES.get(kind, kind))
		if "Plans" not in node:
			return parallel + ", ".join(reversed(words))
		node = node["Plans"][0]


def text(vector):
	return "'[" + ",".join(f"{x:.9g}" for x in vector) + "]'"


class FilterBench(Comparison):
	# The first has the table that the exact plans scan.
	SYSTEMS = {
		"ivfpq": ("rec", f"USING recsys_ivfpq (embedding {{}}, {KEYS})"),
		"hnsw": ("rec", f"USING recsys_hnsw (embedding {{}}, {KEYS})"),
		"pgvector": Comparison.SYSTEMS["pgvector"],
	}
	COLUMNS = "".join(f", {name} int" for name in ATTRIBUTES)

	def __init__(self, data, quick, names):
		super().__init__(data, quick, names)
		self.recsys = [s for s in self.systems if s.schema == "rec"]
		self.budget = QUICK_BUDGET if quick else BUDGET
		self.statements = 0
		self.points = []

	def columns(self):
		return self.data.table_columns()

	def build_btrees(self):
		for system in self.recsys:
			table = system.table()
			self.conn.exec(f"ALTER TABLE {table} RESET (parallel_workers)")
			for name in ATTRIBUTES:
				self.conn.exec(f"CREATE INDEX {table}_{name} ON {table} ({name})")

	@contextlib.contextmanager
	def without_btrees(self):
		self.conn.exec("BEGIN; DROP INDEX " + ", ".join(
			f"{s.table()}_{name}" for s in self.recsys for name in ATTRIBUTES))
		try:
			yield
		finally:
			self.conn.exec("ROLLBACK")

	def where(self, contender):
		return self.without_btrees() if contender.bare else \
			contextlib.nullcontext()

	# ----- the plans of a point -----

	def plan(self, label, system, point, settings, bare=False):
		"""A contender with its plan, which all later executions keep."""
		self.statements += 1
		name = self.prepare(
			f"filter_{self.statements}",
			f"SELECT id FROM {system.table()} WHERE {point.kept.condition} "
			f"ORDER BY {system.distance('ip')} LIMIT {point.limit}")
		found = Measured(label, name, system, settings, bare=bare)
		with self.where(found):
			self.conn.exec(settings)
			plan = self.explain(found, "NULL", "")
		found.plan = plan_name(plan["Plan"], system.index())
		found.cost = plan["Plan"]["Total Cost"]
		return found

	def explain(self, contender, query, options):
		return json.loads(self.conn.value(
			f"EXPLAIN ({options}FORMAT json) "
			f"EXECUTE {contender.statement}({query})"))[0]

	def forced(self, point):
		"""Every system's index, and the exact plans."""
		found = []
		for system in self.systems:
			settings = enable("indexscan")
			if system.name == "pgvector":
				settings += ("; SET hnsw.iterative_scan = strict_order; SET "
							 f"hnsw.max_scan_tuples = {len(self.data.items)}; "
							 "RESET hnsw.ef_search; "
							 "RESET hnsw.scan_mem_multiplier")
			found.append((self.plan(system.name, system, point, settings), INDEX))
		for label, scan in ((SEQ, "seqscan"), (BITMAP, "bitmapscan")):
			found.append((self.plan(label, self.recsys[0], point,
									enable(scan, "sort")), label))
		for contender, wanted in found:
			if not contender.plan.endswith(wanted):
				raise RuntimeError(f"{contender.label}: the plan is "
								   f"{contender.plan}")
		return [contender for contender, _ in found]

	def tune(self, point, queries):
		"""
		The rival again, with the least hnsw.ef_search of a sweep at which a few
		queries have the recall, or that of its best, and with memory enough.
		Slow ones are not raised further.
		"""
		rival = point.of("pgvector")
		if rival is None or point.kept.share < TUNED_FROM:
			return
		rival.label = PGVECTOR_DEFAULTS
		best = -1.0
		for ef in PGVECTOR_SWEEP:
			trial = Measured(
				"pgvector", rival.statement, rival.system, rival.settings +
				f"; SET hnsw.ef_search = {ef}; SET hnsw.scan_mem_multiplier = 16",
				plan=rival.plan, cost=rival.cost, note=f"ef_search {ef}")
			self.measure(trial, point.k, queries[:TRIED_SLOW], ())
			slow = trial.median() > self.budget
			if not slow:
				self.measure(trial, point.k, queries[TRIED_SLOW:TRIED], ())
			if trial.recall() > best:
				best, tuned = trial.recall(), trial
			if best >= RECALL or slow:
				break
		tuned.forget()
		point.contenders.insert(point.contenders.index(rival), tuned)

	def choose(self, point, system, btree):
		"""
		The planner's own plan.  If it is one of those that are forced, the
		time is that one's, so that noise does not make a difference.
		"""
		others = [point.of(system.name), point.of(SEQ)] + \
			[point.of(BITMAP)] * btree
		own = self.plan(f"{system.name}'s planner", system, point,
						enable(*SCANS), not btree)
		twin = next((c for c in others if c.plan == own.plan), None)
		if twin is None:
			point.contenders.append(own)
		point.choices.append(Choice(system, btree, twin or own, others))

	# ----- queries -----

	def examine(self, contender, queries):
		"""Explain a few queries; the seconds of one."""
		seconds = []
		scans = contender.plan == INDEX and contender.system in self.recsys
		with self.where(contender):
			self.conn.exec(contender.settings)
			for query in queries[:EXAMINED]:
				plan = self.explain(contender, text(self.data.queries[query]),
									"ANALYZE, BUFFERS, TIMING off, ")
				seconds.append(plan["Execution Time"] / 1000)
				contender.pages.append(plan["Plan"]["Shared Hit Blocks"]
									   + plan["Plan"]["Shared Read Blocks"])
				if scans:
					contender.visited.append(int(self.conn.value(
						"SELECT visited FROM recsys.last_scan()")))
				if sum(seconds) > self.budget / 4:
					break
		return min(seconds)

	def measure(self, contender, k, queries, warm):
		"""Time a block of queries, after a few that only warm the caches."""
		parameters = self.data.parameters
		with self.where(contender):
			self.conn.exec(contender.settings)
			self.conn.time_prepared(contender.statement,
									[parameters[i] for i in warm])
			cpu = self.conn.cpu_seconds()
			seconds, ids = self.conn.time_prepared(
				contender.statement, [parameters[i] for i in queries])
			contender.cpu.append(
				(self.conn.cpu_seconds() - cpu) / len(queries))
		contender.seconds.append(seconds)
		self.score(contender, k, queries, ids)

	def run_point(self, kept, limit):
		queries = self.data.asked[kept.column]
		point = Point(kept, limit, min(limit, kept.rows()), [])
		self.kth = self.data.kth_scores(kept, point.k)
		point.contenders = self.forced(point)
		self.tune(point, queries)
		for system in self.recsys:
			for btree in (False, True):
				self.choose(point, system, btree)
		turns = []
		for c in point.contenders:
			seconds = self.examine(c, queries)
			n = max(FEWEST, min(len(queries), int(self.budget / seconds)))
			turns.append((c, -(-n // BLOCKS), 2 if seconds < SLOW else 0))
		blocks = np.array_split(queries, BLOCKS)
		for b, block in enumerate(blocks):
			turn = b * len(turns) // BLOCKS
			for c, n, warm in turns[turn:] + turns[:turn]:
				self.measure(c, point.k, block[:n], blocks[b - 1][:warm])
		self.conn.exec("DEALLOCATE ALL")
		self.points.append(point)
		return point

	def run(self, shares, columns=tuple(ATTRIBUTES), limits=KS):
		for column in columns:
			self.data.compute_scores(column)
			for share in shares:
				kept = self.data.filter(column, share)
				for limit in limits:
					start = time.monotonic()
					point = self.run_point(kept, limit)
					say(f"  {place(point)}: " + ", ".join(
						f"{c.label} {milliseconds(c)}" for c in point.contenders)
						+ f" ms; {time.monotonic() - start:.1f} s")


# ----- the targets -----

def misses(point, contender):
	"""The targets that a system misses at a point, in words."""
	found = []
	exact = point.exact()
	rival = point.of("pgvector")
	if contender.recall() < RECALL:
		found.append("recall")
	if contender.short:
		found.append("short")
	if rival and point.kept.share <= TIMES_FROM and \
			rival.median() < TIMES_PGVECTOR * contender.median() and \
			contender.median() > exact.median():
		found.append("slow")
	if point.kept.column == "far":
		found += [f"over {TIMES_EXACT} x {label}" for label in (SEQ, BITMAP)
				  if contender.median() > TIMES_EXACT * point.of(label).median()]
	return found


# ----- the report -----

def milliseconds(contender):
	return f"{1000 * contender.median():.2f}"


def amount(kept):
	return f"{kept.share:.3%}"


def place(point):
	return f"{point.kept.column}, {amount(point.kept)}, K = {point.limit}"


def over(other, contender):
	return f"{other.median() / contender.median():.2f}" if other else ""


def contender_cells(point, contender, recsys):
	pages = statistics.median(contender.pages)
	visited = f"{statistics.median(contender.visited):.0f}" \
		if contender.visited else ""
	missed = ", ".join(misses(point, contender)) \
		if contender.label in recsys else ""
	label = contender.label + (f", {contender.note}" if contender.note else "")
	return [label, f"{contender.recall():.3f}",
			f"{contender.short} of {len(contender.hits)}"
			if contender.short else "none",
			milliseconds(contender), f"{1000 * contender.mean_cpu():.2f}",
			over(point.of("pgvector"), contender),
			over(point.exact(), contender), f"{pages:.0f}", visited,
			f"**{missed}**" if missed else ""]


def point_lines(bench, column, limit):
	recsys = [s.name for s in bench.recsys]
	lines = ["", f"## {column} ({ATTRIBUTES[column]}), K = {limit}", "",
			 "| match | rows | | recall | short | ms | CPU ms | pgvector's over "
			 "it | exact over it | pages | visited | missed |", "|---" * 12 + "|"]
	for point in bench.points:
		if (point.kept.column, point.limit) != (column, limit):
			continue
		head = [amount(point.kept), str(point.kept.rows())]
		for contender in point.contenders:
			cells = head + contender_cells(point, contender, recsys)
			lines.append("| " + " | ".join(cells) + " |")
			head = ["", ""]
	return lines


def choice_cells(point, choice):
	def cell(contender):
		if contender not in choice.others:
			return ""
		return f"{milliseconds(contender)} ({contender.cost:.0f})"

	taken, ratio = choice.taken, choice.ratio()
	own = "" if taken in choice.others else \
		f" {milliseconds(taken)} ({taken.cost:.0f})"
	return [point.kept.column, amount(point.kept), str(point.limit),
			"yes" if choice.btree else "no", taken.plan + own,
			cell(point.of(choice.system.name)), cell(point.of(BITMAP)),
			cell(point.of(SEQ)), f"{ratio:.2f}",
			"**wrong**" if ratio > TIMES_BEST else ""]


def choice_lines(bench, system):
	chosen = [(point, choice) for point in bench.points
			  for choice in point.choices if choice.system is system]
	lines = ["", f"## The planner's choice: {system.name}", "",
			 "Median ms of the plans and in brackets their costs; *index* is "
			 f"that of {system.name}.", "",
			 "| column | match | K | B-tree | taken | index | bitmap, sort | "
			 "seq, sort | over the best | |", "|---" * 10 + "|"]
	lines += ["| " + " | ".join(choice_cells(*pair)) + " |" for pair in chosen]
	for btree in (False, True):
		point, choice = max((p for p in chosen if p[1].btree == btree),
							key=lambda pair: pair[1].ratio())
		lines += ["", f"**Worst with{'' if btree else 'out'} a B-tree: "
				  f"{choice.ratio():.2f} times the best ({place(point)}: "
				  f"{choice.taken.plan})**"]
	return lines


def missed_lines(bench):
	"""How often each system misses each target."""
	lines = ["", "## Targets missed", "",
			 "| | missed | points | of | which |", "|---" * 5 + "|"]
	for system in bench.recsys:
		missed = {}
		for point in bench.points:
			for target in misses(point, point.of(system.name)):
				missed.setdefault(target, []).append(place(point))
			for choice in point.choices:
				if choice.system is system and choice.ratio() > TIMES_BEST:
					target = f"planner, with{'' if choice.btree else 'out'} B-tree"
					missed.setdefault(target, []).append(place(point))
		for target, places in missed.items():
			lines.append(f"| {system.name} | {target} | {len(places)} | "
						 f"{len(bench.points)} | {'; '.join(places)} |")
	return lines


def target_lines():
	return [
		"", f"Missed: *recall* below {RECALL}; *short*, fewer rows than K or all "
		f"that match; *slow*, from {TIMES_FROM:.0%} down less than "
		f"{TIMES_PGVECTOR} times faster than pgvector and slower than the "
		f"faster exact plan, too; *over {TIMES_EXACT} x* an exact plan, where the "
		"rows are far from the query; *wrong*, the planner's plan takes more than "
		f"{TIMES_BEST} times the best one's time."]


def pgvector_line(bench):
	shown = {name: bench.conn.value(f"SHOW {name}") for name in (
		"hnsw.iterative_scan", "hnsw.max_scan_tuples", "hnsw.ef_search",
		"hnsw.scan_mem_multiplier", "work_mem")}
	return "- pgvector: m = 16, ef_construction = 64, " + ", ".join(
		f"{name} = {value}" for name, value in shown.items()) + \
		f"; by its side {PGVECTOR_DEFAULTS} has the defaults of all but the " \
		"first two settings"


def report(bench, seconds):
	n, dim = bench.data.items.shape
	commit = os.environ.get("RECSYS_COMMIT")
	lines = [f"# Filters: {n} x {dim}", "",
			 f"- data: {bench.data.name}, inner product; one client, prepared "
			 "statements, blocks of queries in turn"]
	lines += machine_lines(bench.conn)
	lines += ["- enable_seqscan and the like are set for each forced plan, and "
			  "all on for the planner's own"]
	lines += ["- " + ", ".join(f"{s.name} {s.version}" for s in bench.systems)
			  + (f" ({commit})" if commit else "")]
	if bench.points[0].of("pgvector"):
		lines.append(pgvector_line(bench))
	lines += [f"- the run took {seconds:.0f} s"] + target_lines()
	lines += build_table(bench.systems) + size_lines(bench.systems, n)
	for column in ATTRIBUTES:
		for limit in KS:
			lines += point_lines(bench, column, limit)
	for system in bench.recsys:
		lines += choice_lines(bench, system)
	return "\n".join(lines + missed_lines(bench)) + "\n"


def arguments():
	parser = argparse.ArgumentParser()
	parser.add_argument("--rows", type=int)
	parser.add_argument("--quick", action="store_true")
	parser.add_argument("--no-rival", action="store_true")
	for name in ("cache", "report"):
		parser.add_argument(name, type=Path)
	args = parser.parse_args()
	args.rows = args.rows or (100_000 if args.quick else 1_000_000)
	args.names = [name for name in FilterBench.SYSTEMS
				  if name != "pgvector" or not args.no_rival]
	return args


def main():
	start = time.monotonic()
	args = arguments()
	data = FilteredSet(made_folder(args.cache, args.rows),
					   QUICK_QUERIES if args.quick else QUERIES)
	bench = FilterBench(data, args.quick, args.names)
	say(f"loading {data.name}: {len(data.items)} items")
	bench.load()
	say("building the indexes")
	bench.build(1, (os.cpu_count() - 1,))
	bench.build_btrees()
	bench.run([s for s in SHARES if s * len(data.items) >= 5])
	written = report(bench, time.monotonic() - start)
	args.report.write_text(written)
	say("")
	say(written)


if __name__ == "__main__":
	sys.exit(main())
