"""
pgbench.py
	Runs pgbench with a script of ours in the server that the PG* variables
	name, and reads its log, which has a line for each transaction.
"""
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass
class Run:
	clients: int
	per_second: float			# transactions, without the time to connect
	seconds: np.ndarray			# of each transaction

	def quantile(self, share):
		return float(np.quantile(self.seconds, share))


def pgbench(script, clients, *how_long, settings=""):
	"""
	Run a script with prepared statements.  how_long is "-T", seconds, or "-t",
	transactions of each client; settings are libpq's options of a session.
	"""
	with tempfile.TemporaryDirectory() as folder:
		Path(folder, "script").write_text(script)
		done = subprocess.run(
			["pgbench", "-n", "-M", "prepared", "-f", "script", "-l",
			 "--log-prefix=log", "-c", str(clients),
			 "-j", str(min(clients, os.cpu_count())),
			 *map(str, how_long)],
			cwd=folder, env={**os.environ, "PGOPTIONS": settings},
			stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
		if done.returncode:
			raise RuntimeError(done.stderr)
		lines = [line.split() for log in Path(folder).glob("log.*")
				 for line in log.read_text().splitlines()]
	return Run(clients, float(re.search(r"tps = ([0-9.]+)", done.stdout)[1]),
			   np.array([int(fields[2]) for fields in lines]) / 1e6)
