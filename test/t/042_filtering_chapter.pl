# docs/filtering.md: its statements run one after another, and plans and results
# are those that it prints.
use strict;
use warnings;

use MarkdownTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @blocks = markdown_blocks(slurp_file('docs/filtering.md'));
cmp_ok(scalar(grep { ($_->[2] // '') =~ /QUERY PLAN/ } @blocks),
	'>=', 12, 'statements with plans');

my $node = PostgreSQL::Test::Cluster->new('filtering');
$node->init;
# plans go by the statistics that the text collects
$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->start;
markdown_run($node, undef, @blocks);
$node->stop;
done_testing();
