# docs/operations.md: its statements run one after another, and print what it
# says.
use strict;
use warnings;

use MarkdownTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @blocks = markdown_blocks(slurp_file('docs/operations.md'));
cmp_ok(scalar(grep { defined $_->[2] } @blocks), '>=', 5, 'statements with results');

my $node = PostgreSQL::Test::Cluster->new('operations');
$node->init;
$node->start;
markdown_run($node, undef, @blocks);
$node->stop;
done_testing();
