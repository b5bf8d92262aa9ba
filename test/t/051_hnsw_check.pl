# check_index finds damage: bytes of an index file are changed while the
# server is down, a file a fault.  On a standby it finds the same, and does not
# take the work of replay for damage.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IndexDamage;

# The disk format at 8 dimensions; see hnsw_node.h, hnsw_meta.h.  With one
# filter column a node is 1,160 bytes and has room for three rows.
use constant {
	NODE => 1148,
	ADDRS => 60,
	EDGES => 60 + 128,
	EDGE => 16 + 3 * 2,
	EDGE_T => 16,
	EDGE_LENGTH => 16 + 4,
	OWN => 1148 - 2 * 128,
	PAGE_ENTRY => 2,
	PAGE_NODES => 3,
	PAGE_KEYS => 4,
	PAGE_CODES => 5,
	PAGE_SUMMARIES => 6,
	PAGE_LONG => 7,
	META_KEYS => 544,
	META_LONG => 544 + 20 + 8 * 256,
	SUMMARY => 152,
	SUMMARY_SPREAD => 16,
	SUMMARY_RADIUS => 20,
	KEYED_NODE_KEYS => 48,
	KEYS => 56,
	KEY_ADDRS => 56 + 264,
	KEY_TIDS => 56 + 264 + 128,
	LONG_BLOCKS => 6,
	LONG_CODES => 32,
	LONG_LENGTHS => 32 + 1024,
	LONG_FACTORS => 32 + 1024 + 64,
	LONG_ADDRS => 32 + 1024 + 2 * 64,
	SLOT_FREE => 0,
	SLOT_NODE => 1,
	SLOT_POSTING => 3,
	NONE => 0xFFFFFFFF,
};

my $node = PostgreSQL::Test::Cluster->new('check');
$node->init(allows_streaming => 1);

# Damage must reach check_index, not the checksums that some versions have.
$node->append_conf('postgresql.conf',
	"ignore_checksum_failure = on\nautovacuum = off\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION recsys;
	CREATE TABLE t (id int, v vector(8));
	INSERT INTO t SELECT i, (SELECT array_agg(sin(i * (j + 0.37))::real ORDER BY j)
		FROM generate_series(1, 8) j)::vector FROM generate_series(1, 300) i;
	-- one vector whose rows take three postings
	INSERT INTO t SELECT i, '[1,2,3,4,5,6,7,8]' FROM generate_series(301, 900) i;
	-- enough rows for a long list
	CREATE TABLE l (v vector(8));
	INSERT INTO l SELECT (SELECT array_agg((1 + i % 50) * sin(i * (j + 0.37))::real ORDER BY j)
		FROM generate_series(1, 8) j)::vector FROM generate_series(1, 1200) i;
});

# ---- a file's slots

# [address, offset] of the slots of a kind, in order.
sub slots
{
	my ($file, $kind) = @_;
	my @found;
	for my $block (blocks($file, PAGE_NODES))
	{
		for my $slot (0 .. 6)
		{
			my $offset = $block * BLOCK + CONTENT + $slot * NODE;
			push @found, [ $block * 8 + $slot, $offset ]
			  if get($file, $offset, 'C') == $kind;
		}
	}
	return @found;
}

# Address as check_index prints it.
sub place
{
	my ($addr) = @_;
	return sprintf 'block %d slot %d', $addr >> 3, $addr & 7;
}

# The offset of the first used lane of a node after the first $skip of them.
sub edge
{
	my ($file, $offset, $skip) = @_;
	for my $lane (0 .. 31)
	{
		my $at = $offset + ADDRS + 4 * $lane;
		return $at if get($file, $at, 'V') != NONE && $skip-- == 0;
	}
	die 'no such edge';
}

sub chained_node
{
	my ($file) = @_;
	my ($node) = grep { get($file, $_->[1] + 16, 'V') != NONE }
	  slots($file, SLOT_NODE);
	return $node;
}

# Offset of entry 0, which begins with the address of its node.
sub entry
{
	my ($file) = @_;
	return (blocks($file, PAGE_ENTRY))[0] * BLOCK + CONTENT;
}

