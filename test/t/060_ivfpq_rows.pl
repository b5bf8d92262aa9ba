# Builds of recsys_ivfpq on rows of all kinds, and on none: each scan gives every
# row once, in order, also after later inserts.  Rows that are found late come
# after all others, in an order of their own.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IndexTest;

my $node = index_node('rows');
$node->append_conf('postgresql.conf', 'fsync = off');
$node->start;
create_noise($node);

# Whether a scan by each operator gives each row once, and in order: the order
# breaks at most once, where the late rows begin, and those are few.
$node->safe_psql('postgres', q{
	CREATE FUNCTION whole_scans(tab text, OUT report text) LANGUAGE plpgsql AS $$
	DECLARE
		op text; plan text; line text; ids int[]; distances float8[]; n bigint;
	BEGIN
		SET LOCAL enable_seqscan = off;
		SET LOCAL enable_sort = off;
		report := '';
		EXECUTE format('SELECT count(*) FROM %I WHERE v IS NOT NULL', tab) INTO n;
		FOREACH op IN ARRAY '{<#>,<->,<=>}'::text[] LOOP
			plan := '';
			FOR line IN EXECUTE format('EXPLAIN SELECT id FROM %I ORDER BY v %s (SELECT v FROM %1$I LIMIT 1)', tab, op) LOOP
				plan := plan || line;
			END LOOP;
			CONTINUE WHEN plan !~ 'Order By';
			EXECUTE format('SELECT array_agg(id), array_agg(d) FROM (SELECT id, v %2$s q AS d FROM %1$I,
				(SELECT v AS q FROM %1$I WHERE v IS NOT NULL LIMIT 1) q ORDER BY v %2$s (SELECT v FROM %1$I WHERE v IS NOT NULL LIMIT 1)) s', tab, op)
				INTO ids, distances;
			report := report || format('%s %s %s %s; ', op, cardinality(ids) = n,
				(SELECT count(DISTINCT i) FROM unnest(ids) i) = n,
				(SELECT count(*) = 0 OR count(*) = 1 AND min(i) > 0.9 * n
					FROM (SELECT i, d < lag(d) OVER (ORDER BY i) AS breaks FROM unnest(distances) WITH ORDINALITY u (d, i)) u
					WHERE breaks));
		END LOOP;
	END $$});

# A build on the rows that a query gives, by each metric and form of the rows.
sub build_on
{
	my ($name, $dim, $rows, $with) = @_;
	$node->safe_psql('postgres', qq{
		CREATE TABLE odd (id int, v vector($dim));
		INSERT INTO odd $rows});
	for (
		[ ip => 'refine = sq8' ], [ l2 => 'refine = sq8' ],
		[ l2 => 'refine = none' ], [ ip => 'refine = float16, rotation = learned' ])
	{
		my ($metric, $options) = @$_;
		my ($status, $stdout, $stderr) = $node->psql('postgres', qq{
			SET client_min_messages = warning;
			CREATE INDEX odd_v ON odd USING recsys_ivfpq (v vector_${metric}_ops) WITH ($options $with)});
		is("$status|$stderr", '0|', "$name, $metric, $options: is built");
		check_passes($node, 'odd_v', "$name, $metric, $options");
		my $op = $metric eq 'ip' ? '<#>' : '<->';
		is($node->safe_psql('postgres', "SELECT whole_scans('odd')"),
			"$op t t t; ", "$name, $metric, $options: a scan gives each row once, in order");
		$node->safe_psql('postgres', 'INSERT INTO odd SELECT id + 1000000, v FROM odd LIMIT 50');
		check_passes($node, 'odd_v', "$name, $metric, $options, more rows");
		is($node->safe_psql('postgres', "SELECT whole_scans('odd')"),
			"$op t t t; ", "$name, $metric, $options, more rows: each row once, in order");
		$node->safe_psql('postgres', 'DROP INDEX odd_v; DELETE FROM odd WHERE id > 1000000');
	}
	$node->safe_psql('postgres', 'DROP TABLE odd');
	return;
}

my $many = 'generate_series(1, 2000) i';
build_on('fewer rows than lists', 24, 'SELECT i, noise(i, 24) FROM generate_series(1, 50) i', ', lists = 100');
build_on('one row', 24, 'SELECT 1, noise(1, 24)', '');
build_on('all rows equal', 24, "SELECT i, noise(1, 24) FROM $many", ', lists = 20');
build_on('all rows zero', 24, "SELECT i, array_fill(0, ARRAY[24])::vector FROM $many", ', lists = 20');
build_on('rows of zeros and others', 24,
	"SELECT i, CASE WHEN i % 3 = 0 THEN array_fill(0, ARRAY[24])::vector ELSE noise(i, 24) END FROM $many", '');
build_on('constant dimensions', 24,
	"SELECT i, subvector(noise(i, 24), 1, 22)::real[] || '{7,0}' FROM $many", '');
build_on('few vectors, often', 24, "SELECT i, noise(i % 5, 24) FROM $many", ', lists = 40');
build_on('one dimension', 1, "SELECT i, ARRAY[i % 700]::vector FROM $many", '');
build_on('rows with NULL', 24, "SELECT i, CASE WHEN i % 2 = 0 THEN noise(i, 24) END FROM $many", '');
build_on('tiny and huge', 24,
	"SELECT i, noise(i, 24) * array_fill(10.0 ^ (i % 20 - 10), ARRAY[24])::vector FROM $many", '');
build_on('2000 dimensions', 2000, 'SELECT i, noise(i, 2000) FROM generate_series(1, 60) i', '');

# An empty table: untrained, until REINDEX.  The rows lie around 40 centres and
# have different lengths.
$node->safe_psql('postgres', q{
	CREATE FUNCTION item(i int) RETURNS vector LANGUAGE sql IMMUTABLE AS $$
		SELECT (noise(i % 40, 64) + noise(i, 64) * array_fill(0.6, ARRAY[64])::vector)
			* array_fill(1 + 3.0 / (1 + i % 17), ARRAY[64])::vector $$});

my ($status, $stdout, $stderr) = $node->psql('postgres', q{
	CREATE TABLE later (id int, v vector(64));
	CREATE INDEX later_v ON later USING recsys_ivfpq (v)});
like($stderr, qr/NOTICE: .*later_v/, 'a NOTICE tells that an index of an empty table cannot be trained');
like($stderr, qr/HINT: .*REINDEX/, 'and what helps');
check_passes($node, 'later_v', 'no rows');
$node->safe_psql('postgres', 'INSERT INTO later SELECT i, item(i) FROM generate_series(1, 10000) i');
check_passes($node, 'later_v', 'untrained');
is($node->safe_psql('postgres', "SELECT whole_scans('later')"), '<#> t t t; ', 'untrained: each row once, in order');
my %recall;
$recall{$_} = $node->safe_psql('postgres', ($_ eq 'trained' ? 'REINDEX INDEX later_v;' : '')
	. "SELECT recsys.index_recall('later_v', (SELECT array_agg(item(100000 + i * 7)) FROM generate_series(1, 100) i), 50)")
  for 'untrained', 'trained';
note "recall\@50 untrained $recall{untrained}, trained $recall{trained}";
cmp_ok($recall{untrained}, '>=', 0.8, 'untrained: recall');
cmp_ok($recall{trained}, '>=', 0.9, 'after REINDEX: recall');
is($node->safe_psql('postgres', "SELECT lists > 1, trained FROM recsys.ivfpq_stats('later_v')"),
	't|t', 'REINDEX trains');
check_passes($node, 'later_v', 'after REINDEX');

$node->stop;
done_testing();
