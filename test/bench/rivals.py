"""
rivals.py
	Libraries that search in the process of the benchmark itself: hnswlib, and
	faiss with an inverted file, 4-bit codes and a second look at the rows.  A
	query is one call for one vector, with one thread.  Both measure inner
	product alone.  A library that is not installed is left out.
"""
import importlib.metadata
import importlib.util
import os
import time
from dataclasses import dataclass

import numpy as np

from compare import Build, Contender
from results import FAISS, HNSWLIB

BLOCK = 65536


@dataclass
class InProcess(Contender):
	"""A setting of a library; its blocks are calls of the library."""
	library: object = None
	value: int = 0				# of the setting that is swept

	def run(self, k, queries):
		"""Seconds, CPU seconds a query, and the rows of each query."""
		search, clock = self.library.search, time.perf_counter
		self.library.set(self.value, k)
		seconds, rows = [], []
		cpu = time.process_time()
		for query in queries:
			start = clock()
			found = search(query, k)
			seconds.append(clock() - start)
			rows.append(found)
		cpu = (time.process_time() - cpu) / max(1, len(rows))
		return seconds, cpu, [[int(i) for i in found[0] if i >= 0]
							  if found is not None else [] for found in rows]


class Library:
	"""
	A kind of index: the subclass has its name, PACKAGE of PyPI, MODULE, SWEEP
	of values by K, and make, add, set, search and bytes.
	"""
	COST = "floor: {}, a call on an index of one row"

	def __init__(self, dim):
		self.dim = dim
		self.version = importlib.metadata.version(self.PACKAGE)
		self.built = []
		self.size = 0

	@classmethod
	def missing(cls):
		return importlib.util.find_spec(cls.MODULE) is None

	def build(self, items, threads):
		"""A new index of all rows; what it took."""
		start, cpu = time.perf_counter(), time.process_time()
		self.make(items, threads)
		self.built.append(Build(time.perf_counter() - start,
								time.process_time() - cpu, threads - 1))
		self.size = self.bytes()
		return self.built[-1]

	def contenders(self, k, quick):
		return [InProcess(f"{self.name}, {self.label(value, k)}", "", None,
						  library=self, value=value)
				for value in self.sweep(k)[::2 if quick else 1]]

	def floor(self):
		"""What a call costs that has nothing to search."""
		one = type(self)(self.dim)
		one.make(np.ones((1, self.dim), np.float32), 1)
		return InProcess(self.COST.format(self.name), "", None, library=one,
						 value=self.sweep(10)[0])


class Hnswlib(Library):
	name, PACKAGE, MODULE = HNSWLIB, "hnswlib", "hnswlib"
	settings = "M = 16, ef_construction = 200, space ip"
	SWEEP = {10: (10, 20, 30, 40, 60, 80, 120, 200, 400, 800),
			 100: (100, 120, 150, 200, 300, 500, 800, 1600),
			 1000: (1000, 1200, 1500, 2000, 3000, 5000)}

	def sweep(self, k):
		return self.SWEEP[k]

	def label(self, value, k):
		return f"ef {value}"

	def make(self, items, threads):
		import hnswlib
		self.index = hnswlib.Index(space="ip", dim=self.dim)
		self.index.init_index(max_elements=len(items), M=16,
							  ef_construction=200, random_seed=1)
		for first in range(0, len(items), BLOCK):
			x = np.ascontiguousarray(items[first:first + BLOCK], np.float32)
			self.index.add_items(x, first + np.arange(len(x)),
								 num_threads=threads)
		self.rows = len(items)

	def set(self, value, k):
		self.index.set_ef(value)

	def search(self, query, k):
		"""None where the graph does not reach k rows, which is an error."""
		try:
			return self.index.knn_query(query, min(k, self.rows),
										num_threads=1)[0]
		except RuntimeError:
			return None

	def bytes(self):
		return self.index.index_file_size()


class Faiss(Library):
	name, PACKAGE, MODULE = FAISS, "faiss-cpu", "faiss"
	settings = ("IVF with 4 sqrt(n) lists, PQ of 4 bits for 2 dimensions "
				"(fastscan), refined by the rows themselves")
	PROBES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
	REFINED = {10: 30, 100: 8, 1000: 3}		# rows looked at again, over K

	def sweep(self, k):
		return self.PROBES

	def label(self, value, k):
		return f"nprobe {value}, refine {self.REFINED[k]} K"

	def make(self, items, threads):
		import faiss
		self.rows = len(items)
		faiss.omp_set_num_threads(threads)
		if self.rows == 1:
			self.index = faiss.IndexFlatIP(self.dim)
			self.ivf = None
		else:
			self.train(faiss, items)
		for first in range(0, self.rows, BLOCK):
			self.index.add(np.ascontiguousarray(items[first:first + BLOCK],
												np.float32))
		faiss.omp_set_num_threads(1)

	def train(self, faiss, items):
		lists = max(16, round(4 * self.rows ** 0.5))
		self.index = faiss.index_factory(
			self.dim, f"IVF{lists},PQ{self.dim // 2}x4fs,RFlat",
			faiss.METRIC_INNER_PRODUCT)
		self.ivf = faiss.extract_index_ivf(self.index)
		wanted = min(self.rows, 64 * lists)
		self.ivf.cp.max_points_per_centroid = 64
		self.ivf.cp.min_points_per_centroid = 1
		chosen = np.sort(np.random.default_rng(1).choice(self.rows, wanted,
														 replace=False))
		self.index.train(np.ascontiguousarray(items[chosen], np.float32))

	def set(self, value, k):
		if self.ivf is not None:
			self.ivf.nprobe = value
			self.index.k_factor = self.REFINED[k]

	def search(self, query, k):
		return self.index.search(query, k)[1]

	def bytes(self):
		"""Counts what goes to a file, without keeping it."""
		import faiss
		pieces = []
		writer = faiss.PyCallbackIOWriter(lambda data: pieces.append(len(data)))
		faiss.write_index(self.index, writer)
		return sum(pieces)


def installed(dim):
	"""An object for each library that is there, and who is missing."""
	# Threads of OpenMP that wait would take time from the queries.
	os.environ.setdefault("OMP_WAIT_POLICY", "passive")
	kinds = (Hnswlib, Faiss)
	return [kind(dim) for kind in kinds if not kind.missing()], \
		[f"{kind.name}: the package {kind.PACKAGE} of PyPI is not installed"
		 for kind in kinds if kind.missing()]
