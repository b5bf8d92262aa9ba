# Everything at once on a table with recsys_hnsw; see IndexConcurrent.pm.
use strict;
use warnings;

use IndexConcurrent;

concurrent_test('recsys_hnsw', '', ', note, id');
