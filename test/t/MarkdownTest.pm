# The fenced blocks of a Markdown text, run one after another: what psql prints
# is what the block after them says.
package MarkdownTest;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(markdown_blocks markdown_run);

# [language, text, what it prints or undef], in order.  A block without a
# language is what the one before it prints.  One that begins with the line
# "-- PostgreSQL N" needs that version or a later one.
sub markdown_blocks
{
	my ($markdown) = @_;
	my @blocks;

	while ($markdown =~ /^```(\w*)\n(.*?)^```$/msg)
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
	return @blocks;
}

# Runs blocks on a server, in a folder of their own: python, or SQL by psql,
# each in a session.
sub markdown_run
{
	my ($node, $python, @blocks) = @_;
	my $connection = $node->connstr('postgres');
	my $version = $node->pg_version->major;
	my $folder = PostgreSQL::Test::Utils::tempdir;
	my $number = 0;

	chdir $folder or die "$folder: $!";
	for (@blocks)
	{
		my ($language, $text, $expected) = @$_;
		my $what = 'block ' . ++$number . ", $language";
		my $file = "block$number";
		next if $text =~ /\A-- PostgreSQL (\d+)$/m && $version < $1;
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
		next unless defined $expected;
		is(normalise($stdout, $version), normalise($expected, $version),
			"$what, result");
	}
	chdir '/';
	return;
}

# What differs between versions of PostgreSQL, in plans: the texts have those
# of 17 and later.
sub normalise
{
	my ($text, $version) = @_;

	if ($version < 17)
	{
		# The result of an InitPlan has a number that counts from 0.
		$text =~ s/\bInitPlan \K(\d+)$/"$1 (returns \$" . ($1 - 1) . ')'/gme;
		$text =~ s/\(InitPlan (\d+)\)\.col1/'$' . ($1 - 1)/ge;
		# The heading of a plan is as wide as its longest line.
		$text =~ s/^ *QUERY PLAN *\n-+$/QUERY PLAN/mg;
	}
	# How many entries a walk through the graph visits may differ a little
	# between processors.
	$text =~ s/^ *Index (Entries|Candidates) .*: \K\d+$/N/mg;
	$text =~ s/[ \t]+$//mg;
	$text =~ s/\s+\z/\n/;
	return $text;
}

1;
