# recsys.stat_index counts over sessions, databases and restarts; what EXPLAIN
# ANALYZE tells of a scan from PostgreSQL 18 on.
use strict;
use warnings;

use IndexTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = index_node('stat');
$node->start;
my $major = int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);
my $scan = 'SET enable_seqscan = off; SELECT count(*) FROM
	(SELECT id FROM items ORDER BY v <-> noise(-1, 8) LIMIT 5) s';
my $counts = "SELECT scans, rows, shared FROM recsys.stat_index
	WHERE index = 'items_v_idx'::regclass";

sub create_items
{
	my ($database) = @_;
	$node->safe_psql($database, q{
		CREATE EXTENSION IF NOT EXISTS recsys;
		CREATE FUNCTION noise(seed bigint, dim int) RETURNS vector
		LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
			SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
							 ORDER BY i)::vector
			FROM generate_series(1, dim) i $$;
		CREATE TABLE items (id int, k int, v vector(8));
		INSERT INTO items SELECT i, i % 10, noise(i, 8) FROM generate_series(1, 3000) i;
		CREATE INDEX ON items USING recsys_hnsw (v vector_l2_ops);
		ANALYZE items});
	return;
}

create_items('postgres');
if ($major < 17)
{
	is($node->safe_psql('postgres', $counts), '', 'not preloaded: no counts of other sessions');
	like($node->safe_psql('postgres', "$scan; $counts"), qr/^1\|\d+\|f$/m,
		'not preloaded: the own counts');
	is($node->safe_psql('postgres', $counts), '', 'not preloaded: they go with their session');
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'recsys'");
	$node->restart;
}

# sessions one after the other, and at the same time
my ($rows) = $node->safe_psql('postgres', "$scan; SELECT rows FROM recsys.last_scan()") =~ /(\d+)$/;
$node->safe_psql('postgres', $scan);
is($node->safe_psql('postgres', $counts), '2|' . 2 * $rows . '|t', 'two sessions count together');
my @sessions = map { session($node, "SET max_parallel_workers_per_gather = 0;\n" . "$scan;\n" x 100) } 1 .. 3;
is(join(' ', map { finish($_) } @sessions), '1 1 1', 'sessions at the same time');
is($node->safe_psql('postgres', $counts), '302|' . 302 * $rows . '|t', 'no scan is lost');

