"""
plot.py
	Line and bar charts as SVG, with nothing but Python: figure() takes panels
	and gives the text of a file.  A panel is Lines or Bars; panels stand side
	by side and share one legend, so that a series has one colour in all.
"""
import math
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 380, 320		# of a panel, margins included
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 34, 48
LEGEND = 28						# height of the legend's line
TITLE = 30
COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8d5fa3", "#c77d0a", "#5c5c5c",
		   "#17a2a2", "#a63d00")
TEXT, GRID, FRAME = "#222222", "#e3e3e3", "#888888"


# ----- scales: a value to 0..1, and the ticks -----

@dataclass
class Linear:
	low: float = 0
	high: float = 1

	def fit(self, values):
		high = max(values, default=0)
		return Linear(0, 1.05 * high if high > 0 else 1)

	def place(self, value):
		return (value - self.low) / (self.high - self.low)

	def ticks(self):
		rough = (self.high - self.low) / 5
		unit = 10 ** math.floor(math.log10(rough))
		step = next(s * unit for s in (1, 2, 5, 10) if s * unit >= rough)
		first = math.ceil(self.low / step)
		return [i * step for i in range(first, int(self.high / step) + 1)]


@dataclass
class Log:
	low: float = 1
	high: float = 10

	def fit(self, values):
		positive = [v for v in values if v > 0]
		if not positive:
			return Log()
		low, high = min(positive), max(positive)
		room = max(1.3, (4 * low / high) ** 0.5)
		return Log(low / room, high * room)

	def place(self, value):
		value = max(value, self.low)
		return math.log(value / self.low) / math.log(self.high / self.low)

	def ticks(self):
		first, last = (math.floor(math.log10(v)) for v in (self.low, self.high))
		decades = [10.0 ** i for i in range(first, last + 1)]
		for parts in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
			found = [d * p for d in decades for p in parts
					 if self.low <= d * p <= self.high]
			if len(found) >= 4:
				break
		return found


@dataclass
class Recall:
	"""From 0.5 to 1, stretched towards 1; what is below 0.5 is not shown."""
	low: float = 0.5
	high: float = 1
	marks = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1)
	end = 0.003					# of 1, that a logarithm has an end

	def fit(self, values):
		low = min((v for v in values if v >= 0.5), default=0.5)
		return Recall(max(m for m in self.marks if m <= low and m <= 0.95))

	def place(self, value):
		def depth(v):
			return -math.log(1 - v + self.end)

		return (depth(value) - depth(self.low)) / \
			(depth(self.high) - depth(self.low))

	def ticks(self):
		return [m for m in self.marks if m >= self.low]


# ----- charts -----

@dataclass
class Axis:
	label: str
	scale: object = field(default_factory=Linear)


@dataclass
class Lines:
	title: str
	x: Axis
	y: Axis
	series: dict				# name: list of (x, y)
	guide: float = None			# a dashed line at this x

	def names(self):
		return list(self.series)

	def body(self, colours):
		points = [p for ps in self.series.values() for p in ps]
		x = self.x.scale.fit([p[0] for p in points])
		y = self.y.scale.fit([p[1] for p in points])
		parts = frame(self, y) + x_ticks(x)
		if self.guide is not None and 0 <= x.place(self.guide) <= 1:
			at = across(x.place(self.guide))
			parts.append(line(at, TOP, at, HEIGHT - BOTTOM, FRAME,
							  ' stroke-dasharray="4 3"'))
		for name, points in self.series.items():
			shown = [(across(x.place(a)), up(y.place(b)))
					 for a, b in sorted(points) if x.place(a) >= 0]
			parts += curve(shown, colours[name])
		return parts


@dataclass
class Bars:
	title: str
	y: Axis
	groups: list
	series: dict				# name: a value or None for each group

	def names(self):
		return list(self.series)

	def body(self, colours):
		values = [v for vs in self.series.values() for v in vs
				  if v is not None]
		y = self.y.scale.fit(values)
		parts = frame(self, y)
		share = 1 / max(1, len(self.groups))
		thick = 0.8 * share / max(1, len(self.series))
		for g, group in enumerate(self.groups):
			parts.append(text(across((g + 0.5) * share), HEIGHT - BOTTOM + 16,
							  group))
			for s, (name, column) in enumerate(self.series.items()):
				if column[g] is not None:
					left = (g + 0.1) * share + s * thick
					parts += bar(left, thick, y.place(column[g]), colours[name],
								 number(column[g]))
		return parts


