# A server with recsys_hnsw is killed; see IndexCrash.pm.
use strict;
use warnings;

use IndexCrash;

crash_test('recsys_hnsw', ' WITH (ef_construction = 400)', 0);
