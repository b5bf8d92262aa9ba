"""Debian's package list as a catalogue, and machines that could be real.

Items are all packages that apt knows.  Interactions come from what their
maintainers declare: Depends, Recommends, Suggests, Enhances.

Debian does not publish who installed what, so the machines are simulated, by
the rules that make real ones:

    job         a package and those that its maintainer recommends, suggests
                or says it enhances; of a metapackage or task also those that
                it depends on.  At least 3 beyond the base system.
    machine     somebody wants one to four jobs, and of each a random part:
                these packages are the *choices*.  One choice in four (at
                least one) is hidden.  The others are installed as apt does
                it: with all they depend on, and, on half of the machines,
                with all that is recommended.  The base system is there too.
                The result is the history, a list as dpkg-query gives it.
    question    which packages were hidden?  What only a hidden package would
                have pulled in is not in the history, so nothing gives it away.

A tenth of the jobs is set aside, and the test machines are made of these
alone: the model has to know packages, it cannot know the jobs.
"""

import collections
import random
import re
import subprocess

import numpy as np

import fit

TRAIN, TEST = 20000, 1000
DIMENSIONS = 128
RELATIONS = ("Pre-Depends", "Depends", "Recommends", "Suggests", "Enhances")
FIELDS = RELATIONS + ("Package", "Provides", "Priority", "Section",
                      "Installed-Size", "Description")
DESKTOP = ("x11", "gnome", "kde", "xfce", "graphics", "video", "sound",
           "games")


def read_records():
    """{package: fields} of all that apt knows, one version of each."""
    text = subprocess.run(["apt-cache", "dumpavail"], check=True,
                          stdout=subprocess.PIPE).stdout.decode("utf-8",
                                                                "replace")
    packages = {}
    for record in text.split("\n\n"):
        fields, name = {}, None
        for line in record.split("\n"):
            if line[:1] == " ":
                if name in FIELDS:
                    fields[name] += line
            elif ":" in line:
                name, value = line.split(":", 1)
                if name in FIELDS:
                    fields[name] = value.strip()
        if "Package" in fields:
            packages.setdefault(fields["Package"], fields)
    return packages


def parse_relation(value):
    """[[alternative, ...], ...] of a Depends-like field, without versions."""
    for group in value.split(","):
        names = [re.split(r"[ (:\[]", name.strip(), maxsplit=1)[0]
                 for name in group.split("|")]
        if names[0]:
            yield names


class Catalogue:
    """Packages by number, and their relations as lists of numbers."""

    def __init__(self, packages):
        self.names = sorted(packages)
        self.records = [packages[name] for name in self.names]
        self.number = {name: i for i, name in enumerate(self.names)}
        self.section = [r.get("Section", "unknown").split("/")[-1]
                        for r in self.records]
        self.size_kb = [int(r.get("Installed-Size", "0").split()[0])
                        for r in self.records]
        self._providers = collections.defaultdict(list)
        for i, record in enumerate(self.records):
            for names in parse_relation(record.get("Provides", "")):
                self._providers[names[0]].append(i)
        self.needs = self._related("Pre-Depends", "Depends")
        self.recommends = self._related("Recommends")
        self.beside = self._related("Suggests", "Enhances")
        self.base = self.install(
            [i for i, r in enumerate(self.records)
             if r.get("Priority") in ("required", "important")], False)
        self.columns = self._numbers()

    def _related(self, *fields):
        return [sorted({found for field in fields
                        for names in parse_relation(record.get(field, ""))
                        for found in self._first(names) if found != i})
                for i, record in enumerate(self.records)]

    def _first(self, names):
        """The first alternative that exists, as a list of none or one."""
        for name in names:
            if name in self.number:
                return [self.number[name]]
        for name in names:
            if name in self._providers:
                return self._providers[name][:1]
        return []

    def install(self, wanted, recommended):
        """All packages that apt would put on a machine."""
        there, queue = set(), list(wanted)
        while queue:
            i = queue.pop()
            if i not in there:
                there.add(i)
                queue += self.needs[i]
                if recommended:
                    queue += self.recommends[i]
        return there

    def jobs(self):
        """Packages that somebody says belong together."""
        found = []
        for i, section in enumerate(self.section):
            together = {i, *self.recommends[i], *self.beside[i]}
            if section in ("metapackages", "tasks"):
                together.update(self.needs[i])
            together -= self.base
            if len(together) >= 3:
                found.append(sorted(together))
        return found

    def machine(self, jobs, chance):
        """(history, kept choices, hidden choices) of a simulated machine."""
        choices = set()
        for job in chance.sample(jobs, chance.choice((1, 1, 2, 3, 4))):
            choices.update(chance.sample(job, min(len(job),
                                                  chance.randint(4, 12))))
        choices = sorted(choices)
        chance.shuffle(choices)
        cut = max(1, round(len(choices) / 4))
        kept = choices[cut:]
        history = self.base | self.install(kept, chance.random() < 0.5)
        return (sorted(history), kept,
                [i for i in choices[:cut] if i not in history])

    def machines(self, jobs, count, chance):
        """As many machines, each with something hidden, as Examples."""
        made = []
        while len(made) < count:
            one = self.machine(jobs, chance)
            if one[2]:
                made.append(one)
        history, kept, hidden = (fit.rows([m[part] for m in made],
                                          len(self.names))
                                 for part in range(3))
        return fit.Examples(history, kept, hidden, self.numbers(history))

    def _numbers(self):
        """What the numbers of a machine are the means of, an item a row."""
        section = np.array(self.section)
        return np.stack([np.log1p(self.size_kb),
                         np.isin(section, ("libs", "oldlibs")),
                         np.isin(section, ("devel", "libdevel")),
                         np.isin(section, DESKTOP)], axis=1).astype(float)

    def numbers(self, history):
        """log1p(packages), then the means: as catalogue_load.sql has them."""
        count = np.diff(history.indptr)[:, None]
        return np.hstack([np.log1p(count),
                          history @ self.columns / np.maximum(count, 1)])

    def relations(self, hidden_jobs):
        """A package and what it names, but for the jobs that are set aside.

        Beside the choices these give every package a vector.  A row weighs
        as much as one choice.
        """
        aside = {tuple(job) for job in hidden_jobs}
        lists = []
        for i in range(len(self.names)):
            named = {i, *self.recommends[i], *self.beside[i]}
            if self.section[i] in ("metapackages", "tasks"):
                named.update(self.needs[i])
            if tuple(sorted(named - self.base)) in aside:
                continue
            named.update(self.needs[i])
            named -= self.base
            if len(named) > 1:
                lists.append(sorted(named))
        return fit.rows(lists, len(self.names),
                        [np.full(len(x), len(x) ** -0.5) for x in lists])
