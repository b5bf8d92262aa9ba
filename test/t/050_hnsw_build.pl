# What a build tells: its phases, its tuples, that memory does not suffice,
# that its workers run; that a cancel takes effect at once in each phase; and
# that what its processes wrote outlasts a crash.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IndexTest;

my $node = index_node('build');
$node->append_conf('postgresql.conf', "fsync = off\nlog_min_messages = debug1");
$node->start;
create_noise($node);
$node->safe_psql('postgres', q{
	CREATE TABLE items (id int, v vector(96));
	INSERT INTO items SELECT i, noise(i, 96) FROM generate_series(1, 8000) i;
	ALTER TABLE items SET (parallel_workers = 2);
	VACUUM ANALYZE items});
my $workers = "SET max_parallel_maintenance_workers = 2; SET min_parallel_table_scan_size = 0;";

sub watch
{
	return watch_build($node, $_[0], qr/linking|inserting/);
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
	check_passes($node, 'items_v', $how);
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
check_passes($node, 'items_v', 'little memory');
my $recall = "SELECT recsys.index_recall('items_v', (SELECT array_agg(noise(-i, 96)) FROM generate_series(1, 300) i), 20)";
my $poor = $node->safe_psql('postgres', $recall);
my $rich = $node->safe_psql('postgres', "REINDEX INDEX items_v; $recall");
note "recall\@20 $poor with little memory, $rich with enough";
# both have workers, and differ by 0.02 from one time to the next
cmp_ok($poor, '>=', $rich - 0.05, 'little memory: recall as with enough');
$node->safe_psql('postgres', 'DROP INDEX items_v');

# a cancel, at many moments; nothing is left, no worker and no file
cancel_builds($node, 'CREATE INDEX items_v ON items USING recsys_hnsw (v) WITH (ef_construction = 1000)',
	[ $workers, "SET maintenance_work_mem = '1MB';" ], 5, 30, 100, 300, 700);

# pages that several processes wrote outlast a crash, logged or flushed
$node->append_conf('postgresql.conf', 'max_wal_senders = 0');
for my $level ('replica', 'minimal')
{
	$node->append_conf('postgresql.conf', "wal_level = $level");
	$node->restart;
	$node->safe_psql('postgres', 'CHECKPOINT');
	my $before = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
	$node->safe_psql('postgres', "$workers CREATE INDEX items_v ON items USING recsys_hnsw (v)");
	my $logged = $node->safe_psql('postgres', qq{
		SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$before') > pg_relation_size('items_v') / 2});
	is($logged, $level eq 'replica' ? 't' : 'f', "$level: whether pages are logged");
	$node->stop('immediate');
	$node->start;
	check_passes($node, 'items_v', "$level: after a crash");
	is($node->safe_psql('postgres', q{
		SET enable_seqscan = off; SET enable_sort = off;
		SELECT count(*) FROM (SELECT id FROM items ORDER BY v <#> noise(-1, 96) LIMIT 10000) t}),
		8000, "$level: all rows are found");
	$node->safe_psql('postgres', 'DROP INDEX items_v');
}
$node->stop;
done_testing();
