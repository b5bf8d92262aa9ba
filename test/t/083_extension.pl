# The extension's scripts: every way to update it ends in what a fresh install
# makes; DROP EXTENSION leaves nothing; sessions that have used it go on.
use strict;
use warnings;

use IPC::Run;
use LifeCycle;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('extension');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\njit = off\nshared_preload_libraries = 'recsys'\n");
$node->start;
create_roles($node);
my $shared = $node->config_data('--sharedir') . '/extension';

# --- updates

# Statements that show what is in the catalogs beyond a new database, by names and
# not by OIDs: the server says which columns hold OIDs of what.
my @catalog = split /;\n/, $node->safe_psql('postgres', q{
	WITH fk AS (
		SELECT fktable, pktable, fkcols[1] AS col, is_array FROM pg_get_catalog_foreign_keys()
		WHERE cardinality(fkcols) = 1 AND pkcols = '{oid}'),
	col AS (
		SELECT c.oid::regclass AS tab, a.attname AS name, a.attnum, a.atttypid::regtype AS type, fk.pktable, fk.is_array
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
			LEFT JOIN fk ON fk.fktable = c.oid AND fk.col = a.attname
		WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r' AND NOT c.relisshared
			AND c.relname NOT IN ('pg_statistic', 'pg_depend', 'pg_description', 'pg_init_privs', 'pg_largeobject')
			-- trees have OIDs in them, and are shown by functions of their own
			AND a.atttypid NOT IN ('pg_node_tree'::regtype, 'xid'::regtype)
			AND a.attname NOT IN ('relfilenode', 'relpages', 'reltuples', 'relallvisible', 'relallfrozen'))
	SELECT format('SELECT %L, %s %s FROM %s WHERE greatest(%s) >= 16384;', tab,
		string_agg(CASE WHEN is_array THEN format('(SELECT string_agg(pg_describe_object(%L::regclass, o, 0), '','' ORDER BY n) FROM unnest(%I::oid[]) WITH ORDINALITY u (o, n))', pktable, name)
			WHEN pktable IS NOT NULL THEN format('pg_describe_object(%L::regclass, %I, 0)', pktable, name)
			WHEN name = 'oid' THEN format('pg_describe_object(%L::regclass, oid, 0)', tab)
			ELSE quote_ident(name) END, ', ' ORDER BY attnum),
		CASE tab WHEN 'pg_proc'::regclass THEN ', CASE WHEN prokind <> ''a'' THEN pg_get_functiondef(oid) END'
			WHEN 'pg_rewrite'::regclass THEN ', pg_get_ruledef(oid)'
			WHEN 'pg_constraint'::regclass THEN ', pg_get_constraintdef(oid)'
			WHEN 'pg_index'::regclass THEN ', pg_get_indexdef(indexrelid)'
			WHEN 'pg_attrdef'::regclass THEN ', pg_get_expr(adbin, adrelid)' END,
		tab, string_agg(quote_ident(name) || '::oid', ', ') FILTER (WHERE type = 'oid'::regtype OR type::text LIKE 'reg%'))
	FROM col GROUP BY tab HAVING bool_or(type = 'oid'::regtype) ORDER BY tab::text}) or die;
push @catalog,
  q{SELECT 'pg_depend', pg_describe_object(classid, objid, objsubid), pg_describe_object(refclassid, refobjid, refobjsubid), deptype FROM pg_depend WHERE greatest(objid, refobjid) >= 16384},
  q{SELECT 'pg_description', pg_describe_object(classoid, objoid, objsubid), description FROM pg_description WHERE objoid >= 16384},
  q{SELECT 'pg_init_privs', pg_describe_object(classoid, objoid, objsubid), privtype, initprivs FROM pg_init_privs WHERE objoid >= 16384};

# The catalog of a new database in which the statements have been run, as lines.
sub catalog
{
	my ($sql) = @_;
	$node->safe_psql('postgres', 'CREATE DATABASE one TEMPLATE template0');
	$node->safe_psql('one', $sql);
	my $text = $node->safe_psql('one', join(";\n", @catalog));
	$node->safe_psql('postgres', 'DROP DATABASE one');
	$text =~ s/pg_toast_\d+/pg_toast_N/g;
	$text =~ s/pg_attver=\d+/pg_attver=N/g;	# a number that some releases choose at random
	return sort split /\n/, $text;
}

# Lines that only one of two lists has, with a sign.
sub difference
{
	my ($ours, $theirs) = @_;
	my %count;
	$count{$_}++ for @$ours;
	$count{$_}-- for @$theirs;
	return map { ($count{$_} > 0 ? '+ ' : '- ') . $_ } grep { $count{$_} } sort keys %count;
}

