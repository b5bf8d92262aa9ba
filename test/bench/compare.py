"""
compare.py [--quick] [--metric ip|l2|cosine] FOLDER REPORT
	Measures recsys_hnsw beside pgvector's HNSW in the server that the PG*
	variables name, and writes a report.  test/bench/compare makes the server;
	README.md says what is measured and how.
"""
import argparse
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pq import Connection, Parameter, cpu_seconds

OPERATORS = {"ip": "<#>", "l2": "<->", "cosine": "<=>"}
TARGETS = {10: 0.98, 100: 0.97, 1000: 0.95}
EF_SWEEP = (10, 20, 30, 40, 50, 60, 80, 100, 150, 200, 400, 1000)
QUICK_SWEEP = (10, 40, 50, 60, 100, 200, 1000)

# pgvector's last resort: an iterative scan that fetches this many rows, which
# are then sorted by their true distance.
OVERFETCH = (2000, 4000)

EXTENSIONS = {"rec": "recsys", "pgv": "vector"}		# by schema

SETTINGS = {
	"jit": "off",
	"enable_seqscan": "off",
	"plan_cache_mode": "force_generic_plan",
	"maintenance_work_mem": "2GB",
}


@dataclass
class System:
	"""A kind of index of one of the two extensions, with a table of its own."""
	name: str
	schema: str					# that the extension is in
	options: str				# of CREATE INDEX, with the class to fill in
	builds: dict = field(default_factory=dict)	# workers: list of Build
	version: str = ""
	size: int = 0

	def table(self):
		return self.name + "_items"

	def index(self):
		return self.name + "_index"

	def distance(self, metric):
		return f"embedding OPERATOR({self.schema}.{OPERATORS[metric]}) $1"


@dataclass
class Build:
	seconds: float
	cpu: float
	workers: int				# that were seen


@dataclass
class Contender:
	"""A way to get K rows, and what has been measured of it, by block."""
	label: str
	statement: str
	system: System = None
	settings: str = ""
	parameter: bool = True
	seconds: list = field(default_factory=list)		# list of lists
	cpu: list = field(default_factory=list)			# seconds a query
	hits: list = field(default_factory=list)		# recall of each query
	short: int = 0				# queries with fewer than K rows
	disordered: int = 0			# queries with rows out of order
	buffers: int = 0			# of the index
	table_buffers: int = 0
	queries: int = 0

	def median(self):
		return statistics.median(s for block in self.seconds for s in block)

	def p99(self):
		return float(np.quantile(np.concatenate(self.seconds), 0.99))

	def mean_cpu(self):
		return statistics.mean(self.cpu)

	def recall(self):
		return statistics.mean(self.hits) if self.hits else None

	def ratios(self, other):
		"""How many times faster than another, by medians, block by block."""
		return [statistics.median(b) / statistics.median(a)
				for a, b in zip(self.seconds, other.seconds)]

	def cpu_ratio(self, other):
		return other.mean_cpu() / self.mean_cpu()


def vector_bytes(vector):
	"""The binary form of type vector."""
	return np.array([len(vector), 0], ">i2").tobytes() \
		+ vector.astype(">f4").tobytes()


def wire(vector):
	"""The parameter for a query."""
	return Parameter(vector_bytes(vector))


def copy_data(items, columns=(), block=65536, first_id=0):
	"""
	Items in COPY's binary format, as (id int, embedding vector) and further
	columns of int, in pieces.
	"""
	n, dim = items.shape
	yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
	more = [(f"{part}{i}", ">i4") for i in range(len(columns))
			for part in ("len", "value")]
	for first in range(0, n, block):
		x = items[first:first + block]
		rows = np.zeros(len(x), np.dtype([
			("nfields", ">i2"), ("id_len", ">i4"), ("id", ">i4"),
			("len", ">i4"), ("dim", ">i2"), ("zero", ">i2"),
			("x", ">f4", (dim,))] + more))
		rows["nfields"], rows["id_len"] = 2 + len(columns), 4
		rows["id"] = first_id + first + np.arange(len(x))
		rows["len"], rows["dim"], rows["x"] = 4 + 4 * dim, dim, x
		for i, column in enumerate(columns):
			rows[f"len{i}"], rows[f"value{i}"] = 4, column[first:first + block]
		yield rows.tobytes()
	yield b"\xff\xff"


