"""
tower.py [--quick] REPORT
	Measures recsys.embed in the server that the PG* variables name, beside the
	same forward pass in numpy, and writes a report.  test/bench/tower makes the
	server; README.md says what is measured and how.
"""
import argparse
import os
import statistics
import struct
import sys
import time
from pathlib import Path

import numpy as np

from compare import machine_lines, say, spread
from pq import Connection, Parameter
from tower_model import DIM, HISTORY, LAYERS, TowerModel, Users, load

ITEMS = 20_000				# in the tower's table
LARGE_ITEMS = 78_000		# which make a file of 20 MB
ROWS, QUICK_ROWS = 100_000, 10_000
CALLS, QUICK_CALLS = 5000, 1000
FIRST_CALLS, QUICK_FIRST_CALLS = 40, 10
REPEATS = 3
NUMPY_BATCH = 1024

SETTINGS = {"jit": "off"}

# Targets, in seconds
CALL = 0.0002
FIRST_CALL = 0.020

EMBED = "recsys.embed('u', u)"
EMBED_BATCH = "recsys.embed_batch('u', u) OVER ()"


def connect():
	conn = Connection()
	for name, value in SETTINGS.items():
		conn.exec(f"SET {name} = {value}")
	return conn


def quantiles(seconds):
	return [1000 * float(np.quantile(seconds, q)) for q in (0.5, 0.9, 0.99)]


class TowerBench:
	def __init__(self, quick):
		self.quick = quick
		self.rows = QUICK_ROWS if quick else ROWS
		self.rng = np.random.default_rng(1)
		self.conn = connect()
		self.conn.exec("CREATE EXTENSION recsys")
		self.model = self.make(ITEMS)
		self.users = Users(self.rng.integers(ITEMS, size=(self.rows, HISTORY)))
		load(self.conn, self.model, self.users)

	def make(self, items):
		return TowerModel(self.rng.standard_normal((items, DIM), np.float32))

	def agreement(self):
		"""The largest difference of the server's answers and numpy's."""
		rows = np.arange(min(1000, self.rows))
		difference = 0
		for embed in (EMBED, EMBED_BATCH):
			found = self.conn.exec(f"SELECT {embed} FROM users u "
								   f"WHERE id <= {len(rows)} ORDER BY id")
			server = np.array([np.fromstring(v.strip("[]"), sep=",")
							   for (v,) in found])
			error = np.abs(server - self.model.forward(self.users, rows)).max()
			difference = max(difference, error)
		return difference

	# ----- one row -----

	def calls(self):
		"""Of a prepared statement: name, quantiles and CPU in milliseconds."""
		n = QUICK_CALLS if self.quick else CALLS
		parameters = [Parameter(struct.pack(">i", i)) for i in
					  self.rng.integers(1, self.rows + 1, n)]
		found = []
		statements = {
			"one user by key, embed": f"SELECT {EMBED} FROM users u WHERE id = $1",
			"the same without embed": "SELECT u FROM users u WHERE id = $1",
			"embed of jsonb": "SELECT recsys.embed('u', to_jsonb(u)) "
			"FROM users u WHERE id = $1"}
		for name, sql in statements.items():
			self.conn.prepare(name, sql)
			self.conn.time_prepared(name, parameters[:100])
		for name in statements:
			cpu = self.conn.cpu_seconds()
			seconds, _ = self.conn.time_prepared(name, parameters)
			cpu = self.conn.cpu_seconds() - cpu
			found.append((name, quantiles(seconds) + [1000 * cpu / n]))
		seconds = []
		for i in range(n):
			start = time.perf_counter()
			self.model.forward(self.users, slice(i, i + 1))
			seconds.append(time.perf_counter() - start)
		found.append(("numpy, one row in memory", quantiles(seconds)))
		return found

	# ----- the first call -----

	def first_calls(self):
		"""The same of the first statement of a new connection."""
		large = self.make(LARGE_ITEMS)
		self.conn.exec("SELECT recsys.import_model('large', "
					   f"'\\x{large.file().hex()}')")
		self.megabytes = int(self.conn.value(
			"SELECT bytes FROM recsys.models WHERE name = 'large'")) / 1e6
		statements = {
			"nothing of recsys": "SELECT u FROM users u WHERE id = 1",
			"a vector, which loads the library": "SELECT '[1]'::vector "
			"FROM users u WHERE id = 1",
			"embed, small model": f"SELECT {EMBED} FROM users u WHERE id = 1",
			f"embed, {self.megabytes:.1f} MB": "SELECT recsys.embed('large', u) "
			"FROM users u WHERE id = 1"}
		seconds = {name: [] for name in statements}
		cpu = {name: [] for name in statements}
		for _ in range(QUICK_FIRST_CALLS if self.quick else FIRST_CALLS):
			for name, sql in statements.items():
				conn = connect()
				used = conn.cpu_seconds()
				start = time.perf_counter()
				conn.exec(sql)
				seconds[name].append(time.perf_counter() - start)
				cpu[name].append(conn.cpu_seconds() - used)
				conn.close()
		return [(name, quantiles(seconds[name])
				 + [1000 * statistics.median(cpu[name])]) for name in statements]

	# ----- many rows -----

	def timed(self, *statements):
		"""Run statements at the same time, each on a connection of its own."""
		conns = [connect() for _ in statements]
		start = time.perf_counter()
		for conn, sql in zip(conns, statements):
			conn.send(sql)
		for conn in conns:
			conn.finish()
		seconds = time.perf_counter() - start
		for conn in conns:
			conn.close()
		return seconds

	def fill(self, update, table="catalogue"):
		"""
		UPDATE the catalogue, by one statement or by one for each core.  {part} in
		the statement is the part of the rows that it changes.
		"""
		def timed(parts):
			self.conn.exec(
				f"DROP TABLE IF EXISTS {table}; "
				f"CREATE TABLE {table} AS SELECT *, NULL::vector({DIM}) AS "
				f"embedding FROM users")
			self.conn.exec(f"VACUUM (FREEZE, ANALYZE) {table}")
			return self.timed(*(update.format(table=table, part=part)
							   for part in self.parts(parts)))
		return timed

	def parts(self, n):
		bounds = np.linspace(0, self.rows, n + 1).astype(int)
		return [f"u.id > {low} AND u.id <= {high}"
				for low, high in zip(bounds, bounds[1:])]

	def select(self, what, workers):
		def timed():
			self.conn.exec(f"ALTER TABLE users SET (parallel_workers = {workers})")
			return self.timed(f"SELECT count({what}) FROM users u")
		return timed

	def select_batch(self, parts):
		return lambda: self.timed(*(
			f"SELECT count(v) FROM (SELECT {EMBED_BATCH} AS v FROM users u "
			f"WHERE {part}) e" for part in self.parts(parts)))

	def numpy_pass(self):
		start = time.perf_counter()
		for first in range(0, self.rows, NUMPY_BATCH):
			self.model.forward(self.users, slice(first, first + NUMPY_BATCH))
		return time.perf_counter() - start

	def catalogue(self):
		"""Rows a second: name, list of repeats."""
		cores = os.cpu_count()
		update, floor = (self.fill(
			"UPDATE {table} u SET embedding = " + to + " WHERE {part}")
			for to in (EMBED, f"array_fill(0.5, ARRAY[{DIM}])::real[]::vector"))
		batch = self.fill(
			"UPDATE {table} u SET embedding = e.v FROM (SELECT id, "
			+ EMBED_BATCH + " AS v FROM {table} u WHERE {part}) e "
			"WHERE u.id = e.id AND {part}")
		ways = {
			"UPDATE": lambda: update(1),
			f"UPDATE, {cores} connections": lambda: update(cores),
			"UPDATE FROM embed_batch": lambda: batch(1),
			f"UPDATE FROM embed_batch, {cores} connections": lambda: batch(cores),
			f"UPDATE with a constant, {cores} connections": lambda: floor(cores),
			"SELECT count(embed)": self.select(EMBED, 0),
			f"SELECT count(embed), {cores} processes":
				self.select(EMBED, cores - 1),
			"SELECT count(embed_batch)": self.select_batch(1),
			f"SELECT count(embed_batch), {cores} connections":
				self.select_batch(cores),
			"SELECT count(row)": self.select("u", 0),
			f"numpy, {NUMPY_BATCH} rows at a time, BLAS of its own "
			f"({os.environ.get('OPENBLAS_NUM_THREADS', cores)} threads)":
				self.numpy_pass}
		found = {name: [] for name in ways}
		for _ in range(1 if self.quick else REPEATS):
			for name, way in ways.items():
				found[name].append(self.rows / way())
				say(f"  {name}: {found[name][-1]:.0f} rows a second")
		return found