# For each version of an extension from which it can be updated to the one that
# is installed by default: what an update leaves otherwise than a fresh install.
sub update_differences
{
	my ($name) = @_;
	my @fresh = catalog("CREATE EXTENSION $name");
	my %differences;
	for my $version (split /\n/, $node->safe_psql('postgres', qq{
		SELECT v.version FROM pg_available_extension_versions v JOIN pg_available_extensions e USING (name)
			JOIN pg_extension_update_paths(e.name) p ON p.source = v.version AND p.target = e.default_version
		WHERE v.name = '$name' AND p.path IS NOT NULL}))
	{
		my @updated = catalog("CREATE EXTENSION $name VERSION '$version'; ALTER EXTENSION $name UPDATE");
		$differences{$version} = [ difference(\@updated, \@fresh) ];
	}
	return (\@fresh, %differences);
}

my ($fresh, %updates) = update_differences('recsys');
cmp_ok(scalar(@$fresh), '>', 1000, 'the catalog shows what is installed');
note(scalar(@$fresh) . ' lines');
is(scalar(grep { /^pg_am\|.*recsys_(hnsw|ivfpq)/ } @$fresh), 2, 'the access methods, for one');
my ($again) = update_differences('recsys');
is_deeply([ difference($fresh, $again) ], [], 'two fresh installs are the same');
is_deeply($updates{$_}, [], "an update from $_ is the same as a fresh install") for sort keys %updates;

# That this finds what it should is shown with made versions, of an extension of
# another name: the older ones lack a function and a comment; one of the update
# scripts brings them as a fresh install does.
my ($default) = slurp_file("$shared/recsys.control") =~ /default_version = '(.*)'/;
my $script = slurp_file("$shared/recsys--$default.sql");
my ($function) = $script =~ /(CREATE FUNCTION recsys\.check_index.*?COST 1000000;\n)/s or die;
my ($comment) = $script =~ /(COMMENT ON FUNCTION recsys\.check_index.*?;\n)/s or die;
my ($revoke) = $script =~ /(REVOKE ALL ON FUNCTION recsys\.stat_index_reset.*?;\n)/s or die;
my ($class) = $script =~ /(CREATE OPERATOR CLASS \S*vector_cosine_ops.*?;\n)/s or die;
my $older = $script;
$older =~ s/\Q$_\E// for $function, $comment, $revoke, $class;
(my $worse = "$function$class") =~ s/PARALLEL UNSAFE COST 1000000/PARALLEL SAFE/;
$worse =~ s/\@extschema\@\.vector_cosine_ops/\@extschema\@.vector_cosine_ops_/;
my %made = (
	'.control' => "default_version = '3'\nmodule_pathname = '\$libdir/recsys'\nrelocatable = false\n",
	'--1.sql' => $older, '--1--3.sql' => "$function$comment$revoke$class",
	'--2.sql' => $older, '--2--3.sql' => $worse,
	'--3.sql' => $script);
SKIP:
{
	skip "$shared cannot be written to", 2 if !-w $shared;
	append_to_file("$shared/recsys_made$_", $made{$_}) for keys %made;
	my ($made, %differences) = update_differences('recsys_made');
	unlink map { "$shared/recsys_made$_" } keys %made;
	is_deeply($differences{1}, [], 'a right update');
	my $wrong = join("\n", @{ $differences{2} });
	like($wrong, $_->[1], "a wrong update: $_->[0]") for
	  [ 'a comment', qr/^- pg_description\|function recsys\.check_index/m ],
	  [ 'rights', qr/^- pg_init_privs\|function recsys\.stat_index_reset\(\)/m ],
	  [ 'how a function is marked', qr/^\+ pg_proc\|.*check_index.*PARALLEL SAFE|^\+ .*PARALLEL SAFE STRICT/m ],
	  [ 'an operator class', qr/^\+ pg_opclass\|.*vector_cosine_ops_/m ];
}

# --- DROP EXTENSION

# All rows of all catalogs of a database.
my $whole = $node->safe_psql('postgres', q{
	SELECT string_agg(format('SELECT %L, count(*), md5(string_agg(t::text, '','' ORDER BY t::text)) FROM %1$s t', c.oid::regclass), ' UNION ALL ')
	FROM pg_class c WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND relname <> 'pg_statistic'
		AND (NOT relisshared OR relname IN ('pg_shdepend', 'pg_shdescription'))});
$node->safe_psql('postgres', 'CREATE DATABASE used');
my $before = $node->safe_psql('used', "$whole ORDER BY 1");
$node->safe_psql('used', 'CREATE EXTENSION recsys');
isnt($node->safe_psql('used', "$whole ORDER BY 1"), $before, 'an extension shows in the catalogs');
$node->safe_psql('used', 'DROP EXTENSION recsys');
is($node->safe_psql('used', "$whole ORDER BY 1"), $before, 'DROP EXTENSION leaves nothing in the catalogs');

