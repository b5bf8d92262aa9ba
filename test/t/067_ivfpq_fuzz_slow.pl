# Damaged files of recsys_ivfpq; see IndexFuzz.pm.
use strict;
use warnings;

use IndexDamage;
use IndexFuzz;

# The disk format; see ivf_page.h, ivf_meta.h, ivf_directory.h.
use constant {
	META_REFINE => 12,
	META_DIRECTORY => 36,
	REFINE_NONE => 2,
	LIST_HEAD => 0,
	LIST_RUN_FIRST => 8,
	LIST_RUN_COUNT => 12,
	PAGE_NEXT => 0,
	PAGE_LIST_NUMBER => 4,
	PAGE_TAPES => 28,
	TAPES => 32,
	KIND_LIST => 4,
	KIND_TAPE => 5,
	NONE => 0xFFFFFFFF,
};

sub content
{
	my ($block, $at) = @_;
	return $block * BLOCK + CONTENT + $at;
}

# Offset of the first list in the directory.
sub first_list
{
	my ($file) = @_;
	return content(get($file, content(0, META_DIRECTORY), 'V'), 0);
}

sub has_tape
{
	my ($file) = @_;
	return get($file, content(0, META_REFINE), 'V') != REFINE_NONE;
}

sub list_is_directory
{
	my ($file) = @_;
	put($file, first_list($file) + LIST_HEAD, 'V', get($file, content(0, META_DIRECTORY), 'V'));
	return 'a list begins in the directory';
}

sub list_is_another
{
	my ($file) = @_;
	my ($other) = grep { get($file, content($_, PAGE_LIST_NUMBER), 'V') == 1 } blocks($file, KIND_LIST);
	put($file, first_list($file) + LIST_HEAD, 'V', $other);
	return "a list begins with page $other of another";
}

sub list_goes_round
{
	my ($file) = @_;
	put($file, content($_, PAGE_NEXT), 'V', $_) for blocks($file, KIND_LIST);
	return 'list pages are followed by themselves';
}

# The stream of pages ends before the list does.
sub run_ends_early
{
	my ($file) = @_;
	my $list = first_list($file);
	put($file, $list + LIST_RUN_FIRST, 'V', NONE);
	put($file, $list + LIST_RUN_COUNT, 'V', 5);
	put($file, $list + LIST_HEAD, 'V', NONE - 1);
	return 'a list begins at the last of all blocks';
}

# Each list page has the same block for its pages of the tape, or itself.
sub tapes_are
{
	my ($block) = @_;
	return sub {
		my ($file) = @_;
		return undef unless has_tape($file);
		for my $page (blocks($file, KIND_LIST))
		{
			put($file, content($page, PAGE_TAPES + 4 * $_), 'V', $block // $page) for 0 .. TAPES - 1;
		}
		return 'tape pages are ' . ($block // 'list pages');
	};
}

# A tape page where nothing leads to.
sub tape_left_over
{
	my ($file) = @_;
	my ($list) = blocks($file, KIND_LIST);
	my $end = length $file->{bytes};
	$file->{bytes} .= substr($file->{bytes}, $list * BLOCK, BLOCK);
	put($file, $end + TAG + 3, 'C', KIND_TAPE);
	put($file, $end + CONTENT, 'V', $list);
	put($file, $end + CONTENT + 4, 'V', NONE);
	return 'a tape page that nothing leads to';
}

fuzz_test('recsys_ivfpq', 'recsys.ivfpq_stats', 1500,
	[
		[ 'directory', \&list_is_directory ],
		[ 'another list', \&list_is_another ],
		[ 'circle', \&list_goes_round ],
		[ 'run', \&run_ends_early ],
		[ 'no tape', tapes_are(NONE) ],
		[ 'tape far away', tapes_are(0x7FFFFFFF) ],
		[ 'list page as tape', tapes_are(undef) ],
		[ 'leftover', \&tape_left_over ],
	],
	{ name => 'sq8', class => 'vector_l2_ops', operator => '<->', options => 'WITH (lists = 4)' },
	{ name => 'table', class => 'vector_ip_ops', operator => '<#>', options => 'WITH (lists = 4, refine = none)' },
	{ name => 'learned', class => 'vector_cosine_ops', operator => '<=>', options => 'WITH (lists = 3, refine = float16, rotation = learned)' });
