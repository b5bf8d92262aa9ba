# Somebody may create objects in the schema that the extension is installed into,
# or before it: nothing of the extension comes to mean them.
use strict;
use warnings;

use LifeCycle;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('hostile');
$node->init;
$node->start;
create_roles($node);
$node->safe_psql('postgres', 'CREATE ROLE mallory LOGIN');

# The traps of a schema: operators, functions, types and tables of the names that
# the extension's scripts and sources use, each of which fails, and tells that it
# was taken.  Operators have both sides of one type, which fits an untyped literal
# best, and all pairs of some types besides.
my $traps = q{
	CREATE SCHEMA evil AUTHORIZATION mallory;
	SET ROLE mallory;
	SET search_path = evil;
	CREATE FUNCTION evil.trap() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'a trap, run by %', current_user; END $$;
	DO $do$
	DECLARE
		op text; l text; r text; result text; f text; args text;
	BEGIN
		FOREACH op IN ARRAY string_to_array('-> ->> = <> < > <= >= || <#>', ' ') LOOP
			FOREACH l IN ARRAY string_to_array('jsonb text name integer bigint smallint oid boolean bytea regclass real double~precision text[] name[] record anyelement', ' ') LOOP
				FOREACH r IN ARRAY string_to_array('jsonb text name integer bigint oid regclass text[] name[] record anyelement', ' ') LOOP
					result := CASE WHEN op = '->' THEN 'jsonb' WHEN op IN ('->>', '||') THEN 'text' ELSE 'boolean' END;
					l := replace(l, '~', ' ');
					BEGIN
						EXECUTE format('CREATE FUNCTION evil.trap(%s, %s) RETURNS %s LANGUAGE plpgsql AS
							$x$ BEGIN PERFORM evil.trap(); RETURN NULL; END $x$', l, r, result);
					EXCEPTION WHEN duplicate_function THEN NULL; WHEN invalid_function_definition THEN CONTINUE;
					END;
					BEGIN
						EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.trap)', op, l, r);
					EXCEPTION WHEN invalid_function_definition THEN NULL;
					END;
				END LOOP;
			END LOOP;
		END LOOP;
		FOREACH f IN ARRAY string_to_array('jsonb_array_elements has_model_privilege pg_extension_config_dump coalesce array_agg int4 text jsonb name regclass embed check_index hnsw_handler model_id_seq stat_index_counts', ' ') LOOP
			FOREACH args IN ARRAY ARRAY['jsonb', 'text', 'unknown_', 'anyelement', 'oid', 'integer', 'text, text', 'text, jsonb', 'text, record', '', 'VARIADIC "any"'] LOOP
				CONTINUE WHEN args = 'unknown_' OR args LIKE '%"any"%';
				EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS SETOF text LANGUAGE plpgsql AS
					$x$ BEGIN PERFORM evil.trap(); END $x$', f, args);
			END LOOP;
		END LOOP;
	END $do$;
	CREATE TABLE pg_class (oid oid, relname name, relam oid);
	CREATE TABLE pg_am (oid oid, amname name);
	CREATE TABLE model (id bigint, name text, owner name, grantees name[], active integer, latest integer);
	CREATE TABLE models (name text);
	CREATE TYPE regclass AS ENUM ('evil');
	CREATE DOMAIN text AS pg_catalog.int4;
	CREATE DOMAIN jsonb AS pg_catalog.int4;
	CREATE DOMAIN name AS pg_catalog.int4;
	CREATE DOMAIN int4 AS pg_catalog.text;
	CREATE DOMAIN oid AS pg_catalog.text;
	CREATE DOMAIN index_am_handler AS pg_catalog.text;
};
my $models = "SELECT recsys.import_model('m', @{[tower(10)]}); SELECT recsys.grant_model('m', 'app')";
my $use = q{
	SELECT recsys.embed('m', pg_catalog.jsonb_build_object('x', 2)), recsys.embed('m@1', r) FROM (SELECT 2.0 AS x) r;
	SELECT model, tower, output_dim, position, feature, type, null_elements FROM recsys.model_features;
	SELECT name, version, active, towers, owner, grantees FROM recsys.models;
	SELECT count(*) IS NOT NULL FROM recsys.stat_index;
	SELECT recsys.has_model_privilege('m'), recsys.verify_model('m') IS NULL;
};

