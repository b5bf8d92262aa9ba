# old_snapshot_threshold, which PostgreSQL 15 and 16 have: VACUUM takes out rows
# that an old snapshot sees, and a scan by that snapshot says so.  A snapshot is
# old after one to two minutes.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IndexTest;

my $node = index_node('old');
plan skip_all => 'old_snapshot_threshold is not there since PostgreSQL 17'
  if $node->pg_version >= 17;
$node->append_conf('postgresql.conf', "old_snapshot_threshold = '1min'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION recsys; CREATE TABLE ticks (n int)');

my @methods = ('recsys_hnsw', 'recsys_ivfpq');
my %old;

sub query
{
	my ($am) = @_;
	return "SELECT count(*) FROM (SELECT FROM $am ORDER BY v <-> '[1,1]' LIMIT 10000) s";
}

for my $am (@methods)
{
	$node->safe_psql('postgres', qq{
		CREATE TABLE $am (id int, v vector(2));
		INSERT INTO $am SELECT i, ARRAY[i, 1]::vector FROM generate_series(1, 5000) i;
		CREATE INDEX ON $am USING $am (v vector_l2_ops);
		VACUUM ANALYZE $am});
	$old{$am} = $node->background_psql('postgres', on_error_stop => 0);
	$old{$am}->query_safe('SET enable_seqscan = off');
	$old{$am}->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	is($old{$am}->query_safe(query($am)), 5000, "$am: all rows");
}
$node->safe_psql('postgres', "DELETE FROM $_ WHERE id > 10") for @methods;

# Transactions that end let the server know how old snapshots are, until VACUUM
# takes the rows out.
my $left = 2 * 5000;
for (1 .. 180)
{
	$node->safe_psql('postgres', 'INSERT INTO ticks VALUES (1)');
	$node->safe_psql('postgres', "VACUUM $_") for @methods;
	$left = $node->safe_psql('postgres', q{
		SELECT (SELECT rows FROM recsys.index_stats('recsys_hnsw_v_idx'))
			+ (SELECT rows FROM recsys.ivfpq_stats('recsys_ivfpq_v_idx'))});
	last if $left < 100;
	sleep 1;
}
is($left, 20, 'rows that the snapshot sees are gone');
for my $am (@methods)
{
	my ($found) = $old{$am}->query(query($am));
	note "found $found";
	like($old{$am}->{stderr}, qr/snapshot too old/, "$am: a scan that lacks rows is an error");
	$old{$am}->{stderr} = '';
	$old{$am}->quit;
}
$node->stop;
done_testing();
