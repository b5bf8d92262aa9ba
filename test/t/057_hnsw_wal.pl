# What inserts into recsys_hnsw write to the WAL, and that it is enough.
use strict;
use warnings;

use IndexTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = 200;
my $node = index_node('wal');
$node->append_conf('postgresql.conf', "full_page_writes = off\nwal_keep_size = 256MB");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION recsys;
	CREATE TABLE items (id int, v vector(64));
	CREATE INDEX items_v ON items USING recsys_hnsw (v);
	INSERT INTO items SELECT 0, array_fill(1, ARRAY[64])::real[]::vector});

sub wal_position
{
	return $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
}

my $start = wal_position();
$node->safe_psql('postgres', qq{
	SELECT setseed(0.5);
	INSERT INTO items SELECT i, array_agg(random() - 0.5)::real[]::vector
	FROM generate_series(1, $rows) i, generate_series(1, 64) GROUP BY i});
my $end = wal_position();
my $pages = $node->safe_psql('postgres',
	q{SELECT pg_relation_size('items_v') / 8192});
cmp_ok($pages, '>', 10, 'the index has grown by pages');

# Killed, so that the pages come from the WAL.
$node->stop('immediate');
$node->start;
check_passes($node, 'items_v', 'replayed');
is( $node->safe_psql('postgres', q{
		SET enable_seqscan = off;
		SELECT count(DISTINCT id) FROM (SELECT id FROM items ORDER BY
			v <#> array_fill(1, ARRAY[64])::real[]::vector LIMIT 1000) found}),
	$rows + 1, 'all rows are found after replay');

my ($records) = run_command([
	'pg_waldump', '--rmgr=Generic', '-p', $node->data_dir . '/pg_wal',
	"--start=$start", "--end=$end" ]);
my @lengths = $records =~ m{len \(rec/tot\): +\d+/ +(\d+)}g;
cmp_ok(scalar @lengths, '>', $rows, 'records of all inserts');
# A page of entries is; there are few of them, however many rows there are.
my $whole = grep { $_ > 8192 } @lengths;
cmp_ok($whole, '<', $pages / 2, 'a new page of nodes is not logged as a whole one');

# A node with all its edges takes 1,148 bytes.  In so small a graph every neighbour
# has room for an edge back, and is on a page of its own: 32 edges a row, which are
# logged for four pages at a time.
my $bytes = 0;
$bytes += $_ for grep { $_ <= 8192 } @lengths;
note sprintf('%.0f bytes, %.2f records a row', $bytes / $rows, @lengths / $rows);
cmp_ok($bytes / $rows, '<', 3200, 'an edge back is a small part of a record');
cmp_ok(@lengths / $rows, '<', 11, 'edges back are logged together');

$node->stop;
done_testing();
