# The test of crashes that the index access methods share: the server is killed
# at random points of everything that changes an index; afterwards the index is
# whole, has every committed row and none that was not committed, and works.
#
# A round starts sessions that change the table again and again in one of the
# ways of @kinds, lets them write a random amount of WAL or run for a random
# time, and kills every process of the server.  One round in five kills the
# recovery too.  Rounds differ in full_page_writes and in the size of the buffer
# pool, so that changed pages have been written or not.  The random numbers are
# the same in every run; what the machine makes of them is not.
package IndexCrash;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use IndexTest;

our @EXPORT = qw(crash_test);

# Half of the rounds have these, half those.  Without images of whole pages replay
# meets pages of zeros where a file was dropped later, and the server's check of
# consistency takes these for an error, be they of an index or of a table.
my $with_images = "full_page_writes = on\nwal_consistency_checking = 'all'\n";
my $without_images = "full_page_writes = off\nwal_consistency_checking = ''\n";

my $rounds = $ENV{RECSYS_CRASH_ROUNDS};
my $node;
my ($am, $slowly);

my $helpers = q{
-- inserts, updates, deletes and rolls back, and says what it has committed; k is
-- -1 in what is rolled back
CREATE PROCEDURE write_on(first int, seed int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 0 .. 100000 LOOP
		INSERT INTO items (id, v, k)
			VALUES (first + i, noise(seed + i / 3, 24), CASE WHEN i % 23 = 7 THEN -1 ELSE i % 10 END);
		IF i % 7 = 3 THEN UPDATE items SET v = noise(seed - i, 24) WHERE id = first + i - 2; END IF;
		IF i % 5 = 2 THEN UPDATE items SET k = (k + 1) % 10 WHERE id = first + i - 1; END IF;
		IF i % 11 = 5 THEN DELETE FROM items WHERE id = first + i - 5; END IF;
		IF i % 23 = 7 THEN ROLLBACK; ELSE COMMIT; END IF;
		RAISE NOTICE 'done %', i;
	END LOOP;
END $$;
-- what such a writer must have left when it has said "done"; the last five rows
-- may have met one more transaction
CREATE FUNCTION written(first int, done int) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(CASE WHEN id IS NULL THEN 'lost ' ELSE 'not committed ' END ||
		coalesce(id, first + i), ', '), 'right')
	FROM (SELECT i FROM generate_series(0, done - 5) i
		WHERE i % 23 <> 7 AND (i % 11 <> 0 OR (i + 5) % 23 = 7)) e
	FULL JOIN (SELECT id FROM items WHERE id BETWEEN first AND first + done - 5) s ON id = first + i
	WHERE id IS NULL OR i IS NULL $$;
-- whether the index gives the rows of each k that the table has
CREATE FUNCTION check_filters() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	q vector := noise(-5, 24); wrong text := ''; plan text := ''; line text;
BEGIN
	SET LOCAL enable_seqscan = off;
	FOR line IN EXPLAIN SELECT id FROM items WHERE k = 3 ORDER BY v <-> q LIMIT 1000000 LOOP
		plan := plan || line;
	END LOOP;
	IF plan !~ 'Index Cond: \(k = 3' THEN RETURN 'unexpected plan: ' || plan; END IF;
	CREATE TEMP TABLE counts ON COMMIT DROP AS SELECT k, array_agg(id ORDER BY id) AS ids
		FROM items GROUP BY k;
	FOR k_ IN -1 .. 10 LOOP
		IF (SELECT array_agg(id ORDER BY id) FROM
				(SELECT id FROM items WHERE k = k_ ORDER BY v <-> q LIMIT 1000000) s)
			IS DISTINCT FROM (SELECT ids FROM counts WHERE k = k_) THEN
			wrong := wrong || ' k = ' || k_;
		END IF;
	END LOOP;
	IF EXISTS (SELECT FROM items WHERE k = -1) THEN wrong := wrong || ' not committed'; END IF;
	RETURN coalesce(nullif(wrong, ''), 'right');
END $$;
-- until so much WAL has been written, or so long
CREATE FUNCTION wait_for_wal(bytes bigint, milliseconds float8) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	begun pg_lsn := pg_current_wal_insert_lsn();
BEGIN
	WHILE pg_current_wal_insert_lsn() - begun < bytes AND
		clock_timestamp() - now() < milliseconds * interval '1 ms' LOOP
		PERFORM pg_sleep(0.0002);
	END LOOP;
END $$;
};

