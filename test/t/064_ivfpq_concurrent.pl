# Everything at once on a table with recsys_ivfpq; see
# IndexConcurrent.pm.  With many lists, so that pages become empty and are used
# again.
use strict;
use warnings;

use IndexConcurrent;

concurrent_test('recsys_ivfpq', 'WITH (lists = 200)', ', note, id');