class DataSet:
	"""Items, queries, and the exact answer."""

	def __init__(self, folder, metric):
		folder = Path(folder)
		items = next(p for p in (folder / "items.npy", folder / "base.npy")
					 if p.exists())
		self.name = folder.name
		self.items = np.load(items).astype(np.float32)
		self.queries = np.load(folder / "queries.npy").astype(np.float32)
		self.metric = metric or (
			"l2" if list(folder.glob("gt_l2_*")) else "ip")
		self.parameters = [wire(q) for q in self.queries]
		self.scores = None

	def compute_scores(self, nqueries):
		"""Distances of all items to the first queries, in float64."""
		items = self.items.astype(np.float64)
		queries = self.queries[:nqueries].astype(np.float64)
		self.scores = -(queries @ items.T)
		if self.metric == "l2":
			self.scores *= 2
			self.scores += (items ** 2).sum(1)
		elif self.metric == "cosine":
			norms = np.linalg.norm(items, axis=1)
			self.scores /= np.where(norms > 0, norms, 1)
		self.tolerance = 1e-9 * np.abs(self.scores).max(axis=1)

	def kth_scores(self, k):
		return np.partition(self.scores, k - 1, axis=1)[:, k - 1]

	def scores_of(self, query, found):
		"""Distances of some items to a query."""
		return self.scores[query, found]