# Offset of the first page of the key tape, and what is at an offset in it.
sub tape
{
	my ($file, $at) = @_;
	return (blocks($file, PAGE_KEYS))[0] * BLOCK + CONTENT + ($at // 0);
}

# Offset of the first page of the long list, and what is at an offset in it.
sub long_list
{
	my ($file, $at) = @_;
	return (blocks($file, PAGE_LONG))[0] * BLOCK + CONTENT + ($at // 0);
}

# What check_index says of its first node, or another of the first block.
sub long_slot
{
	my ($file, $slot) = @_;
	return 'is corrupted at block ' . (blocks($file, PAGE_LONG))[0] . ' slot ' . ($slot // 0) . ': ';
}

# Put a number where the metapage tells of the long list.
sub put_long_meta
{
	my ($file, $at, $template, $value) = @_;
	put($file, CONTENT + META_LONG + $at, $template, $value);
	return;
}

# ---- the faults: name, damage, what the error says; those of the long list are of
# another table

my @faults = (
	[ 'page_magic', sub {
		my ($f) = @_;
		my $block = (blocks($f, PAGE_NODES))[2];
		put($f, $block * BLOCK + TAG, 'v', 0x1234);
		return "has a page of another kind at block $block";
	} ],
	[ 'page_kind', sub {
		my ($f) = @_;
		my $block = (blocks($f, PAGE_NODES))[2];
		put($f, $block * BLOCK + TAG + 3, 'C', 99);
		return "has a page of another kind at block $block";
	} ],
	[ 'page_lower', sub {
		my ($f) = @_;
		my $block = (blocks($f, PAGE_NODES))[2];
		put($f, $block * BLOCK + 12, 'v', CONTENT + 2 * NODE);
		return "block $block slot 2: it lies behind what is in use of its page";
	} ],
	[ 'page_version', sub {
		my ($f) = @_;
		my $block = (blocks($f, PAGE_NODES))[2];
		put($f, $block * BLOCK + TAG + 2, 'C', 200);
		return "has page format 200 at block $block, this version reads format 6";
	} ],
	[ 'page_zeros', sub {
		my ($f) = @_;
		my $block = (blocks($f, PAGE_NODES))[2];
		put($f, $block * BLOCK, 'a*', "\0" x BLOCK);
		return qr/edge \d+ leads to block $block slot \d, which is free/;
	} ],
	[ 'meta_magic', sub {
		my ($f) = @_;
		put($f, TAG, 'v', 0x1234);
		return 'has a page of another kind at block 0';
	} ],
	[ 'meta_dim', sub {
		my ($f) = @_;
		put($f, CONTENT, 'V', 9999);
		return 'has an invalid metapage';
	} ],
	[ 'meta_metric', sub {
		my ($f) = @_;
		put($f, CONTENT + 4, 'V', 2);
		return 'was built for metric 2, its operator class has metric 1';
	} ],
	[ 'meta_unit', sub {
		my ($f) = @_;
		put($f, CONTENT + 8, 'f<', -1);
		return 'has an invalid metapage: its unit is no positive number';
	} ],
	[ 'meta_entries', sub {
		my ($f) = @_;
		put($f, CONTENT + 20, 'V', 1000000);
		return 'has an invalid metapage';
	} ],
	[ 'slot_kind', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		put($f, $n->[1], 'C', 77);
		return "is corrupted at " . place($n->[0]) . ": it is of unknown kind 77";
	} ],
	[ 'slot_freed', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		put($f, $n->[1], 'C', SLOT_FREE);
		return qr/edge \d+ leads to ${\place($n->[0])}, which is free/;
	} ],
	[ 'node_rows', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		put($f, $n->[1] + 1, 'C', 7);
		return place($n->[0]) . ': it counts 7 heap rows of at most 6';
	} ],
	[ 'node_length', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		put($f, $n->[1] + 8, 'V', 0x7FC00000);
		return place($n->[0]) . ': its scale, length or error is no number';
	} ],
	[ 'edge_outside', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		put($f, edge($f, $n->[1], 0), 'V', 100000 * 8 + 3);
		return qr/${\place($n->[0])}: edge \d+ leads to block 100000 slot 3, which does not exist/;
	} ],
	[ 'edge_slot', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		my $other = (slots($f, SLOT_NODE))[30];
		put($f, edge($f, $n->[1], 0), 'V', ($other->[0] & ~7) + 7);
		return qr/${\place($n->[0])}: edge \d+ leads to block \d+ slot 7, which does not exist/;
	} ],
	[ 'edge_meta', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		put($f, edge($f, $n->[1], 0), 'V', 1);
		return qr/${\place($n->[0])}: edge \d+ leads to block 0 slot 1, which does not exist/;
	} ],
	[ 'edge_posting', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		my $p = (slots($f, SLOT_POSTING))[0];
		put($f, edge($f, $n->[1], 0), 'V', $p->[0]);
		return qr/${\place($n->[0])}: edge \d+ leads to ${\place($p->[0])}, which is a posting/;
	} ],
	[ 'edge_self', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		put($f, edge($f, $n->[1], 0), 'V', $n->[0]);
		return qr/${\place($n->[0])}: edge \d+ leads to the node itself/;
	} ],
	[ 'edge_twice', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		put($f, edge($f, $n->[1], 1), 'V', get($f, edge($f, $n->[1], 0), 'V'));
		return qr/${\place($n->[0])}: edges \d+ and \d+ lead to the same node/;
	} ],
	[ 'edge_factor', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		my $lane = (edge($f, $n->[1], 0) - $n->[1] - ADDRS) / 4;
		put($f, $n->[1] + EDGES + EDGE * $lane + EDGE_T, 'v', 0x7E00);
		return place($n->[0]) . ": a factor of edge $lane is no number";
	} ],
	[ 'edge_stale', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		my $lane = (edge($f, $n->[1], 0) - $n->[1] - ADDRS) / 4;
		my $at = $n->[1] + EDGES + EDGE * $lane + EDGE_LENGTH;
		put($f, $at, 'v', get($f, $at, 'v') + 1);
		return qr/${\place($n->[0])}: edge $lane was made for another node/;
	} ],
	[ 'key_in_node', sub {
		my ($f) = @_;
		my $block = (blocks($f, PAGE_NODES))[2];
		put($f, $block * BLOCK + CONTENT + KEYED_NODE_KEYS, 'V', 77);
		return "block $block slot 0: it holds other filter keys than heap row";
	} ],
	[ 'key_value', sub {
		my ($f) = @_;
		put($f, tape($f, KEYS + 3 * 8), 'V', 77);
		return 'the key tape holds other filter keys than its heap row';
	} ],
	[ 'key_null', sub {
		my ($f) = @_;
		put($f, tape($f, KEYS + 32 * 8), 'C', 4);
		return 'the key tape holds other filter keys than its heap row';
	} ],
	[ 'key_lost', sub {
		my ($f) = @_;
		put($f, tape($f), 'V', 0xFFFFFF7F);
		return 'the key tape lacks its heap row';
	} ],
	[ 'key_node', sub {
		my ($f) = @_;
		put($f, tape($f, KEY_ADDRS + 4 * 5), 'V', get($f, tape($f, KEY_ADDRS + 4 * 6), 'V'));
		return qr/the key tape has its heap row \(\d+,\d+\) in another node/;
	} ],
	[ 'key_outside', sub {
		my ($f) = @_;
		put($f, tape($f, KEY_ADDRS + 4 * 5), 'V', 100000 * 8);
		return 'slot 5: it leads to block 100000 slot 0, which does not exist';
	} ],
	[ 'key_twice', sub {
		my ($f) = @_;
		put($f, tape($f, KEY_TIDS + 6 * 7), 'a6',
			substr($f->{bytes}, tape($f, KEY_TIDS + 6 * 8), 6));
		return qr/it holds the filter keys of heap row \(\d+,\d+\), as does block \d+ slot [78]/;
	} ],
	[ 'key_row', sub {
		my ($f) = @_;
		put($f, tape($f, 4 * 13), 'V', 1);
		return 'slot 416: a page of filter keys has no such row';
	} ],
	[ 'key_page', sub {
		my ($f) = @_;
		put($f, CONTENT + META_KEYS + 20, 'V', 1);
		return 'block 1 slot 0: it is no page of filter keys';
	} ],
	[ 'key_code', sub {
		my ($f) = @_;
		my $at = (blocks($f, PAGE_CODES))[0] * BLOCK + CONTENT;
		put($f, $at, 'C', get($f, $at, 'C') ^ 1);
		return 'the key tape holds the code of another vector for its heap row';
	} ],
	[ 'key_code_page', sub {
		my ($f) = @_;
		my $block = (blocks($f, PAGE_CODES))[0];
		put($f, $block * BLOCK + TAG + 3, 'C', PAGE_KEYS);
		return "block $block slot 0: it is no page of codes";
	} ],
	[ 'key_summary', sub {
		my ($f) = @_;
		my $block = (blocks($f, PAGE_SUMMARIES))[0];
		put($f, $block * BLOCK + CONTENT + SUMMARY + SUMMARY_SPREAD, 'V', 0x7FC00000);
		return "block $block slot 1: the summary of unit 1 of the key tape is invalid";
	} ],
	[ 'key_summary_state', sub {
		my ($f) = @_;
		my $block = (blocks($f, PAGE_SUMMARIES))[0];
		put($f, $block * BLOCK + CONTENT, 'V', 7);
		return "block $block slot 0: the summary of unit 0 of the key tape is invalid";
	} ],
	[ 'key_summary_spread', sub {
		my ($f) = @_;
		my $block = (blocks($f, PAGE_SUMMARIES))[0];
		put($f, $block * BLOCK + CONTENT + SUMMARY + SUMMARY_SPREAD, 'f<', 1e6);
		return "block $block slot 1: the summary of unit 1 of the key tape contradicts itself";
	} ],
	[ 'key_summary_radius', sub {
		my ($f) = @_;
		my $block = (blocks($f, PAGE_SUMMARIES))[0];
		put($f, $block * BLOCK + CONTENT + SUMMARY * $_ + SUMMARY_RADIUS, 'V', 0)
		  foreach 0, 1;
		return qr/heap row \(\d+,\d+\) lies farther from the centroid of its unit than the summary claims/;
	} ],
	[ 'key_summary_page', sub {
		my ($f) = @_;
		my $block = (blocks($f, PAGE_SUMMARIES))[0];
		put($f, $block * BLOCK + TAG + 3, 'C', PAGE_KEYS);
		return "block $block slot 0: it is no page of summaries";
	} ],
	[ 'key_summaries', sub {
		my ($f) = @_;
		put($f, CONTENT + META_KEYS + 12, 'V', 4);
		return 'has an invalid metapage: it has more summaries than units of filter keys';
	} ],
	[ 'key_summaries_outside', sub {
		my ($f) = @_;
		put($f, CONTENT + META_KEYS + 16, 'V', 100000);
		return 'has an invalid metapage: a page of summaries does not exist';
	} ],
	[ 'key_fill', sub {
		my ($f) = @_;
		put($f, CONTENT + META_KEYS + 8, 'V', 1000);
		return 'has an invalid metapage: its page for filter keys does not exist';
	} ],
	[ 'posting_rows', sub {
		my ($f) = @_;
		my $p = (slots($f, SLOT_POSTING))[0];
		put($f, $p->[1] + 2, 'v', 5000);
		return qr/${\place($p->[0])}: it counts 5000 heap rows of at most 189/;
	} ],
	[ 'posting_cycle', sub {
		my ($f) = @_;
		my ($last) = grep { get($f, $_->[1] + 4, 'V') == NONE }
		  slots($f, SLOT_POSTING);
		my $first = get($f, chained_node($f)->[1] + 16, 'V');
		put($f, $last->[1] + 4, 'V', $first);
		return place($last->[0]) . ': it is followed by '
		  . place($first) . ', which follows another';
	} ],
	[ 'posting_lost', sub {
		my ($f) = @_;
		my $n = chained_node($f);
		put($f, $n->[1] + 16, 'V', NONE);
		return qr/lacks the row at \(\d+,\d+\) of table "t"/;
	} ],
	[ 'posting_wrong', sub {
		my ($f) = @_;
		my $n = chained_node($f);
		my $other = (slots($f, SLOT_NODE))[20];
		put($f, $n->[1] + 16, 'V', $other->[0]);
		return place($n->[0]) . ': it is followed by '
		  . place($other->[0]) . ', which is no posting';
	} ],
	[ 'posting_owner', sub {
		my ($f) = @_;
		my $n = chained_node($f);
		my $first = get($f, $n->[1] + 16, 'V');
		my ($p) = grep { $_->[0] == $first } slots($f, SLOT_POSTING);
		put($f, $p->[1] + 8, 'V', (slots($f, SLOT_NODE))[20][0]);
		return place($n->[0]) . ': it is followed by '
		  . place($first) . ', which belongs to another node';
	} ],
	[ 'row_missing', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		put($f, $n->[1] + 1, 'C', 0);
		return qr/lacks the row at \(\d+,\d+\) of table "t"/;
	} ],
	[ 'row_twice', sub {
		my ($f) = @_;
		my ($n, $m) = (slots($f, SLOT_NODE))[20, 21];
		put($f, $n->[1] + 24, 'a6', substr($f->{bytes}, $m->[1] + 24, 6));
		return qr/it holds heap row \(\d+,\d+\), as does block \d+ slot \d/;
	} ],
	[ 'row_outside', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		put($f, $n->[1] + 24, 'V', 9);    # block number, high half first
		return qr/${\place($n->[0])}: heap row \(589824,\d+\) does not exist/;
	} ],
	[ 'row_invalid', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		put($f, $n->[1] + 28, 'v', 0);
		return qr/${\place($n->[0])}: heap row \(\d+,0\) does not exist/;
	} ],
	[ 'vector_coarse', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		put($f, $n->[1] + OWN + 2, 'C', get($f, $n->[1] + OWN + 2, 'C') ^ 4);
		return qr/holds another vector than heap row|holds another vector/;
	} ],
	[ 'vector_fine', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		my $at = $n->[1] + OWN + 128 + 3;
		put($f, $at, 'C', get($f, $at, 'C') ^ 0x40);
		return qr/${\place($n->[0])}: it holds another vector than heap row/;
	} ],
	[ 'vector_error', sub {
		my ($f) = @_;
		my $n = (slots($f, SLOT_NODE))[20];
		put($f, $n->[1] + 12, 'f<', 5);
		return qr/${\place($n->[0])}: it holds another vector than heap row/;
	} ],
	[ 'entry_page', sub {
		my ($f) = @_;
		my $block = (blocks($f, PAGE_ENTRY))[0];
		put($f, $block * BLOCK + TAG, 'v', 0x1234);
		return "has a page of another kind at block $block";
	} ],
	[ 'entry_address', sub {
		my ($f) = @_;
		put($f, entry($f), 'V', 100000 * 8);
		return 'has an entry 0 to block 100000 slot 0, which does not exist';
	} ],
	[ 'entry_posting', sub {
		my ($f) = @_;
		my $p = (slots($f, SLOT_POSTING))[0];
		put($f, entry($f), 'V', $p->[0]);
		return 'has an entry 0 to ' . place($p->[0]) . ', which is a posting';
	} ],
	[ 'entry_vector', sub {
		my ($f) = @_;
		my ($n, $m) = (slots($f, SLOT_NODE))[20, 21];
		my $was = get($f, entry($f), 'V');
		my $other = $was == $n->[0] ? $m->[0] : $n->[0];
		put($f, entry($f), 'V', $other);
		return 'has an entry 0 to ' . place($other) . ', which holds another vector';
	} ],
	[ 'long_free', sub {
		my ($f) = @_;
		my $free = (slots($f, SLOT_FREE))[0][0];
		put($f, long_list($f, LONG_ADDRS), 'V', $free);
		return long_slot($f) . 'it has ' . place($free) . ' on the long list, which is no node';
	} ],
	[ 'long_outside', sub {
		my ($f) = @_;
		put($f, long_list($f, LONG_ADDRS), 'V', 100000 * 8 + 3);
		return long_slot($f) . 'it has block 100000 slot 3 on the long list, which is no node';
	} ],
	[ 'long_meta', sub {
		my ($f) = @_;
		put($f, long_list($f, LONG_ADDRS), 'V', 1);
		return long_slot($f) . 'it has block 0 slot 1 on the long list, which is no node';
	} ],
	[ 'long_entry', sub {
		my ($f) = @_;
		my $block = (blocks($f, PAGE_ENTRY))[0];
		put($f, long_list($f, LONG_ADDRS), 'V', $block * 8);
		return long_slot($f) . "it has block $block slot 0 on the long list, which is no node";
	} ],
	[ 'long_twice', sub {
		my ($f) = @_;
		my $addr = get($f, long_list($f, LONG_ADDRS), 'V');
		put($f, long_list($f, LONG_ADDRS + 4 * 20), 'V', $addr);
		return long_slot($f, 20) . 'it has ' . place($addr) . ' on the long list, which is there already';
	} ],
	[ 'long_other', sub {
		my ($f) = @_;
		my @at = map { long_list($f, LONG_ADDRS + 4 * $_) } 5, 6;
		my @addrs = map { get($f, $_, 'V') } @at;
		put($f, $at[0], 'V', $addrs[1]);
		put($f, $at[1], 'V', $addrs[0]);
		return long_slot($f, 5) . 'it has another code of ' . place($addrs[1]) . ' on the long list than its node';
	} ],
	[ 'long_code', sub {
		my ($f) = @_;
		# of two nodes a byte
		my $at = long_list($f, LONG_CODES + 16 * 63 + 3);
		put($f, $at, 'C', get($f, $at, 'C') ^ 0x10);
		return long_slot($f, 19) . 'it has another code of '
		  . place(get($f, long_list($f, LONG_ADDRS + 4 * 19), 'V')) . ' on the long list than its node';
	} ],
	[ 'long_length', sub {
		my ($f) = @_;
		my $at = long_list($f, LONG_LENGTHS + 2 * 31);
		put($f, $at, 'v', get($f, $at, 'v') ^ 1);
		return long_slot($f, 31) . 'it has another code of '
		  . place(get($f, long_list($f, LONG_ADDRS + 4 * 31), 'V')) . ' on the long list than its node';
	} ],
	[ 'long_factor', sub {
		my ($f) = @_;
		put($f, long_list($f, LONG_FACTORS), 'v', 0x7E00);
		return long_slot($f) . 'it has another code of '
		  . place(get($f, long_list($f, LONG_ADDRS), 'V')) . ' on the long list than its node';
	} ],
	[ 'long_place', sub {
		my ($f) = @_;
		put($f, long_list($f, 4 * LONG_BLOCKS), 'V', 2);
		return long_slot($f, LONG_BLOCKS * 32 + 1) . 'a page of the long list has no such place';
	} ],
	[ 'long_page', sub {
		my ($f) = @_;
		my $block = (blocks($f, PAGE_LONG))[1];
		put($f, $block * BLOCK + TAG + 3, 'C', PAGE_KEYS);
		return "block $block slot 0: it is no page of the long list";
	} ],
	[ 'long_run_nodes', sub {
		my ($f) = @_;
		my $block = (blocks($f, PAGE_NODES))[2];
		put_long_meta($f, 20, 'V', $block);
		return "block $block slot 0: it is no page of the long list";
	} ],
	[ 'long_run_meta', sub {
		my ($f) = @_;
		put_long_meta($f, 20, 'V', 0);
		return 'has an invalid metapage: a page of the long list does not exist';
	} ],
	[ 'long_run_outside', sub {
		my ($f) = @_;
		put_long_meta($f, 20, 'V', 100000);
		return 'has an invalid metapage: a page of the long list does not exist';
	} ],
	[ 'long_run_long', sub {
		my ($f) = @_;
		put_long_meta($f, 24, 'V', 0xFFFFFFFF);
		return 'has an invalid metapage: a page of the long list does not exist';
	} ],
	[ 'long_runs', sub {
		my ($f) = @_;
		put_long_meta($f, 0, 'V', 65);
		return 'has an invalid metapage: its number of runs of the long list is out of range';
	} ],
	[ 'long_sorted', sub {
		my ($f) = @_;
		put_long_meta($f, 4, 'V', 4);
		return 'has an invalid metapage: a page of the long list does not exist';
	} ],
	[ 'long_fill', sub {
		my ($f) = @_;
		put_long_meta($f, 8, 'V', 4);
		return 'has an invalid metapage: a page of the long list does not exist';
	} ],
	[ 'long_norm', sub {
		my ($f) = @_;
		put_long_meta($f, 12, 'V', 0x7FC00000);
		return 'has an invalid metapage: the length from which its long list begins is no number';
	} ],
	[ 'long_whole', sub {
		my ($f) = @_;
		put_long_meta($f, 16, 'f<', -1);
		return 'has an invalid metapage: the length from which its long list begins is no number';
	} ],
);