# ----- the report -----

def verdict(what, milliseconds, target):
	met = "met" if milliseconds < 1000 * target else "missed"
	return ["", f"**{what}: {milliseconds:.3f} ms; target {1000 * target:g} ms: "
			f"{met}**"]


def quantile_lines(title, measured):
	lines = ["", f"## {title}", "",
			 "| | p50 ms | p90 ms | p99 ms | server CPU ms |", "|---|---|---|---|---|"]
	return lines + [f"| {name} | " + " | ".join(f"{q:.3f}" for q in found) + " |"
					for name, found in measured]


def report(bench, calls, first, catalogue, seconds):
	commit = os.environ.get("RECSYS_COMMIT")
	version = bench.conn.value(
		"SELECT extversion FROM pg_extension WHERE extname = 'recsys'")
	lines = ["# recsys.embed", "",
			 f"- model: 20 features, a history of {HISTORY} of {ITEMS} items, "
			 f"layers of {', '.join(map(str, LAYERS))}; {bench.rows} rows; "
			 f"one client, prepared statements"]
	lines += machine_lines(bench.conn, SETTINGS)
	lines += [f"- recsys {version}" + (f" ({commit})" if commit else "")
			  + f"; numpy {np.__version__}; the largest difference of their "
			  f"answers is {bench.agreement():.1e}",
			  f"- the run took {seconds:.0f} s"]
	lines += quantile_lines("One row", calls)
	lines += verdict("Median of embed", calls[0][1][0], CALL)
	lines += quantile_lines("The first statement of a connection", first)
	lines += verdict("Median of the first embed with a model of "
					 f"{bench.megabytes:.1f} MB", first[-1][1][0], FIRST_CALL)
	lines += ["", "## A catalogue", "", "| | rows a second | microseconds a row "
			  "|", "|---|---|---|"]
	for name, found in catalogue.items():
		lines.append(f"| {name} | {spread(found, 0)} | "
					 f"{1e6 / statistics.median(found):.1f} |")
	return "\n".join(lines) + "\n"


def main():
	start = time.monotonic()
	parser = argparse.ArgumentParser()
	parser.add_argument("--quick", action="store_true")
	parser.add_argument("report", type=Path)
	args = parser.parse_args()
	bench = TowerBench(args.quick)
	say("one row")
	calls = bench.calls()
	say("first calls")
	first = bench.first_calls()
	say("the catalogue")
	catalogue = bench.catalogue()
	text = report(bench, calls, first, catalogue, time.monotonic() - start)
	args.report.write_text(text)
	say("")
	say(text)


if __name__ == "__main__":
	sys.exit(main())