# The statement that makes an index with filter columns of several types.
sub build
{
	my ($name, $table, $with) = @_;
	return "CREATE INDEX $name ON $table USING $am (v vector_l2_ops, k, id, a, b, c, d)"
	  . ($with // '');
}

# Rows that come in one statement, each time others.
sub rows
{
	my ($table) = @_;
	return "INSERT INTO $table (id, v, k) SELECT nextval('others'), noise((random() * 100000)::int, 24), i % 10
		FROM generate_series(1, 120) i";
}

# The end of these rows, in five parts.
sub fifths
{
	my ($table) = @_;
	return map { "DELETE FROM $table WHERE id < 0 AND id % 5 = -$_; VACUUM $table" } 0 .. 4;
}

my $workers = 'SET max_parallel_maintenance_workers = 2; SET min_parallel_table_scan_size = 0';

# What goes on when the server is killed.  writers: how many; first: statements
# that come before; again: those that a further session repeats; kb: the most
# WAL, in units of 1024 bytes, until the kill; check: what is looked at besides,
# afterwards, a sub of the server and a name.  With wal_consistency_checking a
# record has some 8 kB.
my @kinds = (
	{ name => 'inserts', writers => 2, kb => 12_000 },
	{ name => 'VACUUM beside inserts', writers => 1, kb => 16_000, first => rows('items'),
		again => join '; ', fifths('items'), rows('items') },
	{ name => 'a build', kb => 3000, index => 'second',
		again => sub { build('second', 'items', $slowly) } },
	{ name => 'filter columns', writers => 1, kb => 12_000,
		again => 'UPDATE items SET k = (k + 1) % 10 WHERE id < 0 AND id % 20 = -(random() * 19)::int' },
	{ name => 'REINDEX', kb => 8000, again => 'REINDEX INDEX items_v' },
	{ name => 'checkpoints', writers => 2, kb => 12_000, again => 'CHECKPOINT' },
	{ name => 'VACUUM of all', kb => 16_000, first => rows('items'),
		again => 'DELETE FROM items; VACUUM items; ' . rows('items') },
	{ name => 'many rows at once', kb => 24_000, again => rows('items') },
	{ name => 'a build with workers', kb => 3000, index => 'second',
		again => sub { "$workers; " . build('second', 'items', $slowly) } },
	{ name => 'the first rows', kb => 3000,
		again => "TRUNCATE fresh; INSERT INTO fresh (id, v, k) SELECT i, noise(i, 24), i % 10
			FROM generate_series(1, 30) i; DELETE FROM fresh WHERE id < 20; VACUUM fresh" },
	{ name => 'REINDEX CONCURRENTLY', writers => 1, kb => 16_000,
		again => 'REINDEX INDEX CONCURRENTLY items_v' },
	{ name => 'VACUUM', kb => 8000, first => rows('items'), again => join '; ', fifths('items'), rows('items') },
	{ name => 'an unlogged table', writers => 1, kb => 4000,
		again => rows('passing') . '; DELETE FROM passing WHERE id % 3 = 0; VACUUM passing' });

# What a statement returns.
sub number
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

# Starts the server after a crash; $again: it is killed once more on its way.
sub recover
{
	my ($again) = @_;
	if ($again)
	{
		my $from = -s $node->logfile;
		PostgreSQL::Test::Utils::system_log('pg_ctl', '-W', '-D', $node->data_dir, '-l', $node->logfile, 'start');
		for (1 .. 1000)
		{
			last if slurp_file($node->logfile, $from) =~ /redo (starts|is not required)/;
			usleep(5000);
		}
		usleep(int rand 50_000);
		my ($pid) = eval { slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/ };
		kill 'KILL', $pid if $pid;
	}
	start_killed($node);
	return;
}

# Waits until the work has come to a random point and kills the server.  Returns
# what it was at.
sub crash_at_random
{
	my ($how, $kb) = @_;
	my ($bytes, $ms) = (2**40, 20 + rand 1000);
	# mostly by WAL, more often early than late; a third by time
	($bytes, $ms) = (int(1024 * $kb**rand), 5000) if rand() < 0.67;
	my $wait = session($node, qq{SELECT wait_for_wal($bytes, $ms);
		SELECT 'at ' || coalesce((SELECT phase FROM pg_stat_progress_vacuum LIMIT 1),
				(SELECT phase FROM pg_stat_progress_create_index LIMIT 1), 'something else')
			|| ' of ' || string_agg(pid::text, ' ') FROM pg_stat_activity});
	$wait->{handle}->pump while ${ $wait->{out} } !~ /of .*\n/ && $wait->{handle}->pumpable;
	my ($phase, $pids) = ${ $wait->{out} } =~ /at (.*) of ([\d ]+)/
	  or BAIL_OUT("no moment to kill the server: ${ $wait->{out} }");
	if ($how eq 'immediate') { $node->stop('immediate'); }
	else { kill_server($node, split / /, $pids); }
	finish($wait);
	return $phase;
}

# Starts the sessions of a round; the writers are the first.
sub start_work
{
	my ($kind, $first) = @_;
	number($kind->{first}) if $kind->{first};
	my @work = map { session($node, "CALL write_on($first + $_ * 200000, $first / 100 + $_ * 5000)") }
	  1 .. $kind->{writers} // 0;
	my $again = ref $kind->{again} ? $kind->{again}->() : $kind->{again};
	$again = "$again; DROP INDEX $kind->{index}" if $kind->{index};
	push @work, session($node, "$again;\n" x 300) if $again;
	return @work;
}

# Every committed row and no other is there, in the table and by the index.
sub check_rows_of
{
	my ($name, $kind, $first, @work) = @_;
	for (1 .. $kind->{writers} // 0)
	{
		my ($done) = ${ $work[ $_ - 1 ]{out} } =~ /.*done (\d+)$/ms;
		next if !defined $done;
		is(number("SELECT written($first + $_ * 200000, $done)"), 'right',
			"$name: what writer $_ has committed");
	}
	if ($kind->{index} && number("SELECT to_regclass('$kind->{index}') IS NOT NULL") eq 't')
	{
		check_passes($node, $kind->{index}, "$name: the index just built");
		number("DROP INDEX $kind->{index}");
	}
	# what REINDEX CONCURRENTLY leaves
	number("DROP INDEX $_")
	  for split /\n/, number('SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid');
	check_whole($node, 'items', 'items_v', $name);
	is(number('SELECT check_filters()'), 'right', "$name: with filters");
	for ('fresh', 'passing')
	{
		check_whole($node, $_, "${_}_v", "$name: $_") if ($kind->{again} // '') =~ $_;
	}
	$kind->{check}->($node, $name) if $kind->{check};
	return;
}

# Inserts and VACUUM, which also keep the table small.
sub go_on
{
	my ($name, $kind) = @_;
	number(rows('items'));
	# where no node but tombstones may have been left
	check_whole($node, 'items', 'items_v', "$name: inserted") if $kind->{name} eq 'VACUUM of all';
	if (number('SELECT count(*) > 1000 FROM items') eq 't')
	{
		number('DELETE FROM items WHERE hashint4(id) % 4 <> 0');
		number('VACUUM items');
		check_whole($node, 'items', 'items_v', "$name: vacuumed");
	}
	return;
}

sub one_round
{
	my ($round) = @_;
	my $kind = $kinds[ ($round - 1) % @kinds ];
	my $how = $round % 2 ? 'immediate' : 'SIGKILL';
	my $first = 1_000_000 * $round;
	my $images = number('SHOW full_page_writes') eq 'on';

	srand(20240229 + $round);
	# take effect when the server starts after the crash
	$node->append_conf('postgresql.conf', (rand() < 0.5 ? $with_images : $without_images)
		  . 'shared_buffers = ' . (rand() < 0.5 ? '2MB' : '64MB'));
	my @work = start_work($kind, $first);
	my $phase = crash_at_random($how, $kind->{kb} / ($images ? 1 : 8));
	finish($_) for @work;
	my $name = "$round, $how" . ($images ? '' : ', no full pages,') . " during $kind->{name}, $phase";
	recover($round % 5 == 0);
	unlike(${ $_->{out} }, qr/ERROR:/, "$name: the sessions met no error") for @work;
	is(number('SELECT count(*) FROM passing'), 0, "$name: the unlogged table is empty");
	$phase .= ' and left tombstones'
	  if $am eq 'recsys_hnsw' && number("SELECT tombstones > 0 FROM recsys.index_stats('items_v')") eq 't';
	check_rows_of($name, $kind, $first, @work);
	go_on($name, $kind);
	return $phase;
}

sub set_up
{
	my ($trained) = @_;
	my $columns = q{(id int PRIMARY KEY, v vector(24), k int,
		a bigint GENERATED ALWAYS AS (id::bigint * 3) STORED,
		b float8 GENERATED ALWAYS AS (id / 7.0) STORED,
		c text GENERATED ALWAYS AS (chr(97 + abs(id) % 20)) STORED,
		d date GENERATED ALWAYS AS ('2000-01-01'::date + id % 1000) STORED)};
	$node = index_node('crash');
	$node->append_conf('postgresql.conf', $with_images . <<'END');
checkpoint_timeout = 1h
restart_after_crash = off
log_min_messages = warning
END
	$node->start;
	create_noise($node);
	my @steps = (build('items_v', 'items'), rows('items'));
	@steps = reverse @steps if $trained;
	number(join ';', "CREATE TABLE items $columns", "CREATE TABLE fresh $columns",
		"CREATE UNLOGGED TABLE passing $columns", 'CREATE SEQUENCE others INCREMENT -1', $helpers,
		@steps, build('fresh_v', 'fresh'), build('passing_v', 'passing'));
	return;
}

# $slow: options of CREATE INDEX with which it takes long.
# $trained: the index is built when the first rows are there.
# $prepare, @more: further kinds, and statements that make what these need.
sub crash_test
{
	my ($method, $slow, $trained, $prepare, @more) = @_;
	my %at;

	($am, $slowly) = ($method, $slow);
	set_up($trained);
	number($prepare) if $prepare;
	push @kinds, @more;
	$rounds //= @kinds;
	$at{ one_round($_) }++ for 1 .. $rounds;
	note "killed $rounds times, of which at: ", join ', ', map { "$_ $at{$_}" } sort keys %at;
	unlike(slurp_file($node->logfile), qr/PANIC|FATAL:.*inconsistent page|TRAP/, 'replay is consistent');
	$node->stop;
	done_testing();
	return;
}

1;
