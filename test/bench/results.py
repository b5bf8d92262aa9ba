"""
results.py
	What a run of test/bench/bench found, as plain data: it goes to bench.json,
	and from there or from memory into the targets, the plots and the report.
	Nothing here needs a server, or more than Python itself.
"""
import dataclasses
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path

# The contestants, by the names that all parts use.
HNSW, IVFPQ, PGVECTOR = "recsys_hnsw", "recsys_ivfpq", "pgvector"
HNSWLIB, FAISS = "hnswlib", "faiss"
CONTESTANTS = (HNSW, IVFPQ, PGVECTOR, HNSWLIB, FAISS)

RECALL = 0.95				# at which contestants are compared
SLACK = 0.001				# recalls that are as good as the best


@dataclass
class Timing:
	"""A setting of a contestant, or a floor, at one K.  Times are seconds."""
	system: str					# "" for a floor
	label: str
	k: int
	recall: float				# None for a floor
	median: float
	p99: float
	cpu: float					# mean of a query
	blocks: list				# the median of each block of queries
	queries: int
	short: int = 0				# queries with fewer than K rows
	index_buffers: float = None	# accesses a query; None outside the server
	table_buffers: float = None
	default: bool = False		# no setting is touched

	def rate(self):
		return 1 / self.median

	def rates(self):
		"""The least and the largest of the blocks' queries a second."""
		return 1 / max(self.blocks), 1 / min(self.blocks)

	def ratios(self, other):
		"""How many times faster than another, block by block."""
		return [b / a for a, b in zip(self.blocks, other.blocks)]

	def spread(self):
		"""How far the blocks lie apart, over the median."""
		return (max(self.blocks) - min(self.blocks)) / self.median


@dataclass
class Built:
	system: str
	threads: int				# workers and the leader, or a library's threads
	seconds: list				# of each repeat
	cpu: list
	size: int					# bytes
	memory: int = None			# MB, where it had not enough for all rows


@dataclass
class SetResult:
	name: str					# in the report and in names of files
	source: str					# where the rows come from
	rows: int
	dim: int
	made: bool					# one of a row of sets that grow
	built: list = field(default_factory=list)
	timings: list = field(default_factory=list)

	def ks(self):
		return sorted({t.k for t in self.timings})

	def of(self, system, k):
		return [t for t in self.timings if (t.system, t.k) == (system, k)]

	def systems(self):
		"""Those that were measured, in the order of CONTESTANTS."""
		seen = {t.system for t in self.timings} | {b.system for b in self.built}
		return [name for name in CONTESTANTS if name in seen]

	def build_of(self, system, short=False):
		"""Its build with memory enough, or the one that was short of it."""
		return next((b for b in self.built if b.system == system
					 and (b.memory is not None) == short), None)


@dataclass
class FilterTiming:
	"""A scan of one system, or an exact plan, under one filter."""
	column: str
	share: float				# of the rows that the filter takes
	k: int
	system: str
	recall: float
	median: float
	short: int


@dataclass
class FilterResult:
	source: str
	rows: int
	columns: dict				# name: what it is
	timings: list = field(default_factory=list)

	def median(self, column, share, system):
		return next((t.median for t in self.timings if
					 (t.column, t.share, t.system) == (column, share, system)),
					None)


@dataclass
class Failure:
	part: str
	reason: str


@dataclass
class Results:
	head: list = field(default_factory=list)	# lines on machine and settings
	sets: list = field(default_factory=list)
	filter: FilterResult = None
	failures: list = field(default_factory=list)
	missing: list = field(default_factory=list)	# contestants, and why
	growth: bool = False		# whether the made sets are to be compared
	seconds: float = 0
	complete: bool = False

	def made(self):
		"""The made sets by rows, that have been measured."""
		return sorted((s for s in self.sets if s.made and s.timings),
					  key=lambda s: s.rows)

	def save(self, path):
		Path(path).write_text(json.dumps(dataclasses.asdict(self), indent=1))


def load(path):
	"""What save wrote."""
	data = json.loads(Path(path).read_text())
	for one in data["sets"]:
		one["built"] = [Built(**b) for b in one["built"]]
		one["timings"] = [Timing(**t) for t in one["timings"]]
	data["sets"] = [SetResult(**one) for one in data["sets"]]
	data["failures"] = [Failure(**f) for f in data["failures"]]
	if data["filter"]:
		timings = [FilterTiming(**t) for t in data["filter"].pop("timings")]
		data["filter"] = FilterResult(**data["filter"], timings=timings)
	return Results(**data)


# ----- which setting stands for a contestant -----

def nearest_above(timings, recall=RECALL):
	"""The setting with the least recall from this up, else the default."""
	above = [t for t in timings if t.recall >= recall]
	if above:
		return min(above, key=lambda t: (t.recall, t.median))
	return next((t for t in timings if t.default), None)


def fastest(timings, recall=RECALL):
	"""
	The fastest setting that reaches the recall, and True; else the fastest of
	those of the best recall, and False.  None and False of nothing.
	"""
	if not timings:
		return None, False
	best = max(t.recall for t in timings)
	least = recall if best >= recall else best - SLACK
	return min((t for t in timings if t.recall >= least),
			   key=lambda t: t.median), best >= recall


def stands_for(result, system, k):
	"""The one timing that shows a contestant where only one is wanted."""
	timings = result.of(system, k)
	if system in (HNSW, IVFPQ):
		return nearest_above(timings)
	return fastest(timings)[0]


def spreads(results):
	"""Of all timings of contestants: the median spread, and the largest."""
	found = [t.spread() for s in results.sets for t in s.timings if t.system]
	return (statistics.median(found), max(found)) if found else None