$node->safe_psql('postgres', join ';', map {
	"CREATE INDEX i_$_->[0] ON " . ($_->[0] =~ /^long/ ? 'l' : 't')
	  . ' USING recsys_hnsw (v' . ($_->[0] =~ /^key/ ? ', id)' : ')')
} @faults, ['whole'], ['islands']);
is( $node->safe_psql('postgres', "SELECT count(recsys.check_index(indexrelid)) FROM pg_index
		WHERE indrelid IN ('t'::regclass, 'l'::regclass)"),
	@faults + 2, 'all are whole at first');
is($node->safe_psql('postgres', q{SELECT nodes, long_nodes FROM recsys.index_stats('i_long_fill')}),
	'1200|554', 'a long list of three pages');

my $backup = 'standby';
$node->backup($backup);
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, $backup, has_streaming => 1);

my %path = map { $_->[0] => locate($node, "i_$_->[0]") } @faults, ['islands'];
$node->stop;
damage(\%path, @faults);

# One entry, and no edges but those of its node.
my $islands = load($path{islands});
my $kept = get($islands, entry($islands), 'V');
my $degree;
put($islands, CONTENT + 20, 'V', 1);
for my $island (slots($islands, SLOT_NODE))
{
	my $addrs = $island->[1] + ADDRS;
	if ($island->[0] == $kept)
	{
		$degree = grep { get($islands, $addrs + 4 * $_, 'V') != NONE } 0 .. 31;
	}
	else
	{
		put($islands, $addrs, 'a*', "\xFF" x 128);
	}
}
save($islands);
$node->start;

