"""
bench_test.py
	Tests of what test/bench/bench makes of its figures: the targets, the plots
	and the report.  Needs Python alone.
"""
import math
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ET
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import bench_report
import plot
import results as found
from results import (HNSW, HNSWLIB, IVFPQ, PGVECTOR, Built, Failure,
					 FilterResult, FilterTiming, Results, SetResult, Timing)
from targets import targets

SVG = "{http://www.w3.org/2000/svg}"


def timing(system, label, recall, ms, k=10, buffers=None, default=False):
	return Timing(system, f"{system}, {label}", k, recall, ms / 1000,
				  2 * ms / 1000, ms / 2000, [ms / 1000] * 3, 30,
				  index_buffers=buffers, table_buffers=buffers, default=default)


def made(rows, ms):
	"""A set where a query of recsys_hnsw at recall 0.96 takes ms."""
	one = SetResult(f"made-{rows}", "made", rows, 128, True)
	one.timings = [
		timing(HNSW, "defaults", 0.99, 2 * ms, buffers=60, default=True),
		timing(HNSW, "ef_search 5", 0.96, ms, buffers=20),
		timing(IVFPQ, "defaults", 0.97, 2 * ms, buffers=70, default=True),
		timing(PGVECTOR, "ef_search 10", 0.90, 2 * ms, buffers=100),
		timing(PGVECTOR, "ef_search 40", 0.955, 6 * ms, buffers=400),
		timing(PGVECTOR, "ef_search 80", 0.98, 9 * ms, buffers=800),
		timing(HNSWLIB, "ef 40", 0.97, 0.5 * ms),
		Timing("", "floor: SELECT 1", 10, None, 2e-5, 4e-5, 1e-5, [2e-5], 30)]
	one.built = [Built(HNSW, 2, [10.0], [18.0], 1200 * rows),
				 Built(PGVECTOR, 2, [40.0], [70.0], 900 * rows)]
	return one


def filtered():
	one = FilterResult("made", 1000, {"anywhere": "at random", "near": "near"})
	for column, slow in (("anywhere", 0.02), ("near", 0.004)):
		for system, seconds in ((HNSW, 0.001), (PGVECTOR, slow)):
			one.timings.append(FilterTiming(column, 0.1, 100, system, 1.0,
											seconds, 0))
	return one


def whole():
	return Results(head=["a machine"], sets=[made(10_000, 1), made(100_000, 1.2)],
				   filter=filtered(), failures=[Failure("made-7", "no room")],
				   missing=["faiss: not installed"], growth=True, complete=True)


def verdicts(results, what):
	return [t.verdict() for t in targets(results) if what in t.what]


class Targets(unittest.TestCase):
	def test_chosen_settings(self):
		timings = made(1000, 1).of(PGVECTOR, 10)
		best, reached = found.fastest(timings)
		self.assertEqual((best.recall, reached), (0.955, True))
		best, reached = found.fastest(timings, 0.99)
		self.assertEqual((best.recall, reached), (0.98, False))
		self.assertEqual(found.nearest_above(
			made(1000, 1).of(HNSW, 10)).recall, 0.96)
		self.assertEqual(found.nearest_above(
			made(1000, 1).of(HNSW, 10), 0.995).recall, 0.99)

	def test_speed(self):
		one = {t.what: t for t in targets(whole())}
		speed = one["queries/s over pgvector's, K = 10"]
		self.assertAlmostEqual(speed.got, 6)
		self.assertEqual((speed.at, speed.verdict()), ("made-100000", "met"))
		self.assertIn("by CPU time 6.00", speed.note)
		library = one["queries/s through SQL over hnswlib's, K = 10"]
		self.assertAlmostEqual(library.got, 0.5)
		self.assertEqual(library.verdict(), "missed by 29%")

	def test_unmeasured_is_not_met(self):
		self.assertEqual(verdicts(whole(), "K = 1000"), ["not measured"])
		results = whole()
		for one in results.sets:
			one.timings = [t for t in one.timings if t.system != PGVECTOR]
		self.assertEqual(verdicts(results, "over pgvector's, K = 10"),
						 ["not measured"] * 4)

	def test_rival_that_does_not_reach_the_recall(self):
		results = whole()
		results.sets[-1].timings += [
			timing(HNSW, "defaults", 0.97, 5, 1000, 900, True),
			timing(PGVECTOR, "ef_search 1000", 0.80, 6, 1000, 900)]
		self.assertEqual(verdicts(results, "K = 1000"), ["met"])
		results.sets[-1].timings[-1].recall = 0.96
		self.assertEqual(verdicts(results, "K = 1000"), ["missed by 76%"])

	def test_size_build_and_buffers(self):
		self.assertEqual(verdicts(whole(), "size"), ["met"])
		self.assertEqual(verdicts(whole(), "times faster than pgvector's"), ["met"])
		self.assertEqual(verdicts(whole(), "buffers a query"), ["met"])
		self.assertEqual(verdicts(whole(), "short of memory"), ["not measured"])
		results = whole()
		results.sets[-1].built.append(Built(HNSW, 2, [25.0], [40.0], 1, 64))
		self.assertEqual(verdicts(results, "short of memory"), ["met"])
		self.assertIn("recsys_hnsw, 64 MB", bench_report.report(results, {}))
		results.sets[-1].built[-1].seconds = [33.0]
		self.assertEqual(verdicts(results, "short of memory"), ["missed by 10%"])
		results = whole()
		results.sets[-1].built[0].size *= 2
		self.assertEqual(verdicts(results, "size"), ["missed by 78%"])

	def test_the_worst_column_counts(self):
		one = next(t for t in targets(whole()) if "10%" in t.what)
		self.assertAlmostEqual(one.got, 4)
		self.assertEqual(one.verdict(), "missed by 60%")

	def test_growth(self):
		one = next(t for t in targets(whole()) if t.what.startswith("time of"))
		self.assertAlmostEqual(one.wanted, math.log(100_000) / math.log(10_000))
		self.assertAlmostEqual(one.got, 1.2)
		self.assertEqual(one.verdict(), "met")
		results = whole()
		results.sets[-1] = made(100_000, 2)
		self.assertEqual(verdicts(results, "time of")[0], "missed by 60%")
		results.growth = False
		self.assertEqual(verdicts(results, "time of"), [])


