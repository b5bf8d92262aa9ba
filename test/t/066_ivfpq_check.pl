# check_index finds damage to an index of recsys_ivfpq, a file a fault, and
# takes what a crash leaves behind for none; VACUUM frees that.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IndexDamage;

# The disk format at 8 dimensions; see ivf_page.h, ivf_directory.h, ivf_meta.h,
# ivf_tape.h.
use constant {
	KIND_MODEL => 2,
	KIND_DIRECTORY => 3,
	KIND_LIST => 4,
	KIND_TAPE => 5,
	KIND_FREE => 6,
	ENTRY => 40 + 2 * 64,
	LISTS => 3,
	TAPES => 28,
	LIVE => 28 + 4 * 32,
	SLOTS => 256,
	SLOT_BLOCK => 16 * 16 + 2 * 64 + 32 * 6,
	RECORDS => 8,
	RECORD => 8 + 64,
	KEYS => 16 * 16 + 2 * 64 + 32 * 6,
	NONE => 0xFFFFFFFF,
};

my $node = PostgreSQL::Test::Cluster->new('check');
$node->init;

# Damage must reach check_index, not the checksums that some versions have.
$node->append_conf('postgresql.conf',
	"ignore_checksum_failure = on\nautovacuum = off\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION recsys;
	CREATE TABLE t (id int, v vector(8));
	INSERT INTO t SELECT i, (SELECT array_agg(sin(i * (j + 0.37))::real ORDER BY j)
		FROM generate_series(1, 8) j)::vector FROM generate_series(1, 3000) i;
});

# ---- where things are

sub entry
{
	my ($file, $list) = @_;
	return (blocks($file, KIND_DIRECTORY))[0] * BLOCK + CONTENT + $list * ENTRY;
}

# Content of a page.
sub content
{
	my ($block) = @_;
	return $block * BLOCK + CONTENT;
}

# The blocks of a list, from its head on; 3,000 rows fill five list pages at
# least, so the longest of three lists has two.
sub chain
{
	my ($file, $list) = @_;
	my @chain;
	for (my $block = get($file, entry($file, $list), 'V'); $block != NONE;
		$block = get($file, content($block), 'V'))
	{
		push @chain, $block;
	}
	return @chain;
}

sub long_list
{
	my ($file) = @_;
	my ($list) = sort { chain($file, $b) <=> chain($file, $a) } 0 .. LISTS - 1;
	return $list;
}

# Offset of a tape's record for a slot of the first page of the tape.
sub record
{
	my ($file, $block, $slot) = @_;
	my $tape = get($file, content($block) + TAPES, 'V');
	return content($tape) + RECORDS + $slot * RECORD;
}

# Offset of the TID of a slot below 32.
sub tid
{
	my ($block, $slot) = @_;
	return content($block) + SLOTS + 16 * 16 + 2 * 64 + 6 * $slot;
}

# The head, and the last page, of the longest list.
sub head { return (chain($_[0], long_list($_[0])))[0] }
sub tail { return (chain($_[0], long_list($_[0])))[-1] }

# Change a number at an offset from the content of a page.
sub poke
{
	my ($file, $block, $offset, $template, $value) = @_;
	put($file, content($block) + $offset, $template, $value);
	return;
}

# ---- the faults: name, damage, what the error says

