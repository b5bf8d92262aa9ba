# The test of damaged index files that the access methods share: whatever is in
# the pages of an index, the server does not crash, no statement loops, and what
# is found to be damaged is an error that says so.
#
# An index and its table are made once.  In each round the server is stopped,
# copies of their files are put in the place of many tables, each with other
# damage to its index, and the server is started.  Then all that an index can be
# asked for is done with each of them.  Damage follows from its number alone, so
# that one that fails can be repeated: RECSYS_FUZZ_FIRST is the first number,
# RECSYS_FUZZ_DAMAGES how many.
#
# What cannot be promised.  Pages have no checksums of their own.  Where a TID or
# a count is damaged so that another row of the table stands in its place, a scan
# gives that row, maybe for the second time, and lacks the right one.  A condition
# on hashed keys or tags is checked on the row itself, but one on ordered keys is
# not, so a damaged key of these may give a row that does not satisfy it.  Such
# rows are allowed here, as many as lie on the damaged pages, if check_index finds
# the damage: an index that it calls whole must give what the table gives.
package IndexFuzz;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IndexDamage;
use IndexTest;

our @EXPORT = qw(fuzz_test);

my $first = $ENV{RECSYS_FUZZ_FIRST} || 1;
my $damages = $ENV{RECSYS_FUZZ_DAMAGES} || 48;
my $tables = 40;

# What damage may be reported as: by us, by the server that reads the page, by the
# executor that compares our bound with the true distance, and where the metapage
# has other dimensions that could be.
my $allowed = qr/^(?:XX001|XX002|XX000: index returned tuples in wrong order|22000: expected \d+ dimensions, not 16)/;

# Rows that the pages of one damage may hold: two pages of keys.
my $most_twice = 1000;

my $node;

# ---- damage, by random numbers

# A place in a file: often in the metapage, often where a page has its counts.
sub place
{
	my ($size) = @_;
	my $block = rand() < 0.2 ? 0 : int rand($size / BLOCK);
	my $where = rand();
	my $offset = $where < 0.5 ? CONTENT + int rand 300
	  : $where < 0.95 ? CONTENT + int rand(BLOCK - CONTENT)
	  : int rand CONTENT;
	return $block * BLOCK + $offset;
}

sub damage_bytes
{
	my ($bytes) = @_;
	my @at = map { place(length $$bytes) } 0 .. rand 8;
	substr($$bytes, $_, 1) = chr int rand 256 for @at;
	return 'bytes at ' . join(' ', @at);
}

# Numbers that an index may have in other places of it.
sub damage_numbers
{
	my ($bytes) = @_;
	my @said;
	for (0 .. rand 4)
	{
		my $at = place(length $$bytes) & ~3;
		my $dice = rand();
		my $value = $dice < 0.1 ? 0 : $dice < 0.25 ? 0xFFFFFFFF
		  : $dice < 0.35 ? int rand 10
		  : $dice < 0.5 ? int rand(2 * length($$bytes) / BLOCK)
		  : $dice < 0.9 ? unpack('V', substr($$bytes, place(length $$bytes) & ~3, 4))
		  : int rand 0xFFFFFFFF;
		substr($$bytes, $at, 4) = pack 'V', $value;
		push @said, "$at=$value";
	}
	return 'numbers ' . join(' ', @said);
}

sub damage_run
{
	my ($bytes) = @_;
	my $at = place(length $$bytes);
	my $length = 4 + int rand(rand() < 0.5 ? 32 : 800);
	my $value = rand() < 0.5 ? 0 : 255;
	$length = length($$bytes) - $at if $at + $length > length $$bytes;
	substr($$bytes, $at, $length) = chr($value) x $length;
	return "$length bytes $value at $at";
}

sub damage_swap
{
	my ($bytes) = @_;
	my ($a, $b) = map { int rand(length($$bytes) / BLOCK) } 1, 2;
	my $page = substr($$bytes, $a * BLOCK, BLOCK);
	substr($$bytes, $a * BLOCK, BLOCK) = substr($$bytes, $b * BLOCK, BLOCK);
	substr($$bytes, $b * BLOCK, BLOCK) = $page;
	return "pages $a and $b swapped";
}

sub damage_truncate
{
	my ($bytes) = @_;
	my $pages = 1 + int rand 2;
	$$bytes = substr($$bytes, 0, -$pages * BLOCK);
	return "$pages pages shorter";
}

sub damage_older
{
	my ($bytes, $old) = @_;
	my $block = rand() < 0.2 ? 0 : int rand(length($old) / BLOCK);
	substr($$bytes, $block * BLOCK, BLOCK) = substr($old, $block * BLOCK, BLOCK);
	return "older page $block";
}