# a scan that an error ends does not count, an open cursor not yet
$node->psql('postgres', 'SET enable_seqscan = off;
	SELECT 1 / (id - id) FROM (SELECT id FROM items ORDER BY v <-> noise(-1, 8) LIMIT 5 OFFSET 2) s');
like($node->safe_psql('postgres', "SET enable_seqscan = off; BEGIN;
	DECLARE c CURSOR FOR SELECT id FROM items ORDER BY v <-> noise(-1, 8);
	FETCH c; $counts; CLOSE c; $counts"), qr/^302\|.*\n303\|/m, 'a cursor counts when it is closed');

# another database has counts of its own
$node->safe_psql('postgres', 'CREATE DATABASE other');
create_items('other');
$node->safe_psql('other', $scan);
is($node->safe_psql('other', $counts), "1|$rows|t", 'another database: its own counts');
is($node->safe_psql('other', 'SELECT count(*) FROM recsys.stat_index'), '1', 'another database: no others');
$node->safe_psql('other', 'SELECT recsys.stat_index_reset()');
is($node->safe_psql('other', $counts), '0|0|t', 'a reset, seen by the next session');
like($node->safe_psql('postgres', $counts), qr/^303\|/, 'a reset leaves other databases alone');

$node->restart;
is($node->safe_psql('postgres', $counts), '', 'a restart begins anew');
$node->safe_psql('postgres', $scan);
is($node->safe_psql('postgres', $counts), "1|$rows|t", 'and counts');

# ----- EXPLAIN -----

sub plan_text
{
	my ($query, %options) = @_;
	my $format = $options{format} // 'text';
	my $more = $options{more} // '';
	return $node->safe_psql('postgres', ($options{before} // '') . "
		SET enable_seqscan = off; SET enable_sort = off; SET jit = off;
		EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off, BUFFERS off, FORMAT $format $more) $query");
}

# The nodes of a plan in JSON that scan an index.
sub index_nodes
{
	my ($plan) = @_;
	return ((defined $plan->{'Index Name'} ? $plan : ()), map { index_nodes($_) } @{ $plan->{Plans} // [] });
}

sub plan_json
{
	my ($query, %options) = @_;
	my ($found) = index_nodes(decode_json(plan_text($query, %options, format => 'json'))->[0]{Plan});
	return $found;
}

SKIP:
{
	skip 'EXPLAIN has no hook for nodes before PostgreSQL 18', 1 if $major < 18;

	my $walk = 'SELECT id FROM items ORDER BY v <-> noise(-1, 8) LIMIT 5';
	my $one = $node->safe_psql('postgres', "SET enable_seqscan = off; $walk;
		SELECT visited FROM recsys.last_scan()") =~ s/.*\n//sr;
	my $text = plan_text($walk);
	like($text, qr/Index Scan using items_v_idx.*\n.*Order By.*\n.*Index Searches: 1\n +Index Strategy: graph\n +Index Entries Visited: $one$/m,
		'the lines of a walk, in a session that loads the library for it');
	unlike($text, qr/Filtered|Refined|Lists|Workers/, 'and no others');
	unlike($node->safe_psql('postgres', "SET enable_seqscan = off; EXPLAIN $walk"),
		qr/Index (Strategy|Entries)/, 'nothing without ANALYZE');
	like(plan_text('SELECT id FROM items ORDER BY v <-> noise(-1, 8)'),
		qr/Index Strategy: exact\n +Index Entries Visited: 3000$/m, 'a scan for all rows');

	my $json = plan_json($walk);
	is_deeply($json->{'Index Strategy'}, { graph => 1, lists => 0, exact => 0 }, 'JSON: strategies');
	is($json->{'Index Entries Visited'}, $one, 'JSON: visited');
	like(plan_text($walk, format => 'yaml'), qr/Index Strategy: \n +graph: 1\n +lists: 0\n +exact: 0\n +Index Entries Visited: $one$/m, 'YAML');
	like(plan_text($walk, format => 'xml'), qr{<Index-Strategy>\s*<graph>1</graph>\s*<lists>0</lists>\s*<exact>0</exact>\s*</Index-Strategy>\s*<Index-Entries-Visited>$one</Index-Entries-Visited>}, 'XML');

	# a node that is scanned many times tells the sum
	my $loop = 'SELECT * FROM generate_series(1, 20) i,
		LATERAL (SELECT id FROM items ORDER BY v <-> noise(i, 8) LIMIT CASE WHEN i = 7 THEN NULL ELSE 5 END) s';
	my $sum = 0;
	for my $i (1 .. 20)
	{
		my $limit = $i == 7 ? '' : 'LIMIT 5';
		$sum += $node->safe_psql('postgres', "SET enable_seqscan = off;
			SELECT id FROM items ORDER BY v <-> noise($i, 8) $limit;
			SELECT visited FROM recsys.last_scan()") =~ s/.*\n//sr;
	}
	like(plan_text($loop), qr/Index Searches: 20\n +Index Strategy: graph \(19\), exact \(1\)\n +Index Entries Visited: $sum$/m,
		'rescans add up');
	$json = plan_json($loop);
	is_deeply($json->{'Index Strategy'}, { graph => 19, lists => 0, exact => 1 }, 'JSON: rescans');

	# lists, and conditions
	$node->safe_psql('postgres', 'DROP INDEX items_v_idx;
		CREATE INDEX items_lists ON items USING recsys_ivfpq (v vector_l2_ops, k) WITH (lists = 20); ANALYZE items');
	$json = plan_json('SELECT id FROM items WHERE k = 3 ORDER BY v <-> noise(-1, 8) LIMIT 5',
		before => 'SET recsys.ivfpq_probes = 2;');
	is_deeply($json->{'Index Strategy'}, { graph => 0, lists => 1, exact => 0 }, 'lists');
	my ($visited, $filtered, $refined, $lists) = map { $json->{"Index $_"} }
	  ('Entries Visited', 'Entries Filtered Out', 'Candidates Refined', 'Lists Probed');
	is($node->safe_psql('postgres', "SET enable_seqscan = off; SET recsys.ivfpq_probes = 2;
		SELECT id FROM items WHERE k = 3 ORDER BY v <-> noise(-1, 8) LIMIT 5;
		SELECT visited, filtered_out, refined, lists FROM recsys.last_scan()") =~ s/.*\n//sr,
		"$visited|$filtered|$refined|$lists", 'lists: all counts');
	like(plan_text('SELECT id FROM items WHERE k = 3 ORDER BY v <-> noise(-1, 8)'),
		qr/Index Strategy: exact\n +Index Entries Visited: \d+\n +Index Entries Filtered Out: \d+\n +Index Candidates Refined: 300\n +Index Lists Probed: 20$/m,
		'all lists');
	unlike(plan_text('SELECT id FROM items WHERE false ORDER BY v <-> noise(-1, 8)'), qr/Index/, 'a plan without the node');
	like(plan_text("SELECT id FROM items WHERE k = ANY ('{}') ORDER BY v <-> noise(-1, 8) LIMIT 5"),
		qr/Index Searches: 1\n +Index Entries Visited: 0$/m, 'a condition that nothing satisfies');
	my $never = plan_text('SELECT (SELECT id FROM items ORDER BY v <-> noise(i, 8) LIMIT 1) FROM generate_series(1, 0) i');
	like($never, qr/Index Scan using items_lists on items \(never executed\)/, 'a node that is never executed');

	# an index of another access method
	$node->safe_psql('postgres', 'CREATE INDEX items_id ON items (id)');
	unlike(plan_text('SELECT k FROM items WHERE id = 5'), qr/Index (Strategy|Entries)/, 'an index of another access method');

	# a worker's counts go with it
	$text = plan_text($walk, before => 'SET debug_parallel_query = on;');
	like($text, qr/Workers Launched: 1\n.*Index Searches: 1\n +Index Scans by Workers: 1 not counted here$/ms,
		'scans in workers are told apart');

	# another extension's hook still runs
	SKIP:
	{
		skip 'no pg_overexplain', 1 if $node->psql('postgres', "LOAD 'pg_overexplain'") != 0;
		like(plan_text($walk, before => "LOAD 'pg_overexplain';", more => ', DEBUG'),
			qr/Disabled Nodes.*Index Strategy/s, 'beside pg_overexplain');
	}
}

$node->stop;
done_testing();
