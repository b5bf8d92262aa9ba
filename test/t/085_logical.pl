# Logical replication of tables with vectors, as text and in binary: rows and
# changes arrive, and the subscriber's own indexes find them.
use strict;
use warnings;

use LifeCycle;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->append_conf('postgresql.conf', "autovacuum = off\njit = off\n");
$publisher->start;
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->append_conf('postgresql.conf', "autovacuum = off\njit = off\nwal_retrieve_retry_interval = 100ms\n");
$subscriber->start;

my $table = 'CREATE TABLE items (id int PRIMARY KEY, cat int, v vector(8));
	CREATE TABLE full_rows (id int, v vector);
	ALTER TABLE full_rows REPLICA IDENTITY FULL;
	CREATE FUNCTION noise(seed bigint) RETURNS vector LANGUAGE sql IMMUTABLE AS
		$$ SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real ORDER BY i)::vector FROM generate_series(1, 8) i $$;';
$publisher->safe_psql('postgres', "CREATE EXTENSION recsys; $table
	CREATE PUBLICATION p FOR TABLE items, full_rows");

# The subscriber may have the type in another schema, and other indexes.
my @subscribers = (
	[ 'text', 'CREATE EXTENSION recsys', 'CREATE INDEX ON items USING recsys_hnsw (v, cat); CREATE INDEX ON items USING recsys_ivfpq (v vector_l2_ops, cat) WITH (subquantizers = 64)' ],
	[ 'binary', 'CREATE SCHEMA lib; CREATE EXTENSION recsys SCHEMA lib; ALTER DATABASE "binary" SET search_path = public, lib; SET search_path = public, lib',
		'CREATE INDEX ON items USING recsys_ivfpq (v, cat); CREATE INDEX ON items USING recsys_hnsw (v vector_l2_ops)' ]);
my $rows = "SELECT 'items', count(*), md5(string_agg(t::text, ',' ORDER BY id)) FROM items t
	UNION ALL SELECT 'full_rows', count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM full_rows t";

# All subscriptions have caught up; the rows are the publisher's, in the tables and
# by the indexes.
sub check_rows
{
	my ($name) = @_;
	my $expected = $publisher->safe_psql('postgres', $rows);
	for my $subscription (@subscribers)
	{
		my $db = $subscription->[0];
		$publisher->wait_for_catchup("s_$db");
		is($subscriber->safe_psql($db, $rows), $expected, "$db: $name");
		is($subscriber->safe_psql($db, q{
			SELECT count(recsys.check_index(c.oid) IS NULL) FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE a.amname ~ '^recsys_'}),
			2, "$db: $name: check_index");
		is($subscriber->safe_psql($db, q{
			SET enable_seqscan = off; SET recsys.hnsw_ef_search = 1000; SET recsys.ivfpq_probes = 1000;
			SELECT count(*) FILTER (WHERE found = id) > 0.97 * count(*) FROM
				(SELECT id, (SELECT n.id FROM items n WHERE n.cat = t.cat ORDER BY n.v <-> t.v LIMIT 1) AS found FROM items t) s}),
			't', "$db: $name: rows by the index");
	}
	return;
}

$publisher->safe_psql('postgres', q{
	INSERT INTO items SELECT i, i % 10, noise(i) FROM generate_series(1, 300) i;
	INSERT INTO full_rows VALUES (1, '[1e-38,3.4e38,-0,0.1,1.1754944e-38]'), (2, '[16777217]'), (3, NULL), (4, '[0.333333333,0,-1]')});
for my $subscription (@subscribers)
{
	my ($db, $extension, $indexes) = @$subscription;
	$subscriber->safe_psql('postgres', qq{CREATE DATABASE "$db"});
	$subscriber->safe_psql($db, "$extension; $table $indexes");
	my $binary = $db eq 'binary' ? 'on' : 'off';
	$subscriber->safe_psql($db, "CREATE SUBSCRIPTION s_$db CONNECTION '" . $publisher->connstr .
		" dbname=postgres' PUBLICATION p WITH (binary = $binary)");
	$subscriber->wait_for_subscription_sync($publisher, "s_$db", $db);
}
check_rows('the rows that were there');

$publisher->safe_psql('postgres', q{
	INSERT INTO items SELECT i, i % 10, noise(i) FROM generate_series(301, 500) i;
	UPDATE items SET v = noise(id + 1000) WHERE id % 5 = 0;
	UPDATE items SET cat = 3 WHERE id % 7 = 0;
	DELETE FROM items WHERE id % 11 = 0;
	UPDATE full_rows SET v = '[3,2,1]' WHERE id = 1;
	DELETE FROM full_rows WHERE v = '[16777217]'});
check_rows('changes');

# what the type says of bad values holds there too; the index takes part in the
# subscriber's transactions
$publisher->safe_psql('postgres', q{
	BEGIN; INSERT INTO items VALUES (1001, 1, noise(1001)); ROLLBACK;
	BEGIN; INSERT INTO items VALUES (1002, 1, noise(1002)); SAVEPOINT a; DELETE FROM items WHERE id < 100; ROLLBACK TO a; COMMIT;
	TRUNCATE full_rows});
check_rows('transactions');

# models are rows of the extension's tables: a dump brings them over, and changes
# follow; a session that has used one learns of them
my $embed = q{SELECT recsys.embed('m', '{"x": 2}'::jsonb)};
my $dump = PostgreSQL::Test::Utils::tempdir . '/models';
$publisher->safe_psql('postgres', "SELECT recsys.import_model('m', @{[tower(10)]})");
$publisher->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-h', $publisher->host, '-p', $publisher->port, 'postgres' ], 'a dump with models');
$subscriber->command_ok([ 'pg_restore', '--data-only', '--schema=recsys', '--exit-on-error',
		'-h', $subscriber->host, '-p', $subscriber->port, '-d', 'text', $dump ],
	'its models alone, into the subscriber');
my $session = session($subscriber->host, $subscriber->port, 'text');
is(ask($session, $embed), '[20]', 'the model works there');
$publisher->safe_psql('postgres', 'CREATE PUBLICATION models FOR TABLE recsys.model, recsys.model_version, recsys.model_part');
$subscriber->safe_psql('text', "CREATE SUBSCRIPTION s_models CONNECTION '" . $publisher->connstr .
	" dbname=postgres' PUBLICATION models WITH (copy_data = false)");
$publisher->safe_psql('postgres', "SELECT recsys.import_model('m', @{[tower(11)]})");
$publisher->wait_for_catchup('s_models');
is(ask($session, $embed), '[22]', 'a new version is used at once');
$publisher->safe_psql('postgres', "SELECT recsys.set_active('m', 1)");
$publisher->wait_for_catchup('s_models');
is(ask($session, $embed), '[20]', 'the old version again');
$publisher->safe_psql('postgres', "SELECT recsys.drop_model('m')");
$publisher->wait_for_catchup('s_models');
like(ask($session, $embed), qr/model "m" does not exist/, 'no model');
$session->{in} .= "\\q\n";
$session->{run}->finish;
$subscriber->safe_psql('text', 'DROP SUBSCRIPTION s_models');

$subscriber->safe_psql($_->[0], "DROP SUBSCRIPTION s_$_->[0]") for @subscribers;
$subscriber->stop;
$publisher->stop;
done_testing();