check_damage($node, @faults);
is(check($node, 'i_whole'), 'whole', 'an index left alone is whole');
$node->safe_psql('postgres', 'REINDEX INDEX i_edge_self');
is(check($node, 'i_edge_self'), 'whole', 'REINDEX repairs');

is( $node->safe_psql('postgres', q{
		SELECT nodes, entries, unreachable, no_incoming, round(average_degree * nodes)
		FROM recsys.index_stats('i_islands')}),
	join('|', 301, 1, 300 - $degree, 301 - $degree, $degree),
	'index_stats counts what cannot be reached');
is(check($node, 'i_islands'), 'whole', 'nodes out of reach are no damage');

# index_stats does not trip over damage that it need not look at
like(
	$node->safe_psql('postgres', q{SELECT rows, nodes FROM recsys.index_stats('i_edge_outside')}),
	qr/^900\|301$/, 'index_stats passes by an edge to nowhere');
my ($rc, $out, $err) =
  $node->psql('postgres', q{SELECT recsys.index_stats('i_slot_kind')});
like($err, qr/has a slot of unknown kind 77/, 'index_stats reports an unknown slot');

# A scan meets a posting that has gone to another node: of the 600 rows of the
# vector it returns the six that the node itself holds.
is( $node->safe_psql('postgres', q{
		SELECT recsys.index_recall('i_posting_owner',
			ARRAY['[1,2,3,4,5,6,7,8]']::vector[], 600)}),
	'0.01', "a scan does not follow another node's postings");

