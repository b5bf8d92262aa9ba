# The made sets of the benchmarks: the same rows whatever the size of the chunks,
# other rows for another seed, and the shape that test/bench/README.md tells.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

my $python = $ENV{PYTHON} || 'python3';
if (system("$python -c 'import numpy' >/dev/null 2>&1") != 0)
{
	diag("SKIP: $python has no numpy, made sets are not checked");
	plan skip_all => "$python has no numpy";
}

my $dir = PostgreSQL::Test::Utils::tempdir;
my ($out, $error) = run_command(
	[ $python, '-B', '-c', <<'PYTHON', $dir ]);
import sys
sys.path.insert(0, "test/bench")
import numpy as np
import made

folder = sys.argv[1]
rows = 2 * made.BLOCK + 77
small = made.MadeSet(rows, 32)
made.write(folder, small, 50)
items = np.load(folder + "/items.npy")
queries = np.load(folder + "/queries.npy")
print("shapes", items.shape, queries.shape, items.dtype)
for size in (1000, made.BLOCK, made.BLOCK + 1, 10 * rows):
    chunks = list(small.chunks(size))
    print("chunks of", size,
          all(len(c) == size for c in chunks[:-1]),
          np.array_equal(np.concatenate(chunks), items))
print("first queries", np.array_equal(small.queries(20), queries[:20]))
other = next(made.MadeSet(rows, 32, seed=2).chunks(1000))
print("another seed", not np.allclose(other, items[:1000]))
lengths = np.linalg.norm(items, axis=1)
print("lengths", np.round(np.quantile(lengths, [0.1, 0.5, 0.9]), 1))
print("queries", np.allclose(np.linalg.norm(queries, axis=1), 1))
best = np.sort(queries @ items.T, axis=1)[:, -10:]
print("best", (best.mean() / (queries @ items.T).std()) > 6)
PYTHON
is($error, '', 'no error');
my $block = 16384;
is($out, join("\n",
	'shapes (32845, 32) (50, 32) float32',
	(map { "chunks of $_ True True" } 1000, $block, $block + 1, 328450),
	'first queries True', 'another seed True', 'lengths [0.2 0.5 1. ]',
	'queries True', 'best True'), 'made sets are as told');
done_testing();
