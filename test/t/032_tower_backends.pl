# Models between backends: caches that follow a change at once, snapshots,
# locks, dump and restore, a standby, parallel workers.
use strict;
use warnings;

use IPC::Run;
use LifeCycle qw(tower embedding_tower session ask);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('towers');
$node->init(allows_streaming => 1);
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION recsys');

my $embed = q{SELECT recsys.embed('m', '{"x": 2}'::jsonb)};
my $a = session($node->host, $node->port);
my $b = session($node->host, $node->port);

# --- a change is seen by the other backend's next statement
is(ask($a, "SELECT recsys.import_model('m', @{[tower(10)]})"), '1', 'import');

# --- a backend that embeds row by row is spared the load of OpenBLAS
SKIP:
{
	skip 'no /proc/self/maps', 1 unless -e '/proc/self/maps';
	my $c = session($node->host, $node->port);
	is( ask($c, "$embed; SELECT pg_read_file('/proc/self/maps') LIKE '%openblas%'"),
		"[20]\nf", 'embed loads no OpenBLAS');
	$c->{in} .= "\\q\n";
	$c->{run}->finish;
}
is(ask($b, $embed), '[20]', 'the other backend embeds');
ask($b, "PREPARE e AS $embed");
is(ask($b, 'EXECUTE e'), '[20]', 'prepared');
is(ask($a, "SELECT recsys.import_model('m', @{[tower(11)]})"), '2', 'second version');
is(ask($b, $embed), '[22]', 'new version is seen');
is(ask($b, 'EXECUTE e'), '[22]', 'by a prepared statement too');
ask($a, "SELECT recsys.set_active('m', 1)");
is(ask($b, 'EXECUTE e'), '[20]', 'switched back');
is(ask($a, $embed), '[20]', 'in both');

# --- uncommitted changes are seen by their own transaction alone
ask($a, 'BEGIN');
ask($a, "SELECT recsys.set_active('m', 2)");
is(ask($a, $embed), '[22]', 'own change');
is(ask($b, $embed), '[20]', 'not yet the other backend');
ask($a, 'ROLLBACK');
is(ask($a, $embed), '[20]', 'rolled back');
is(ask($b, $embed), '[20]', 'and never seen');

# --- a transaction in the middle: read committed follows, the others do not
ask($b, 'BEGIN');
is(ask($b, $embed), '[20]', 'read committed: before');
ask($a, "SELECT recsys.set_active('m', 2)");
is(ask($b, $embed), '[22]', 'read committed: after');
ask($b, 'COMMIT');
ask($b, 'BEGIN ISOLATION LEVEL REPEATABLE READ');
is(ask($b, $embed), '[22]', 'repeatable read: before');
ask($a, "SELECT recsys.set_active('m', 1)");
is(ask($b, $embed), '[22]', 'repeatable read: its snapshot');
is(ask($b, q{SELECT recsys.verify_model('m') IS NULL}), 't', 'and verify_model');
ask($b, 'COMMIT');
is(ask($b, $embed), '[20]', 'after it the new one');

# --- a snapshot older than the model itself
ask($b, 'BEGIN ISOLATION LEVEL REPEATABLE READ');
ask($b, 'SELECT 1');
ask($a, "SELECT recsys.import_model('new', @{[tower(3)]})");
like(ask($b, q{SELECT recsys.embed('new', '{"x": 2}'::jsonb)}),
	qr/model "new" does not exist/, 'a model that is newer than the snapshot');
ask($b, 'ROLLBACK');
is(ask($b, q{SELECT recsys.embed('new', '{"x": 2}'::jsonb)}), '[6]', 'is there for the next');

# --- dropping, and the name taken again
is(ask($b, 'EXECUTE e'), '[20]', 'cached');
ask($a, "SELECT recsys.drop_model('m')");
like(ask($b, 'EXECUTE e'), qr/model "m" does not exist/, 'dropped');
is(ask($a, "SELECT recsys.import_model('m', @{[tower(7)]})"), '1', 'the name is free');
is(ask($b, 'EXECUTE e'), '[14]', 'another model');

# --- rows of a table that are read when they are asked for: a snapshot that has
# the model reads them after it was dropped
ask($a, "SELECT recsys.import_model('rows', @{[embedding_tower(500, 64)]})");
my $row = sub { "SELECT subvector(recsys.embed('rows', '{\"x\": $_[0]}'::jsonb), 64, 1)" };
ask($b, 'BEGIN ISOLATION LEVEL REPEATABLE READ');
is(ask($b, $row->(1)), '[1]', 'a row of a table');
ask($a, "SELECT recsys.drop_model('rows')");
ask($a, 'VACUUM recsys.model_part');
is(ask($b, $row->(499)), '[499]', 'another one, of a model that was dropped meanwhile');
ask($b, 'COMMIT');
like(ask($b, $row->(1)), qr/model "rows" does not exist/, 'and is gone then');

# --- privileges follow at once
ask($a, 'CREATE ROLE guest LOGIN');
ask($b, 'SET ROLE guest');
like(ask($b, 'EXECUTE e'), qr/permission denied for model "m"/, 'no grant');
ask($a, "SELECT recsys.grant_model('m', 'guest')");
is(ask($b, 'EXECUTE e'), '[14]', 'granted');
ask($a, "SELECT recsys.revoke_model('m', 'guest')");
like(ask($b, 'EXECUTE e'), qr/permission denied for model "m"/, 'revoked');
ask($b, 'RESET ROLE');