class Comparison:
	SYSTEMS = {
		"recsys": ("rec", "USING recsys_hnsw (embedding {})"),
		"pgvector": ("pgv", "USING hnsw (embedding {}) "
					 "WITH (m = 16, ef_construction = 64)"),
	}
	COLUMNS = ""				# of the tables, behind id and embedding

	def __init__(self, data, quick, names=("recsys", "pgvector")):
		self.data = data
		self.quick = quick
		self.systems = [System(n, *self.SYSTEMS[n]) for n in names]
		self.results = {}		# K: list of contenders
		self.connect()

	def connect(self):
		self.conn = Connection()
		self.watcher = Connection()

	# ----- tables and indexes -----

	def load(self):
		dim = self.data.items.shape[1]
		self.settle()
		for system in self.systems:
			extension = EXTENSIONS[system.schema]
			self.conn.exec(f"CREATE SCHEMA IF NOT EXISTS {system.schema}; "
						   f"CREATE EXTENSION IF NOT EXISTS {extension} "
						   f"SCHEMA {system.schema}")
			system.version = self.conn.value(
				f"SELECT extversion FROM pg_extension "
				f"WHERE extname = '{extension}'")
			for table in (system.table(), system.name + "_empty"):
				self.conn.exec(
					f"CREATE TABLE {table} (id int, "
					f"embedding {system.schema}.vector({dim}) NOT NULL"
					f"{self.COLUMNS}); "
					f"ALTER TABLE {table} ALTER embedding SET STORAGE PLAIN")
			self.conn.copy(f"COPY {system.table()} FROM STDIN (FORMAT binary)",
						   copy_data(self.data.items, self.columns()))
			self.conn.exec(f"VACUUM (FREEZE, ANALYZE) {system.table()}")
			self.conn.exec(self.create_index(system, "", system.name + "_empty"))

	def columns(self):
		"""What COLUMNS hold, an array for each."""
		return ()

	def settle(self):
		"""What each connection has to set."""
		for name, value in SETTINGS.items():
			self.conn.exec(f"SET {name} = '{value}'")

	def create_index(self, system, name, table):
		columns = system.options.format(
			f"{system.schema}.vector_{self.data.metric}_ops")
		return f"CREATE INDEX {name} ON {table} {columns}"

	def watch_build(self, sql):
		"""Time a build, and add up the CPU time of all its processes."""
		cpu = {self.conn.pid: self.conn.cpu_seconds()}
		before = cpu[self.conn.pid]

		def watch():
			for (pid,) in self.watcher.exec(
					"SELECT pid FROM pg_stat_activity "
					f"WHERE leader_pid = {self.conn.pid}"):
				cpu[int(pid)] = cpu_seconds(int(pid)) or cpu.get(int(pid), 0)

		seconds = self.conn.exec_watched(sql, watch)
		cpu[self.conn.pid] = self.conn.cpu_seconds() - before
		return Build(seconds, sum(cpu.values()), len(cpu) - 1)

	def build_one(self, system, workers):
		"""Build an index, in place of the one that is there."""
		table = system.table()
		self.conn.exec(f"DROP INDEX IF EXISTS {system.index()}; "
					   f"ALTER TABLE {table} SET (parallel_workers = {workers})")
		self.conn.exec(f"SET max_parallel_maintenance_workers = {workers}")
		build = self.watch_build(
			self.create_index(system, system.index(), table))
		say(f"  {system.name} with {workers} workers: "
			f"{build.seconds:.1f} s, CPU {build.cpu:.1f} s")
		if build.workers != workers:
			say(f"  note: {build.workers} workers were seen")
		return build

	def build(self, repeats, workers_wanted):
		"""Build all indexes in turn, again and again."""
		for repeat in range(repeats):
			for workers in workers_wanted:
				for system in self.systems[::-1 if repeat % 2 else 1]:
					system.builds.setdefault(workers, []).append(
						self.build_one(system, workers))
		for system in self.systems:
			system.size = int(self.conn.value(
				f"SELECT pg_relation_size('{system.index()}')"))

	# ----- queries -----

	def prepare(self, name, sql):
		self.conn.prepare(name, sql)
		return name

	def select(self, system, k, table=None):
		table = table or system.table()
		return self.prepare(
			f"{table}_{k}",
			f"SELECT id FROM {table} "
			f"ORDER BY {system.distance(self.data.metric)} LIMIT {k}")

	def select_overfetched(self, system, k, rows):
		distance = system.distance(self.data.metric)
		return self.prepare(
			f"{system.table()}_{k}_{rows}",
			f"WITH near AS MATERIALIZED (SELECT id, {distance} AS distance "
			f"FROM {system.table()} ORDER BY {distance} LIMIT {rows}) "
			f"SELECT id FROM near ORDER BY distance + 0 LIMIT {k}")

	def plain_scans(self, pgvector, k, sweep):
		statement = self.select(pgvector, k)
		return [Contender(
			f"pgvector, ef_search {ef}", statement, pgvector,
			f"SET hnsw.iterative_scan = off; SET hnsw.ef_search = {ef}")
			for ef in sweep if ef >= min(k, EF_SWEEP[-1])]

	def sorted_scans(self, pgvector, k):
		return [Contender(
			f"pgvector, iterative, {rows} rows sorted",
			self.select_overfetched(pgvector, k, rows), pgvector,
			"SET hnsw.iterative_scan = relaxed_order; "
			"SET hnsw.ef_search = 1000; "
			"SET hnsw.max_scan_tuples = 1000000")
			for rows in (() if self.quick or k < 100 else OVERFETCH)]

	def contenders(self, k):
		"""The first is recsys, with no setting touched."""
		recsys, pgvector = self.systems
		found = [Contender("recsys, defaults", self.select(recsys, k), recsys)]
		found += self.plain_scans(pgvector, k,
								  QUICK_SWEEP if self.quick else EF_SWEEP)
		return found + self.sorted_scans(pgvector, k)

	def floors(self, k):
		"""What statements of this shape take without an index search."""
		recsys, pgvector = self.systems
		rows = f"SELECT id FROM {recsys.table()} LIMIT {k}"
		return [
			Contender("floor: SELECT 1", self.prepare(f"one_{k}", "SELECT 1"),
					  parameter=False),
			Contender("floor: recsys, empty index", self.select(
				recsys, k, "recsys_empty")),
			Contender("floor: pgvector, empty index", self.select(
				pgvector, k, "pgvector_empty")),
			Contender(f"floor: {k} rows in heap order",
					  self.prepare(f"rows_{k}", rows), parameter=False)]

	def index_counters(self, system):
		"""Scans of the index so far; buffer accesses of it and of the table."""
		self.conn.exec("SELECT pg_stat_force_next_flush()")
		row = self.conn.exec(
			"SELECT i.idx_scan, io.idx_blks_hit + io.idx_blks_read, "
			"heap_blks_hit + heap_blks_read "
			"FROM pg_stat_user_indexes i "
			"JOIN pg_statio_user_indexes io USING (indexrelid) "
			"JOIN pg_statio_user_tables t ON t.relid = i.relid "
			f"WHERE i.indexrelname = '{system.index()}'")[0]
		return tuple(int(value) for value in row)

	def run_block(self, contender, k, queries, warm):
		"""Time a block of queries, after a few that only warm the caches."""
		parameters = [self.data.parameters[i] if contender.parameter else None
					  for i in list(warm) + list(queries)]
		if contender.settings:
			self.conn.exec(contender.settings)
		self.conn.time_prepared(contender.statement, parameters[:len(warm)])
		if contender.system:
			before = self.index_counters(contender.system)
		cpu = self.conn.cpu_seconds()
		seconds, ids = self.conn.time_prepared(contender.statement,
											   parameters[len(warm):])
		contender.cpu.append((self.conn.cpu_seconds() - cpu) / len(ids))
		contender.seconds.append(seconds)
		if contender.system:
			after = self.index_counters(contender.system)
			if after[0] - before[0] != len(ids):
				raise RuntimeError(f"{contender.label}: {len(ids)} queries "
								   f"made {after[0] - before[0]} index scans")
			contender.buffers += after[1] - before[1]
			contender.table_buffers += after[2] - before[2]
			contender.queries += len(ids)
			self.score(contender, k, queries, ids)

	def score(self, contender, k, queries, ids):
		for query, found in zip(queries, ids):
			scores = self.data.scores_of(query, found)
			worst = self.kth[query] + self.data.tolerance[query]
			contender.hits.append(
				len({i for i, s in zip(found, scores) if s <= worst}) / k)
			contender.short += len(set(found)) < k
			# the server computes in float4
			slack = 1e-5 * np.abs(scores).max(initial=0)
			contender.disordered += bool((np.diff(scores) < -slack).any())

	def run(self, k, nqueries, nblocks):
		contenders = self.contenders(k) + self.floors(k)
		self.kth = self.data.kth_scores(k)
		blocks = np.array_split(np.arange(nqueries), nblocks)
		for b, block in enumerate(blocks):
			turn = b * len(contenders) // nblocks
			warm = blocks[b - 1][:8]
			for contender in contenders[turn:] + contenders[:turn]:
				self.run_block(contender, k, block, warm)
			say(f"  K = {k}: block {b + 1} of {nblocks}")
		self.results[k] = contenders


