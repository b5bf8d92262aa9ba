# recsys and pgvector in one database, in two schemas, installed and loaded in
# either order: both types, both sets of operators and all access methods work,
# and neither library calls a function of the other.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('coexist');
$node->init;
$node->start;
if ($node->safe_psql('postgres',
		"SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'") == 0)
{
	$node->stop;
	# not skip_all, which prove does not count
  SKIP:
	{
		skip 'the extension vector (pgvector) is not available on this server', 1;
	}
	done_testing();
	exit;
}

# Where the two answer differently, each must give its own answer.
my %probe = (
	pgv => {
		overflow => q{SELECT pgv.l2_distance('[3e38]'::pgv.vector, '[-3e38]'::pgv.vector)},
		is_finite => 'f',
		mismatch => q{SELECT '[1,2]'::pgv.vector OPERATOR(pgv.+) '[3]'},
		message => qr/different vector dimensions 2 and 1/,
	},
	rs => {
		overflow => q{SELECT rs.l2_distance('[3e38]'::rs.vector, '[-3e38]'::rs.vector)},
		is_finite => 't',
		mismatch => q{SELECT '[1,2]'::rs.vector OPERATOR(rs.+) '[3]'},
		message => qr/expected 2 dimensions, not 1/,
	});

# The two libraries in one backend, the one of schema $first called first.
sub check_calls
{
	my ($db, $first, $second, $how) = @_;
	$how //= "";
	for my $order ([ $first, $second ], [ $second, $first ])
	{
		my $name = "$db$how: calls of $order->[0] before $order->[1]";
		my $got = $node->safe_psql($db, join(';', map {
			qq{SELECT ($probe{$_}{overflow}) < 'Infinity',
				'[1,2,3]'::$_.vector OPERATOR($_.<->) '[1,2,5]', '[1,2]'::$_.vector OPERATOR($_.<#>) '[3,4]',
				'[1,0]'::$_.vector OPERATOR($_.<=>) '[0,1]', '[1,2]'::$_.vector OPERATOR($_.<+>) '[3,5]',
				'[1,2]'::$_.vector OPERATOR($_.-) '[3,5]', '[3,4]'::$_.vector::$_.vector(2),
				$_.vector_norm('[3,4]'), $_.l2_normalize('[3,4]'::$_.vector), $_.subvector('[1,2,3]'::$_.vector, 2, 2),
				ARRAY[1,2]::$_.vector, '[1,2]'::$_.vector OPERATOR($_.<) '[1,3]',
				(SELECT $_.avg(v) FROM unnest('{"[1]","[4]"}'::$_.vector[]) v),
				(SELECT $_.sum(v) FROM unnest('{"[1]","[4]"}'::$_.vector[]) v)}
		} @$order));
		my $rest = '2|-11|1|5|[-2,-3]|[3,4]|5|[0.6,0.8]|[2,3]|[1,2]|t|[2.5]|[5]';
		is($got, join("\n", map { "$probe{$_}{is_finite}|$rest" } @$order), $name);
		for my $schema (@$order)
		{
			my $other = $schema eq 'pgv' ? 'rs' : 'pgv';
			my ($rc, $out, $err) = $node->psql($db,
				"SELECT '[1]'::$other.vector; $probe{$schema}{mismatch}");
			like($err, $probe{$schema}{message}, "$name: error of $schema");
		}
	}
}

# Every access method of both, on one table with a column of each type.
sub check_indexes
{
	my ($db) = @_;
	$node->safe_psql($db, q{
		CREATE TABLE items (id int PRIMARY KEY, p pgv.vector(3), r rs.vector(3));
		INSERT INTO items SELECT i, v::pgv.vector, v::rs.vector FROM (
			SELECT i, ARRAY[sin(i), cos(i * 0.7), sin(i * 1.3)] AS v FROM generate_series(1, 2000) i) s;
		ANALYZE items;
	});
	my @methods = (
		[ 'hnsw', 'p', 'pgv', 'pgv.vector_l2_ops', '<->' ],
		[ 'ivfflat', 'p', 'pgv', 'pgv.vector_l2_ops', '<->' ],
		[ 'btree', 'p', 'pgv', 'pgv.vector_ops', undef ],
		[ 'btree', 'r', 'rs', 'rs.vector_ops', undef ]);
	push @methods, map { [ $_, 'r', 'rs', 'rs.vector_l2_ops', '<->' ] } split /\n/,
	  $node->safe_psql($db, q{
		SELECT DISTINCT amname FROM pg_am a JOIN pg_opclass o ON o.opcmethod = a.oid
		WHERE amname LIKE 'recsys\_%' AND opcname = 'vector_l2_ops' AND opcintype = 'rs.vector'::regtype});
	note("access methods: @{[map { \"$_->[2]:$_->[0]\" } @methods]}");

	for (@methods)
	{
		my ($method, $column, $schema, $class, $operator) = @$_;
		my $name = "$db: index $method of schema $schema";
		$node->safe_psql($db,
			"CREATE INDEX probe ON items USING $method ($column $class)");
		my ($order, $query) = defined $operator
		  ? ("$column OPERATOR($schema.$operator) '[0.5,0.5,0.5]'", "SELECT id FROM items")
		  : ($column, "SELECT $column FROM items");
		$query = "$query ORDER BY $order LIMIT 5";
		my $exact = $node->safe_psql($db, "SET enable_indexscan = off; SET enable_indexonlyscan = off; $query");
		my $fast = 'SET enable_seqscan = off; SET enable_sort = off;';
		# with one probe, or few visits, some would be missed, by chance
		$fast .= ' SET ivfflat.probes = 100;' if $method eq 'ivfflat';
		$fast .= ' SET hnsw.ef_search = 1000;' if $method eq 'hnsw';
		like($node->safe_psql($db, "$fast EXPLAIN (COSTS OFF) $query"),
			qr/Index (Only )?Scan using probe/, "$name is used");
		my %found = map { $_ => 1 } split /\n/, $node->safe_psql($db, "$fast $query");
		my $hits = grep { $found{$_} } split /\n/, $exact;
		is($hits, 5, "$name finds the nearest");
		$node->safe_psql($db, 'DROP INDEX probe');
	}
}

# A value goes from one type to the other through text and through real[].
sub check_exchange
{
	my ($db) = @_;
	is($node->safe_psql($db, q{
			SELECT bool_and(p::text = r::text), bool_and(p::real[]::rs.vector OPERATOR(rs.=) r),
				bool_and(r::real[]::pgv.vector OPERATOR(pgv.=) p),
				bool_and(pgv.vector_send(p) = rs.vector_send(r)) FROM items}),
		't|t|t|t', "$db: values are exchanged, binary forms are equal");
}

my %install = (
	pgv => 'CREATE SCHEMA pgv; CREATE EXTENSION vector SCHEMA pgv',
	rs => 'CREATE SCHEMA rs; CREATE EXTENSION recsys SCHEMA rs');
my %extension = (pgv => 'vector', rs => 'recsys');

for my $order ([ 'pgv', 'rs' ], [ 'rs', 'pgv' ])
{
	my ($first, $second) = @$order;
	my $db = "${first}_first";
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "$install{$first}; $install{$second}");
	check_calls($db, $first, $second);
	check_indexes($db);
	check_exchange($db);
}

