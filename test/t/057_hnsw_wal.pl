# What inserts into recsys_hnsw write to the WAL, and that it is enough.
use strict;
use warnings;

use IndexDamage;
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
	INSERT INTO items SELECT 0, array_fill(1, ARRAY[64])::real[]::vector;
	-- with a long list
	CREATE TABLE longs AS SELECT i AS id, (v || v || v || v)::vector(64) AS v FROM (
		SELECT i, array_agg(sin(i * (j + 0.37)) ORDER BY j)::vector AS v
		FROM generate_series(1, 1050) i, generate_series(1, 16) j GROUP BY i) s;
	CREATE INDEX longs_v ON longs USING recsys_hnsw (v)});

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
my $long_rows = 50;
my $long_nodes = 'SELECT long_nodes FROM recsys.index_stats(\'longs_v\')';
my $on_list = $node->safe_psql('postgres', $long_nodes);
$node->safe_psql('postgres', qq{
	INSERT INTO longs SELECT -id, v * array_fill(2, ARRAY[64])::vector FROM longs WHERE id <= $long_rows});
my $long_end = wal_position();
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

check_passes($node, 'longs_v', 'replayed, with a long list');
is($node->safe_psql('postgres', $long_nodes), $on_list + $long_rows, 'the long list is as it was after replay');

# What a range of the WAL has of our records.
sub records
{
	my ($from, $to) = @_;
	my ($records) = run_command([
		'pg_waldump', '--rmgr=Generic', '-p', $node->data_dir . '/pg_wal',
		"--start=$from", "--end=$to" ]);
	return $records;
}

my @lengths = records($start, $end) =~ m{len \(rec/tot\): +\d+/ +(\d+)}g;
cmp_ok(scalar @lengths, '>', $rows, 'records of all inserts');
# A page of entries is; there are few of them, however many rows there are.
my $whole = grep { $_ > 8192 } @lengths;
cmp_ok($whole, '<', $pages / 2, 'a new page of nodes is not logged as a whole one');

# A node takes 1,148 bytes, of which those of lanes without an edge are not logged:
# with 12 edges it is some 740.  In so small a graph every neighbour that is asked
# has room for an edge back, and is on a page of its own: 8 edges a row, which are
# logged for four pages at a time.  And every row is an entry too, which is most
# of the records.
my $bytes = 0;
$bytes += $_ for grep { $_ <= 8192 } @lengths;
note sprintf('%.0f bytes, %.2f records a row', $bytes / $rows, @lengths / $rows);
cmp_ok($bytes / $rows, '<', 2200, 'an edge back is a small part of a record');
cmp_ok(@lengths / $rows, '<', 9, 'edges back are logged together');
my @nodes = grep { $_ > 400 && $_ < 8192 } @lengths;
cmp_ok(scalar @nodes, '>=', 0.9 * $rows, 'a record for each new node');
cmp_ok((sort { $a <=> $b } @nodes)[-1], '<', 800, 'without its empty lanes');

# A node that enters the long list is one record more, of a code that lies in 64
# bytes apart.
$node->safe_psql('postgres', 'CHECKPOINT');
my $file = $node->safe_psql('postgres', q{SELECT pg_relation_filenode('longs_v')});
my %is_long = map { $_ => 1 } blocks(load(locate($node, 'longs_v')), 7);
my @long_lengths = map { m{tot\): +\d+/ +(\d+).*blkref #0: rel \d+/\d+/$file .*blk (\d+)} && $is_long{$2} ? $1 : () }
  grep { !/blkref #1/ } split /\n/, records($end, $long_end);
# but for the page that is added
@long_lengths = grep { $_ <= 8192 } @long_lengths;
is(scalar @long_lengths, $long_rows, 'each row is a record for the long list');
$bytes = 0;
$bytes += $_ for @long_lengths;
note sprintf('%.0f bytes a row for the long list', $bytes / $long_rows);
cmp_ok($bytes / $long_rows, '<', 450, 'and a small one');

$node->stop;
done_testing();