my @faults = (
	[ 'page_magic', sub {
		my ($f) = @_;
		my $block = tail($f);
		put($f, $block * BLOCK + TAG, 'v', 0x1234);
		return "has a page of another kind at block $block";
	} ],
	[ 'page_kind', sub {
		my ($f) = @_;
		my $block = tail($f);
		put($f, $block * BLOCK + TAG + 3, 'C', 77);
		return "has a page of another kind at block $block";
	} ],
	[ 'page_version', sub {
		my ($f) = @_;
		my $block = (blocks($f, KIND_TAPE))[3];
		put($f, $block * BLOCK + TAG + 2, 'C', 200);
		return "has page format 200 at block $block, this version reads format 1";
	} ],
	[ 'page_zeros', sub {
		my ($f) = @_;
		my $block = tail($f);
		put($f, $block * BLOCK, 'a*', "\0" x BLOCK);
		return "it leads to block $block, which is no list page";
	} ],
	[ 'page_freed', sub {
		my ($f) = @_;
		my $block = head($f);
		put($f, $block * BLOCK + TAG + 3, 'C', KIND_FREE);
		return "it leads to block $block, which is no list page";
	} ],
	[ 'meta_magic', sub {
		my ($f) = @_;
		put($f, TAG, 'v', 0x1234);
		return 'has a page of another kind at block 0';
	} ],
	[ 'meta_dim', sub {
		my ($f) = @_;
		poke($f, 0, 0, 'V', 9999);
		return 'has an invalid metapage';
	} ],
	[ 'meta_metric', sub {
		my ($f) = @_;
		poke($f, 0, 4, 'V', 2);
		return 'was built for metric 2, its operator class has metric 1';
	} ],
	[ 'meta_lists', sub {
		my ($f) = @_;
		poke($f, 0, 16, 'V', 100000);
		return 'has an invalid metapage: its number of lists is out of range';
	} ],
	[ 'meta_model', sub {
		my ($f) = @_;
		poke($f, 0, 32, 'V', 100000);
		return 'has an invalid metapage: a page of the model does not exist';
	} ],
	[ 'meta_directory', sub {
		my ($f) = @_;
		poke($f, 0, 36, 'V', length($f->{bytes}) / BLOCK);
		return 'has an invalid metapage: a page of the directory does not exist';
	} ],
	[ 'model_number', sub {
		my ($f) = @_;
		my $block = (blocks($f, KIND_MODEL))[0];
		poke($f, $block, 2 * 64 + 10, 'v', 0x7E00);
		return "block $block slot 0: a number of the model is no number";
	} ],
	[ 'list_width', sub {
		my ($f) = @_;
		put($f, entry($f, 1) + 24, 'V', 0x7FC00000);
		return 'slot 1: the width of list 1 or its coordinate is no number';
	} ],
	[ 'list_centroid', sub {
		my ($f) = @_;
		my $at = entry($f, 2) + 40 + 2 * 5;
		put($f, $at, 'v', get($f, $at, 'v') ^ 0x0200);
		return 'slot 2: the centroid of list 2 does not have its length';
	} ],
	[ 'list_scale', sub {
		my ($f) = @_;
		put($f, entry($f, 2) + 28, 'f<', 0);
		return 'slot 2: the centroid of list 2 does not have its length';
	} ],
	[ 'list_head', sub {
		my ($f) = @_;
		put($f, entry($f, 1), 'V', 100000);
		return 'slot 1: it leads to block 100000, which is no list page';
	} ],
	[ 'list_seq', sub {
		my ($f) = @_;
		put($f, entry($f, 0) + 16, 'V', 0);
		return qr/slot 0: it leads to block \d+, page \d+ of list 0, where one of list 0 below 1 must be/;
	} ],
	[ 'list_insert', sub {
		my ($f) = @_;
		my $tape = (blocks($f, KIND_TAPE))[0];
		put($f, entry($f, 1) + 4, 'V', $tape);
		return "slot 1: inserts into list 1 begin at block $tape, which is not in it";
	} ],
	[ 'list_run', sub {
		my ($f) = @_;
		my $list = long_list($f);
		put($f, entry($f, $list) + 12, 'V', get($f, entry($f, $list) + 12, 'V') + 1);
		return qr/slot $list: list $list has \d+ pages from block \d+ on, where \d+ must be/;
	} ],
	[ 'chain_other', sub {
		my ($f) = @_;
		my $list = long_list($f);
		my $other = get($f, entry($f, ($list + 1) % LISTS), 'V');
		my $tail = tail($f);
		poke($f, $tail, 0, 'V', $other);
		return qr/block $tail slot 0: it leads to block $other, page \d+ of list \d+, where one of list $list below 1 must be/;
	} ],
	[ 'chain_cycle', sub {
		my ($f) = @_;
		my ($head, $tail) = (head($f), tail($f));
		poke($f, $tail, 0, 'V', $head);
		return qr/block $tail slot 0: it leads to block $head, page \d+ of list \d+, where one of list \d+ below 1 must be/;
	} ],
	[ 'chain_short', sub {
		my ($f) = @_;
		poke($f, head($f), 0, 'V', NONE);
		# the run is not whole either
		return qr/has \d+ pages from block \d+ on/;
	} ],
	[ 'chain_lost', sub {
		my ($f) = @_;
		my $list = long_list($f);
		put($f, entry($f, $list), 'V', NONE);
		put($f, entry($f, $list) + 12, 'V', 0);
		return qr/lacks the row at \(\d+,\d+\) of table "t"/;
	} ],
	[ 'page_list', sub {
		my ($f) = @_;
		my $tail = tail($f);
		poke($f, $tail, 4, 'V', 77);
		return qr/it leads to block $tail, page 1 of list 77/;
	} ],
	[ 'page_slots', sub {
		my ($f) = @_;
		my $tail = tail($f);
		poke($f, $tail, 12, 'v', 417);
		return "block $tail slot 417: it is used, but a page has 416 slots";
	} ],
	[ 'page_live', sub {
		my ($f) = @_;
		my $tail = tail($f);
		poke($f, $tail, LIVE + 4 * 13, 'V', 8);
		return "block $tail slot 419: it holds a row, but 416 slots are used";
	} ],
	[ 'page_rows', sub {
		my ($f) = @_;
		my $tail = tail($f);
		poke($f, $tail, 14, 'v', 415);
		return "block $tail slot 0: it counts 415 rows on its page, but there are 416";
	} ],
	[ 'page_unit', sub {
		my ($f) = @_;
		my $tail = tail($f);
		poke($f, $tail, 20, 'f<', 0);
		return "block $tail slot 0: the unit or width of its page is no number";
	} ],
	[ 'slot_factor', sub {
		my ($f) = @_;
		my $tail = tail($f);
		poke($f, $tail, SLOTS + 16 * 16 + 2 * 9, 'v', 0x7C00);
		return "block $tail slot 9: a factor of its code is no number";
	} ],
	[ 'tape_none', sub {
		my ($f) = @_;
		my $tail = tail($f);
		poke($f, $tail, TAPES, 'V', NONE);
		return "block $tail slot 0: it has no record on the tape";
	} ],
	[ 'tape_swapped', sub {
		my ($f) = @_;
		my $tail = tail($f);
		my $other = get($f, content($tail) + TAPES + 4, 'V');
		poke($f, $tail, TAPES, 'V', $other);
		return "block $tail slot 0: block $other is not its page of the tape";
	} ],
	[ 'tape_owner', sub {
		my ($f) = @_;
		my $tail = tail($f);
		my $tape = get($f, content($tail) + TAPES + 4, 'V');
		poke($f, $tape, 0, 'V', head($f));
		return "block $tail slot 113: block $tape is not its page of the tape";
	} ],
	[ 'record_scale', sub {
		my ($f) = @_;
		my $tail = tail($f);
		put($f, record($f, $tail, 7), 'V', 0x7FC00000);
		return "block $tail slot 7: its record on the tape is no number";
	} ],
	[ 'record_digit', sub {
		my ($f) = @_;
		my $tail = tail($f);
		my $at = record($f, $tail, 7) + 8 + 20;
		put($f, $at, 'C', get($f, $at, 'C') ^ 0x08);
		return qr/block $tail slot 7: it holds another vector than heap row/;
	} ],
	[ 'record_error', sub {
		my ($f) = @_;
		my $tail = tail($f);
		put($f, record($f, $tail, 7) + 4, 'v', 0x7000);
		return qr/block $tail slot 7: it holds another vector than heap row/;
	} ],
	[ 'code', sub {
		my ($f) = @_;
		my $tail = tail($f);
		my $at = content($tail) + SLOTS + 3 * 16 + 7;
		put($f, $at, 'C', get($f, $at, 'C') ^ 0x05);
		return qr/block $tail slot 7: it holds another vector than heap row/;
	} ],
	[ 'code_t', sub {
		my ($f) = @_;
		my $tail = tail($f);
		my $at = content($tail) + SLOTS + 16 * 16 + 2 * 7;
		put($f, $at, 'v', get($f, $at, 'v') + 8);
		return qr/block $tail slot 7: it holds another vector than heap row/;
	} ],
	[ 'code_f', sub {
		my ($f) = @_;
		my $tail = tail($f);
		my $at = content($tail) + SLOTS + 16 * 16 + 64 + 2 * 7;
		put($f, $at, 'v', get($f, $at, 'v') - 8);
		return qr/block $tail slot 7: it holds another vector than heap row/;
	} ],
	[ 'key_value', sub {
		my ($f) = @_;
		poke($f, tail($f), SLOTS + KEYS + 3 * 8, 'V', 77);
		return qr/slot 3: it holds other filter keys than heap row/;
	} ],
	[ 'key_null', sub {
		my ($f) = @_;
		poke($f, tail($f), SLOTS + KEYS + 32 * 8, 'C', 4);
		return qr/slot 2: it holds other filter keys than heap row/;
	} ],
	[ 'row_missing', sub {
		my ($f) = @_;
		my $tail = tail($f);
		poke($f, $tail, LIVE, 'V', 0xFFFFFF7F);
		poke($f, $tail, 14, 'v', 415);
		return qr/lacks the row at \(\d+,\d+\) of table "t"/;
	} ],
	[ 'row_twice', sub {
		my ($f) = @_;
		my $tail = tail($f);
		put($f, tid($tail, 7), 'a6', substr($f->{bytes}, tid($tail, 8), 6));
		return qr/it holds heap row \(\d+,\d+\), as does block $tail slot [78]/;
	} ],
	[ 'row_outside', sub {
		my ($f) = @_;
		my $tail = tail($f);
		put($f, tid($tail, 7), 'V', 9);    # block number, high half first
		return qr/block $tail slot 7: heap row \(589824,\d+\) does not exist/;
	} ],
	[ 'row_invalid', sub {
		my ($f) = @_;
		my $tail = tail($f);
		put($f, tid($tail, 7) + 4, 'v', 0);
		return qr/block $tail slot 7: heap row \(\d+,0\) does not exist/;
	} ],
);

