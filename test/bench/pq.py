"""
pq.py
	A small client of PostgreSQL on libpq itself, through ctypes: prepared
	statements with binary parameters and binary results, each execution timed
	around the one call PQexecPrepared.  What Python adds to such a call
	is about two microseconds.
"""
import ctypes
import ctypes.util
import select
import time

TEXT, BINARY = 0, 1
COMMAND_OK, TUPLES_OK, COPY_IN = 1, 2, 4

_char_pp = ctypes.POINTER(ctypes.c_char_p)
_int_p = ctypes.POINTER(ctypes.c_int)


def _load():
	lib = ctypes.CDLL(ctypes.util.find_library("pq") or "libpq.so.5")
	pointer, string, integer = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
	signatures = {
		"PQconnectdb": (pointer, [string]),
		"PQfinish": (None, [pointer]),
		"PQstatus": (integer, [pointer]),
		"PQsocket": (integer, [pointer]),
		"PQerrorMessage": (string, [pointer]),
		"PQexec": (pointer, [pointer, string]),
		"PQsendQuery": (integer, [pointer, string]),
		"PQconsumeInput": (integer, [pointer]),
		"PQisBusy": (integer, [pointer]),
		"PQgetResult": (pointer, [pointer]),
		"PQprepare": (pointer, [pointer, string, string, integer, pointer]),
		"PQexecPrepared": (pointer, [pointer, string, integer, _char_pp,
									 _int_p, _int_p, integer]),
		"PQputCopyData": (integer, [pointer, string, integer]),
		"PQputCopyEnd": (integer, [pointer, string]),
		"PQresultStatus": (integer, [pointer]),
		"PQresultErrorMessage": (string, [pointer]),
		"PQntuples": (integer, [pointer]),
		"PQnfields": (integer, [pointer]),
		"PQgetvalue": (pointer, [pointer, integer, integer]),
		"PQclear": (None, [pointer]),
	}
	for name, (result, arguments) in signatures.items():
		function = getattr(lib, name)
		function.restype = result
		function.argtypes = arguments
	return lib


lib = _load()


class Parameter:
	"""A statement's binary parameters, laid out once as libpq wants them."""

	def __init__(self, *data):
		self.number = len(data)
		self.values = (ctypes.c_char_p * len(data))(*data)
		self.lengths = (ctypes.c_int * len(data))(*map(len, data))
		self.formats = (ctypes.c_int * len(data))(*[BINARY] * len(data))


class Connection:
	"""A connection to the server that the PG* variables name."""

	def __init__(self, options=""):
		self.conn = lib.PQconnectdb(options.encode())
		if lib.PQstatus(self.conn) != 0:
			raise RuntimeError(lib.PQerrorMessage(self.conn).decode())
		self.pid = int(self.value("SELECT pg_backend_pid()"))

	def close(self):
		lib.PQfinish(self.conn)

	def _check(self, result, expected):
		if lib.PQresultStatus(result) not in expected:
			message = lib.PQresultErrorMessage(result).decode()
			lib.PQclear(result)
			raise RuntimeError(message)
		return result

	def exec(self, sql):
		"""Run SQL; returns its rows as tuples of strings."""
		result = self._check(lib.PQexec(self.conn, sql.encode()),
							 (COMMAND_OK, TUPLES_OK, COPY_IN))
		rows = [tuple(ctypes.string_at(lib.PQgetvalue(result, i, j)).decode()
					  for j in range(lib.PQnfields(result)))
				for i in range(lib.PQntuples(result))]
		lib.PQclear(result)
		return rows

	def value(self, sql):
		return self.exec(sql)[0][0]

	def send(self, sql):
		"""Begin to run SQL; finish() waits until it has ended."""
		if not lib.PQsendQuery(self.conn, sql.encode()):
			raise RuntimeError(lib.PQerrorMessage(self.conn).decode())

	def finish(self):
		while result := lib.PQgetResult(self.conn):
			lib.PQclear(self._check(result, (COMMAND_OK, TUPLES_OK)))

	def exec_watched(self, sql, watch, interval=0.1):
		"""Run SQL and call watch() now and then until it ends; seconds."""
		start = time.perf_counter()
		self.send(sql)
		socket = lib.PQsocket(self.conn)
		while lib.PQisBusy(self.conn):
			if select.select([socket], [], [], interval)[0]:
				lib.PQconsumeInput(self.conn)
			else:
				watch()
		seconds = time.perf_counter() - start
		self.finish()
		return seconds

	def copy(self, sql, pieces):
		"""COPY ... FROM STDIN of data in pieces, each a bytes object."""
		self.exec(sql)
		chunk = 1 << 20
		for data in pieces:
			for i in range(0, len(data), chunk):
				piece = data[i:i + chunk]
				lib.PQputCopyData(self.conn, piece, len(piece))
		lib.PQputCopyEnd(self.conn, None)
		while result := lib.PQgetResult(self.conn):
			lib.PQclear(self._check(result, (COMMAND_OK,)))

	def prepare(self, name, sql):
		lib.PQclear(self._check(
			lib.PQprepare(self.conn, name.encode(), sql.encode(), 0, None),
			(COMMAND_OK,)))

	def time_prepared(self, name, parameters):
		"""
		Execute a prepared statement once for each parameter (None: without
		one).  Returns the seconds of each call, and the int4 of the first
		column of all rows of each, if there are any.
		"""
		name = name.encode()
		clock, call = time.perf_counter, lib.PQexecPrepared
		seconds, results = [], []
		for p in parameters:
			arguments = (p.number, p.values, p.lengths, p.formats) if p else (
				0, None, None, None)
			start = clock()
			result = call(self.conn, name, *arguments, BINARY)
			seconds.append(clock() - start)
			results.append(result)
		return seconds, [self._take_ids(result) for result in results]

	def _take_ids(self, result):
		self._check(result, (COMMAND_OK, TUPLES_OK))
		ids = [int.from_bytes(ctypes.string_at(lib.PQgetvalue(result, i, 0), 4),
							  "big") for i in range(lib.PQntuples(result))]
		lib.PQclear(result)
		return ids

	def cpu_seconds(self):
		return cpu_seconds(self.pid)


def cpu_seconds(pid):
	"""CPU time of another process so far (Linux: its clock's id), or None."""
	try:
		return time.clock_gettime((~pid << 3) | 2)
	except OSError:
		return None
