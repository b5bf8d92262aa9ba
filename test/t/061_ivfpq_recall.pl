# Recall and order of a recsys_ivfpq index with nothing set, on real data,
# bigann10k, by Euclidean distance.  061_ivfpq_recall_slow.pl has more.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IndexTest;

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
		'CREATE INDEX items_v ON items USING recsys_ivfpq (v vector_l2_ops); VACUUM ANALYZE items');
	set_recall($node, 'items_v', $_, 0.95, 'bigann10k') for 10, 100;
	check_passes($node, 'items_v', 'bigann10k');
	$node->stop;
}

done_testing();
