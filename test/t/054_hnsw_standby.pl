# A streaming standby gives the rows of the primary in the same order, during
# and after inserts, deletions, VACUUM and rebuilds, and goes on when promoted.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use HnswTest;

my $primary = hnsw_node('primary', allows_streaming => 1);
$primary->append_conf('postgresql.conf', "wal_consistency_checking = 'all'");
$primary->start;
create_noise($primary);
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = -1");
$standby->start;

sub catch_up
{
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return;
}

# A digest of the rows, in order, that 30 queries give by each of the indexes.
my $digest = q{
	SET enable_seqscan = off;
	SET enable_sort = off;
	SELECT count(*), sum(n), md5(string_agg(ids, ' ' ORDER BY q))
	FROM generate_series(1, 30) q,
		LATERAL (SELECT count(*) AS n, string_agg(id::text, ',') AS ids FROM
			(SELECT id FROM items ORDER BY v <#> noise(-q, 24) LIMIT q * 6) s
		UNION ALL SELECT count(*) AS n, string_agg(id::text, ',') AS ids FROM
			(SELECT id FROM items ORDER BY v <-> noise(-q, 24) LIMIT q * 6) s) a};

sub same
{
	my ($name) = @_;
	catch_up();
	my $expected = $primary->safe_psql('postgres', $digest);
	like($expected, qr/^60\|[1-9]/, "$name: the primary answers");
	is($standby->safe_psql('postgres', $digest), $expected,
		"$name: the standby gives the same rows in the same order");
	return;
}

# built empty and filled; built from rows
$primary->safe_psql('postgres', q{
	CREATE TABLE items (id int PRIMARY KEY, v vector(24));
	CREATE INDEX items_l2 ON items USING recsys_hnsw (v vector_l2_ops)});
$primary->safe_psql('postgres', 'INSERT INTO items SELECT i, noise(i, 24) FROM generate_series(1, 2000) i');
$primary->safe_psql('postgres', 'CREATE INDEX items_ip ON items USING recsys_hnsw (v)');
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
my $expected = $primary->safe_psql('postgres', $digest);
$primary->stop('immediate');
$standby->promote;
is($standby->safe_psql('postgres', $digest), $expected, 'promoted: the same rows');
$standby->safe_psql('postgres', q{
	INSERT INTO items SELECT i, noise(i, 24) FROM generate_series(8001, 8300) i;
	DELETE FROM items WHERE id % 5 = 0});
$standby->safe_psql('postgres', 'VACUUM items');
check_whole($standby, 'items', 'items_l2', 'promoted');
unlike(slurp_file($standby->logfile), qr/PANIC|inconsistent page|TRAP/, 'replay is consistent');
$standby->stop;
done_testing();