# Entries that cannot be read leave nothing behind in the backend's memory.
like(
	$node->safe_psql('postgres', q{
		DO $$
		BEGIN
			FOR i IN 1 .. 20 LOOP
				BEGIN
					PERFORM recsys.index_recall('i_entry_page', 1, 1);
					RAISE 'no error';
				EXCEPTION WHEN index_corrupted THEN
				END;
			END LOOP;
		END $$;
		SELECT sum(total_bytes) FROM pg_backend_memory_contexts
		WHERE name = 'index info' AND ident = 'i_entry_page'}),
	qr/^\d{1,5}$/, 'failed scans leave no memory in the relation cache');

# ---- a standby: its own copies are damaged, not the primary's

# Stop the standby with all replayed and written; returns an index's path.
sub stop_standby
{
	my ($index) = @_;
	$node->safe_psql('postgres', 'CHECKPOINT');
	$node->wait_for_catchup($standby);
	$standby->safe_psql('postgres', 'CHECKPOINT');
	my $path = locate($standby, $index);
	$standby->stop;
	return $path;
}

$standby->start;
$node->wait_for_catchup($standby);
is(check($standby, 'i_whole'), 'whole', 'a whole index on a standby');
is( $standby->safe_psql('postgres',
		q{SELECT rows, nodes, unreachable, recsys.index_recall('i_whole', 5, 20)
		  FROM recsys.index_stats('i_whole')}),
	'900|301|0|1', 'index_stats and index_recall on a standby');