$node->safe_psql('postgres', join ';', map {
	my $columns = $_->[0] =~ /^key/ ? 'v, id' : 'v';
	"CREATE INDEX i_$_->[0] ON t USING recsys_ivfpq ($columns) WITH (lists = " . LISTS . ')'
} @faults, ['whole']);
is( $node->safe_psql('postgres',
		"SELECT count(recsys.check_index(indexrelid)) FROM pg_index WHERE indrelid = 't'::regclass"),
	@faults + 1, 'all are whole at first');
my %path = map { $_->[0] => locate($node, "i_$_->[0]") } @faults;
$node->stop;
damage(\%path, @faults);
$node->start;
check_damage($node, @faults);
is(check($node, 'i_whole'), 'whole', 'an index left alone is whole');
$node->safe_psql('postgres', 'REINDEX INDEX i_chain_cycle');
is(check($node, 'i_chain_cycle'), 'whole', 'REINDEX repairs');

# ivfpq_stats does not trip over damage that it need not look at
is( $node->safe_psql('postgres', q{SELECT rows, lists FROM recsys.ivfpq_stats('i_chain_lost')}),
	'3000|3', 'ivfpq_stats passes by a lost chain');
my ($rc, $out, $err) =
  $node->psql('postgres', q{SELECT recsys.ivfpq_stats('i_page_list')});