# --- installed into the hostile schema itself
$node->safe_psql('postgres', 'CREATE DATABASE inside');
$node->safe_psql('postgres', 'CREATE DATABASE plain');
$node->safe_psql('plain', "CREATE EXTENSION recsys; $models");
my $expected = $node->safe_psql('plain', $use);
like($expected, qr/^\[20\]\|\[20\]\nm\|\|1\|1\|x\|float\|error\nm\|1\|t\|\{""\}\|/, 'what there is to see');

$node->safe_psql('inside', $traps);
cmp_ok($node->safe_psql('inside', q{SELECT count(*) FROM pg_operator WHERE oprnamespace = 'evil'::regnamespace}), '>', 1000, 'operators lie in wait');
is($node->psql('inside', 'SET search_path = evil, pg_catalog; CREATE EXTENSION recsys SCHEMA evil'), 0, 'installed among them');
$node->safe_psql('inside', $models);
for my $path ('pg_catalog', 'evil', 'evil, pg_catalog', 'recsys, evil, pg_catalog, public', '"$user"')
{
	my ($rc, $out, $err) = $node->psql('inside', "SET search_path = $path; $use");
	is("$out$err", $expected, "as they are with the path $path");
}
# the indexes, built, scanned, looked into and vacuumed with the hostile path
my ($rc, $out, $err) = $node->psql('inside', q{
	CREATE TABLE public.t (id int, k int, w pg_catalog.text, a pg_catalog.text[], v evil.vector(2));
	INSERT INTO public.t SELECT i, i OPERATOR(pg_catalog.%) 10, 'w', ARRAY['a'::pg_catalog.text], ARRAY[i, 1]::evil.vector FROM pg_catalog.generate_series(1, 500) i;
	SET search_path = evil, pg_catalog;
	CREATE INDEX h ON public.t USING recsys_hnsw (v, k, w, a);
	CREATE INDEX i ON public.t USING recsys_ivfpq (v, k, w, a);
	INSERT INTO public.t VALUES (501, 1, 'w', '{a}', '[501,1]');
	DELETE FROM public.t WHERE id OPERATOR(pg_catalog.=) 7;
	SET enable_seqscan = off;
	SELECT id FROM public.t WHERE k OPERATOR(pg_catalog.=) 1 AND w OPERATOR(pg_catalog.=) 'w'::pg_catalog.text ORDER BY v OPERATOR(evil.<#>) '[1,0]' LIMIT 2;
	SELECT recsys.check_index('public.h'), recsys.check_index('public.i'), recsys.index_recall('public.h', 1, 5), recsys.index_recall('public.i', 1, 5);
	SELECT rows FROM recsys.index_stats('public.h'); SELECT rows FROM recsys.ivfpq_stats('public.i');
	SELECT index, rows FROM recsys.last_scan()});
is($err, '', 'indexes with a hostile path: no trap');
like($out, qr/^501\n491\n\|\|1\|1\n501\n501\n/, 'indexes with a hostile path: right answers');
is($node->psql('inside', 'SET search_path = evil, pg_catalog; VACUUM public.t; REINDEX TABLE public.t; ANALYZE public.t'), 0, 'and VACUUM');
# nothing of the extension holds on to any of the traps
($rc, $out, $err) = $node->psql('inside', q{
	SELECT string_agg(format('DROP %s %s', type, identity), '; ') FROM pg_operator o, pg_identify_object('pg_operator'::regclass, o.oid, 0)
		WHERE oprnamespace = 'evil'::regnamespace AND oprowner = 'mallory'::regrole \gexec
	SELECT string_agg(format('DROP %s %s', type, identity), '; ') FROM pg_type t, pg_identify_object('pg_type'::regclass, t.oid, 0)
		WHERE typnamespace = 'evil'::regnamespace AND typowner = 'mallory'::regrole AND typtype IN ('d', 'e') \gexec
	SELECT string_agg(format('DROP %s %s', type, identity), '; ') FROM pg_proc p, pg_identify_object('pg_proc'::regclass, p.oid, 0)
		WHERE pronamespace = 'evil'::regnamespace AND proowner = 'mallory'::regrole \gexec
	DROP TABLE evil.pg_class, evil.pg_am, evil.model, evil.models});
is($err, '', 'all traps can be dropped without CASCADE');
is($node->safe_psql('inside', $use), $expected, 'and nothing has changed');

# --- a schema that is there before
$node->safe_psql('postgres', 'CREATE DATABASE taken');
$node->safe_psql('taken', 'CREATE SCHEMA recsys AUTHORIZATION mallory');
for my $sql ('CREATE EXTENSION recsys', 'CREATE EXTENSION recsys SCHEMA recsys', 'CREATE EXTENSION IF NOT EXISTS recsys CASCADE')
{
	($rc, $out, $err) = $node->psql('taken', $sql);
	like($err, qr/ERROR:  schema "recsys" already exists/, "$sql, where another role owns that schema");
}
# and objects of the extension's names in its schema: none is taken over
for my $object ('TYPE vector AS (x int)', 'FUNCTION l2_distance() RETURNS int LANGUAGE sql AS \'SELECT 1\'')
{
	my $db = $object =~ /TYPE/ ? 'trojan_type' : 'trojan_function';
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "CREATE SCHEMA shop AUTHORIZATION mallory; SET ROLE mallory; SET search_path = shop; CREATE $object");
	($rc, $out, $err) = $node->psql($db, 'CREATE EXTENSION recsys SCHEMA shop');
	$db eq 'trojan_type'
	  ? like($err, qr/ERROR:  type "vector" already exists/, 'a type vector of another')
	  : is($node->safe_psql($db, "SELECT string_agg(DISTINCT proowner::regrole::text, ',') FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e' AND d.classid = 'pg_proc'::regclass"),
		$node->safe_psql($db, 'SELECT current_user'), 'a function of another stays his');
}
# the script itself replaces nothing, and makes nothing only where it is missing
my ($version) = slurp_file($node->config_data('--sharedir') . '/extension/recsys.control') =~ /default_version = '(.*)'/;
my $script = slurp_file($node->config_data('--sharedir') . "/extension/recsys--$version.sql");
unlike($script, qr/\bOR\s+REPLACE\b|\bIF\s+NOT\s+EXISTS\b|\bSECURITY\s+DEFINER\b|\bDO\s+\$/i, 'no statement that would take over what is there');

