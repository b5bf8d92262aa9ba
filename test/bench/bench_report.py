"""
bench_report.py RESULTS FOLDER
	The report of test/bench/bench and its plots, from what results.py holds:
	writes bench.md and bench-*.svg into a folder.  As a program it makes them
	anew from a bench.json, without a server.
"""
import statistics
import sys
from pathlib import Path

import plot
import results as found
from results import CONTESTANTS, RECALL, spreads, stands_for
from targets import FILTER_K, targets

ORDER = CONTESTANTS + ("seq, sort", "bitmap, sort")	# of colours


def table(header, rows):
	return ["", "| " + " | ".join(header) + " |", "|---" * len(header) + "|"] \
		+ ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def milliseconds(seconds):
	return f"{1000 * seconds:.3f}"


def middle(values, digits=1):
	"""The median, and of several the least and the largest."""
	text = f"{statistics.median(values):.{digits}f}"
	if len(values) > 1:
		text += f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
	return text


# ----- plots -----

def recall_figure(result, what):
	"""Recall against queries a second, or against index buffers; by K."""
	label, value = {
		"recall": ("queries a second", lambda t: t.rate()),
		"buffers": ("index buffers a query", lambda t: t.index_buffers),
	}[what]
	panels = []
	for k in result.ks():
		series = {name: [(t.recall, value(t)) for t in result.of(name, k)
						 if value(t) is not None]
				  for name in result.systems()}
		panels.append(plot.Lines(
			f"K = {k}", plot.Axis("recall", plot.Recall()),
			plot.Axis(label, plot.Log()),
			{n: ps for n, ps in series.items() if ps}, guide=RECALL))
	return plot.figure(f"{result.name}: {label} against recall", panels, ORDER)


def growth_figure(made):
	panels = []
	for k in sorted({k for s in made for k in s.ks()}):
		series = {}
		for result in made:
			for name in result.systems():
				if shown := stands_for(result, name, k):
					series.setdefault(name, []).append(
						(result.rows, 1000 * shown.median))
		panels.append(plot.Lines(
			f"K = {k}", plot.Axis("rows", plot.Log()),
			plot.Axis("median ms", plot.Log()), series))
	return plot.figure(f"latency at recall {RECALL} against rows", panels, ORDER)


def build_figure(sets):
	sets = [s for s in sets if s.built]
	names = [n for n in CONTESTANTS if any(s.build_of(n) for s in sets)]

	def bars(title, label, scale, value):
		return plot.Bars(
			title, plot.Axis(label, scale), [s.name for s in sets],
			{n: [s.build_of(n) and value(s, s.build_of(n)) for s in sets]
			 for n in names})

	return plot.figure("indexes", [
		bars("build", "seconds", plot.Log(),
			 lambda s, b: statistics.median(b.seconds)),
		bars("size", "bytes a row", plot.Linear(),
			 lambda s, b: b.size / s.rows)], ORDER)


def filter_figure(result):
	panels = []
	for column, meaning in result.columns.items():
		series = {}
		for t in result.timings:
			if (t.column, t.k) == (column, FILTER_K):
				series.setdefault(t.system, []).append(
					(t.share, 1000 * t.median))
		if series:
			panels.append(plot.Lines(
				f"{column}: {meaning}",
				plot.Axis("share of the rows that the filter takes", plot.Log()),
				plot.Axis("median ms", plot.Log()), series))
	return plot.figure(f"filtered scans of {result.rows} rows, K = {FILTER_K}",
					   panels, ORDER, columns=2)


def figures(results):
	"""Name and text of each plot that the results are enough for."""
	made = {}
	for one in results.sets:
		if one.timings:
			made[f"recall-{one.name}"] = recall_figure(one, "recall")
			made[f"buffers-{one.name}"] = recall_figure(one, "buffers")
	if results.growth and len(results.made()) > 1:
		made["growth"] = growth_figure(results.made())
	if any(s.built for s in results.sets):
		made["build"] = build_figure(results.sets)
	if results.filter and results.filter.timings:
		made["filter"] = filter_figure(results.filter)
	return {f"bench-{name}.svg": text for name, text in made.items()}


# ----- text -----

def image(shown, name):
	file = f"bench-{name}.svg"
	return ["", f"![{name}]({file})"] if file in shown else []


