# The benchmark beside rivals: what it makes of its figures, and a run of its own
# parts on tiny sets, one of which cannot be made.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $python = $ENV{PYTHON} || 'python3';
if (system("$python -c 'import numpy' >/dev/null 2>&1") != 0)
{
	diag("SKIP: $python has no numpy, the benchmark is not tried");
	plan skip_all => "$python has no numpy";
}

# unittest writes all to stderr
my ($out, $error) = run_command([ $python, '-B', 'test/bench/bench_test.py' ]);
like($error, qr/^OK$/m, 'targets, plots and report') or diag($error);

my $node = PostgreSQL::Test::Cluster->new('bench');
$node->init;
$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->start;

my $dir = PostgreSQL::Test::Utils::tempdir;
mkdir "$dir/made" or die;
{
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port,
		PGDATABASE => 'postgres', OPENBLAS_NUM_THREADS => 1,
		PGOPTIONS => '-c client_min_messages=warning');
	delete $ENV{PGUSER};
	my @run = ($python, '-B', 'test/bench/bench.py', '--quick', '--no-rival');

	# No set has minus one row: that part fails, the others go on.
	my $result = IPC::Run::run(
		[ @run, '--rows=-1,2000,3000', '--parts', 'growth,filter',
			"$dir/made", "$dir/none", "$dir/bench.md" ],
		'>', \$out, '2>', \$error);
	ok(!$result, 'a run with a part that fails ends with an error');
}
my $report = slurp_file("$dir/bench.md");
like($report, qr/^- \*\*failed: made--1: /m, 'the part that failed is told');
is(() = ($report =~ /\*\*failed/g), 1, 'no other failed') or diag($error);
unlike($report, qr/it has not ended/, 'the run has ended');
for my $rows (2000, 3000)
{
	for my $k (10, 100, 1000)
	{
		like($report, qr/^### made-$rows, K = $k$/m, "$rows rows, K = $k");
	}
}
my @recall = $report =~ /^\| recsys_(?:hnsw|ivfpq), \S.*? \| ([\d.]+) \|/mg;
is(scalar(@recall), 2 * (8 + 1 + 9 + 1 + 7 + 1), 'all settings are there');
is(scalar(grep { $_ > 0.9 && $_ <= 1 } @recall), scalar(@recall), 'recalls')
  or diag("@recall");
like($report, qr/^\| anywhere \| 10.000% \| [\d.]+ \((1\.|0\.9)\d+\) \|/m,
	'filters');
like($report, qr/^\| time of recsys_hnsw .* (met|missed by \d+%) \|/m,
	'growth is judged');
like($report, qr/hnswlib's, K = 10 .* \| not measured \|/, 'a rival is not');
for my $plot (qw(recall-made-2000 buffers-made-3000 growth build filter))
{
	like(slurp_file("$dir/bench-$plot.svg"), qr/^<svg .*<\/svg>$/s, $plot);
}
$node->stop;
done_testing();
