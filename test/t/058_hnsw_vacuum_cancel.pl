# A VACUUM of recsys_hnsw is cancelled in its stages: the index passes its
# check, has all rows, and the next VACUUM takes up what was left.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IndexTest;

my $node = index_node('vacuum_cancel');
$node->start;
create_noise($node);
$node->safe_psql('postgres', q{
	CREATE TABLE items (id int PRIMARY KEY, v vector(24), k int);
	CREATE INDEX items_v ON items USING recsys_hnsw (v vector_l2_ops, k);
	INSERT INTO items SELECT i, noise(i, 24), i % 10 FROM generate_series(1, 400) i;
	DELETE FROM items WHERE id % 10 > 0});

my $stats = q{SELECT tombstones > 0, free_slots FROM recsys.index_stats('items_v')};
my (undef, $free) = split /\|/, $node->safe_psql('postgres', $stats);
my %stages;

# A VACUUM that is cancelled after so many milliseconds, unless it is done before:
# each page of each pass takes 2.
sub vacuum
{
	my ($table, $ms) = @_;
	my ($status, $stdout, $stderr) = $node->psql('postgres', "VACUUM $table",
		connstr => $node->connstr('postgres')
		  . " options='-c statement_timeout=$ms -c vacuum_cost_delay=2 -c vacuum_cost_limit=1'");
	BAIL_OUT($stderr) unless $stderr =~ /^$|canceling statement due to statement timeout/;
	return $stderr eq '';
}

for (my $ms = 100; $ms < 20_000; $ms += 40)
{
	last if vacuum('items', $ms);
	my ($tombstones, $now_free) = split /\|/, $node->safe_psql('postgres', $stats);
	my $stage = $tombstones eq 'f' ? 'begin' : $now_free > $free ? 'free' : 'repair';
	next if $stages{$stage}++ > 2;
	check_whole($node, 'items', 'items_v', "cancelled after $ms ms, $stage");
}
ok($stages{repair} && $stages{free}, 'cancelled while it repaired and while it freed slots');
check_whole($node, 'items', 'items_v', 'the VACUUM that was not cancelled');
like($node->safe_psql('postgres', $stats), qr/^f/, 'it left no tombstone');

# All nodes are dead, and fill most of the entry set: those that come then have no
# neighbour but one another, and become entries.
for my $class ('l2', 'ip')
{
	$node->safe_psql('postgres', qq{
		DROP TABLE IF EXISTS gone;
		CREATE TABLE gone (id int PRIMARY KEY, v vector(24));
		CREATE INDEX gone_v ON gone USING recsys_hnsw (v vector_${class}_ops);
		INSERT INTO gone SELECT i, noise(i, 24) FROM generate_series(1, 950) i;
		DELETE FROM gone});
	my $tombstones = 'f';
	for (my $ms = 100; $tombstones eq 'f'; $ms += 50)
	{
		BAIL_OUT('no VACUUM was cancelled while it repaired') if vacuum('gone', $ms);
		$tombstones = $node->safe_psql('postgres',
			q{SELECT tombstones = 950 FROM recsys.index_stats('gone_v')});
	}
	$node->safe_psql('postgres',
		'INSERT INTO gone SELECT i, noise(i, 24) FROM generate_series(1001, 1700) i');
	check_passes($node, 'gone_v', "$class: rows inserted where all others were dead");
	cmp_ok($node->safe_psql('postgres', q{SELECT unreachable FROM recsys.index_stats('gone_v')}),
		'<', 10, "$class: they can be reached");
}

$node->stop;
done_testing();