def say(text):
	print(text, flush=True)


# ----- the report -----

def spread(values, digits=2):
	return f"{statistics.median(values):.{digits}f} " \
		f"({min(values):.{digits}f} to {max(values):.{digits}f})"


def rival(contenders, target):
	"""pgvector's fastest that reaches the recall, else its best in recall."""
	pgvector = [c for c in contenders
				if c.system is not None and c.system.name == "pgvector"]
	reaching = [c for c in pgvector if c.recall() >= target]
	if reaching:
		return min(reaching, key=Contender.median), True
	best = max(c.recall() for c in pgvector)
	return min((c for c in pgvector if c.recall() >= best - 0.001),
			   key=Contender.median), False


def machine_lines(conn, settings=SETTINGS):
	"""Of a report's head; settings are those of the session."""
	cpu = next((line.split(":", 1)[1].strip()
				for line in open("/proc/cpuinfo") if "model name" in line), "?")
	memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
	return [
		f"- machine: {cpu}, {os.cpu_count()} CPUs, {memory} GB; load average "
		f"{os.getloadavg()[0]:.1f} at the end of the run",
		f"- server: {conn.value('SELECT version()')}",
		"- settings: shared_buffers = "
		+ conn.value("SHOW shared_buffers") + ", "
		+ ", ".join(f"{n} = {v}" for n, v in settings.items())]


def build_table(systems):
	lines = ["", "## Build", "",
			 "| workers | system | seconds | CPU seconds |", "|---|---|---|---|"]
	for workers in systems[0].builds:
		for system in systems:
			builds = system.builds[workers]
			lines.append(f"| {workers} | {system.name} | "
						 f"{spread([b.seconds for b in builds], 1)} | "
						 f"{spread([b.cpu for b in builds], 1)} |")
	return lines


def size_lines(systems, rows):
	return [""] + [
		f"- index of {s.name}: {s.size / 2**20:.1f} MiB, "
		f"{s.size / rows:.0f} bytes a row" for s in systems]


def build_lines(comparison):
	recsys, pgvector = comparison.systems
	lines = build_table(comparison.systems)
	for workers in recsys.builds:
		pairs = list(zip(recsys.builds[workers], pgvector.builds[workers]))
		wall = spread([b.seconds / a.seconds for a, b in pairs])
		cpu = spread([b.cpu / a.cpu for a, b in pairs])
		lines += ["", f"**{workers} workers: pgvector's time over recsys's: "
				  f"{wall}; CPU time: {cpu}**"]
	return lines + size_lines(comparison.systems, len(comparison.data.items))