my $path = stop_standby('i_whole');
my $copy = load($path);
my $lost = (slots($copy, SLOT_NODE))[20];
put($copy, $lost->[1] + 1, 'C', 0);
save($copy);
$standby->start;
like(check($standby, 'i_whole'),
	qr/^XX002: index "i_whole" lacks the row/, 'damage on a standby');
is(check($node, 'i_whole'), 'whole', 'the primary has none');

# An unlogged index has no contents there.
$node->safe_psql('postgres',
	'CREATE UNLOGGED TABLE u (v vector(2)); CREATE INDEX u_v ON u USING recsys_hnsw (v)');
$node->wait_for_catchup($standby);
like(check($standby, 'u_v'),
	qr/^0A000: unlogged index "u_v" has no contents on a standby/, 'unlogged');

# The same lost row, found while replay goes on: it may be no fault, and the
# error says so.  The index's expression waits until replay has moved.
$node->safe_psql('postgres', q{
	CREATE FUNCTION wait_for_replay(v vector) RETURNS vector
		IMMUTABLE LANGUAGE plpgsql AS $$
	DECLARE
		start pg_lsn := pg_last_wal_replay_lsn();
	BEGIN
		WHILE pg_is_in_recovery() AND pg_last_wal_replay_lsn() = start LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
		RETURN v;
	END $$;
	CREATE TABLE w AS SELECT * FROM t LIMIT 1;
	CREATE INDEX i_wait ON w USING recsys_hnsw (public.wait_for_replay(v))});
$path = stop_standby('i_wait');
$copy = load($path);
put($copy, (slots($copy, SLOT_NODE))[0][1] + 1, 'C', 0);
save($copy);
$standby->start;
my $output = '';
my $waiting = IPC::Run::start(
	[
		'psql', '-X', '-v', 'VERBOSITY=verbose', '-d',
		$standby->connstr('postgres'), '-c',
		"SELECT recsys.check_index('i_wait')"
	],
	'>', \$output, '2>&1');
# where replay has moved by itself, the check is over
$waiting->pump_nb
  until !$waiting->pumpable || $standby->safe_psql('postgres',
	q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'}) eq '1';
$node->safe_psql('postgres', 'CREATE TABLE moved ()');
$waiting->finish;
like($output,
	qr/ERROR:  55006: index "i_wait" cannot be checked while replay changes it/,
	'a fault found while replay goes on');

$standby->stop;
$node->stop;
done_testing();