# --- what of a model can be read without a grant
$node->safe_psql('plain', "SELECT recsys.import_model('big', @{[tower(10)]}); ANALYZE");
for my $sql ('TABLE recsys.model', 'TABLE recsys.model_version', 'TABLE recsys.model_part', 'SELECT last_value FROM recsys.model_id_seq',
	'COPY recsys.model_part TO STDOUT', 'SELECT data FROM recsys.model_part LIMIT 0', 'CREATE TABLE copy (LIKE recsys.model_part)',
	'BEGIN; LOCK TABLE recsys.model', 'CREATE TRIGGER t BEFORE INSERT ON recsys.model EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'SELECT * FROM pg_toast.pg_toast_' . $node->safe_psql('plain', q{SELECT 'recsys.model_part'::regclass::oid}))
{
	($rc, $out, $err) = $node->psql('plain', "SET ROLE stranger; $sql");
	like($err, qr/permission denied for|must be owner of/, "a stranger: $sql");
	is($out, '', 'and nothing comes out');
}
is($node->safe_psql('plain', q{SET ROLE stranger;
	SELECT count(*) FROM pg_stats WHERE schemaname = 'recsys';
	SELECT count(*) FROM recsys.models; SELECT count(*) FROM recsys.model_features;
	SELECT count(*) FROM pg_stats_ext_exprs}), "0\n0\n0\n0", 'a stranger: nothing in pg_stats, nothing in the views');
cmp_ok($node->safe_psql('plain', q{SELECT count(*) FROM pg_stats WHERE schemaname = 'recsys'}), '>', 5, 'where there is something');
# a function that would tell what the views hide from him sees no row of them
is($node->safe_psql('plain', q{SET ROLE app; CREATE FUNCTION pg_temp.peek(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS
	$$ BEGIN RAISE WARNING 'saw %', $1; RETURN true; END $$;
	SELECT name FROM recsys.models WHERE pg_temp.peek(name); SELECT DISTINCT model FROM recsys.model_features WHERE pg_temp.peek(model)}),
	"m\nm", 'a grantee sees what was granted');
($rc, $out, $err) = $node->psql('plain', q{SET ROLE app; CREATE FUNCTION pg_temp.peek(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS
	$$ BEGIN RAISE WARNING 'saw %', $1; RETURN true; END $$;
	SELECT name FROM recsys.models WHERE pg_temp.peek(name); SELECT model FROM recsys.model_features WHERE pg_temp.peek(model)});
like($err, qr/saw m\n/, 'the function runs');
unlike($err, qr/saw big/, 'and sees no more');
# to embed is not to read: nobody but a role that reads all data sees weights
for my $role ('app', 'stranger')
{
	($rc, $out, $err) = $node->psql('plain', "SET ROLE $role; SELECT recsys.embed('big', '{\"x\": 1}'::jsonb)");
	like($err, qr/permission denied for model "big"/, "$role may not embed");
}
$node->stop;
done_testing();
