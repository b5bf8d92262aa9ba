# A server with recsys_ivfpq is killed; see IndexCrash.pm.
use strict;
use warnings;

use IndexCrash;

crash_test('recsys_ivfpq', ' WITH (lists = 300, rotation = learned)', 1);
