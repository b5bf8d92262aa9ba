"""pgvector's own client library against the type vector, unchanged.

Needs the PyPI packages pgvector, psycopg and numpy and a server by PGHOST and
the like; makes and drops a database of its own.  test/clients/run calls it.
Prints TAP.
"""
import math
import os
import struct
import sys
from importlib.metadata import version

import numpy as np
import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector
from psycopg import sql

DATABASE = "recsys_clients"
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def floats(value):
    """Elements of what the library returns: a Vector, or an array before 0.5."""
    return value.to_list() if isinstance(value, Vector) else value.tolist()


def same_bits(value, expected):
    got = np.asarray(floats(value), dtype=np.float32)
    return got.tobytes() == np.asarray(expected, dtype=np.float32).tobytes()


def samples():
    """Finite float4 vectors of many lengths, both zeros and both ends."""
    random = np.random.default_rng(7)
    yield np.array([1, -2.5, 3], dtype=np.float32)
    yield np.array([0.0, -0.0, 1e-45, 3.4028235e38, -3.4028235e38], np.float32)
    for dim in (1, 2, 29, 30, 128, 1000, 16000):
        bits = random.integers(0, 2**32, dim, dtype=np.uint32)
        x = bits.view(np.float32)
        yield np.where(np.isfinite(x), x, np.float32(1))


@test
def read_and_write(conn):
    """parameters and results, text and binary, Vector, list and ndarray"""
    for placeholder in ("%t", "%b"):
        for binary in (False, True):
            cur = conn.cursor(binary=binary)
            for x in samples():
                for value in (x, Vector(x), Vector(x.tolist())):
                    cur.execute(f"SELECT {placeholder}::vector", (value,))
                    got = cur.fetchone()[0]
                    assert same_bits(got, x), (placeholder, binary, len(x))


@test
def table(conn):
    """a typed column: stored, read, compared, NULL kept"""
    conn.execute("CREATE TABLE items (id int, embedding vector(3))")
    rows = [(1, Vector([1, 2, 3])), (2, None), (3, np.array([4, 5, 6.5]))]
    for row in rows:
        conn.execute("INSERT INTO items VALUES (%s, %s)", row)
    got = conn.execute("SELECT embedding FROM items ORDER BY id").fetchall()
    assert floats(got[0][0]) == [1, 2, 3]
    assert got[1][0] is None
    assert floats(got[2][0]) == [4, 5, 6.5]
    got = conn.execute(
        "SELECT id FROM items WHERE embedding = %s", (Vector([4, 5, 6.5]),)
    ).fetchall()
    assert got == [(3,)]


@test
def operators(conn):
    """all four operators with a parameter, ordered, against numpy"""
    random = np.random.default_rng(11)
    rows = random.normal(size=(50, 16)).astype(np.float32)
    query = random.normal(size=16).astype(np.float32)
    conn.execute("CREATE TABLE points (id int, v vector(16))")
    with conn.cursor() as cur:
        cur.executemany("INSERT INTO points VALUES (%s, %s)", list(enumerate(rows)))
    exact = rows.astype(np.float64)
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(query.astype(np.float64))
    expected = {
        "<->": np.linalg.norm(exact - query, axis=1),
        "<#>": -exact @ query,
        "<=>": 1 - exact @ query / norms,
        "<+>": np.abs(exact - query).sum(axis=1),
    }
    for operator, distances in expected.items():
        got = conn.execute(
            f"SELECT id, v {operator} %s FROM points ORDER BY 2", (query,)
        ).fetchall()
        order = np.array([row[0] for row in got])
        values = np.array([row[1] for row in got])
        assert sorted(order) == list(range(50)), operator
        assert np.allclose(values, distances[order], rtol=1e-5, atol=1e-5), operator
        assert np.allclose(values, np.sort(distances), rtol=1e-5, atol=1e-5), operator


@test
def aggregates(conn):
    """avg and sum come back as vectors"""
    for binary in (False, True):
        cur = conn.cursor(binary=binary)
        cur.execute("SELECT avg(v), sum(v) FROM (VALUES (%s), (%s)) i(v)",
                    (Vector([1, 2]), Vector([3, 5])))
        avg, total = cur.fetchone()
        assert floats(avg) == [2, 3.5] and floats(total) == [4, 7]


@test
def arrays(conn):
    """vector[] as parameter and result"""
    for binary in (False, True):
        cur = conn.cursor(binary=binary)
        value = [Vector([1, 2, 3]), Vector([4, 5, 6])]
        cur.execute("SELECT %s::vector[]", (value,))
        assert [floats(v) for v in cur.fetchone()[0]] == [[1, 2, 3], [4, 5, 6]]


