# The test of streaming replication that the index access methods share: a
# standby gives the rows of the primary in the same order, with filters and
# without, during and after inserts, changes of filter columns, deletions,
# VACUUM and rebuilds, after it was killed during replay, and goes on when
# promoted.  Queries that replay conflicts with are cancelled or right.
package IndexStandby;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use IndexTest;

our @EXPORT = qw(standby_test);

my ($primary, $standby, $settings);

sub start_both
{
	$primary = index_node('primary', allows_streaming => 1);
	$primary->append_conf('postgresql.conf', "wal_consistency_checking = 'all'\nwal_keep_size = '8GB'");
	$primary->start;
	create_noise($primary);
	$primary->backup('backup');
	$standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($primary, 'backup', has_streaming => 1);
	$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = -1");
	$standby->start;
	return;
}

sub catch_up
{
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return;
}

# What 12 queries of each kind ask of the indexes.
my @kinds = (
	[ '<#>', 'true' ], [ '<->', 'true' ], [ '<=>', 'true' ],
	[ '<#>', 'k < 5' ], [ '<->', 'k < 5' ],
	[ '<#>', "k = q % 10 AND tags && '{3,5}'" ],
	[ '<->', "k = q % 10 AND tags && '{3,5}'" ],
	[ '<->', 'k IS NULL' ]);

sub ids
{
	my ($kind) = @_;
	my ($operator, $condition) = @{ $kinds[$kind] };
	return "SELECT $kind AS kind, count(*) AS n, string_agg(id::text, ',') AS ids FROM
		(SELECT id FROM items WHERE $condition
		 ORDER BY v $operator noise(-q, 24) LIMIT q * 15) s";
}

