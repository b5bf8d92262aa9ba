# Recall, order, page accesses and size of an index with nothing set, on real
# data: gowalla by inner product, bigann10k by Euclidean distance.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IndexTest;

SKIP:
{
	my $dir = data_dir('gowalla')
	  or skip 'NO DATA: the folder ../shared/data/gowalla is missing', 1;
	my $node = index_node('gowalla');
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION recsys');
	load_set($node, $dir, '<#>', [ 10, 100, 1000 ],
		items => 'items.npy', queries => 'queries.npy',
		truth => 'gt_ip_top1000.npy');
	$node->safe_psql('postgres',
		'CREATE INDEX items_v ON items USING recsys_hnsw (v); VACUUM ANALYZE items');

	for ([ 10, 0.98, 60 ], [ 100, 0.98, 245 ], [ 1000, 0.98, 3100 ])
	{
		my ($k, $bound, $max_reads) = @$_;
		my ($recall, $reads) = set_recall($node, 'items_v', $k, $bound, 'gowalla');
		cmp_ok($reads, '<=', $max_reads, "gowalla: buffers read for LIMIT $k");
		cmp_ok($reads, '>=', 10, "gowalla: buffers read for LIMIT $k are counted");
	}
	my ($nodes, $unreachable) = split /\|/, $node->safe_psql('postgres',
		"SELECT nodes, unreachable FROM recsys.index_stats('items_v')");
	note "gowalla: $unreachable of $nodes nodes are unreachable";
	cmp_ok($unreachable, '<=', 0.001 * $nodes, 'gowalla: unreachable nodes');
	my $size = $node->safe_psql('postgres',
		"SELECT pg_relation_size('items_v')::float8 / count(*) FROM items");
	note "gowalla: $size bytes a row";
	cmp_ok($size, '<=', 1300, 'gowalla: bytes a row');
	is($node->safe_psql('postgres', "SELECT recsys.check_index('items_v')"),
		'', 'gowalla: check_index passes');

	# the whole catalogue in order, by one query
	is( $node->safe_psql('postgres', q{
		SET enable_seqscan = off; SET enable_sort = off;
		SELECT count(*), count(DISTINCT id) FROM
			(SELECT id FROM items ORDER BY v <#> (SELECT v FROM queries WHERE id = 1)) s}),
		'40981|40981', 'gowalla: without LIMIT all rows come');
	$node->stop;
}

SKIP:
{
	my $dir = data_dir('bigann10k')
	  or skip 'NO DATA: the folder ../shared/data/bigann10k is missing', 1;
	my $node = index_node('bigann');
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION recsys');
	load_set($node, $dir, '<->', [ 10, 100 ],
		items => 'base.npy', queries => 'queries.npy',
		truth => 'gt_l2_top100.npy');
	$node->safe_psql('postgres',
		'CREATE INDEX items_v ON items USING recsys_hnsw (v vector_l2_ops); VACUUM ANALYZE items');
	set_recall($node, 'items_v', 10, 0.98, 'bigann10k');
	set_recall($node, 'items_v', 100, 0.97, 'bigann10k');
	is($node->safe_psql('postgres', "SELECT recsys.check_index('items_v')"),
		'', 'bigann10k: check_index passes');
	$node->stop;
}

done_testing();