# --- two imports of one name wait for one another; of two names they do not
ask($a, 'BEGIN');
is(ask($a, "SELECT recsys.import_model('m', @{[tower(8)]})"), '2', 'first import');
is(ask($b, "SELECT recsys.import_model('other', @{[tower(1)]})"), '1', 'another name does not wait');
my $wait = session($node->host, $node->port);
$wait->{in} .= "SELECT recsys.import_model('m', @{[tower(9)]});\n\\echo -done-\n";
$wait->{run}->pump_nb;
ok($node->poll_query_until('postgres',
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'
	  AND query LIKE '%import_model%' AND pid <> pg_backend_pid()}), 'the same name waits');
ask($a, 'COMMIT');
$wait->{run}->pump until $wait->{out} =~ /-done-/;
like($wait->{out}, qr/^3$/m, 'and takes the next number');
is(ask($b, $embed), '[18]', 'the last one is active');

# --- the extension dropped and made again
ask($b, $embed);
ask($a, 'DROP EXTENSION recsys CASCADE');
like(ask($b, $embed), qr/does not exist/, 'the extension is gone');
ask($a, 'CREATE EXTENSION recsys');
like(ask($b, $embed), qr/model "m" does not exist/, 'and empty when it is back');
is(ask($a, "SELECT recsys.import_model('m', @{[tower(5)]})"), '1', 'import again');
is(ask($b, $embed), '[10]', 'nothing stale');
$_->{in} .= "\\q\n", $_->{run}->finish for $a, $b, $wait;

# --- parallel workers
$node->safe_psql('postgres', 'CREATE TABLE points AS SELECT i AS x FROM generate_series(1, 20000) i');
my $parallel = q{
	SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
	SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;
};
my $sum = q{SELECT sum((recsys.embed('m', p)::real[])[1]::float8) FROM points p};
like($node->safe_psql('postgres', "$parallel EXPLAIN (COSTS OFF) $sum"),
	qr/Gather.*Partial Aggregate/s, 'embed runs in parallel workers');
is($node->safe_psql('postgres', "$parallel $sum"), 5 * 20000 * 20001 / 2, 'with the same answer');
is($node->safe_psql('postgres', qq{$parallel
	BEGIN; SELECT recsys.import_model('m', @{[tower(6)]}) \\g /dev/null
	$sum; ROLLBACK}), 6 * 20000 * 20001 / 2, 'also for a model that is not committed');

# --- a standby embeds, and follows
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('towers_standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
my $s = session($standby->host, $standby->port);
$node->wait_for_catchup($standby);
is(ask($s, $embed), '[10]', 'the standby embeds');
like(ask($s, "SELECT recsys.import_model('m', @{[tower(6)]})"),
	qr/cannot execute recsys.import_model\(\) in a read-only transaction/, 'but does not import');
$node->safe_psql('postgres', "SELECT recsys.import_model('m', @{[tower(4)]})");
$node->wait_for_catchup($standby);
is(ask($s, $embed), '[8]', 'and sees the new version in the same backend');
$s->{in} .= "\\q\n";
$s->{run}->finish;
$standby->stop;

# --- dump and restore, with roles and grants; ids go on where they were
$node->safe_psql('postgres', q{
	CREATE ROLE trainer; GRANT EXECUTE ON FUNCTION recsys.import_model TO trainer;
	SET ROLE trainer;
	SELECT recsys.import_model('bundle', } . tower(2, 'user', 'item') . q{);
	SELECT recsys.import_model('bundle', } . tower(3, 'user', 'item') . q{, false);
	SELECT recsys.grant_model('bundle', 'guest');});
my $file = PostgreSQL::Test::Utils::tempdir . '/dump';
my $state = q{SELECT m.name, m.owner, m.grantees, m.active, m.latest, v.version, v.bytes, v.towers, v.imported_by, v.imported_at,
	(SELECT md5(string_agg(data, '' ORDER BY part)) FROM recsys.model_part p WHERE p.file = v.file)
	FROM recsys.model m JOIN recsys.model_version v ON v.model = m.id ORDER BY 1, 6};
my $before = $node->safe_psql('postgres', $state);
foreach my $format ('plain', 'custom')
{
	$node->command_ok([ 'pg_dump', '-p', $node->port, '-h', $node->host, "--format=$format", '-f', "$file.$format", 'postgres' ],
		"dump, $format");
	$node->safe_psql('postgres', "CREATE DATABASE restored_$format");
	$node->command_ok($format eq 'plain'
		? [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-p', $node->port, '-h', $node->host, '-d', "restored_$format", '-f', "$file.$format" ]
		: [ 'pg_restore', '-p', $node->port, '-h', $node->host, '-d', "restored_$format", "$file.$format" ],
		'restore');
	is($node->safe_psql("restored_$format", $state), $before, 'all models are there');
	is($node->safe_psql("restored_$format", $embed), '[8]', 'and answer');
	is($node->safe_psql("restored_$format", q{SET ROLE guest;
		SELECT recsys.embed('bundle/user', '{"x": 2}'::jsonb), recsys.embed('bundle/item@2', '{"x": 2}'::jsonb)}),
		'[4]|[6]', 'to whom they were granted');
	is($node->safe_psql("restored_$format", qq{SET ROLE trainer; SELECT recsys.set_active('bundle', 2);
		SET ROLE guest; SELECT recsys.embed('bundle/user', '{"x": 2}'::jsonb)}), "\n[6]", 'and their owner owns them');
	is($node->safe_psql("restored_$format", "SELECT recsys.import_model('m', @{[tower(9)]}); $embed"),
		"3\n[18]", 'an import goes on with the next version');
}

$node->stop;
done_testing();
