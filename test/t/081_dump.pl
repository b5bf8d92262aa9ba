# pg_dump in its formats and back: all is as it was, in whatever order it is
# restored; who may dump and who may not.
use strict;
use warnings;

use LifeCycle;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('dump');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\njit = off\n");
$node->start;
my $tmp = PostgreSQL::Test::Utils::tempdir;

# The text of a dump, without what differs from one to the next.
sub dump_text
{
	my ($db) = @_;
	my ($out, $err) = run_command([ 'pg_dump', '-h', $node->host, '-p', $node->port, $db ]);
	$out =~ s/^(--.*|\\(un)?restrict .*)\n//gm;
	return $out;
}

create_roles($node);
$node->safe_psql('postgres', 'CREATE DATABASE original');
create_database($node, 'original');
is_whole($node, 'original', 'original');
my $answers = answers($node, 'original');
my $text = dump_text('original');
like($text, qr/^COPY recsys\.model_part /m, 'models are in a dump');

my @ways = (
	[ 'plain', [qw(-f)], [qw(psql -X -q -v ON_ERROR_STOP=1 -f)] ],
	[ 'custom', [qw(-Fc -f)], [qw(pg_restore --exit-on-error)] ],
	[ 'directory', [qw(-Fd -j 2 -f)], [qw(pg_restore --exit-on-error -j 2)] ]);
my @server = ('-h', $node->host, '-p', $node->port);
for my $way (@ways)
{
	my ($name, $dump, $restore) = @$way;
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->command_ok([ 'pg_dump', @server, @$dump, "$tmp/$name", 'original' ], "$name: dump");
	$node->command_ok([ @$restore, "$tmp/$name", @server, '-d', $name ], "$name: restore");
	is(answers($node, $name), $answers, "$name: all answers are the same")
	  if $name ne 'custom';
	is(dump_text($name), $text, "$name: a dump of it is the same");
}
is_whole($node, 'plain', 'restored');
insert_more($node, 'plain');
is_whole($node, 'plain', 'restored and changed');

# Data alone, into a database that has the extension and other roles' models.
$node->safe_psql('postgres', 'CREATE DATABASE models');
$node->safe_psql('models', 'CREATE SCHEMA lib; CREATE EXTENSION recsys SCHEMA lib');
$node->command_ok([ 'pg_restore', @server, '-d', 'models', '--exit-on-error',
		'--data-only', '--schema=recsys', "$tmp/custom" ], 'models alone');
is($node->safe_psql('models', q{SELECT recsys.embed('m', '{"x": 2}'::jsonb)}), '[20]', 'models alone work');

# Who owns a database and no more can neither dump the models in it nor restore
# it: the tables are the extension's, and to create that takes a superuser.
$node->safe_psql('postgres', 'CREATE ROLE dba LOGIN CREATEDB; CREATE ROLE backup LOGIN;
	GRANT pg_read_all_data TO backup; CREATE DATABASE small OWNER dba; CREATE DATABASE again OWNER dba');
$node->safe_psql('small', "CREATE EXTENSION recsys; GRANT EXECUTE ON FUNCTION recsys.import_model TO dba;
	SET ROLE dba; CREATE TABLE t AS SELECT '[1,2]'::vector AS v; CREATE INDEX ON t USING recsys_hnsw (v);
	SELECT recsys.import_model('m', @{[tower(10)]})");
$node->command_fails_like([ 'pg_dump', @server, '-U', 'dba', '-f', "$tmp/dba", 'small' ],
	qr/permission denied for (table|sequence) model|lack SELECT privilege on the sequence/, 'the owner of the database cannot dump models');
$node->command_ok([ 'pg_dump', @server, '-U', 'backup', '-Fc', '-f', "$tmp/backup", 'small' ],
	'with pg_read_all_data one can');
$node->command_fails_like([ 'pg_restore', @server, '-U', 'dba', '-d', 'again', '--exit-on-error', '--no-owner', "$tmp/backup" ],
	qr/permission denied to create extension "recsys"/, 'a restore takes a superuser');
# models keep the names of their owners, whoever restores them and however
$node->command_ok([ 'pg_restore', @server, '-d', 'again', '--exit-on-error', '--no-owner', '--no-acl', "$tmp/backup" ],
	'a restore without owners');
is($node->safe_psql('again', q{SELECT name, owner, recsys.embed('m', '{"x": 2}'::jsonb) FROM recsys.models}),
	'm|dba|[20]', 'models keep the names of their owners');

$node->stop;
done_testing();
