# Damage to index files, for the tests of check_index: bytes are changed while
# the server is down.
package IndexDamage;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(BLOCK CONTENT TAG locate load save get put blocks damage
  check check_damage);

# What every page has; see index_page.h.
use constant {
	BLOCK => 8192,
	TAG => 24,
	CONTENT => 32,
};

# The path of an index's file, from a server that is up.
sub locate
{
	my ($server, $index) = @_;
	return $server->data_dir . '/'
	  . $server->safe_psql('postgres', "SELECT pg_relation_filepath('$index')");
}

# A file in memory, of a server that is down and has written all.
sub load
{
	my ($path) = @_;
	return { path => $path, bytes => slurp_file($path) };
}

sub save
{
	my ($file) = @_;
	open my $fh, '+<:raw', $file->{path} or die "$file->{path}: $!";
	print $fh $file->{bytes};
	close $fh or die $!;
}

sub get
{
	my ($file, $offset, $template) = @_;
	return unpack($template, substr($file->{bytes}, $offset, 8));
}

sub put
{
	my ($file, $offset, $template, $value) = @_;
	my $bytes = pack($template, $value);
	substr($file->{bytes}, $offset, length $bytes) = $bytes;
}

sub blocks
{
	my ($file, $kind) = @_;
	return grep { get($file, $_ * BLOCK + TAG + 3, 'C') == $kind }
	  0 .. length($file->{bytes}) / BLOCK - 1;
}

# Apply faults, each [name, sub], to files while the server is down; %$path has
# the path for each name.  The subs return what the error says, which becomes a
# third element, a pattern.
sub damage
{
	my ($path, @faults) = @_;
	for my $fault (@faults)
	{
		my ($name, $damage) = @$fault;
		my $file = load($path->{$name});
		my $expected = $damage->($file);
		$fault->[2] = ref $expected ? $expected : qr/\Q$expected\E/;
		save($file);
	}
	return;
}

# The error of check_index, with its SQLSTATE.
sub check
{
	my ($server, $index) = @_;
	my ($rc, $out, $err) = $server->psql('postgres',
		"SELECT recsys.check_index('$index')",
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return 'whole' if $rc == 0;
	return $err =~ /ERROR:  ([^\n]*)/ ? $1 : $err;
}

# Each fault is found in its index, i_NAME.
sub check_damage
{
	my ($server, @faults) = @_;
	for my $fault (@faults)
	{
		my ($name, undef, $expected) = @$fault;
		like(check($server, "i_$name"),
			qr/^XX002: index "i_$name" .*$expected/, $name);
	}
	return;
}

1;
