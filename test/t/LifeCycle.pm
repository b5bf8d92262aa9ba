# A database that uses all of the extension, and what it answers: for the tests
# of dump, upgrade, replication, and of the extension's own scripts.
package LifeCycle;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(tower embedding_tower create_roles create_database answers insert_more is_whole
  session ask);

# The file of a tower that answers x * weight, as an SQL literal; of a bundle of
# such towers where names are given.
sub tower
{
	my ($weight, @names) = @_;
	my $one =
	  '{\"features\": [{\"name\": \"x\", \"type\": \"float\"}], \"output\": \"y\", \"nodes\": '
	  . '[{\"op\": \"linear\", \"inputs\": [\"x\"], \"output\": \"y\", \"layout\": \"out_in\", '
	  . '\"tensors\": {\"weight\": \"w\"}}]}';
	my $spec = '{\"format\": 1, \"towers\": {'
	  . join(', ', map { qq{\\"$_\\": $one} } @names ? @names : ('')) . '}}';
	my $header = qq({"__metadata__": {"recsys.spec": "$spec"}, )
	  . '"w": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}';
	return "'\\x" . unpack('H*', pack('Q< a* f<', length $header, $header, $weight)) . "'";
}

# The bytes of a tower that looks feature x up in a table: row x has width times x.
sub embedding_tower
{
	my ($rows, $width) = @_;
	my $spec = '{\"format\": 1, \"towers\": {\"\": {\"features\": [{\"name\": \"x\", \"type\": \"int\"}], '
	  . '\"output\": \"y\", \"nodes\": [{\"op\": \"identity\", \"inputs\": [\"x\"], \"output\": \"i\", '
	  . "\\\"size\\\": $rows, " . '\"offset\": 0, \"oov_index\": null, \"padding_index\": null}, '
	  . '{\"op\": \"embedding\", \"inputs\": [\"i\"], \"output\": \"y\", \"tensors\": {\"table\": \"t\"}}]}}}';
	my $header = qq({"__metadata__": {"recsys.spec": "$spec"}, "t": {"dtype": "F32", )
	  . qq("shape": [$rows, $width], "data_offsets": [0, @{[4 * $rows * $width]}]}});
	my $floats = join('', map { pack('f<', $_) x $width } 0 .. $rows - 1);
	return "'\\x" . unpack('H*', pack('Q< a* a*', length $header, $header, $floats)) . "'";
}

# A session that stays; ask() runs a statement in it and returns its output.
sub session
{
	my ($host, $port, $db) = @_;
	my %session = (in => '', out => '', err => '');
	$session{run} = IPC::Run::start(
		[ 'psql', '-XqAt', '-h', $host, '-p', $port, '-d', $db // 'postgres' ],
		'<', \$session{in}, '>', \$session{out}, '2>', \$session{err},
		$session{timer} = IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return \%session;
}

sub ask
{
	my ($session, $sql) = @_;
	$session->{timer}->start($PostgreSQL::Test::Utils::timeout_default);
	$session->{out} = $session->{err} = '';
	$session->{in} .= "$sql;\n\\echo -done-\n\\warn -done-\n";
	$session->{run}->pump
	  until $session->{out} =~ /-done-\n/ && $session->{err} =~ /-done-\n/;
	(my $text = $session->{out} . $session->{err}) =~ s/-done-\n//g;
	chomp $text;
	return $text;
}

# Roles that own and use what create_database makes.
sub create_roles
{
	my ($node) = @_;
	$node->safe_psql('postgres', q{
		CREATE ROLE trainer LOGIN;
		CREATE ROLE app LOGIN;
		CREATE ROLE stranger LOGIN});
	return;
}

# Tables with vectors of all uses, indexes of both access methods with filter
# columns, models with versions, owners and grants; the extension in a schema
# of its own.
sub create_database
{
	my ($node, $db) = @_;
	$node->safe_psql($db, q{
		CREATE SCHEMA lib;
		GRANT USAGE ON SCHEMA lib TO PUBLIC;
		CREATE EXTENSION recsys SCHEMA lib;
		SET search_path = public, lib;
		CREATE FUNCTION noise(seed bigint, dim int) RETURNS lib.vector
		LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
			SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
							 ORDER BY i)::lib.vector
			FROM generate_series(1, dim) i $$;
		CREATE TYPE mood AS ENUM ('bad', 'fair', 'good');
		CREATE TABLE items (id int PRIMARY KEY, cat int, price numeric(8,2), tags text[],
			mood mood, word text, ok bool, at timestamptz, v vector(16),
			length float8 GENERATED ALWAYS AS (vector_norm(v)) STORED,
			CHECK (vector_dims(v) = 16));
		INSERT INTO items SELECT i, i % 20, i % 77 + 0.5, ARRAY['t' || i % 9, 't' || i % 5],
			(enum_range(NULL::mood))[1 + i % 3], 'word ' || i % 11, i % 4 <> 0,
			'2026-01-01 00:00+00'::timestamptz + i * interval '1 hour',
			CASE WHEN i % 100 <> 0 THEN noise(i, 16) END
			FROM generate_series(1, 1200) i;
		CREATE INDEX items_hnsw ON items USING recsys_hnsw (v, cat, tags, mood, word)
			WITH (ef_construction = 60);
		CREATE INDEX items_ivfpq ON items USING recsys_ivfpq (v vector_l2_ops, cat, price, at, mood)
			WITH (lists = 8, subquantizers = 64, refine = float16);
		CREATE INDEX items_cosine ON items USING recsys_hnsw (v vector_cosine_ops, price) WHERE ok;
		CREATE INDEX items_btree ON items (v);
		DELETE FROM items WHERE id % 50 = 7;
		UPDATE items SET cat = cat + 1 WHERE id % 50 = 8;
		CREATE UNLOGGED TABLE scratch (id int, v vector(4));
		INSERT INTO scratch SELECT i, noise(i, 4) FROM generate_series(1, 100) i;
		CREATE INDEX scratch_v ON scratch USING recsys_ivfpq (v);
		CREATE DOMAIN taste AS vector(3) CHECK (vector_norm(VALUE) < 10);
		CREATE TABLE others (a vector, b vector(3)[], c taste DEFAULT '[1,2,3]',
			d real[] DEFAULT '[0.1,0.2]'::vector);
		INSERT INTO others VALUES ('[1e-38,3.4e38,-0,0.1,1.1754944e-38]', '{"[1,2,3]","[4,5,6]"}', DEFAULT, DEFAULT),
			('[16777217]', '{}', '[0.333333333,0,-1]', DEFAULT), (NULL, NULL, NULL, '{1}');
		CREATE TABLE parts (id int, cat int, v vector(16)) PARTITION BY LIST (cat);
		CREATE TABLE parts_0 PARTITION OF parts FOR VALUES IN (0, 1, 2);
		CREATE TABLE parts_1 PARTITION OF parts DEFAULT;
		INSERT INTO parts SELECT id, cat % 5, v FROM items;
		CREATE INDEX parts_v ON parts USING recsys_hnsw (v, cat);
		CREATE INDEX parts_l2 ON parts USING recsys_ivfpq (v vector_l2_ops, cat) WITH (subquantizers = 64);
		CREATE TABLE asked AS SELECT q, noise(-q, 16) AS qv FROM generate_series(1, 20) q;
		ANALYZE items, scratch, others, parts, asked;
		CREATE VIEW best AS SELECT id, -(v <#> (SELECT v FROM items WHERE id = 1)) AS score
			FROM items ORDER BY v <#> (SELECT v FROM items WHERE id = 1) LIMIT 10;
		CREATE FUNCTION nearest(q vector, n int) RETURNS SETOF int LANGUAGE sql STABLE
			BEGIN ATOMIC SELECT id FROM items ORDER BY v <-> q LIMIT n; END;
		GRANT EXECUTE ON FUNCTION recsys.import_model TO trainer;
		GRANT CREATE ON SCHEMA public TO trainer});
	$node->safe_psql($db, "SET ROLE trainer;
		SELECT recsys.import_model('m', @{[tower(10)]});
		SELECT recsys.import_model('m', @{[tower(11)]}, false);
		SELECT recsys.import_model('m', @{[tower(12)]}, false);
		SELECT recsys.drop_model('m\@2');
		SELECT recsys.grant_model('m', 'app');
		SELECT recsys.import_model('pair', @{[tower(3, 'user', 'item')]});
		SELECT recsys.grant_model('pair', 'public');
		CREATE MATERIALIZED VIEW embedded AS SELECT x, recsys.embed('pair/user', r) AS y
			FROM (SELECT x::float8 FROM generate_series(1, 3) x) r");
	return;
}

# The rest is looked at in the order of the index, and all of it.
my $exact = 'SET search_path = public, lib; SET jit = off; SET enable_seqscan = off; SET enable_sort = off;
	SET recsys.hnsw_ef_search = 1000; SET recsys.ivfpq_probes = 1000;';

# What the database answers: rows, what its indexes find of 20 queries with
# conditions and without, its catalog, its models.
sub answers
{
	my ($node, $db) = @_;
	my @queries = (
		(map { "SELECT '$_', md5(string_agg(t::text, ',' ORDER BY t::text)) FROM $_ t" }
			qw(items scratch others parts best embedded)),
		q{SELECT q, array(SELECT id FROM items ORDER BY v <#> qv LIMIT 10) FROM asked},
		q{SELECT q, array(SELECT id FROM items WHERE cat = q ORDER BY v <#> qv LIMIT 10) FROM asked},
		q{SELECT q, array(SELECT id FROM items WHERE tags && ARRAY['t' || q % 9] AND mood = 'good' ORDER BY v <#> qv LIMIT 10) FROM asked},
		q{SELECT q, array(SELECT id FROM items WHERE price < 5 * q AND cat < 10 ORDER BY v <-> qv LIMIT 10) FROM asked},
		q{SELECT q, array(SELECT id FROM items WHERE at < '2026-02-01 00:00+00' AND mood = 'bad' ORDER BY v <-> qv LIMIT 10) FROM asked},
		q{SELECT q, array(SELECT id FROM items WHERE ok AND price > 20 ORDER BY v <=> qv LIMIT 10) FROM asked},
		q{SELECT q, array(SELECT id FROM parts WHERE cat < 4 ORDER BY v <#> qv LIMIT 10) FROM asked},
		q{SELECT q, array(SELECT id FROM parts ORDER BY v <-> qv LIMIT 10) FROM asked},
		q{SELECT array(SELECT nearest(noise(1, 16), 5)), (SELECT count(*) FROM items WHERE v = noise(1, 16))},
		q{SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1},
		q{SELECT attrelid::regclass, attname, format_type(atttypid, atttypmod), attstorage FROM pg_attribute
			WHERE attrelid = ANY ('{items,others,parts}'::regclass[]) AND attnum > 0 ORDER BY 1, attnum},
		q{SELECT id, name, owner, grantees, active, latest FROM recsys.model ORDER BY 1},
		q{SELECT model, version, file, bytes, towers, imported_by, imported_at AT TIME ZONE 'UTC' FROM recsys.model_version ORDER BY 1, 2},
		q{SELECT file, part, md5(data) FROM recsys.model_part ORDER BY 1, 2},
		q{SELECT last_value, is_called FROM recsys.model_id_seq},
		q{SELECT model, version, tower, feature FROM recsys.model_features},
		q{SELECT recsys.embed('m', '{"x": 2}'::jsonb), recsys.embed('m@3', '{"x": 2}'::jsonb), recsys.embed('pair/item', '{"x": 2}'::jsonb)},
		q{SELECT has_function_privilege('trainer', 'recsys.import_model(text, bytea, boolean)', 'EXECUTE')},
		q{SET ROLE app; SELECT name, active FROM recsys.models},
		q{SET ROLE stranger; SELECT name, version FROM recsys.models},
	);
	return join("\n\n", map { $node->safe_psql($db, "$exact $_") } @queries);
}

# All indexes pass check_index, and find of each kind of query what is right.
sub is_whole
{
	my ($node, $db, $name) = @_;
	my ($status, $out, $err) = $node->psql($db, q{
		SELECT count(recsys.check_index(c.oid) IS NULL) FROM pg_class c JOIN pg_am a ON a.oid = c.relam
		WHERE c.relkind = 'i' AND a.amname IN ('recsys_hnsw', 'recsys_ivfpq')});
	is("$out$err", '8', "$name: check_index passes");
	for my $query ('ORDER BY v <#> qv', 'WHERE cat = q ORDER BY v <#> qv',
		'WHERE price < 5 * q ORDER BY v <-> qv', 'WHERE ok ORDER BY v <=> qv')
	{
		(my $by_table = $query) =~ s/(v <.*)/($1) + 0/;
		is($node->safe_psql($db, "$exact
			SELECT count(*) FROM asked WHERE
				array(SELECT id FROM items $query LIMIT 10) = array(SELECT id FROM items $by_table LIMIT 10)"),
			20, "$name: $query");
	}
	return;
}

# More rows, changed and deleted ones, VACUUM, and another version of a model.
sub insert_more
{
	my ($node, $db) = @_;
	$node->safe_psql($db, "$exact
		INSERT INTO items (id, cat, price, tags, mood, word, ok, at, v) SELECT i, i % 20, i % 77,
			ARRAY['t1'], 'good', 'new', true, '2026-01-15 00:00+00', noise(i, 16)
			FROM generate_series(2001, 2300) i;
		UPDATE items SET v = noise(id + 5000, 16) WHERE id % 40 = 3;
		DELETE FROM items WHERE id % 40 = 4");
	$node->safe_psql($db, 'VACUUM items');
	$node->safe_psql($db, "SET ROLE trainer; SELECT recsys.import_model('m', @{[tower(13)]})");
	is($node->safe_psql($db, q{SELECT recsys.embed('m', '{"x": 2}'::jsonb), recsys.embed('m@4', '{"x": 2}'::jsonb)}),
		'[26]|[26]', 'the next version of a model');
	return;
}

1;
