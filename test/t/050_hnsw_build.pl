# What a build tells: its phases, its tuples, that memory does not suffice,
# that its workers run; and that a cancel takes effect at once in each phase.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use HnswTest;

my $node = hnsw_node('build');
$node->append_conf('postgresql.conf', "fsync = off\nlog_min_messages = debug1");
$node->start;
create_noise($node);
$node->safe_psql('postgres', q{
	CREATE TABLE items (id int, v vector(96));
	INSERT INTO items SELECT i, noise(i, 96) FROM generate_series(1, 8000) i;
	ALTER TABLE items SET (parallel_workers = 2);
	VACUUM ANALYZE items});
my $workers = "SET max_parallel_maintenance_workers = 2; SET min_parallel_table_scan_size = 0;";

# phases and numbers that a second session sees while statement $sql runs
sub watch
{
	my ($sql) = @_;
	my $session = session($node, $sql);
	my (%phases, $progress);
	for (1 .. 2000)
	{
		my ($phase, $done, $total) = split /\|/, $node->safe_psql('postgres',
			'SELECT phase, tuples_done, tuples_total FROM pg_stat_progress_create_index');
		last if !defined $phase && %phases;
		next if !defined $phase;
		$phases{$phase} = 1;
		$progress = 1 if $phase =~ /linking|inserting/ && $done > 0 && $done <= $total;
	}
	finish($session);
	return (join(', ', sort keys %phases), $progress, ${ $session->{out} });
}

for my $how ('alone', 'with workers')
{
	my $set = $how eq 'alone' ? 'SET max_parallel_maintenance_workers = 0;' : $workers;
	my ($phases, $progress, $out) = watch("$set
		CREATE INDEX items_v ON items USING recsys_hnsw (v) WITH (ef_construction = 400)");
	note "$how: $phases";
	like($phases, qr/building index: linking nodes/, "$how: the phase is told");
	ok($progress, "$how: tuples are counted");
	is($out, '', "$how: nothing to say");
	is($node->safe_psql('postgres', "SELECT recsys.check_index('items_v')"), '', "$how: check_index passes");
	$node->safe_psql('postgres', 'DROP INDEX items_v');
}
like(slurp_file($node->logfile), qr/parallel worker|background worker "parallel worker"/i,
	'workers took part');

# too little memory
my ($phases, $progress, $out) = watch("SET maintenance_work_mem = '1MB';
	CREATE INDEX items_v ON items USING recsys_hnsw (v) WITH (ef_construction = 400)");
note $phases;
like($out, qr/NOTICE: +the graph of index "items_v" no longer fits into maintenance_work_mem after [1-9]\d* rows/,
	'a NOTICE tells that memory does not suffice');
like($out, qr/HINT: .*maintenance_work_mem/, 'and what helps');
like($phases, qr/inserting rows beyond memory/, 'the slower path has its phase');
is($node->safe_psql('postgres', "SELECT recsys.check_index('items_v')"), '', 'little memory: check_index passes');
my $recall = "SELECT recsys.index_recall('items_v', (SELECT array_agg(noise(-i, 96)) FROM generate_series(1, 100) i), 20)";
my $poor = $node->safe_psql('postgres', $recall);
my $rich = $node->safe_psql('postgres', "REINDEX INDEX items_v; $recall");
note "recall\@20 $poor with little memory, $rich with enough";
cmp_ok($poor, '>=', $rich - 0.02, 'little memory: recall as with enough');
$node->safe_psql('postgres', 'DROP INDEX items_v');

# a cancel, at many moments; nothing is left, no worker and no file
my $files = $node->safe_psql('postgres', "SELECT count(*) FROM pg_ls_dir('base/' || (SELECT oid FROM pg_database WHERE datname = 'postgres'))");
for my $set ($workers, "SET maintenance_work_mem = '1MB'; SET client_min_messages = warning;")
{
	for my $after (5, 30, 100, 300, 700)
	{
		my ($status, $stdout, $stderr) = $node->psql('postgres', "$set SET statement_timeout = $after;
			CREATE INDEX items_v ON items USING recsys_hnsw (v) WITH (ef_construction = 1000)");
		next if $stderr eq '';
		like($stderr, qr/canceling statement due to statement timeout/, "cancelled after $after ms");
	}
}
my $begin = time();
my ($status, $stdout, $stderr) = $node->psql('postgres', "$workers SET statement_timeout = 500;
	CREATE INDEX items_v ON items USING recsys_hnsw (v) WITH (ef_construction = 1000)");
like($stderr, qr/canceling statement/, 'a build is cancelled');
cmp_ok(time() - $begin, '<', 2, 'a cancel takes effect soon');
ok($node->poll_query_until('postgres',
	"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'parallel worker'"),
	'no worker is left');
$node->safe_psql('postgres', 'CHECKPOINT');
cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM pg_ls_dir('base/' || (SELECT oid FROM pg_database WHERE datname = 'postgres'))"),
	'<=', $files + 3, 'no files are left');
$node->stop;
done_testing();