# Damage number $n of a file; returns what it is.
sub damage_file
{
	my ($n, $file, $variant) = @_;
	srand($n);
	my $dice = rand();
	my $damage = $dice < 0.25 ? \&damage_bytes : $dice < 0.6 ? \&damage_numbers
	  : $dice < 0.75 ? \&damage_run : $dice < 0.83 ? \&damage_swap
	  : $dice < 0.86 ? \&damage_truncate : \&damage_older;
	return $damage->(\$file->{bytes}, $variant->{old});
}

# ---- reads

# Reads: name, condition, rows; undef for all of them.
my @reads = (
	[ 'best 10', 'true', 10 ],
	[ 'best 1000', 'true', 1000 ],
	[ 'all', 'true', undef ],
	[ 'best 10 of most', 'num < 9', 10 ],
	[ 'best 10 of a word', "word = 'w3'", 10 ],
	[ 'all of a word', "word = 'w3'", undef ],
	[ 'all of two words and numbers', "word IN ('w1', 'w2') AND num BETWEEN 3 AND 5", undef ],
	[ 'all without a number', 'num IS NULL', undef ]);

# The condition on the word holds for all rows, since it is checked on them.
sub read_sql
{
	my ($name, $variant, $table) = @_;
	my ($read) = grep { $_->[0] eq $name } @reads;
	my $limit = defined $read->[2] ? "LIMIT $read->[2]" : '';
	my ($word) = $read->[1] =~ /(word (?:= '\w+'|IN \([^)]*\)))/;
	$word //= 'true';
	return "SELECT 'read', '$name', count(*), count(*) - count(DISTINCT id), count(*) FILTER (WHERE NOT ($word))
		FROM (SELECT id, word FROM $table WHERE $read->[1] ORDER BY v $variant->{operator} (SELECT noise(77, 16)) $limit) s";
}

# ---- the index, and the tables that take its place

sub forks
{
	my ($path) = @_;
	return ($path, $path . '_fsm', $path . '_vm');
}

sub read_forks
{
	my ($path) = @_;
	return [ map { -e $_ ? slurp_file($_) : undef } forks($path) ];
}

