"""A MovieLens folder: ratings.csv and movies.csv, 100,000 ratings or more.

The last fifth of each user's ratings is held out; films with 3.5 stars or
more there are what a recommendation should find.  The history is the rest,
each film weighted by its rating.
"""

import csv
import os
import re

import numpy as np

import fit

DIMENSIONS = 64
TRAIN, TEST = 20000, 2000    # users at most
SPLITS, SPLIT_ENTRIES = 8, 8e6
HELD_OUT = 0.2
LIKED = 3.5


def liking(m):
    """Ratings as weights of a choice: 1 for 5 stars, hardly any below 2."""
    m = m.copy()
    m.data = np.clip((m.data - 1.5) / 3.5, 0.05, 1)
    return m


class MovieLens:
    """Films by number (in the order of movies.csv) and users by number."""

    def __init__(self, folder):
        self.ids, self.titles, self.genres, self.years = [], [], [], []
        path = os.path.join(folder, "movies.csv")
        with open(path, newline="", encoding="utf-8") as movies:
            for row in csv.DictReader(movies):
                self._film(row)
        self.ids = np.array(self.ids)
        self.columns = np.array([np.nan if y is None else y
                                 for y in self.years])
        self._ratings(os.path.join(folder, "ratings.csv"))

    def _film(self, row):
        title = row["title"].strip()
        year = re.search(r"\((\d{4})[^()]*\)$", title)
        self.ids.append(int(row["movieId"]))
        self.titles.append(title)
        self.years.append(int(year.group(1)) if year else None)
        self.genres.append([g for g in row["genres"].split("|")
                            if g != "(no genres listed)"])

    def _ratings(self, path):
        """Fill self.history and self.later, sorted by user and time."""
        table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
        table = table[np.isin(table[:, 1], self.ids)]
        order = np.argsort(self.ids)
        item = order[np.searchsorted(self.ids[order],
                                     table[:, 1].astype(np.int64))]
        user = np.unique(table[:, 0], return_inverse=True)[1]
        by = np.lexsort((table[:, 1], table[:, 3], user))
        user, item = user[by], item[by]
        rating, time = table[by, 2], table[by, 3].astype(np.int64)

        self.user_count = user[-1] + 1
        count = np.bincount(user)
        start = np.cumsum(count) - count
        rank = np.arange(len(user)) - start[user]
        keep = count - np.maximum(1, np.rint(HELD_OUT * count).astype(int))
        early = rank < keep[user]
        self.history = (user[early], item[early], rating[early], time[early])
        late = ~early & (rating >= LIKED)
        self.later = (user[late], item[late])

    def sample(self, most, chance):
        """Sorted numbers of at most so many users."""
        if self.user_count <= most:
            return np.arange(self.user_count)
        return np.sort(chance.choice(self.user_count, most, replace=False))

    def matrix(self, users, part):
        """users x items with the ratings ("history") or ones ("later")."""
        user, item, *rest = getattr(self, part)
        place = np.full(self.user_count, -1)
        place[users] = np.arange(len(users))
        mine = place[user] >= 0
        data = rest[0][mine] if rest else np.ones(mine.sum())
        m = fit.sp.csr_matrix((data, (place[user[mine]], item[mine])),
                              (len(users), len(self.ids)))
        m.sort_indices()
        return m

    def numbers(self, history):
        """log1p(ratings), mean rating, mean year less 1990: as in the SQL."""
        count = np.diff(history.indptr)
        known = history.copy()
        years = self.columns[history.indices] - 1990
        known.data = ~np.isnan(years) * 1.0
        dated = np.asarray(known.sum(1)).ravel()
        known.data = np.nan_to_num(years)
        return np.stack([
            np.log1p(count),
            np.asarray(history.sum(1)).ravel() / np.maximum(count, 1),
            np.asarray(known.sum(1)).ravel() / np.maximum(dated, 1)], axis=1)

    def examples(self, users, chance):
        """Training examples: random splits of each user's history."""
        whole = self.matrix(users, "history")
        splits = int(np.clip(SPLIT_ENTRIES / max(1, whole.nnz), 1, SPLITS))
        shown, hidden = [], []
        for _ in range(splits):
            show = chance.random(whole.nnz) < 0.7
            for part, mask in ((shown, show), (hidden, ~show)):
                m = whole.copy()
                m.data = m.data * mask
                m.eliminate_zeros()
                part.append(m)
        history = fit.sp.vstack(shown).tocsr()
        return fit.Examples(history, liking(history),
                            liking(fit.sp.vstack(hidden).tocsr()),
                            self.numbers(history))

    def test(self, users):
        """What is held out of the users who liked something later."""
        history = self.matrix(users, "history")
        return fit.Examples(history, history, self.matrix(users, "later"),
                            self.numbers(history))