def head_lines(results):
	lines = ["# recsys beside its rivals", ""] + \
		[f"- {line}" for line in results.head]
	if spread := spreads(results):
		lines.append(f"- spread: blocks of the same queries lie {spread[0]:.0%} "
					 f"of their median apart in the middle, {spread[1]:.0%} at "
					 "most")
	lines.append(f"- the run took {results.seconds:.0f} s"
				 + ("" if results.complete else "; **it has not ended**"))
	lines += [f"- not here: {words}" for words in results.missing]
	lines += [f"- **failed: {f.part}: {f.reason}**" for f in results.failures]
	return lines


def target_lines(results):
	rows = [t.cells() for t in targets(results)]
	if not rows:
		return []
	lines = ["", "## Targets", "",
			 f"{found.HNSW} runs with the setting whose recall is the nearest "
			 f"from {RECALL} up, else its default; a rival with its fastest "
			 "that reaches that recall, else the fastest of its best recall. "
			 "The speed targets are meant for a million rows and more."]
	return lines + table(("", "on", "wanted", "got", "", "measured"), rows)


def query_cells(timing):
	low, high = timing.rates()
	buffers = ["" if b is None else f"{b:.0f}"
			   for b in (timing.index_buffers, timing.table_buffers)]
	recall = "" if timing.recall is None else f"{timing.recall:.4f}"
	return [timing.label, recall, f"{timing.rate():.0f}",
			f"{low:.0f} to {high:.0f}", milliseconds(timing.median),
			milliseconds(timing.p99), milliseconds(timing.cpu), *buffers,
			timing.short or ""]


def build_lines(result):
	rows = [(b.system + (f", {b.memory} MB" if b.memory else ""), b.threads,
			 middle(b.seconds), middle(b.cpu),
			 f"{b.size / 2**20:.1f}", f"{b.size / result.rows:.0f}")
			for b in result.built]
	return table(("index", "threads", "build s", "CPU s", "MiB",
				  "bytes a row"), rows) if rows else []


def set_lines(result, shown):
	lines = ["", f"## {result.name}", "", f"{result.rows} x {result.dim}, inner "
			 f"product; {result.source}."] + build_lines(result)
	for what in ("recall", "buffers"):
		lines += image(shown, f"{what}-{result.name}")
	for k in result.ks():
		lines += ["", f"### {result.name}, K = {k}"] + table(
			("", "recall", "queries/s", "of the blocks", "median ms", "p99 ms",
			 "CPU ms", "index buffers", "table buffers", "short"),
			[query_cells(t) for t in result.timings if t.k == k])
	return lines


def growth_lines(results, shown):
	made = results.made()
	if not results.growth or len(made) < 2:
		return []
	rows = []
	for k in made[0].ks():
		for name in CONTESTANTS:
			cells = [stands_for(s, name, k) for s in made]
			if any(cells):
				rows.append([k, name] + [
					f"{milliseconds(t.median)} ({t.recall:.3f})" if t else ""
					for t in cells])
	return ["", "## Growth", "", "Median ms and in brackets the recall."] + \
		table(["K", ""] + [f"{s.rows} rows" for s in made], rows) + \
		image(shown, "growth")


def filter_lines(results, shown):
	result = results.filter
	if not result or not result.timings:
		return []
	names = list(dict.fromkeys(t.system for t in result.timings))
	rows = []
	for column in result.columns:
		at = [t for t in result.timings if t.column == column]
		for share in dict.fromkeys(t.share for t in at):
			cells = {t.system: f"{milliseconds(t.median)} ({t.recall:.3f})"
					 for t in at if t.share == share}
			rows.append([column, f"{share:.3%}"]
						+ [cells.get(n, "") for n in names])
	return ["", "## Filters", "", f"{result.rows} rows, K = {FILTER_K}; "
			f"{result.source}. Median ms and in brackets the recall. pgvector "
			"scans iteratively, strict_order."] + \
		table(["column", "takes"] + names, rows) + image(shown, "filter")


def report(results, shown):
	lines = head_lines(results) + target_lines(results)
	lines += growth_lines(results, shown)
	if any(s.built for s in results.sets):
		lines += ["", "## Builds and sizes"] + image(shown, "build")
	lines += filter_lines(results, shown)
	for one in results.sets:
		if one.built or one.timings:
			lines += set_lines(one, shown)
	return "\n".join(lines) + "\n"


def write(results, folder):
	"""All files of the report."""
	folder = Path(folder)
	shown = figures(results)
	for name, text in shown.items():
		(folder / name).write_text(text)
	(folder / "bench.md").write_text(report(results, shown))


if __name__ == "__main__":
	write(found.load(sys.argv[1]), sys.argv[2])