like($err, qr/has a page of list 77 of 3 at block/,
	'ivfpq_stats reports a list that does not exist');

# VACUUM does not go astray
$node->safe_psql('postgres', 'DELETE FROM t WHERE id = 5');
$node->safe_psql('postgres', join '; ',
	map { "DROP INDEX i_$_->[0]" } grep { $_->[0] ne 'chain_other' } @faults);
($rc, $out, $err) = $node->psql('postgres', 'VACUUM t');
like($err, qr/index "i_chain_other" has a page out of place in list \d at block \d+/,
	'VACUUM reports a chain that leads astray');
$node->safe_psql('postgres', 'DROP INDEX i_chain_other');

# ---- the directory after VACUUM

# Entries of the directory: head, insert, seq, nrows, width2.
sub entries
{
	my ($file) = @_;
	return map {
		my $at = entry($file, $_);
		{
			head => get($file, $at, 'V'),
			insert => get($file, $at + 4, 'V'),
			run => get($file, $at + 12, 'V'),
			seq => get($file, $at + 16, 'V'),
			nrows => get($file, $at + 20, 'V'),
			width2 => get($file, $at + 24, 'f<'),
		}
	} 0 .. LISTS - 1;
}

# The same from the list pages: rows, mean of their widths, first page with
# free slots behind the head.
sub counted
{
	my ($file, $list) = @_;
	my ($rows, $sum, $insert, @chain) = (0, 0, NONE, chain($file, $list));
	for my $block (@chain)
	{
		my $live = get($file, content($block) + 14, 'v');
		return 'uncounted' if get($file, content($block) + 16, 'v') != $live;
		$rows += $live;
		$sum += $live * get($file, content($block) + 24, 'f<');
		$insert = $block if $insert == NONE && $block != $chain[0] && $live < 416;
	}
	return { nrows => $rows, width2 => $sum / $rows, insert => $insert };
}

