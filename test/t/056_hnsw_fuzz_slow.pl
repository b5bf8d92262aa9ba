# Damaged files of recsys_hnsw; see IndexFuzz.pm.
use strict;
use warnings;

use IndexDamage;
use IndexFuzz;

# The disk format at 16 dimensions and two filter columns; see hnsw_node.h,
# hnsw_meta.h.
use constant {
	NODE => 1160,
	SLOTS => 7,
	NODE_POSTING => 16,
	NODE_TIDS => 20,
	POSTING_NEXT => 4,
	META_METRIC => 4,
	META_KEY_FILL => 552,
	META_LONG_RUN => 2632,
	PAGE_NODES => 3,
	PAGE_LONG => 7,
	LONG_BLOCK => 1280,
	LONG_BLOCKS => 6,
	LONG_FACTORS => 32 + 1088,
	LONG_ADDRS => 32 + 1152,
	SLOT_NODE => 1,
	SLOT_POSTING => 3,
	NONE => 0xFFFFFFFF,
};

# [address, offset] of the slots of a kind.
sub slots
{
	my ($file, $kind) = @_;
	my @found;
	for my $block (blocks($file, PAGE_NODES))
	{
		for my $slot (0 .. SLOTS - 1)
		{
			my $offset = $block * BLOCK + CONTENT + $slot * NODE;
			push @found, [ $block * 8 + $slot, $offset ] if get($file, $offset, 'C') == $kind;
		}
	}
	return @found;
}

# The last posting of a chain is followed by its first.
sub postings_go_round
{
	my ($file) = @_;
	my %offset = map { $_->[0] => $_->[1] } slots($file, SLOT_POSTING);
	my ($node) = grep { get($file, $_->[1] + NODE_POSTING, 'V') != NONE } slots($file, SLOT_NODE);
	my $first = get($file, $node->[1] + NODE_POSTING, 'V');
	my ($last, $next) = ($first, $first);
	while ($next != NONE)
	{
		die "$next is no posting" unless $offset{$next};
		($last, $next) = ($next, get($file, $offset{$next} + POSTING_NEXT, 'V'));
	}
	put($file, $offset{$last} + POSTING_NEXT, 'V', $first);
	return "posting $last is followed by $first";
}

# The server takes this for a wish to extend the table.
sub row_nowhere
{
	my ($file) = @_;
	put($file, (slots($file, SLOT_NODE))[20][1] + NODE_TIDS, 'V', NONE);
	return 'a row in no block';
}

# A page of the long list where there is one, and there a number at each of its
# places, which are so many bytes long.
sub put_long
{
	my ($file, $at, $template, $value, $size) = @_;
	my @blocks = blocks($file, PAGE_LONG) or return 0;
	for my $place (0 .. 32 * LONG_BLOCKS - 1)
	{
		put($file, $blocks[0] * BLOCK + CONTENT + LONG_BLOCK * int($place / 32) + $at + $size * ($place % 32),
			$template, $value);
	}
	return "all have $value at $at of the long list";
}

sub long_live
{
	my ($file) = @_;
	my @blocks = blocks($file, PAGE_LONG) or return 0;
	put($file, $_ * BLOCK + CONTENT, 'a32', "\xFF" x 32) for @blocks;
	return 'all places of the long list are taken';
}

sub long_page
{
	my ($file) = @_;
	return 0 unless blocks($file, PAGE_LONG);
	put($file, CONTENT + META_LONG_RUN, 'V', 1);
	return 'the long list is elsewhere';
}

sub number
{
	my ($at, $value) = @_;
	return sub { put($_[0], CONTENT + $at, 'V', $value); return "number $at is $value" };
}

fuzz_test('recsys_hnsw', 'recsys.index_stats', 1000,
	[
		[ 'metric', number(META_METRIC, 77) ],
		[ 'keys far away', number(META_KEY_FILL, 0x7FFFFFFF) ],
		[ 'circle', \&postings_go_round ],
		[ 'no block', \&row_nowhere ],
		[ 'one node', sub { put_long($_[0], LONG_ADDRS, 'V', 9, 4) } ],
		[ 'nodes nowhere', sub { put_long($_[0], LONG_ADDRS, 'V', NONE - 1, 4) } ],
		[ 'no node', sub { put_long($_[0], LONG_ADDRS, 'V', NONE, 4) } ],
		[ 'no factor', sub { put_long($_[0], LONG_FACTORS, 'v', 0x7E00, 2) } ],
		[ 'endless factor', sub { put_long($_[0], LONG_FACTORS, 'v', 0x7C00, 2) } ],
		[ 'long places', \&long_live ],
		[ 'long page', \&long_page ],
	],
	{ name => 'l2', class => 'vector_l2_ops', operator => '<->', options => '' },
	{ name => 'ip', class => 'vector_ip_ops', operator => '<#>', options => '', rows => 1400 },
	{ name => 'cosine', class => 'vector_cosine_ops', operator => '<=>', options => '' });
