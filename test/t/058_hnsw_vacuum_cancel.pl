# A VACUUM of recsys_hnsw is cancelled in its stages: the index passes its
# check, has all rows, and the next VACUUM takes up what was left.
#
# Another session watches the index, and cancels the VACUUM when that has come
# to the stage wanted.  Where the VACUUM was faster it is tried again, with other
# dead rows and longer pauses.
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
	INSERT INTO items SELECT i, noise(i, 24), i % 10 FROM generate_series(1, 40) i;
	-- Cancels the statement of a backend when a condition on the statistics of an
	-- index holds, or so many milliseconds later.  Ends with the backend at the latest.
	CREATE PROCEDURE cancel_when(backend int, index regclass, condition text, later int)
	LANGUAGE plpgsql AS $$
	DECLARE
		reached bool;
	BEGIN
		LOOP
			EXECUTE format('SELECT %s FROM recsys.index_stats(%L)', condition, index) INTO reached;
			EXIT WHEN reached OR NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = backend);
			COMMIT;
		END LOOP;
		PERFORM pg_sleep(later / 1000.0);
		PERFORM pg_cancel_backend(backend);
	END $$});

# Tombstones and free slots of a table's index.
sub stats
{
	my ($table) = @_;
	return split /\|/, $node->safe_psql('postgres',
		"SELECT tombstones, free_slots FROM recsys.index_stats('${table}_v')");
}

# VACUUM with pauses of so many milliseconds at each page, cancelled so long after
# a condition on its index holds; whether it was.
sub cancelled
{
	my ($table, $pause, $condition, $later) = @_;
	my $vacuum = session($node, "$tell_pid SET vacuum_cost_limit = 1; SET vacuum_cost_delay = $pause; VACUUM $table");
	my $pid = session_pid($vacuum);
	$node->safe_psql('postgres', "CALL cancel_when($pid, '${table}_v', '$condition', $later)");
	return 0 if finish($vacuum);
	BAIL_OUT(${ $vacuum->{out} }) unless ${ $vacuum->{out} } =~ /canceling statement due to user request/;
	return 1;
}

# The pauses of one try after the other, in milliseconds.
my @pauses = (2, 4, 8, 16, 32, 64, 100, 100, 100, 100);
my ($dead, $tries) = (360, 0);

# A VACUUM that is cancelled in a stage, in one of several tries.  Each begins with
# other dead rows, and with what the VACUUM before has left.
sub cancelled_in
{
	my ($stage, $condition, $later) = @_;
	for my $pause (@pauses)
	{
		my $seed = 1000 * ++$tries;
		$node->safe_psql('postgres', "INSERT INTO items SELECT 1000 + i, noise($seed + i, 24), i % 10
			FROM generate_series(1, $dead) i; DELETE FROM items WHERE id > 1000");
		my ($tombstones, $free) = stats('items');
		my $when = $condition =~ s/:old\b/$tombstones/r =~ s/:all\b/$tombstones + $dead/er =~ s/:free\b/$free/r;
		next unless cancelled('items', $pause, $when, $later);
		my ($left, $now_free) = stats('items');
		my $at = $left == 0 ? 'end' : $now_free > $free ? 'free'
		  : $left == $tombstones + $dead ? 'repair' : 'rows';
		return 1 if $at eq $stage;
		note "with pauses of $pause ms it was cancelled at $at";
	}
	return 0;
}

for (
	[ 'rows', 'tombstones > :old', 0, 'while it took out rows' ],
	[ 'repair', 'tombstones = :all', 0, 'when it had taken out all rows' ],
	[ 'free', 'free_slots > :free', 0, 'when it had begun to free slots' ],
	[ 'repair', 'tombstones = :all', 100, 'while it repaired' ],
	[ 'repair', 'tombstones = :all', 250, 'while it repaired, later' ],
	[ 'free', 'free_slots > :free', 50, 'while it freed slots' ])
{
	my ($stage, $condition, $later, $name) = @$_;
	ok(cancelled_in($stage, $condition, $later), "cancelled $name");
	check_whole($node, 'items', 'items_v', $name);
}
$node->safe_psql('postgres', 'VACUUM items');
check_whole($node, 'items', 'items_v', 'the VACUUM that was not cancelled');
is((stats('items'))[0], 0, 'it left no tombstone');

# All nodes are dead, and fill most of the entry set: those that come then have no
# neighbour but one another, and become entries.
for my $class ('l2', 'ip')
{
	my $reached = 0;
	for my $pause (@pauses)
	{
		$node->safe_psql('postgres', qq{
			DROP TABLE IF EXISTS gone;
			CREATE TABLE gone (id int PRIMARY KEY, v vector(24));
			CREATE INDEX gone_v ON gone USING recsys_hnsw (v vector_${class}_ops);
			INSERT INTO gone SELECT i, noise(i, 24) FROM generate_series(1, 950) i;
			DELETE FROM gone});
		$reached = cancelled('gone', $pause, 'tombstones = 950', 0) && (stats('gone'))[0] == 950;
		last if $reached;
	}
	ok($reached, "$class: cancelled when all rows had been taken out");
	$node->safe_psql('postgres',
		'INSERT INTO gone SELECT i, noise(i, 24) FROM generate_series(1001, 1700) i');
	check_passes($node, 'gone_v', "$class: rows inserted where all others were dead");
	cmp_ok($node->safe_psql('postgres', q{SELECT unreachable FROM recsys.index_stats('gone_v')}),
		'<', 10, "$class: they can be reached");
	$node->safe_psql('postgres', 'VACUUM gone');
	check_passes($node, 'gone_v', "$class: VACUUM of those that were dead");
}

# VACUUM of a long list half of whose nodes are dead, between its pages.
my $reached = 0;
for my $pause (@pauses)
{
	$node->safe_psql('postgres', q{
		DROP TABLE IF EXISTS longs;
		CREATE TABLE longs AS SELECT i AS id, noise(i, 24) * array_fill((1 + i / 500.0)::real, ARRAY[24])::vector AS v
			FROM generate_series(1, 1200) i;
		CREATE INDEX longs_v ON longs USING recsys_hnsw (v);
		DELETE FROM longs WHERE id % 2 = 0});
	$reached = cancelled('longs', $pause, 'long_nodes < 500', 0)
	  && $node->safe_psql('postgres', q{SELECT tombstones = 600 AND long_nodes > 300 FROM recsys.index_stats('longs_v')}) eq 't';
	last if $reached;
}
ok($reached, 'cancelled while it took nodes from the long list');
check_passes($node, 'longs_v', 'part of the long list vacuumed');
$node->safe_psql('postgres', q{INSERT INTO longs SELECT i, noise(i, 24) * array_fill(9, ARRAY[24])::vector
	FROM generate_series(2001, 2100) i});
check_passes($node, 'longs_v', 'inserts into a list with dead nodes');
$node->safe_psql('postgres', 'VACUUM longs');
check_passes($node, 'longs_v', 'all of the long list vacuumed');
is($node->safe_psql('postgres', q{
		SET enable_seqscan = off;
		SELECT tombstones, long_nodes BETWEEN 350 AND 400,
			(SELECT count(*) FROM (SELECT id FROM longs ORDER BY v <#> noise(-1, 24) LIMIT 10000) s)
		FROM recsys.index_stats('longs_v')}),
	'0|t|700', 'what is alive is on the list, and found');

$node->stop;
done_testing();
