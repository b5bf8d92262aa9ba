# A standby with recsys_hnsw; see IndexStandby.pm.
use strict;
use warnings;

use IndexStandby;

standby_test('recsys_hnsw');
