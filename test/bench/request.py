"""
request.py [OPTION...] CACHE REPORT
	Measures the statement that recommends, as a whole and its parts, in the
	server that the PG* variables name, and writes a report.  test/bench/request
	makes the server and tells the options; README.md says what is measured.
"""
import argparse
import json
import os
import statistics
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from compare import machine_lines, say, spread, vector_bytes
from ivfpq import made_folder
from pgbench import pgbench
from pq import Connection, Parameter
from tower_model import DIM, HISTORY, LAYERS, TowerModel, Users, load

USERS = 1000
TABLE_ITEMS = 20_000		# that a history can have: the tower's table
LIKED = 500					# best items of the table that a history is drawn from
LIMIT = 100
BLOCKS = 4
BLOCK_USERS, QUICK_BLOCK_USERS = 500, 100
WARM = 50
EXAMINED = 20				# users whose scan is looked at
CLIENTS = (1, 2, 8, 32)
SECONDS, QUICK_SECONDS = 10, 3
MATRIX_ROWS = 100			# users whose exact answers are computed at once

# Targets, in seconds
MEDIAN, P99 = 0.002, 0.006

METHODS = {"recsys_hnsw": "hnsw_items", "recsys_ivfpq": "ivfpq_items"}
COLUMNS = "embedding, category, price, in_stock"

# The conditions on items, with the columns of the made set.
CATEGORIES, WANTED = 50, 10
CONDITIONS = {
	"in_stock": lambda c: c["in_stock"],
	f"category = ANY ('{{{','.join(map(str, range(WANTED)))}}}')":
		lambda c: c["category"] < WANTED,
	"price >= 10 AND price < 60":
		lambda c: (c["price"] >= 10) & (c["price"] < 60),
}


class Catalogue:
	"""Items with the columns to filter by, users, and the exact answers."""

	def __init__(self, folder):
		self.name = folder.name
		self.items = np.load(folder / "items.npy", mmap_mode="r")
		n = len(self.items)
		rng = np.random.default_rng(5)
		self.columns = {"category": rng.integers(CATEGORIES, size=n),
						"price": rng.integers(100, size=n),
						"in_stock": rng.random(n) < 0.9}
		self.matching = {name: condition(self.columns)
						 for name, condition in CONDITIONS.items()}
		self.kept = np.logical_and.reduce(list(self.matching.values()))
		table = self.items[:TABLE_ITEMS]
		self.model = TowerModel(table)
		tastes = np.load(folder / "queries.npy")[:USERS]
		liked = np.argsort(-(tastes @ (
			table / np.linalg.norm(table, axis=1, keepdims=True)).T),
			axis=1)[:, :LIKED]
		self.users = Users(np.array([rng.choice(row, HISTORY, replace=False)
									 for row in liked]))
		self.vectors = self.model.forward(self.users, slice(None))

	def copy_data(self, block=65536):
		"""COPY's binary format: id, embedding, category, price, in_stock."""
		yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
		layout = np.dtype([
			("nfields", ">i2"), ("id_len", ">i4"), ("id", ">i4"),
			("len", ">i4"), ("dim", ">i2"), ("zero", ">i2"), ("x", ">f4", (DIM,)),
			("category_len", ">i4"), ("category", ">i4"),
			("price_len", ">i4"), ("price", ">f4"),
			("in_stock_len", ">i4"), ("in_stock", "i1")])
		for first in range(0, len(self.items), block):
			x = self.items[first:first + block]
			rows = np.zeros(len(x), layout)
			rows["nfields"], rows["id_len"] = 5, 4
			rows["id"] = first + np.arange(len(x))
			rows["len"], rows["dim"], rows["x"] = 4 + 4 * DIM, DIM, x
			for name, column in self.columns.items():
				rows[name + "_len"] = layout[name].itemsize
				rows[name] = column[first:first + block]
			yield rows.tobytes()
		yield b"\xff\xff"

	def compute_answers(self):
		"""The score that the last of the exact answers to each user has."""
		kept = np.flatnonzero(self.kept)
		items = self.items[kept]
		self.kth = np.empty(USERS)
		for first in range(0, USERS, MATRIX_ROWS):
			users = np.arange(first, min(first + MATRIX_ROWS, USERS))
			scores = self.vectors[users] @ items.T
			for user, row in zip(users, scores):
				row[np.isin(kept, self.users.history[user])] = -np.inf
				self.kth[user] = np.partition(row, -LIMIT)[-LIMIT]

	def recall(self, user, ids):
		ids = list(set(ids))
		if not self.kept[ids].all() or set(ids) & set(self.users.history[user]):
			raise RuntimeError(f"a row for user {user} does not match")
		scores = self.items[ids] @ self.vectors[user]
		return (scores >= self.kth[user] - 1e-5 * abs(self.kth[user])).sum() \
			/ LIMIT


