# The library in a server: settings before it is loaded, after it is loaded
# with the server, and an extension that comes back from a dump.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('library');
$node->init;
$node->append_conf('postgresql.conf', "recsys.hnsw_ef_search = 77");
$node->start;
$node->safe_psql('postgres', 'CREATE SCHEMA types');
$node->safe_psql('postgres', 'CREATE EXTENSION recsys SCHEMA types');

# A backend loads the library at its first use, and takes the setting over.
my $show = 'SHOW recsys.hnsw_ef_search';
is($node->safe_psql('postgres', "LOAD 'recsys'; $show"),
	'77', 'a setting made before the library is loaded');

my ($status, $stdout, $stderr) =
  $node->psql('postgres', "SET recsys.no_such_setting = 1; LOAD 'recsys'");
like($stderr, qr/invalid configuration parameter name "recsys.no_such_setting"/,
	'a setting that does not exist is reported when the library is loaded');

$node->safe_psql('postgres',
	"CREATE TABLE t (v types.vector(3)); INSERT INTO t VALUES ('[1,2,3]')");
my $dump = $node->backup_dir . '/dump.sql';
mkdir $node->backup_dir;
$node->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok(
	[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'restored' ],
	'the dump restores');
is($node->safe_psql('restored', 'SELECT v FROM t'),
	'[1,2,3]', 'a vector column comes back');

$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'recsys'\nrecsys.hnsw_ef_search = 78");
$node->restart;
is($node->safe_psql('postgres', $show),
	'78', 'the library loaded with the server');

$node->safe_psql('postgres', 'DROP TABLE t; DROP EXTENSION recsys');
is( $node->safe_psql(
		'postgres',
		q{SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'recsys')
			|| ' ' || (SELECT count(*) FROM pg_class
				WHERE relnamespace = 'types'::regnamespace)}),
	'0 0',
	'DROP EXTENSION leaves nothing behind');

$node->stop;
done_testing();