# A digest of the rows, in order, that these queries give.
sub digest
{
	my ($node, $then) = @_;
	return $node->safe_psql('postgres', "SET enable_seqscan = off;
		SET enable_sort = off;
		$settings;
		SELECT count(*), sum(n), md5(string_agg(ids, ' ' ORDER BY q, kind))
		FROM generate_series(1, 12) q, LATERAL
			(" . join("\n\t\t\tUNION ALL ", map { ids($_) } 0 .. $#kinds) . ') a;'
		  . ($then // ''));
}

sub same
{
	my ($name) = @_;
	catch_up();
	my $expected = digest($primary);
	like($expected, qr/^96\|[1-9]/, "$name: the primary answers");
	is(digest($standby), $expected,
		"$name: the standby gives the same rows in the same order");
	return;
}

# The vector of a row; later rows are longer.
sub vector
{
	my ($seed) = @_;
	return "noise($seed, 24) * array_fill((1 + $seed / 2000.0)::real, ARRAY[24])::vector";
}

# Inserts rows with the numbers $from to $to, i, and the vectors of $seed.
sub rows
{
	my ($from, $to, $seed) = @_;
	my $vector = vector($seed // 'i');
	return "INSERT INTO items SELECT i, $vector,
		CASE WHEN i % 13 > 0 THEN i % 10 END, ARRAY[i % 7, i % 11]
		FROM generate_series($from, $to) i;";
}

# Insert rows most of which enter the long list of a recsys_hnsw, until it is cut.
sub slots_used_again
{
	my ($am) = @_;
	my $nodes = "SELECT long_nodes FROM recsys.index_stats('items_ip')";
	my $before = $am eq 'recsys_hnsw' ? $primary->safe_psql('postgres', $nodes) : 0;

	$primary->safe_psql('postgres', rows(2801, 4000));
	same('slots used again');
	return if $am ne 'recsys_hnsw';
	cmp_ok($primary->safe_psql('postgres', $nodes), '<', $before + 1000, 'the long list was cut');
	return;
}

sub after_changes
{
	my ($am) = @_;

	# built empty and filled; built from rows
	$primary->safe_psql('postgres', qq{
		CREATE TABLE items (id int PRIMARY KEY, v vector(24), k int, tags int[]);
		CREATE INDEX items_l2 ON items USING $am (v vector_l2_ops, k, tags)});
	$primary->safe_psql('postgres', rows(1, 2000));
	$primary->safe_psql('postgres', qq{
		CREATE INDEX items_ip ON items USING $am (v, tags, k);
		CREATE INDEX items_cosine ON items USING $am (v vector_cosine_ops)});
	same('built');
	$primary->safe_psql('postgres', rows(2001, 2500));
	same('inserts');
	filters_are_used();
	$primary->safe_psql('postgres', q{
		UPDATE items SET v = } . vector('(10000 + id)') . q{ WHERE id % 7 = 0;
		UPDATE items SET k = (k + 1) % 10 WHERE id % 5 = 0;
		UPDATE items SET tags = '{3}' WHERE id % 8 = 0;
		DELETE FROM items WHERE id % 3 = 0});
	same('changes and deletions');
	$primary->safe_psql('postgres', 'VACUUM items');
	same('VACUUM');
	slots_used_again($am);
	$primary->safe_psql('postgres', rows(4001, 4500, 1));
	same('equal rows');
	$primary->safe_psql('postgres', 'DELETE FROM items WHERE id BETWEEN 4001 AND 4400');
	$primary->safe_psql('postgres', 'VACUUM items');
	same('equal rows vacuumed');

	# emptied and filled again
	$primary->safe_psql('postgres', 'CREATE TABLE kept AS SELECT * FROM items; DELETE FROM items');
	$primary->safe_psql('postgres', 'VACUUM items');
	$primary->safe_psql('postgres', 'INSERT INTO items SELECT * FROM kept WHERE id % 2 = 1 ORDER BY hashint4(id)');
	same('emptied and filled');
	return;
}

# The standby's plan has the conditions in the index, and its scans have found
# their rows in more than one way.
sub filters_are_used
{
	my $rows = ids(6);

	like($standby->safe_psql('postgres', "SET enable_seqscan = off;
		EXPLAIN (COSTS OFF) SELECT n FROM generate_series(1, 12) q, LATERAL ($rows) s"),
		qr/Index Cond: \(\(k = .* AND \(tags && /, 'conditions in the index');
	like(digest($standby, 'SELECT sum(graph_scans + lists_scans) > 0, sum(exact_scans) > 0
		FROM recsys.stat_index'), qr/^t\|t$/m, 'some scans look at all keys, some do not');
	return;
}

# Changes on the primary, each row a transaction, and what else gives the standby
# work.
sub start_writer
{
	my ($from, $rounds) = @_;
	return session($primary, join '', map { qq{
		DO \$\$
		BEGIN
			FOR i IN $from + 300 * $_ .. $from + 300 * $_ + 299 LOOP
				INSERT INTO items VALUES (i, ${\vector('i')}, i % 10, ARRAY[i % 7, i % 11]);
				IF i % 3 = 0 THEN DELETE FROM items WHERE id = i - 2; END IF;
				IF i % 5 = 0 THEN UPDATE items SET k = (k + 5) % 10 WHERE id = i - 1; END IF;
				COMMIT;
			END LOOP;
		END \$\$;
		VACUUM items;
		} . ($_ == 1 ? 'REINDEX INDEX CONCURRENTLY items_l2; REINDEX INDEX items_ip;' : '')
	} 0 .. $rounds - 1);
}

# queries on the standby while all this comes in
sub during_changes
{
	my $writer = start_writer(5000, 3);
	my $asked = '';
	for (my $n = 0; $n < 15 || ($n < 500 && $writer->{handle}->pumpable); $n++)
	{
		my ($status, $stdout, $stderr) = $standby->psql('postgres',
			'SET enable_seqscan = off;' . join ';', map { qq{
			SELECT q, n FROM generate_series(1, 20) q, LATERAL
				(SELECT count(*), count(DISTINCT id) AS ids, bool_and($_) AS fit FROM
					(SELECT * FROM items WHERE $_ ORDER BY v <-> noise(-q, 24) LIMIT 150) s) n
			WHERE ids <> 150 OR n.count <> 150 OR NOT fit} } 'true', 'k < 5', "tags && '{3}'");
		$asked .= $stderr . $stdout;
		$writer->{handle}->pump_nb if $writer->{handle}->pumpable;
	}
	is($asked, '', 'queries on the standby during replay give LIMIT rows that satisfy their condition');
	ok(finish($writer), 'the primary was changed meanwhile') or diag ${ $writer->{out} };
	same('changes during queries');
	return;
}

# A query, so many seconds after its snapshot was taken: whether the rows by the
# index are those of the table, without and with a filter.
sub late_query
{
	my ($seconds) = @_;
	return qq{SET enable_seqscan = off;
		BEGIN ISOLATION LEVEL REPEATABLE READ;
		SELECT FROM items LIMIT 1;
		SELECT pg_sleep($seconds);
		SELECT 'right' WHERE } . join(' AND ', map { qq{
			(SELECT array_agg(id ORDER BY id) FROM
				(SELECT id FROM items WHERE $_ ORDER BY v <-> noise(1, 24) LIMIT 1000000) s)
			= (SELECT array_agg(id ORDER BY id) FROM items WHERE $_)} } 'true', 'k = 3') . '; COMMIT';
}

# Old snapshots on a standby that does not wait for them.
sub with_conflicts
{
	my %seen = (right => 0, cancelled => 0);
	my $wrong = '';

	$standby->safe_psql('postgres', "ALTER SYSTEM SET max_standby_streaming_delay = '10ms'");
	$standby->reload;
	for my $round (1 .. 6)
	{
		# of each three rounds one waits until it is cancelled
		my $query = session($standby, late_query((0, 0.2, 10_000)[$round % 3]));
		$standby->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity
			WHERE backend_type = 'client backend' AND wait_event = 'PgSleep'}) or BAIL_OUT('no query waits')
		  if $round % 3 == 2;
		$primary->safe_psql('postgres', "DELETE FROM items WHERE id % 12 = $round");
		$primary->safe_psql('postgres', 'VACUUM items');
		$primary->safe_psql('postgres', rows(10_000 + 100 * $round, 10_099 + 100 * $round));
		finish($query);
		my $what = ${ $query->{out} } =~ /conflict with recovery/ ? 'cancelled'
		  : ${ $query->{out} } =~ /right/ ? 'right' : '';
		$seen{$what}++ if $what;
		$wrong .= ${ $query->{out} } unless $what;
	}
	catch_up();
	like($standby->safe_psql('postgres', late_query(0)), qr/right/, 'a query after the conflicts is right');
	is($wrong, '', 'queries that replay conflicts with are cancelled or right');
	note "$seen{right} right, $seen{cancelled} cancelled";
	cmp_ok($seen{cancelled}, '>=', 2, 'some were cancelled');
	$standby->safe_psql('postgres', 'ALTER SYSTEM RESET max_standby_streaming_delay');
	$standby->reload;
	same('conflicts');
	return;
}

# The standby is killed while it replays, and begins anew at a restartpoint.
sub killed_during_replay
{
	my $writer = start_writer(20_000, 2);

	srand(20240229);
	for my $kill (1 .. 4)
	{
		usleep(100_000 + int rand 500_000);
		$primary->safe_psql('postgres', 'CHECKPOINT') if $kill % 2;
		$standby->safe_psql('postgres', 'CHECKPOINT') if $kill > 2;
		kill_server($standby);
		start_killed($standby);
	}
	ok(finish($writer), 'the primary was changed while the standby was killed') or diag ${ $writer->{out} };
	same('standby killed four times');
	check_passes($standby, $_, "$_ on the standby that was killed") for 'items_l2', 'items_ip', 'items_cosine';
	return;
}

sub after_restarts
{
	$primary->safe_psql('postgres', 'REINDEX TABLE CONCURRENTLY items');
	same('REINDEX CONCURRENTLY');
	catch_up();
	check_passes($standby, $_, "$_ on the standby") for 'items_l2', 'items_ip', 'items_cosine';

	# after a crash of the standby
	$standby->stop('immediate');
	$standby->start;
	same('standby restarted');

	# promotion
	my $expected = digest($primary);
	$primary->stop('immediate');
	$standby->promote;
	is(digest($standby), $expected, 'promoted: the same rows');
	$standby->safe_psql('postgres', rows(8001, 8300) . 'DELETE FROM items WHERE id % 5 = 0');
	$standby->safe_psql('postgres', 'VACUUM items');
	check_whole($standby, 'items', 'items_l2', 'promoted');
	unlike(slurp_file($standby->logfile), qr/PANIC|inconsistent page|TRAP/, 'replay is consistent');
	$standby->stop;
	return;
}

# $set: a SET statement for the queries that are compared.
sub standby_test
{
	my ($am, $set) = @_;

	$settings = $set // '';
	start_both();
	after_changes($am);
	during_changes();
	with_conflicts();
	killed_during_replay();
	after_restarts();
	done_testing();
	return;
}

1;
