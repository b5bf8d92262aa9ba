# docs/operations.md: its statements run one after another, and print what it
# says; the messages that it explains are those of the sources.
use strict;
use warnings;

use MarkdownTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $chapter = slurp_file('docs/operations.md');
my @blocks = markdown_blocks($chapter);
cmp_ok(scalar(grep { defined $_->[2] } @blocks), '>=', 5, 'statements with results');

# All texts of the sources, with ... for what is filled in.
sub source_texts
{
	my @texts;
	for my $file (glob 'src/*/*.[ch]')
	{
		my $source = slurp_file($file);
		# quoted pieces that follow one another, and macros between them
		while ($source =~ /((?:"(?:[^"\\\n]|\\.)*"(?:\s|\bINT64_FORMAT\b)*)+)/g)
		{
			my $text = $1;
			$text =~ s/INT64_FORMAT/"..."/g;
			$text =~ s/(?<!\\)"\s*"//g;
			$text =~ s/\A"|"\s*\z//g;
			$text =~ s/\\"/"/g;
			$text =~ s/%[-+ 0#]*[\d.*]*(?:ll|l|z)?[a-zA-Z]/.../g;
			push @texts, $text;
		}
	}
	return @texts;
}

# Messages in the first column of the tables below a heading; those of another
# program are not ours to check.
sub explained
{
	my ($text, $heading) = @_;
	my ($section) = $text =~ /^### \Q$heading\E\n(.*?)(?=^##|\z)/ms or return;
	return map { /^\| (.*?) \|/ ? $1 =~ /`([^`]+)`/g : () }
	  grep { /^\| `/ } split /\n/, $section;
}

my @texts = source_texts();
for my $heading ('Messages of an index', 'Messages of a model')
{
	my @messages = explained($chapter, $heading);
	cmp_ok(scalar @messages, '>=', 9, "messages under '$heading'");
	for my $message (@messages)
	{
		my $pattern = join '.*', map { quotemeta } split /\Q...\E/, $message, -1;
		ok((grep { /$pattern/ } @texts), "the sources have: $message");
	}
}

# Every message that is an error of damage, or a notice, is explained.
my %explained = map { $_ => 1 } explained($chapter, 'Messages of an index');
for my $file (glob 'src/{index,hnsw,ivfpq}/*.c')
{
	my $source = slurp_file($file);
	while ($source =~ /(ERRCODE_INDEX_CORRUPTED\),|ereport\(NOTICE,)\s*\(?errmsg\("((?:[^"\\]|\\.)*)"/g)
	{
		(my $text = $2) =~ s/\\"/"/g;
		$text =~ s/%[-+ 0#]*[\d.*]*(?:ll|l|z)?[a-zA-Z]/.../g;
		my $found = grep
		{
			my $pattern = join '.*', map { quotemeta } split /\Q...\E/, $_, -1;
			$text =~ /$pattern/
		} keys %explained;
		ok($found, "the chapter explains: $text");
	}
}

my $node = PostgreSQL::Test::Cluster->new('operations');
$node->init;
# plans go by the statistics that the text collects
$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->start;
markdown_run($node, undef, @blocks);
$node->stop;
done_testing();