@test
def copy(conn):
    """COPY in and out, binary and text"""
    conn.execute("CREATE TABLE copied (v vector)")
    for options in ("(FORMAT binary)", ""):
        conn.execute("TRUNCATE copied")
        with conn.cursor().copy(f"COPY copied FROM STDIN {options}") as stream:
            if options:
                stream.set_types(["vector"])
            for x in samples():
                stream.write_row([Vector(x)])
        with conn.cursor().copy(f"COPY copied TO STDOUT {options}") as stream:
            stream.set_types(["vector"])
            got = [row[0] for row in stream.rows()]
        expected = list(samples())
        assert len(got) == len(expected)
        assert all(same_bits(g, x) for g, x in zip(got, expected))


def refusal(conn, statement, values):
    try:
        with conn.transaction():
            conn.execute(statement, values)
    except psycopg.Error as error:
        return error.sqlstate, error.diag.message_primary
    return None


@test
def refusals(conn):
    """NaN, infinity and wrong dimensions, text and binary"""
    for placeholder in ("%t", "%b"):
        statement = f"SELECT {placeholder}::vector(2)"
        for bad, message in (
            ([1, math.nan], "NaN not allowed in vector"),
            ([math.inf, 1], "infinite value not allowed in vector"),
            ([1, -math.inf], "infinite value not allowed in vector"),
            ([1, 2, 3], "expected 2 dimensions, not 3"),
        ):
            got = refusal(conn, statement, (Vector(bad),))
            assert got == ("22000", message), (placeholder, bad, got)
        got = refusal(conn, f"SELECT {placeholder}::vector", (Vector([1.0] * 16001),))
        assert got == (
            "54000", "vector cannot have more than 16000 dimensions"), got


class RawVector:
    """Bytes sent as the binary form of a vector."""

    def __init__(self, data):
        self.data = data


@test
def hostile_bytes(conn):
    """binary parameters that are no vector"""
    oid = conn.execute("SELECT 'vector'::regtype::oid").fetchone()[0]

    class RawDumper(psycopg.adapt.Dumper):
        format = psycopg.pq.Format.BINARY

        def dump(self, obj):
            return obj.data

    RawDumper.oid = oid
    conn.adapters.register_dumper(RawVector, RawDumper)
    one = struct.pack(">f", 1)
    for data, sqlstate in (
        (b"", "08P01"), (b"\0", "08P01"), (b"\0\1\0", "08P01"),
        (struct.pack(">hh", 0, 0), "22000"),
        (struct.pack(">hh", -1, 0) + one, "54000"),
        (struct.pack(">hh", 1, 1) + one, "22P03"),
        (struct.pack(">hh", 2, 0) + one, "22P03"),
        (struct.pack(">hh", 1, 0) + one + b"\0", "22P03"),
        (struct.pack(">hhI", 1, 0, 0x7FC00000), "22000"),
        (struct.pack(">hhI", 1, 0, 0xFF800000), "22000"),
    ):
        got = refusal(conn, "SELECT %b", (RawVector(data),))
        assert got and got[0] == sqlstate, (data, got)
    got = conn.execute("SELECT %b", (RawVector(struct.pack(">hh", 1, 0) + one),))
    assert floats(got.fetchone()[0]) == [1]


def run():
    failed = 0
    print("#", ", ".join(f"{p} {version(p)}" for p in ("pgvector", "psycopg", "numpy")))
    with psycopg.connect() as conn:
        conn.execute("CREATE EXTENSION recsys")
        register_vector(conn)
        conn.commit()
        for number, function in enumerate(TESTS, 1):
            name = f"{function.__name__}: {function.__doc__}"
            try:
                with conn.transaction():
                    function(conn)
                print(f"ok {number} - {name}")
            except Exception as error:
                failed += 1
                print(f"not ok {number} - {name}")
                print(f"# {type(error).__name__}: {error}")
    print(f"1..{len(TESTS)}")
    return failed


def admin(statement):
    with psycopg.connect(dbname="postgres", autocommit=True) as conn:
        conn.execute(sql.SQL(statement).format(sql.Identifier(DATABASE)))


def main():
    admin("DROP DATABASE IF EXISTS {}")
    admin("CREATE DATABASE {}")
    os.environ["PGDATABASE"] = DATABASE
    try:
        return 1 if run() else 0
    finally:
        admin("DROP DATABASE {}")


if __name__ == "__main__":
    sys.exit(main())
