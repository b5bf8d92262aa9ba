# A standby with recsys_ivfpq; see IndexStandby.pm.  Few lists are scanned, so
# that their order shows.
use strict;
use warnings;

use IndexStandby;

standby_test('recsys_ivfpq', 'SET recsys.ivfpq_probes = 2');