@dataclass
class Part:
	"""A statement, whole or in part, and what has been measured of it."""
	label: str
	name: str
	vector: bool = False		# takes the user's vector, not the key
	blocks: list = field(default_factory=list)		# seconds
	cpu: list = field(default_factory=list)			# seconds a call
	recalls: list = field(default_factory=list)
	short: int = 0

	def quantile(self, share):
		return float(np.quantile(np.concatenate(self.blocks), share))

	def median_spread(self):
		return spread([1000 * statistics.median(b) for b in self.blocks], 3)


def search(table, query, conditions=tuple(CONDITIONS), user=None):
	where = [f"i.{c}" if "AND" not in c else
			 " AND ".join(f"i.{part}" for part in c.split(" AND "))
			 for c in conditions]
	if user:
		where.append("NOT EXISTS (SELECT FROM events e "
					 f"WHERE e.user_id = {user} AND e.item_id = i.id)")
	where = "WHERE " + " AND ".join(where) if where else ""
	return f"SELECT i.id FROM {table} i {where} " \
		f"ORDER BY i.embedding <#> {query} LIMIT {LIMIT}"


EMBED = "(SELECT recsys.embed('u', u) FROM users u WHERE u.id = {})"


class RequestBench:
	def __init__(self, data, quick):
		self.data = data
		self.quick = quick
		self.conn = Connection()
		self.keys = [Parameter(struct.pack(">i", u + 1)) for u in range(USERS)]
		self.vectors = [Parameter(vector_bytes(v)) for v in data.vectors]
		self.builds, self.sizes, self.parts, self.clients = {}, {}, {}, {}
		self.visited = {}

	def load(self):
		self.conn.exec("CREATE EXTENSION recsys")
		self.conn.exec("SET maintenance_work_mem = '2GB'")
		self.version = self.conn.value(
			"SELECT extversion FROM pg_extension WHERE extname = 'recsys'")
		load(self.conn, self.data.model, self.data.users)
		self.conn.exec("CREATE TABLE events (user_id int, item_id int)")
		self.conn.copy("COPY events FROM STDIN", (
			"".join(f"{user + 1}\t{item}\n" for item in history).encode()
			for user, history in enumerate(self.data.users.history)))
		self.conn.exec("ALTER TABLE events ADD PRIMARY KEY (user_id, item_id)")
		self.conn.exec("VACUUM (FREEZE, ANALYZE) events")
		for table in METHODS.values():
			self.conn.exec(
				f"CREATE TABLE {table} (id int PRIMARY KEY, "
				f"embedding vector({DIM}), category int, price real, "
				f"in_stock boolean); ALTER TABLE {table} "
				"ALTER embedding SET STORAGE PLAIN")
			self.conn.copy(f"COPY {table} FROM STDIN (FORMAT binary)",
						   self.data.copy_data())
			self.conn.exec(f"VACUUM (FREEZE, ANALYZE) {table}")

	def build(self):
		self.conn.exec("SET max_parallel_maintenance_workers = "
					   f"{os.cpu_count() - 1}")
		for method, table in METHODS.items():
			start = time.perf_counter()
			self.conn.exec(f"CREATE INDEX {table}_index ON {table} "
						   f"USING {method} ({COLUMNS})")
			self.builds[method] = time.perf_counter() - start
			self.sizes[method] = int(self.conn.value(
				f"SELECT pg_relation_size('{table}_index')"))
			say(f"  {method}: {self.builds[method]:.1f} s")

	def check_plan(self, name, table):
		"""The planner must have taken the index, with all conditions in it."""
		plan = json.loads(self.conn.value(
			f"EXPLAIN (FORMAT json) EXECUTE {name}(1)"))[0]["Plan"]
		nodes, scans = [plan], []
		for node in nodes:
			nodes += node.get("Plans", [])
			scans.append((node.get("Index Name"), node.get("Index Cond", "")))
		found = [cond for index, cond in scans if index == f"{table}_index"]
		if not found or "Sort" in {n["Node Type"] for n in nodes} or \
				any(column not in found[0] for column in self.data.columns):
			raise RuntimeError(f"the plan is not the index scan: {plan}")

	def prepare(self, method, table):
		"""The whole first, then its parts."""
		whole = search(table, EMBED.format("$1"), user="$1")
		found = [Part("the statement", f"{table}_whole"),
				 Part("embed alone", f"{table}_embed"),
				 Part("search with conditions", f"{table}_search", True),
				 Part("search without conditions", f"{table}_plain", True),
				 Part("statement without NOT EXISTS", f"{table}_seen"),
				 Part("floor: the user's features by key", f"{table}_floor")]
		self.conn.exec("SET plan_cache_mode = force_generic_plan")
		for part, sql in zip(found, (
				whole, "SELECT " + EMBED.format("$1"), search(table, "$1"),
				search(table, "$1", ()), search(table, EMBED.format("$1")),
				"SELECT u FROM users u WHERE u.id = $1")):
			self.conn.prepare(part.name, sql)
		self.check_plan(found[0].name, table)
		self.parts[method] = found

	def examine(self, method):
		"""Rows that the scans of a few users looked at."""
		whole = self.parts[method][0]
		found = []
		for key in self.keys[:EXAMINED]:
			self.conn.time_prepared(whole.name, [key])
			found.append(int(self.conn.value(
				"SELECT visited FROM recsys.last_scan()")))
		self.visited[method] = statistics.median(found)

	def measure(self, part, users, warm):
		parameters = self.vectors if part.vector else self.keys
		self.conn.time_prepared(part.name, [parameters[u] for u in warm])
		cpu = self.conn.cpu_seconds()
		seconds, ids = self.conn.time_prepared(
			part.name, [parameters[u] for u in users])
		part.cpu.append((self.conn.cpu_seconds() - cpu) / len(users))
		part.blocks.append(seconds)
		return ids

	def run(self):
		"""Each part in turn, block by block of users."""
		size = QUICK_BLOCK_USERS if self.quick else BLOCK_USERS
		rng = np.random.default_rng(6)
		for method, table in METHODS.items():
			self.prepare(method, table)
		parts = [p for found in self.parts.values() for p in found]
		for b in range(BLOCKS):
			users = rng.permutation(USERS)[:size]
			turn = b * len(parts) // BLOCKS
			for part in parts[turn:] + parts[:turn]:
				answers = self.measure(part, users, users[:WARM])
				if part in (found[0] for found in self.parts.values()):
					part.short += sum(len(ids) < LIMIT for ids in answers)
					part.recalls += [self.data.recall(u, ids)
									 for u, ids in zip(users, answers)]
			say(f"  block {b + 1} of {BLOCKS}")
		for method in METHODS:
			self.examine(method)

	def run_clients(self):
		seconds = QUICK_SECONDS if self.quick else SECONDS
		for method, table in METHODS.items():
			script = f"\\set user random(1, {USERS})\n" + search(
				table, EMBED.format(":user"), user=":user") + ";\n"
			self.clients[method] = [
				pgbench(script, n, "-T", seconds) for n in CLIENTS]
			say(f"  {method}: " + ", ".join(
				f"{r.clients} clients {r.per_second:.0f} a second"
				for r in self.clients[method]))


