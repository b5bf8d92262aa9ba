# The section "Five minutes" of README.md: its blocks run one after another,
# and what psql prints is what the block after them says.
use strict;
use warnings;

use Cwd qw(abs_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($python) = grep { run_log([ $_, '-c', 'import numpy' ]) }
  $ENV{PYTHON} || 'python3', '/usr/bin/python3';
plan skip_all => 'no python3 with numpy' unless $python;

my ($tutorial) =
  slurp_file('README.md') =~ /^## Five minutes$(.*?)^## /ms
  or die 'README.md has no section "Five minutes"';

# [language, text, what it prints or undef], in order.
my @blocks;
while ($tutorial =~ /^```(\w*)\n(.*?)^```$/msg)
{
	my ($language, $text) = ($1, $2);
	if ($language ne '')
	{
		push @blocks, [ $language, $text, undef ];
	}
	elsif (@blocks)
	{
		$blocks[-1][2] = $text;
	}
}
cmp_ok(scalar(grep { $_->[0] eq 'sql' && defined $_->[2] } @blocks),
	'>=', 4, 'statements with results');

# The tutorial's words on where recsys_export.py is: beside the project.
$ENV{PYTHONPATH} = abs_path('tools');
$ENV{PYTHONDONTWRITEBYTECODE} = 1;
my $node = PostgreSQL::Test::Cluster->new('tutorial');
$node->init;
$node->start;
my $connection = $node->connstr('postgres');
my $folder = PostgreSQL::Test::Utils::tempdir;
chdir $folder or die "$folder: $!";

my $number = 0;
for (@blocks)
{
	my ($language, $text, $expected) = @$_;
	my $what = 'block ' . ++$number . ", $language";
	my $file = "block$number";
	append_to_file($file, $text);
	if ($language eq 'python')
	{
		command_ok([ $python, $file ], $what);
		next;
	}
	is($language, 'sql', "$what can be run");
	my ($stdout, $stderr) = run_command(
		[
			'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1',
			'-d', $connection, '-f', $file
		]);
	is($stderr, '', "$what, errors");
	s/[ \t]+$//mg, s/\s+\z/\n/ for grep { defined } $stdout, $expected;
	is($stdout, $expected, "$what, result") if defined $expected;
}

chdir '/';
$node->stop;
done_testing();
