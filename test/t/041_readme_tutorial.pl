# The section "Five minutes" of README.md: its blocks run one after another,
# and what psql prints is what the block after them says.
use strict;
use warnings;

use Cwd qw(abs_path);
use MarkdownTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($python) = grep { run_log([ $_, '-c', 'import numpy' ]) }
  $ENV{PYTHON} || 'python3', '/usr/bin/python3';
plan skip_all => 'no python3 with numpy' unless $python;

my ($tutorial) =
  slurp_file('README.md') =~ /^## Five minutes$(.*?)^## /ms
  or die 'README.md has no section "Five minutes"';
my @blocks = markdown_blocks($tutorial);
cmp_ok(scalar(grep { $_->[0] eq 'sql' && defined $_->[2] } @blocks),
	'>=', 4, 'statements with results');

# The tutorial's words on where recsys_export.py is: beside the project.
$ENV{PYTHONPATH} = abs_path('tools');
$ENV{PYTHONDONTWRITEBYTECODE} = 1;
my $node = PostgreSQL::Test::Cluster->new('tutorial');
$node->init;
# plans go by the statistics that the text collects
$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->start;
markdown_run($node, $python, @blocks);
$node->stop;
done_testing();
