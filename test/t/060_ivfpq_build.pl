# What a build of recsys_ivfpq tells: its phases, its rounds, that its workers
# run; that they make the same index; that a cancel takes effect at once.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IndexTest;

# without WAL, pages hold nothing that differs from build to build
my $node = index_node('build');
$node->append_conf('postgresql.conf', "fsync = off\nlog_min_messages = debug1\nwal_level = minimal\nmax_wal_senders = 0");
$node->start;
create_noise($node);
$node->safe_psql('postgres', q{
	CREATE TABLE items (id int, v vector(96));
	INSERT INTO items SELECT i, noise(i, 96) FROM generate_series(1, 12000) i;
	ALTER TABLE items SET (parallel_workers = 2);
	VACUUM ANALYZE items});
my $alone = 'SET max_parallel_maintenance_workers = 0;';
my $workers = 'SET max_parallel_maintenance_workers = 2; SET min_parallel_table_scan_size = 0;';
my $create = 'CREATE INDEX items_v ON items USING recsys_ivfpq (v) WITH (lists = 1500)';

# The pages of the index, as a sum.
sub pages
{
	return $node->safe_psql('postgres',
		"CHECKPOINT; SELECT md5(pg_read_binary_file(pg_relation_filepath('items_v')))");
}

my %pages;
for my $how ('alone', 'with workers')
{
	my $set = $how eq 'alone' ? $alone : $workers;
	my ($phases, $progress, $out) = watch_build($node, "$set $create", qr/clustering/);
	note "$how: $phases";
	like($phases, qr/building index: clustering/, "$how: the phase is told");
	ok($progress, "$how: rounds are counted");
	is($out, '', "$how: nothing to say");
	check_passes($node, 'items_v', $how);
	$pages{$how} = pages();
	$node->safe_psql('postgres', 'DROP INDEX items_v');
}
like(slurp_file($node->logfile), qr/parallel worker|background worker "parallel worker"/i,
	'workers took part');
is($pages{'with workers'}, $pages{alone}, 'they make the same index');

# rows beyond memory are sorted on disk
$node->safe_psql('postgres', "SET maintenance_work_mem = '2MB'; SET log_temp_files = 0; $alone
	CREATE INDEX items_v ON items USING recsys_ivfpq (v) WITH (lists = 10, sample = 1000)");
like(slurp_file($node->logfile), qr/temporary file:/, 'the sort goes to disk');
check_passes($node, 'items_v', 'little memory');
my $little = pages();
$node->safe_psql('postgres', "$alone REINDEX INDEX items_v");
is(pages(), $little, 'and gives the same index');
$node->safe_psql('postgres', 'DROP INDEX items_v');

# no worker can be had
$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
$node->restart;
my ($status, $stdout, $stderr) = $node->psql('postgres', "$workers $create");
like($stderr, qr/NOTICE: +index "items_v" is built without parallel workers, none of 2 could be started/,
	'a NOTICE tells that no worker could be started');
check_passes($node, 'items_v', 'no workers');
is(pages(), $pages{alone}, 'the same index once more');
$node->safe_psql('postgres', 'DROP INDEX items_v');
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;

# a cancel, at many moments; nothing is left, no worker and no file
cancel_builds($node, $create, [ $alone, $workers ], 5, 30, 100, 300, 600, 900);
$node->stop;
done_testing();