create_database($node, 'used');
like(answers($node, 'used'), qr/\[20\]/, 'the database is in use');
my $files = "SELECT count(*) FROM pg_ls_dir('base/' || (SELECT oid FROM pg_database WHERE datname = 'used'))";
cmp_ok($node->safe_psql('used', 'SELECT count(*) FROM recsys.stat_index'), '>', 3, 'and counted');
my ($rc, $out, $err) = $node->psql('used', 'DROP EXTENSION recsys');
like($err, qr/cannot drop extension recsys because other objects depend on it.*column v of table items depends on type lib\.vector/s,
	'DROP EXTENSION tells what is in the way');

# what has used it: models, plans, an index
my @sessions = map { session($node->host, $node->port, 'used') } 1 .. 2;
my $embed = q{SELECT recsys.embed('m', '{"x": 2}'::jsonb)::text};
my $nearest = q{SET search_path = public, lib; SET enable_seqscan = off;
	SELECT count(*) FROM (SELECT id FROM items ORDER BY v <#> noise(-1, 16) LIMIT 3) s};
for my $session (@sessions)
{
	ask($session, "PREPARE embed AS $embed");
	is(ask($session, 'EXECUTE embed'), '[20]', 'a model in a session');
	is(ask($session, $nearest), '3', 'an index in a session');
}
# a drop that is taken back
is(ask($sessions[0], "BEGIN; SET LOCAL client_min_messages = warning; DROP EXTENSION recsys CASCADE; ROLLBACK; EXECUTE embed"),
	'[20]', 'after a drop that was rolled back');
is(ask($sessions[0], "BEGIN; SET LOCAL client_min_messages = warning; DROP EXTENSION recsys CASCADE;
	CREATE EXTENSION recsys SCHEMA lib; SELECT recsys.import_model('m', @{[tower(4)]}); EXECUTE embed; ROLLBACK; EXECUTE embed"),
	"1\n[8]\n[20]", 'another model under the same name, in a transaction that was rolled back');

is($node->psql('used', 'DROP EXTENSION recsys CASCADE'), 0, 'DROP EXTENSION CASCADE');
for my $session (@sessions)
{
	like(ask($session, 'EXECUTE embed'), qr/ERROR:  schema "recsys" does not exist/, 'a session without the extension: a plan');
	like(ask($session, $embed), qr/ERROR:  schema "recsys" does not exist/, 'a model');
	like(ask($session, $nearest), qr/ERROR:  (function noise\(integer, integer\)|column "v") does not exist/, 'an index');
}
is($node->safe_psql('used', "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute
	WHERE attrelid = 'items'::regclass AND attnum > 0 AND NOT attisdropped"),
	'id,cat,price,tags,mood,word,ok,at', 'columns of other types stay');
is($node->safe_psql('used', q{SELECT count(*) FROM pg_index WHERE NOT indisvalid OR indexrelid::regclass::text ~ '_(v|hnsw|ivfpq|cosine|l2)$'}),
	0, 'no index stays');
create_again($_) for 1 .. 2;

# The extension anew, with another model, then all gone.
sub create_again
{
	my ($round) = @_;
	my $weight = 20 + $round;
	$node->safe_psql('used', "CREATE EXTENSION recsys SCHEMA lib; SELECT recsys.import_model('m', @{[tower($weight)]})");
	is($node->safe_psql('used', 'SELECT count(*) FROM recsys.stat_index'), 0, 'no counts of before');
	for my $session (@sessions)
	{
		my $answer = '[' . 2 * $weight . ']';
		is(ask($session, 'EXECUTE embed'), $answer, "again $round: a plan");
		is(ask($session, $embed), $answer, "again $round: a model");
	}
	$node->safe_psql('used', q{
		CREATE TABLE public.again (id int, v lib.vector(2));
		INSERT INTO public.again SELECT i, ARRAY[i, 1]::lib.vector FROM generate_series(1, 100) i;
		CREATE INDEX ON public.again USING recsys_hnsw (v, id);
		CREATE INDEX ON public.again USING recsys_ivfpq (v, id)});
	my $best = q{SET search_path = public, lib; SET enable_seqscan = off;
		SELECT array(SELECT id FROM again WHERE id < 50 ORDER BY v <#> '[1,0]' LIMIT 2)};
	is(ask($_, $best), '{49,48}', "again $round: an index") for @sessions;
	$node->safe_psql('used', 'DROP TABLE public.again; DROP EXTENSION recsys');
	return;
}
$_->{run}->finish for map { $_->{in} .= "\\q\n"; $_ } @sessions;

# with the tables gone too, the database is as it was made
$node->safe_psql('used', 'DROP TABLE items, scratch, others, parts, asked; DROP TYPE mood; DROP SCHEMA lib;
	REVOKE CREATE ON SCHEMA public FROM trainer');
is($node->safe_psql('used', "$whole ORDER BY 1"), $before, 'nothing is left');

$node->stop;
done_testing();
