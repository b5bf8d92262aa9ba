"""The mathematics of the demo: item vectors, a user tower, and their scores.

Both data sets come here as the same thing, an Examples: what each training
user had (the history), what that user chose beside it (the target), and a few
numbers about the user.  The model is linear on purpose; it fits in one file,
trains in seconds, and is far better than popularity.

    item vectors    V = right singular vectors of the choices, users scaled
                    by n^-1/4, items by popularity^-1/4 and back, so that the
                    norms follow popularity.
    user tower      u = P (mean of E over the history) + B z + c, where z are
                    the numbers, standardised, and P = (V'V)^-1 makes the
                    projection onto V out of the sum.  E, B, c by ridge
                    regression, solved with conjugate gradients.
    score           <u, v>
"""

import dataclasses

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla

KEPT_WEIGHT = 0.3    # of a choice that the history shows, in the target
SCALE = 10.0    # of the mean bag against the numbers, in the ridge
RIDGE = 10.0
ROUNDS = 12    # of conjugate gradients


@dataclasses.dataclass
class Examples:
    """Rows are users; columns of the sparse matrices are items."""
    history: sp.csr_matrix    # weights > 0
    kept: sp.csr_matrix    # choices that the history shows
    hidden: sp.csr_matrix    # choices that it does not show
    numbers: np.ndarray    # (users, numbers)


@dataclasses.dataclass
class Model:
    items: np.ndarray    # (items, d) float32; a zero row: no vector
    bag: np.ndarray    # (items, d) float32
    weight: np.ndarray    # (d, d + numbers) float32: P beside B
    bias: np.ndarray    # (d) float32
    mean: np.ndarray    # (numbers)
    std: np.ndarray    # (numbers)

    def users(self, history, numbers):
        """User vectors as the tower computes them, in float64."""
        z = (numbers - self.mean) / self.std
        x = np.hstack([mean_rows(history) @ self.bag.astype(np.float64), z])
        return x @ self.weight.astype(np.float64).T + self.bias


def rows(lists, width, weights=None):
    """A sparse matrix from a list of item numbers a row."""
    ends = np.cumsum([0] + [len(x) for x in lists])
    columns = np.concatenate([np.asarray(x, np.int32) for x in lists])
    data = (np.ones(len(columns)) if weights is None
            else np.concatenate(weights))
    return sp.csr_matrix((data, columns, ends), (len(lists), width))


def mean_rows(m):
    """Each row divided by its sum; an empty row stays empty."""
    total = np.asarray(m.sum(1)).ravel()
    return (sp.diags(1 / np.where(total > 0, total, 1)) @ m).tocsr()


def factorise(choices, d):
    """Item vectors (items, d) from a users x items matrix of choices."""
    per_user = np.asarray(choices.sum(1)).ravel()
    count = np.asarray(choices.sum(0)).ravel()
    scale = (count + 1) ** 0.25
    m = (sp.diags(np.maximum(per_user, 1) ** -0.25) @ choices
         @ sp.diags(1 / scale))
    _, _, vt = sla.svds(m.astype(np.float32), k=d, random_state=0)
    vectors = vt.T * scale[:, None]
    vectors[count == 0] = 0
    return vectors.astype(np.float32)


def train(examples, vectors):
    """Fit the user tower to given item vectors."""
    v = vectors.astype(np.float64)
    d = v.shape[1]
    gram = v.T @ v
    whiten = np.linalg.inv(gram + 1e-3 * np.trace(gram) / d * np.eye(d))
    target = (examples.hidden + KEPT_WEIGHT * examples.kept) @ v

    mean, std = examples.numbers.mean(0), examples.numbers.std(0) + 1e-9
    idf = _rarity(examples.history)
    bag = mean_rows(examples.history) @ sp.diags(SCALE * idf)
    bag.eliminate_zeros()    # what everybody has says nothing
    z = (examples.numbers - mean) / std
    x = sp.hstack([bag, z, np.ones((len(z), 1))]).tocsr()
    fitted = _ridge(x.astype(np.float32), target.astype(np.float32))
    n, m = len(v), z.shape[1]
    table = fitted[:n] * (SCALE * idf[:, None])
    return Model(items=vectors, bag=table.astype(np.float32),
                 weight=np.hstack([whiten, (fitted[n:n + m] @ whiten).T]
                                  ).astype(np.float32),
                 bias=(fitted[n + m] @ whiten).astype(np.float32),
                 mean=mean, std=std)


def _rarity(history):
    """log(users / users who have it), 0 for what nearly everybody has."""
    users = history.shape[0]
    count = np.bincount(history.indices, minlength=history.shape[1])
    idf = np.log((users + 1) / (count + 1))
    idf[(count == 0) | (idf < 0.05)] = 0
    return idf


def _ridge(x, y):
    """argmin |x w - y|^2 + RIDGE |w|^2, all columns of y at once."""
    w = np.zeros((x.shape[1], y.shape[1]), np.float32)
    xt = x.T.tocsr()
    r = xt @ y
    p = r.copy()
    rs = (r * r).sum(0)
    for _ in range(ROUNDS):
        ap = xt @ (x @ p) + RIDGE * p
        alpha = rs / np.maximum((p * ap).sum(0), 1e-30)
        w += alpha * p
        r -= alpha * ap
        new = (r * r).sum(0)
        p = r + new / np.maximum(rs, 1e-30) * p
        rs = new
    return w


# ------------------------------------------------------------ what it is worth

def top(scores, seen, allowed, k):
    """The k best items that are allowed and not seen; ties by number."""
    scores = scores.astype(np.float32)
    scores[~allowed] = -np.inf
    scores[seen] = -np.inf
    edge = np.partition(scores, -k)[-k]
    best = np.flatnonzero(scores >= edge)
    return best[np.lexsort((best, -scores[best]))][:k]


def metrics(score_row, examples, allowed, k):
    """(recall@k, NDCG@k), means over the users; score_row(user) -> scores."""
    recalls, gains = [], []
    discount = 1 / np.log2(np.arange(k) + 2)
    for user in range(examples.history.shape[0]):
        wanted = _row(examples.hidden, user)
        best = top(score_row(user), _row(examples.history, user), allowed, k)
        hit = np.isin(best, wanted)
        full = min(k, len(wanted))
        recalls.append(hit.sum() / full)
        gains.append((hit * discount[:len(hit)]).sum()
                     / discount[:full].sum())
    return float(np.mean(recalls)), float(np.mean(gains))


def _row(m, k):
    return m.indices[m.indptr[k]:m.indptr[k + 1]]


def evaluate(model, test, popularity, k=20):
    """{"tower": (recall, ndcg), "popularity": (recall, ndcg)}.

    Items are taken as the database keeps them (float32), user vectors as it
    computes them, rounded to float32.
    """
    users = model.users(test.history, test.numbers).astype(np.float32)
    items = model.items.astype(np.float64)
    allowed = np.any(model.items != 0, axis=1)
    every = np.ones(len(items), bool)
    return {
        "tower": metrics(lambda u: items @ users[u], test, allowed, k),
        "popularity": metrics(lambda u: np.array(popularity, np.float64),
                              test, every, k)}