def query_lines(k, contenders):
	lines = ["", f"## K = {k}", "",
			 "| | recall | median ms | p99 ms | queries/s | server CPU ms | "
			 "index buffers | table buffers | short |",
			 "|---|---|---|---|---|---|---|---|---|"]
	for c in contenders:
		recall = "" if c.recall() is None else f"{c.recall():.4f}"
		buffers = f"{c.buffers / c.queries:.0f} | " \
			f"{c.table_buffers / c.queries:.0f}" if c.queries else " | "
		lines.append(
			f"| {c.label} | {recall} | {1000 * c.median():.3f} | "
			f"{1000 * c.p99():.3f} | {1 / c.median():.0f} | "
			f"{1000 * c.mean_cpu():.3f} | {buffers} | {c.short or ''} |")
	return lines


def ratio_line(recsys, other, what):
	return (f"**recsys (recall {recsys.recall():.4f}) against {other.label} "
			f"(recall {other.recall():.4f}{what}): "
			f"{spread(recsys.ratios(other))} times the queries a second; by "
			f"server CPU time {recsys.cpu_ratio(other):.2f}**")


def verdict_lines(k, contenders):
	recsys, target = contenders[0], TARGETS[k]
	other, reached = rival(contenders, target)
	what = f", the fastest that reaches {target}" if reached else \
		f", its best; {target} is not reached"
	lines = ["", ratio_line(recsys, other, what)]
	plain = [c for c in contenders if "ef_search" in c.label]
	if not reached and other not in plain:
		lines += ["", ratio_line(recsys, max(plain, key=Contender.recall),
								 ", its best in a plain scan")]
	if recsys.recall() < target:
		lines.append(f"recsys itself is below recall {target}.")
	if recsys.disordered:
		lines.append(f"{recsys.disordered} of {recsys.queries} queries of "
					 "recsys gave rows out of order.")
	return lines


def report(comparison, seconds):
	data = comparison.data
	n, dim = data.items.shape
	lines = [f"# recsys_hnsw and pgvector's HNSW: {data.name}", "",
			 f"- data: {n} x {dim}, metric {data.metric}; one client, prepared "
			 "statements, binary parameter, blocks of queries in turn"]
	lines += machine_lines(comparison.conn)
	recsys, pgvector = comparison.systems
	lines += [f"- recsys {recsys.version}"
			  + (f" ({os.environ['RECSYS_COMMIT']})"
				 if os.environ.get("RECSYS_COMMIT") else "")
			  + f", no setting touched; pgvector {pgvector.version},"
			  " m = 16, ef_construction = 64",
			  "- medians, and in brackets the least and the largest of the "
			  f"repeats; the run took {seconds:.0f} s"]
	if recsys.builds:
		lines += build_lines(comparison)
	for k, contenders in comparison.results.items():
		lines += query_lines(k, contenders) + verdict_lines(k, contenders)
	return "\n".join(lines) + "\n"


def arguments():
	parser = argparse.ArgumentParser()
	parser.add_argument("folder")
	parser.add_argument("report")
	parser.add_argument("--quick", action="store_true",
						help="one build each, few queries")
	parser.add_argument("--metric", choices=sorted(OPERATORS))
	return parser.parse_args()


def main():
	start = time.monotonic()
	args = arguments()
	data = DataSet(args.folder, args.metric)
	comparison = Comparison(data, args.quick)
	nqueries = {10: 200, 100: 100, 1000: 40} if args.quick else \
		{10: 1000, 100: 400, 1000: 160}
	nblocks = 4 if args.quick else 8
	say(f"loading {data.name}: {len(data.items)} items, metric {data.metric}")
	comparison.load()
	say("building the indexes")
	comparison.build(1 if args.quick else 3, (0,) if args.quick else (0, 1))
	say("computing the exact answers")
	data.compute_scores(min(len(data.queries), max(nqueries.values())))
	for k, n in nqueries.items():
		if k <= len(data.items):
			comparison.run(k, min(n, len(data.queries)), nblocks)
	text = report(comparison, time.monotonic() - start)
	Path(args.report).write_text(text)
	say("")
	say(text)


if __name__ == "__main__":
	sys.exit(main())