sub write_forks
{
	my ($path, $contents) = @_;
	my @files = forks($path);
	for my $i (0 .. $#files)
	{
		unlink $files[$i];
		next unless defined $contents->[$i];
		open my $fh, '>:raw', $files[$i] or die "$files[$i]: $!";
		print $fh $contents->[$i];
		close $fh or die $!;
	}
	return;
}

# Rows of all kinds: single vectors, pairs, and one vector that hundreds have.
sub rows_sql
{
	my ($table, $from, $to) = @_;
	return "INSERT INTO $table SELECT i, CASE WHEN i % 4 = 1 THEN noise(0, 16)
			WHEN i % 4 = 2 THEN noise(i - 1, 16) ELSE noise(i, 16) END,
		CASE WHEN i % 11 > 0 THEN i % 10 END, 'w' || i % 7 FROM generate_series(1 + $from, $to) i";
}

sub table_sql
{
	my ($am, $variant, $name) = @_;
	return "CREATE TABLE t_$name (id int, v vector(16), num int, word text);
		CREATE INDEX i_$name ON t_$name USING $am (v $variant->{class}, num, word) $variant->{options}";
}

# Make the index of a variant, and keep its files as they are after the build and
# as they are after deletions, VACUUM and inserts.  All rows are frozen, so that
# their files can be put back at any later time.
sub make_original
{
	my ($am, $variant) = @_;
	my $name = $variant->{name};
	my ($create, $index) = split /;/, table_sql($am, $variant, $name);
	$node->safe_psql('postgres', "$create; " . rows_sql("t_$name", 0, $variant->{rows}) . "; $index; VACUUM FREEZE t_$name; CHECKPOINT");
	$variant->{old} = slurp_file(locate($node, "i_$name"));
	$node->safe_psql('postgres', "DELETE FROM t_$name WHERE id % 5 = 3; VACUUM t_$name; " . rows_sql("t_$name", $variant->{rows}, 1.2 * $variant->{rows})
		. "; DELETE FROM t_$name WHERE id % 50 = 7");
	$node->safe_psql('postgres', "VACUUM (FREEZE, INDEX_CLEANUP ON) t_$name");
	check_passes($node, "i_$name", $name);
	for my $read (map { $_->[0] } @reads)
	{
		$variant->{truth}{"read $read"} = $node->safe_psql('postgres',
			'SET enable_indexscan = off; ' . read_sql($read, $variant, "t_$name"));
	}
	my ($t, $i) = (locate($node, "t_$name"), locate($node, "i_$name"));
	$node->stop;
	($variant->{heap}, $variant->{index}) = (read_forks($t), read_forks($i));
	$node->start;
	return;
}

# ---- what is done with an index

sub statements
{
	my ($variant, $name) = @_;
	my $table = "t_$name";
	my @all_reads = map { [ "read $_->[0]", read_sql($_->[0], $variant, $table) ] } @reads;
	return (
		@all_reads,
		[ 'read sizes', "SELECT 'sizes', pg_relation_size('$table'), pg_relation_size('i_$name')" ],
		[ 'check', "SELECT 'whole' FROM (SELECT recsys.check_index('i_$name')) s" ],
		[ 'stats', "SELECT 'stats' FROM $variant->{stats}('i_$name')" ],
		[ 'recall', "SELECT 'recall' FROM recsys.index_recall('i_$name', 10, 3)" ],
		[ 'insert', rows_sql($table, 5000, 5020) ],
		[ 'delete', "DELETE FROM $table WHERE id % 19 = 1" ],
		[ 'vacuum', "VACUUM (INDEX_CLEANUP ON) $table" ],
		[ 'insert again', rows_sql($table, 5020, 5060) ],
		[ 'insert of a known vector', "INSERT INTO $table SELECT i, noise(0, 16), 3, 'w3' FROM generate_series(6001, 6020) i" ],
		(map { [ "$_->[0] later", $_->[1] ] } @all_reads[2, 3, 5]),
		[ 'check again', "SELECT 'whole' FROM (SELECT recsys.check_index('i_$name')) s" ],
		[ 'vacuum again', "DELETE FROM $table WHERE id % 4 = 1; VACUUM (INDEX_CLEANUP ON) $table" ]);
}

# Run statements, each by itself: [name, its row or error] of each.  The end
# where the server crashes, or a statement hangs.
sub run_statements
{
	my ($what, @statements) = @_;
	my $script = "\\set VERBOSITY verbose\nSET statement_timeout = '30s';\n"
	  . "SET enable_seqscan = off;\nSET enable_sort = off;\nSET client_min_messages = error;\n";
	$script .= "\\warn op: $_->[0]\n\\echo op: $_->[0]\n$_->[1];\n" for @statements;
	my ($out, $err, $timed_out) = ('', '', 0);
	my $rc = $node->psql('postgres', $script, on_error_stop => 0,
		stdout => \$out, stderr => \$err, timeout => 300, timed_out => \$timed_out);
	my ($last) = $err =~ /.*^op: (.*?)$/ms;
	BAIL_OUT("$what: $last hangs") if $timed_out;
	BAIL_OUT("$what: $last has crashed the server") if $rc == 2;
	my (%said, $op);
	for (split /\n/, "$out\n$err")
	{
		$op = $1, next if /^op: (.*)/;
		$said{$op} = $1 if /(?:ERROR|FATAL):  (.*)/;
		$said{$op} //= $_ if /^(?:read|sizes|whole|stats|recall)/;
	}
	return map { [ $_->[0], $said{ $_->[0] } // '' ] } @statements;
}

# What is wrong with an answer, if anything is.  $truth is what it must be, where
# that is known.
sub objection
{
	my ($said, $truth) = @_;
	return $said eq $truth ? undef : "$said, not $truth" if defined $truth;
	return undef if $said eq '' || $said =~ /^(?:whole|stats|recall)/ || $said =~ $allowed;
	if ($said =~ /^read\|[^|]*\|(\d+)\|(\d+)\|(\d+)$/)
	{
		return "$3 rows do not satisfy the condition" if $3 > 0;
		return "$2 of $1 rows twice" if $2 > $most_twice;
		return undef;
	}
	return $said;
}

# ---- rounds

# All damage: [variant, what it is, a sub as those of aimed damage].  Aimed ones
# first, then those by numbers, which go round the variants.
sub all_damage
{
	my ($aimed, @variants) = @_;
	my @damage;
	for my $aim (@$aimed)
	{
		for my $variant (@variants)
		{
			push @damage, [ $variant, @$aim ];
		}
	}
	for my $n ($first .. $first + $damages - 1)
	{
		push @damage, [ $variants[ $n % @variants ], "damage $n", sub { damage_file($n, @_) } ];
	}
	return @damage;
}

# Put damaged copies in the place of as many tables as there are of a variant;
# what is left of @$damage waits.  Returns [table, damage, size of its file].
sub damage_round
{
	my ($damage, @tables) = @_;
	my (@placed, @left);
	$node->stop;
	for (@$damage)
	{
		my ($variant, $what, $damage) = @$_;
		my ($table) = grep { !$_->{taken} && $_->{variant} == $variant } @tables;
		push(@left, $_), next if !$table;
		my $file = { bytes => $variant->{index}[0] };
		my $said = $damage->($file, $variant) or next;
		$table->{taken} = 1;
		write_forks($table->{heap}, $variant->{heap});
		write_forks($table->{index}, [ $file->{bytes}, @{ $variant->{index} }[ 1, 2 ] ]);
		push @placed, [ $table, "$what, $variant->{name}: $said", length $file->{bytes} ];
	}
	$_->{taken} = 0 for @tables;
	@$damage = @left;
	$node->start;
	return @placed;
}

# Count: errors of each statement, and damage that check_index finds.  What
# check_index calls whole must give what the table gives.
sub run_round
{
	my ($counts, @placed) = @_;
	my @bad;
	for (@placed)
	{
		my ($table, $what, $size) = @$_;
		my $variant = $table->{variant};
		my @answers = run_statements($what, statements($variant, $table->{name}));
		my ($check) = map { $_->[1] } grep { $_->[0] eq 'check' } @answers;
		my %truth = ('read sizes' => 'sizes|' . length($variant->{heap}[0]) . "|$size",
			$check eq 'whole' ? %{ $variant->{truth} } : ());
		for (@answers)
		{
			my ($op, $said) = @$_;
			my $objection = objection($said, $truth{$op});
			push @bad, "$what: $op: $objection" if defined $objection;
			$counts->{$op}++ if $said =~ /^[0-9A-Z]{5}: /;
		}
	}
	return @bad;
}

# REINDEX heals.
sub heal
{
	for my $table (@_)
	{
		my $name = $table->{name};
		my @said = run_statements("REINDEX $name", [ 'reindex', "REINDEX INDEX i_$name" ],
			[ 'check', "SELECT 'whole' FROM (SELECT recsys.check_index('i_$name')) s" ],
			[ 'read', read_sql('all', $table->{variant}, "t_$name") ],
			[ 'count', "SELECT 'read|all|' || count(*) || '|0|0' FROM t_$name" ]);
		is("$said[0][1]$said[1][1]", 'whole', "REINDEX heals index $name");
		is($said[2][1], $said[3][1], "all rows are found by index $name then");
	}
	return;
}

sub start_server
{
	$node = index_node('fuzz');
	$node->append_conf('postgresql.conf', <<'EOF');
restart_after_crash = off
ignore_checksum_failure = on
fsync = off
log_min_messages = log
EOF
	$node->start;
	create_noise($node);
	return;
}

# $stats: the function that tells what an index holds.  $rows: about how many a
# table has.  $aimed: [what, sub] of damage that random numbers seldom make; the
# sub gets a file, as those of IndexDamage.pm have it, and returns what it has
# done, or false where that cannot be.  Each variant: a name, an operator class with its
# operator, options, and maybe other rows.
sub fuzz_test
{
	my ($am, $stats, $rows, $aimed, @variants) = @_;
	$_->{stats} = $stats, $_->{rows} //= $rows for @variants;

	start_server();
	make_original($am, $_) for @variants;
	my @tables = map { { name => $_, variant => $variants[ $_ % @variants ] } } 1 .. $tables;
	$node->safe_psql('postgres', join ';', map { table_sql($am, $_->{variant}, $_->{name}) } @tables);
	$_->{heap} = locate($node, "t_$_->{name}"), $_->{index} = locate($node, "i_$_->{name}") for @tables;
	for my $variant (@variants)
	{
		my $plan = $node->safe_psql('postgres', 'SET enable_seqscan = off; SET enable_sort = off;
			EXPLAIN ' . read_sql($reads[0][0], $variant, "t_$variant->{name}"));
		like($plan, qr/Index Scan using i_/, "$variant->{name}: reads are by the index");
	}

	my (%counts, @bad);
	my @damage = all_damage($aimed, @variants);
	my $n = @damage;
	while (@damage)
	{
		push @bad, run_round(\%counts, damage_round(\@damage, @tables));
	}
	note "of $n damages, errors of " . join ', ', map { "$_: $counts{$_}" } sort keys %counts;
	is(join("\n", @bad), '', 'damage is reported as damage');
	cmp_ok($counts{check} // 0, '>', $n / 2, 'check_index finds most of it');
	heal(@tables[0 .. 5]);
	$node->stop;
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'the server never crashed');
	done_testing();
	return;
}

1;
