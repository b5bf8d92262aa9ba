# The test of streaming replication that the index access methods share: a
# standby gives the rows of the primary in the same order, during and after
# inserts, deletions, VACUUM and rebuilds, and goes on when promoted.
package IndexStandby;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IndexTest;

our @EXPORT = qw(standby_test);

my ($primary, $standby, $settings);

sub start_both
{
	$primary = index_node('primary', allows_streaming => 1);
	$primary->append_conf('postgresql.conf', "wal_consistency_checking = 'all'");
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

# A digest of the rows, in order, that 30 queries give by each of the indexes.
sub digest
{
	my ($node) = @_;
	return $node->safe_psql('postgres', qq{
		SET enable_seqscan = off;
		SET enable_sort = off;
		$settings;
		SELECT count(*), sum(n), md5(string_agg(ids, ' ' ORDER BY q))
		FROM generate_series(1, 30) q,
			LATERAL (SELECT count(*) AS n, string_agg(id::text, ',') AS ids FROM
				(SELECT id FROM items ORDER BY v <#> noise(-q, 24) LIMIT q * 6) s
			UNION ALL SELECT count(*) AS n, string_agg(id::text, ',') AS ids FROM
				(SELECT id FROM items ORDER BY v <-> noise(-q, 24) LIMIT q * 6) s) a});
}

sub same
{
	my ($name) = @_;
	catch_up();
	my $expected = digest($primary);
	like($expected, qr/^60\|[1-9]/, "$name: the primary answers");
	is(digest($standby), $expected,
		"$name: the standby gives the same rows in the same order");
	return;
}

sub after_changes
{
	my ($am) = @_;

	# built empty and filled; built from rows
	$primary->safe_psql('postgres', qq{
		CREATE TABLE items (id int PRIMARY KEY, v vector(24));
		CREATE INDEX items_l2 ON items USING $am (v vector_l2_ops)});
	$primary->safe_psql('postgres', 'INSERT INTO items SELECT i, noise(i, 24) FROM generate_series(1, 2000) i');
	$primary->safe_psql('postgres', "CREATE INDEX items_ip ON items USING $am (v)");
	same('built');
	$primary->safe_psql('postgres', 'INSERT INTO items SELECT i, noise(i, 24) FROM generate_series(2001, 2500) i');
	same('inserts');
	$primary->safe_psql('postgres', q{
		UPDATE items SET v = noise(10000 + id, 24) WHERE id % 7 = 0;
		DELETE FROM items WHERE id % 3 = 0});
	same('deletions');
	$primary->safe_psql('postgres', 'VACUUM items');
	same('VACUUM');
	$primary->safe_psql('postgres', 'INSERT INTO items SELECT i, noise(i, 24) FROM generate_series(3001, 3600) i');
	same('slots used again');
	$primary->safe_psql('postgres', 'INSERT INTO items SELECT i, noise(1, 24) FROM generate_series(4001, 4500) i');
	same('equal rows');
	$primary->safe_psql('postgres', 'DELETE FROM items WHERE id BETWEEN 4001 AND 4400');
	$primary->safe_psql('postgres', 'VACUUM items');
	same('equal rows vacuumed');

	# emptied and filled again
	$primary->safe_psql('postgres', 'CREATE TABLE kept AS SELECT * FROM items; DELETE FROM items');
	$primary->safe_psql('postgres', 'VACUUM items');
	$primary->safe_psql('postgres', 'INSERT INTO items SELECT * FROM kept ORDER BY hashint4(id)');
	same('emptied and filled');
	return;
}

sub during_changes
{
	# queries on the standby while changes come in
	my $writer = session($primary, q{DO $$
		BEGIN
			FOR i IN 5001 .. 7000 LOOP
				INSERT INTO items VALUES (i, noise(i, 24));
				IF i % 3 = 0 THEN DELETE FROM items WHERE id = i - 2; END IF;
				COMMIT;
			END LOOP;
		END $$;
		VACUUM items;
	});
	my $asked = '';
	for (1 .. 15)
	{
		my ($status, $stdout, $stderr) = $standby->psql('postgres', q{
			SET enable_seqscan = off;
			SELECT q FROM generate_series(1, 20) q, LATERAL (SELECT count(*), count(DISTINCT id) AS ids FROM
				(SELECT id FROM items ORDER BY v <-> noise(-q, 24) LIMIT 200) s) n WHERE ids <> 200 OR n.count <> 200});
		$asked .= $stderr . $stdout;
	}
	is($asked, '', 'queries on the standby during replay give LIMIT rows');
	ok(finish($writer), 'the primary was changed meanwhile') or diag ${ $writer->{out} };
	same('changes during queries');
	return;
}

sub after_restarts
{
	$primary->safe_psql('postgres', 'REINDEX TABLE CONCURRENTLY items');
	same('REINDEX CONCURRENTLY');
	catch_up();
	is($standby->safe_psql('postgres', "SELECT recsys.check_index('items_l2'); SELECT recsys.check_index('items_ip')"),
		"\n", 'check_index passes on the standby');

	# after a crash of the standby
	$standby->stop('immediate');
	$standby->start;
	same('standby restarted');

	# promotion
	my $expected = digest($primary);
	$primary->stop('immediate');
	$standby->promote;
	is(digest($standby), $expected, 'promoted: the same rows');
	$standby->safe_psql('postgres', q{
		INSERT INTO items SELECT i, noise(i, 24) FROM generate_series(8001, 8300) i;
		DELETE FROM items WHERE id % 5 = 0});
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
	after_restarts();
	done_testing();
	return;
}

1;
