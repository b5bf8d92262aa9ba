# Recall, order and size of a recsys_ivfpq index with nothing set, on real data,
# gowalla, by inner product and cosine; and that neither inserts nor deletions make
# it worse.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IndexTest;

my @ks = (10, 100, 1000);
my $node;

# Recall by the index's own account, on the first 200 queries.
sub recalls
{
	my ($index) = @_;
	return map {
		$node->safe_psql('postgres',
			"SELECT recsys.index_recall('$index', (SELECT array_agg(v) FROM queries WHERE id < 200), $_)")
	} @ks;
}

# The recalls of the index items_v are near those of a fresh build on the rows.
sub near_fresh
{
	my ($name) = @_;
	my @old = recalls('items_v');
	check_passes($node, 'items_v', $name);
	$node->safe_psql('postgres', 'REINDEX INDEX items_v');
	my @new = recalls('items_v');
	for my $i (0 .. $#ks)
	{
		note "$name: recall\@$ks[$i] $old[$i], after REINDEX $new[$i]";
		cmp_ok($old[$i], '>=', $new[$i] - 0.02, "$name: recall\@$ks[$i] is near that of a fresh build");
	}
	return;
}

sub index_size
{
	return $node->safe_psql('postgres', "SELECT pg_relation_size('items_v')");
}

SKIP:
{
	my $dir = data_dir('gowalla')
	  or skip 'NO DATA: the folder ../shared/data/gowalla is missing', 1;
	$node = index_node('gowalla');
	$node->append_conf('postgresql.conf', 'fsync = off');
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION recsys');
	load_set($node, $dir, '<#>', \@ks,
		items => 'items.npy', queries => 'queries.npy',
		truth => 'gt_ip_top1000.npy');

	# bytes a row: 8-byte TIDs and codes, and the record on the tape
	for ([ none => 45 ], [ float16 => 400 ], [ sq8 => 220 ])
	{
		my ($refine, $bytes) = @$_;
		$node->safe_psql('postgres',
			"DROP INDEX IF EXISTS items_v; CREATE INDEX items_v ON items USING recsys_ivfpq (v) WITH (refine = $refine); VACUUM ANALYZE items");
		set_recall($node, 'items_v', $_, 0.95, "gowalla, $refine") for @ks;
		my $size = index_size() / 40981;
		note "gowalla, $refine: $size bytes a row";
		cmp_ok($size, '<=', $bytes, "gowalla, $refine: bytes a row");
		check_passes($node, 'items_v', "gowalla, $refine");
	}

	# sq8 from here on; the whole catalogue in order, by one query
	is( $node->safe_psql('postgres', q{
		SET enable_seqscan = off; SET enable_sort = off;
		SELECT count(*), count(DISTINCT id) FROM
			(SELECT id FROM items ORDER BY v <#> (SELECT v FROM queries WHERE id = 1)) s}),
		'40981|40981', 'gowalla: without LIMIT all rows come');

	# The queries that are most alike, and a filter that takes the rows at the
	# other end of their direction: the lists that rank first have few of them.
	# The queries share most of their answers, so builds from other orders of
	# the rows differ by 0.02 either way; they have 0.955 on average.
	$node->safe_psql('postgres', q{
		CREATE TABLE alike AS SELECT v FROM queries
			ORDER BY v <#> (SELECT avg(v) FROM queries) LIMIT 50;
		CREATE TABLE apart AS SELECT v,
			(row_number() OVER (ORDER BY v <#> (SELECT avg(v) FROM alike) DESC))::int AS place
			FROM items;
		CREATE INDEX apart_v ON apart USING recsys_ivfpq (v, place);
		VACUUM ANALYZE apart;
		CREATE FUNCTION apart_recall(rows int, k int) RETURNS float8 LANGUAGE sql AS $$
			SELECT avg((SELECT count(*) FROM
				(SELECT v <#> q.v AS d FROM apart WHERE place <= rows ORDER BY v <#> q.v LIMIT k) f
				WHERE d <= (SELECT max(d) FROM
					(SELECT v <#> q.v AS d FROM apart WHERE place <= rows ORDER BY (v <#> q.v) + 0 LIMIT k) e)))
				/ k FROM alike q $$});
	my $total = 0;
	for my $rows (12000, 20000)
	{
		for my $k (10, 100)
		{
			my ($recall, $index) = split /\n/, $node->safe_psql('postgres', qq{
				SET enable_seqscan = off; SET enable_sort = off;
				SELECT apart_recall($rows, $k);
				SELECT index FROM recsys.last_scan()});
			note "gowalla, a filter against the query, $rows rows: recall\@$k $recall";
			$total += $recall;
			is($index, 'apart_v', 'the index is scanned');
			cmp_ok($recall, '>=', 0.9, "gowalla, a filter against the query, $rows rows: recall\@$k");
		}
	}
	cmp_ok($total / 4, '>=', 0.93, 'gowalla, a filter against the query: mean recall');

	# half of the rows come after the build
	$node->safe_psql('postgres', q{
		CREATE TABLE kept AS SELECT * FROM items;
		DELETE FROM items WHERE id % 2 = 0;
		VACUUM items;
		REINDEX INDEX items_v;
		INSERT INTO items SELECT * FROM kept WHERE id % 2 = 0 ORDER BY hashint4(id)});
	near_fresh('half inserted');

	# half of the rows go
	$node->safe_psql('postgres', 'DELETE FROM items WHERE hashint4(id) % 2 = 0');
	$node->safe_psql('postgres', 'VACUUM items');
	near_fresh('half deleted');

	# emptied and filled again, ten times
	$node->safe_psql('postgres', 'TRUNCATE items; INSERT INTO items SELECT * FROM kept; REINDEX INDEX items_v');
	my $size = index_size();
	for (1 .. 10)
	{
		$node->safe_psql('postgres', 'DELETE FROM items');
		$node->safe_psql('postgres', 'VACUUM items');
		$node->safe_psql('postgres', 'INSERT INTO items SELECT * FROM kept');
	}
	my $growth = index_size() / $size;
	note "ten rounds: the index is $growth times as large";
	cmp_ok($growth, '<=', 1.1, 'ten rounds: pages are used again');
	set_recall($node, 'items_v', $_, 0.93, 'ten rounds') for @ks;
	near_fresh('ten rounds');

	$node->safe_psql('postgres', q{
		DROP INDEX items_v; CREATE INDEX items_v ON items USING recsys_ivfpq (v vector_cosine_ops)});
	my @cosine = recalls('items_v');
	note "gowalla, cosine: @cosine";
	cmp_ok($cosine[$_], '>=', 0.95, "gowalla, cosine: recall\@$ks[$_]") for 0 .. $#ks;
	check_passes($node, 'items_v', 'gowalla, cosine');
	$node->stop;
}

done_testing();