# ----- pieces -----

def across(share):
	return LEFT + share * (WIDTH - LEFT - RIGHT)


def up(share):
	return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def number(value):
	"""A short form of a number, such as 0.05, 250, 10k or 1M."""
	for limit, unit in ((1e6, "M"), (1e4, "k")):
		if value >= limit:
			return f"{value / (1e6 if unit == 'M' else 1e3):.3g}{unit}"
	return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def text(x, y, words, anchor="middle", more=""):
	return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>'
			f"{escape(str(words))}</text>")


def line(x1, y1, x2, y2, colour, more=""):
	return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
			f'stroke="{colour}"{more}/>')


def frame(chart, y):
	"""Title, axes' labels, the horizontal grid and its numbers."""
	parts = [text((LEFT + WIDTH - RIGHT) / 2, TOP - 12, chart.title,
				  more=' font-weight="bold"')]
	if isinstance(chart, Lines):
		parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10,
						  chart.x.label))
	middle = (TOP + HEIGHT - BOTTOM) / 2
	parts.append(text(14, middle, chart.y.label,
					  more=f' transform="rotate(-90 14 {middle:.1f})"'))
	for tick in y.ticks():
		at = up(y.place(tick))
		parts += [line(LEFT, at, WIDTH - RIGHT, at, GRID),
				  text(LEFT - 6, at + 4, number(tick), "end")]
	parts.append(line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM,
					  FRAME))
	parts.append(line(LEFT, TOP, LEFT, HEIGHT - BOTTOM, FRAME))
	return parts


def x_ticks(x):
	"""The vertical grid; numbers where there is room."""
	parts, free = [], 0
	for tick in x.ticks():
		at = across(x.place(tick))
		parts.append(line(at, TOP, at, HEIGHT - BOTTOM, GRID))
		if at >= free:
			parts.append(text(at, HEIGHT - BOTTOM + 16, number(tick)))
			free = at + 9 * len(number(tick))
	return parts


def curve(points, colour):
	"""A line through places, with a dot at each."""
	joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
	return [f'<polyline points="{joined}" fill="none" stroke="{colour}" '
			'stroke-width="1.8"/>'] + [
		f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
		for x, y in points]


def bar(left, thick, share, colour, label):
	x, y = across(left), up(share)
	width = across(left + thick) - x
	return [f'<rect x="{x:.1f}" y="{y:.1f}" width="{0.92 * width:.1f}" '
			f'height="{HEIGHT - BOTTOM - y:.1f}" fill="{colour}"/>',
			text(x + width / 2, y - 3, label, more=' font-size="8"')]


def legend(names, colours, y):
	parts, x = [], LEFT
	for name in names:
		parts += [f'<rect x="{x}" y="{y - 9}" width="12" height="10" '
				  f'fill="{colours[name]}"/>', text(x + 17, y, name, "start")]
		x += 40 + 7 * len(name)
	return parts


def figure(title, panels, order=(), columns=3):
	"""
	The text of an SVG file of panels, some beside one another.  Names in
	"order" have the same colours in each figure; others follow.
	"""
	names = [n for n in order if any(n in p.names() for p in panels)]
	names += sorted({n for p in panels for n in p.names()} - set(names))
	known = list(order) + [n for n in names if n not in order]
	colours = {n: COLOURS[i % len(COLOURS)] for i, n in enumerate(known)}
	columns = min(columns, len(panels))
	width = max(WIDTH * columns, LEFT + sum(40 + 7 * len(n) for n in names))
	height = TITLE + HEIGHT * -(-len(panels) // columns) + LEGEND
	parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
			 f'height="{height}" viewBox="0 0 {width} {height}" '
			 f'font-family="sans-serif" font-size="11" fill="{TEXT}">',
			 f'<rect width="{width}" height="{height}" fill="white"/>',
			 text(LEFT, 20, title, "start", ' font-size="15"')]
	for i, panel in enumerate(panels):
		x, y = WIDTH * (i % columns), TITLE + HEIGHT * (i // columns)
		parts.append(f'<g transform="translate({x} {y})">')
		parts += panel.body(colours) + ["</g>"]
	parts += legend(names, colours, height - 10) + ["</svg>"]
	return "\n".join(parts) + "\n"
