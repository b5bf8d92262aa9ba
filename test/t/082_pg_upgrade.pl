# pg_upgrade, by copy and by link: both access methods' indexes are the old files,
# and work.
#
# The old version is the one whose programs are in RECSYS_OLD_BINDIR, with the
# extension installed, and libraries that this system may lack in
# RECSYS_OLD_LIBDIR: test/upgrade and .ci/run see to that.  Without, it is the own
# one, from which pg_upgrade does the same.
use strict;
use warnings;

use LifeCycle;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old_bindir = $ENV{RECSYS_OLD_BINDIR};
my ($old_path) = ($old_bindir // '') =~ m|^(.*)/bin/?$|;
$ENV{LD_LIBRARY_PATH} = join(':', $ENV{RECSYS_OLD_LIBDIR}, $ENV{LD_LIBRARY_PATH} // ())
  if $ENV{RECSYS_OLD_LIBDIR};

# What would differ between the versions for another reason.
my @initdb = ('--locale=C', '--encoding=UTF8');

sub new_cluster
{
	my ($name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my @no_checksums = `initdb --help` =~ /--no-data-checksums/ ? ('--no-data-checksums') : ();
	$node->init(extra => [ @initdb, @no_checksums ]);
	return $node;
}

for my $mode ($old_path ? ('copy', 'link') : 'copy')
{
	my $old = PostgreSQL::Test::Cluster->new("old_$mode", ($old_path ? (install_path => $old_path) : ()));
	$old->init(extra => [@initdb]);
	$old->append_conf('postgresql.conf', "autovacuum = off\njit = off\n");
	$old->start;
	create_roles($old);
	create_database($old, 'postgres');
	my $answers = answers($old, 'postgres');
	my $files = $old->safe_psql('postgres',
		q{SELECT relname, relfilenode FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE amname ~ '^recsys' ORDER BY 1});
	# A column option that the server's newest releases set, and slightly older ones of
	# a newer version do not know, so that no such table could be upgraded.
	$old->safe_psql('postgres', q{UPDATE pg_attribute SET attoptions = NULL WHERE attoptions::text ~ 'pg_attver='})
	  if $old_path;
	my $from = $old->safe_psql('postgres', 'SHOW server_version');
	$old->stop;

	my $new = new_cluster("new_$mode");
	command_ok(
		[
			'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir,
			'-b', $old_bindir // $new->config_data('--bindir'), '-B', $new->config_data('--bindir'),
			'-s', $new->host, '-p', $old->port, '-P', $new->port, ($mode eq 'link' ? '--link' : ())
		],
		"$mode: pg_upgrade");
	$new->append_conf('postgresql.conf', "autovacuum = off\njit = off\n");
	$new->start;
	note "$mode: from $from to " . $new->safe_psql('postgres', 'SHOW server_version');
	is($new->safe_psql('postgres',
		q{SELECT relname, relfilenode FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE amname ~ '^recsys' ORDER BY 1}),
		$files, "$mode: the indexes are the old files");
	is(answers($new, 'postgres'), $answers, "$mode: all answers are the same");
	is_whole($new, 'postgres', "$mode: upgraded");
	insert_more($new, 'postgres');
	is_whole($new, 'postgres', "$mode: upgraded and changed");
	if ($mode eq 'copy')
	{
		$new->safe_psql('postgres', 'REINDEX TABLE items');
		is_whole($new, 'postgres', "$mode: upgraded and built anew");
	}
	is($new->safe_psql('postgres', q{SELECT installed_version = default_version FROM pg_available_extensions WHERE name = 'recsys'}),
		't', "$mode: the extension's version");
	$new->stop;
}
done_testing();