# Both preloaded, in either order.
for my $order ([ 'pgv', 'rs', 'vector,recsys' ], [ 'rs', 'pgv', 'recsys,vector' ])
{
	$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'$order->[2]'");
	$node->restart;
	check_calls("pgv_first", $order->[0], $order->[1], ", preloaded $order->[2]");
}
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->restart;

# No setting belongs to both.
is($node->safe_psql('pgv_first', q{
	LOAD 'vector'; LOAD 'recsys';
	SELECT bool_or(name LIKE 'hnsw.%'), bool_or(name LIKE 'recsys.%'), bool_or(name LIKE 'ivfflat.%')
	FROM pg_settings}), 't|t|t', 'settings of both');

# One schema for both is refused, whichever is there first.
for my $order ([ 'vector', 'recsys' ], [ 'recsys', 'vector' ])
{
	$node->safe_psql('postgres', 'CREATE DATABASE shared');
	$node->safe_psql('shared', "CREATE EXTENSION $order->[0]");
	my ($rc, $out, $err) = $node->psql('shared', "CREATE EXTENSION $order->[1]");
	like($err, qr/type "vector" already exists/,
		"$order->[1] beside $order->[0] in one schema is refused");
	$node->safe_psql('postgres', 'DROP DATABASE shared');
}

# Dump and restore of both, then each leaves without the other.
my $dump = PostgreSQL::Test::Utils::tempdir . '/both.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('rs_first') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), $dump ],
	'pg_restore');
check_exchange('restored');
for my $gone (qw(pgv rs))
{
	my $left = $gone eq 'pgv' ? 'rs' : 'pgv';
	my $db = "${gone}_first";
	$node->safe_psql($db, "DROP TABLE items; DROP EXTENSION $extension{$gone}");
	is($node->safe_psql($db, "SELECT '[1,2]'::$left.vector OPERATOR($left.<->) '[1,4]'"),
		'2', "$left works after $gone is dropped");
}

$node->stop;
done_testing();