# The file of an index after a clean stop; the server is started again.
sub file_of
{
	my ($index) = @_;
	my $path = locate($node, $index);
	$node->stop;
	my $file = load($path);
	$node->start;
	return $file;
}

my @before = entries(file_of('i_whole'));
$node->safe_psql('postgres', q{
	INSERT INTO t SELECT id + 3000, v FROM t WHERE id <= 1500;
	DELETE FROM t WHERE id % 3 = 1 AND id <= 3000; VACUUM t});
my $file = file_of('i_whole');
my @after = entries($file);
for my $list (0 .. LISTS - 1)
{
	my $counted = counted($file, $list);
	is($after[$list]{nrows}, $counted->{nrows}, "rows of list $list");
	cmp_ok(abs($after[$list]{width2} / $counted->{width2} - 1), '<', 1e-5, "width of list $list");
	is($after[$list]{insert}, $counted->{insert}, "where inserts into list $list begin");
	cmp_ok($after[$list]{seq}, '>=', $before[$list]{seq}, "seq of list $list does not decrease");
}
$node->safe_psql('postgres', 'DELETE FROM t; VACUUM t');
@after = entries(file_of('i_whole'));
is( join(' ', map { "$_->{head} $_->{insert} $_->{run} $_->{nrows}" } @after),
	join(' ', ("@{[NONE]} @{[NONE]} 0 0") x LISTS),
	'entries of empty lists');
cmp_ok($after[$_]{seq}, '>=', $before[$_]{seq}, "seq of list $_, empty") for 0 .. LISTS - 1;

# ---- what a crash leaves behind

sub stats
{
	return $node->safe_psql('postgres',
		q{SELECT rows, list_pages, tape_pages, free_pages FROM recsys.ivfpq_stats('i_whole')});
}

# Pages that were freed are what they were again, and in no chain: so it is if
# a crash comes between making and linking them.  And pages of zeros.
$node->safe_psql('postgres', q{
	INSERT INTO t SELECT i, (SELECT array_agg(sin(i * (j + 0.37))::real ORDER BY j)
		FROM generate_series(1, 8) j)::vector FROM generate_series(1, 100) i});
my $clean = stats();
my ($clean_free) = $clean =~ /\|(\d+)$/;
my $path = locate($node, 'i_whole');
$node->stop;
$file = load($path);
my @free = blocks($file, KIND_FREE);
my ($list_pages, $tape_pages) = (0, 0);
for my $block (@free)
{
	# the content of a free page stays: a tape page begins with its owner, and
	# its slots are a multiple of 113
	my ($first, $second) = (get($file, content($block), 'V'), get($file, content($block) + 4, 'V'));
	my $is_tape = $first < length($file->{bytes}) / BLOCK && $second % 113 == 0
	  && ($second > 0 || get($file, content($block) + 8, 'V') > 1000);
	put($file, $block * BLOCK + TAG + 3, 'C', $is_tape ? KIND_TAPE : KIND_LIST);
	$is_tape ? $tape_pages++ : $list_pages++;
}
cmp_ok($list_pages, '>', 2, 'list pages left over');
cmp_ok($tape_pages, '>', 10, 'tape pages left over');
$file->{bytes} .= "\0" x (3 * BLOCK);
save($file);
$node->start;
is(check($node, 'i_whole'), 'whole', 'left over pages are no damage');
$node->safe_psql('postgres', 'DELETE FROM t WHERE id = 7; VACUUM t');
my ($freed) = stats() =~ /\|(\d+)$/;
is($freed, $clean_free + 3, 'VACUUM frees them');
is(check($node, 'i_whole'), 'whole', 'whole then');
my $size = -s $path;
$node->safe_psql('postgres', q{
	INSERT INTO t SELECT i, (SELECT array_agg(sin(i * (j + 0.37))::real ORDER BY j)
		FROM generate_series(1, 8) j)::vector FROM generate_series(1, 3000) i;
	CHECKPOINT});
is(-s $path, $size, 'inserts take them');
is(check($node, 'i_whole'), 'whole', 'whole in the end');

$node->stop;
done_testing();