class Plots(unittest.TestCase):
	def test_scales(self):
		for scale, values in ((plot.Linear(), [3, 70]), (plot.Log(), [0.02, 70]),
							  (plot.Log(), [5, 6]), (plot.Log(), [4]),
							  (plot.Recall(), [0.91, 0.97, 1])):
			with self.subTest(scale=scale, values=values):
				scale = scale.fit(values)
				places = [scale.place(v) for v in values]
				self.assertEqual(places, sorted(places))
				ticks = [scale.place(t) for t in scale.ticks()]
				self.assertTrue(all(-1e-9 <= p <= 1 + 1e-9
									for p in places + ticks))
				self.assertGreater(len(ticks), 1)

	def test_points_stand_where_they_belong(self):
		svg = ET.fromstring(plot.figure("a < b", [plot.Lines(
			"one", plot.Axis("x", plot.Log()), plot.Axis("y"),
			{"up & down": [(10, 1), (1000, 3), (100, 2)]})]))
		dots = [(float(c.get("cx")), float(c.get("cy")))
				for c in svg.iter(SVG + "circle")]
		self.assertEqual(len(dots), 3)
		self.assertAlmostEqual(dots[1][0] - dots[0][0], dots[2][0] - dots[1][0],
							   delta=0.2)
		self.assertAlmostEqual(dots[0][1] - dots[1][1], dots[1][1] - dots[2][1],
							   delta=0.2)
		self.assertGreater(dots[0][1], dots[2][1])
		words = [t.text for t in svg.iter(SVG + "text")]
		self.assertIn("a < b", words)
		self.assertIn("up & down", words)

	def test_bars(self):
		svg = ET.fromstring(plot.figure("bars", [plot.Bars(
			"size", plot.Axis("bytes"), ["a", "b"],
			{"one": [10, 20], "two": [None, 5]})]))
		heights = sorted(float(r.get("height")) for r in svg.iter(SVG + "rect")
						 if r.get("x") and r.get("height") != "10")
		self.assertEqual(len(heights), 3)
		self.assertAlmostEqual(heights[2] / heights[0], 4, delta=0.05)

	def test_numbers(self):
		self.assertEqual([plot.number(v) for v in (0.05, 0.995, 250, 3000, 1e4,
												   1e6)],
						 ["0.05", "0.995", "250", "3000", "10k", "1M"])


class Report(unittest.TestCase):
	def test_files(self):
		with tempfile.TemporaryDirectory() as folder:
			folder = Path(folder)
			results = whole()
			bench_report.write(results, folder)
			text = (folder / "bench.md").read_text()
			for words in ("## Targets", "## Growth", "## Filters",
						  "**failed: made-7: no room**", "missed by 29%",
						  "not here: faiss: not installed", "floor: SELECT 1"):
				self.assertIn(words, text)
			shown = sorted(p.name for p in folder.glob("*.svg"))
			self.assertEqual(shown, sorted(
				["bench-build.svg", "bench-filter.svg", "bench-growth.svg"]
				+ [f"bench-{what}-made-{rows}.svg" for what in
				   ("recall", "buffers") for rows in (10_000, 100_000)]))
			for name in shown:
				self.assertIn(f"({name})", text)
				ET.parse(folder / name)

	def test_saved_and_loaded(self):
		with tempfile.TemporaryDirectory() as folder:
			results = whole()
			results.save(Path(folder, "bench.json"))
			self.assertEqual(found.load(Path(folder, "bench.json")), results)

	def test_a_run_that_has_only_begun(self):
		results = Results(sets=[SetResult("made-10", "made", 10, 2, True)])
		self.assertEqual(bench_report.figures(results), {})
		text = bench_report.report(results, {})
		self.assertIn("it has not ended", text)
		self.assertNotIn("##", text)


if __name__ == "__main__":
	unittest.main()