# ----- the report -----

def part_lines(bench, method):
	found = bench.parts[method]
	whole = found[0]
	lines = ["", f"## {method}: one client", "",
			 "| | median ms | p50 of the blocks | p99 ms | server CPU ms |",
			 "|---" * 5 + "|"]
	for part in found:
		lines.append(f"| {part.label} | {1000 * part.quantile(0.5):.3f} | "
					 f"{part.median_spread()} | {1000 * part.quantile(0.99):.3f} "
					 f"| {1000 * statistics.mean(part.cpu):.3f} |")
	embed, searched, unseen = (1000 * found[i].quantile(0.5) for i in (1, 2, 4))
	total = 1000 * whole.quantile(0.5)
	lines += [
		"", f"Recall of the {LIMIT} {np.mean(whole.recalls):.4f}; "
		f"{whole.short} of {len(whole.recalls)} answers are short; the scan "
		f"looked at {bench.visited[method]:.0f} rows or nodes (median).", "",
		f"Where the median goes: embed alone {embed:.3f} ms, search alone "
		f"{searched:.3f} ms, what NOT EXISTS adds {total - unseen:.3f} ms."]
	for what, share, target in ("p50", 0.5, MEDIAN), ("p99", 0.99, P99):
		seconds = whole.quantile(share)
		lines += ["", f"**{what} {1000 * seconds:.3f} ms, target "
				  f"{1000 * target:g} ms: "
				  f"{'met' if seconds < target else 'missed'}**"]
	return lines


