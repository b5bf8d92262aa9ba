# Libraries in C that tests load into a server, from test/probe.
package TestLibrary;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;

our @EXPORT = qw(test_library test_numbers);

# Compile test/probe/$name.c; the library's path, or undef and why.
sub test_library
{
	my ($name) = @_;
	my $config = $ENV{PG_CONFIG} // 'pg_config';
	my $to = PostgreSQL::Test::Utils::tempdir . "/$name.so";
	return (undef, 'made for Linux') unless $^O eq 'linux';
	chomp(my $include = `$config --includedir-server`);
	chomp(my $compiler = `$config --cc`);
	for my $cc ($compiler, 'cc', 'gcc')
	{
		my $out = `$cc -O2 -fPIC -shared -I$include -o $to test/probe/$name.c -ldl 2>&1`;
		return ($to, '') if $? == 0;
		# a compiler that is there, and fails, is a fault of the source
		return (undef, $out) if $out =~ /error:/;
	}
	return (undef, 'no C compiler');
}

# A file of so many 64-bit numbers, which a library maps.
sub test_numbers
{
	my ($name, @numbers) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir_short . "/$name";
	append_to_file($file, pack('q<*', @numbers));
	return $file;
}

1;