def client_lines(bench, method):
	lines = ["", f"## {method}: pgbench", "", "| clients | transactions a second "
			 "| p50 ms | p99 ms |", "|---" * 4 + "|"]
	return lines + [f"| {r.clients} | {r.per_second:.0f} | "
					f"{1000 * r.quantile(0.5):.3f} | "
					f"{1000 * r.quantile(0.99):.3f} |"
					for r in bench.clients[method]]


def report(bench, seconds):
	data = bench.data
	commit = os.environ.get("RECSYS_COMMIT")
	lines = [f"# A request: {len(data.items)} x {DIM}", "",
			 f"- data: {data.name}, {USERS} users; one client through libpq, "
			 "prepared statement with a generic plan, all parts in turn by "
			 "blocks of users; everything in shared buffers",
			 f"- tower: 20 features, a history of {HISTORY} of {TABLE_ITEMS} "
			 f"items, layers of {', '.join(map(str, LAYERS))}",
			 "- conditions: " + "; ".join(
				 f"`{name}` {matching.mean():.1%}"
				 for name, matching in data.matching.items())
			 + f"; all of them {data.kept.mean():.2%} of the rows; NOT EXISTS on "
			 f"the {HISTORY} items of the history; LIMIT {LIMIT}"]
	lines += machine_lines(bench.conn, {
		s: bench.conn.value(f"SHOW {s}") for s in ("jit", "autovacuum")})
	lines += [f"- recsys {bench.version}" + (f" ({commit})" if commit else "")
			  + f", nothing set; the run took {seconds:.0f} s", "",
			  "| | built in s | bytes a row |", "|---" * 3 + "|"]
	lines += [f"| {m} ({COLUMNS}) | {bench.builds[m]:.1f} | "
			  f"{bench.sizes[m] / len(data.items):.0f} |" for m in METHODS]
	for method in METHODS:
		lines += part_lines(bench, method) + client_lines(bench, method)
	return "\n".join(lines) + "\n"


def main():
	start = time.monotonic()
	parser = argparse.ArgumentParser()
	parser.add_argument("--rows", type=int)
	parser.add_argument("--quick", action="store_true")
	for name in ("cache", "report"):
		parser.add_argument(name, type=Path)
	args = parser.parse_args()
	rows = args.rows or (50_000 if args.quick else 1_000_000)
	if rows < TABLE_ITEMS:
		parser.error(f"at least {TABLE_ITEMS} rows")
	data = Catalogue(made_folder(args.cache, rows, DIM))
	bench = RequestBench(data, args.quick)
	say(f"loading {data.name}")
	bench.load()
	say("building the indexes")
	bench.build()
	say("computing the exact answers")
	data.compute_answers()
	bench.run()
	say("pgbench")
	bench.run_clients()
	text = report(bench, time.monotonic() - start)
	args.report.write_text(text)
	say("")
	say(text)


if __name__ == "__main__":
	sys.exit(main())
