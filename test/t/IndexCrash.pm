# The test of crashes that the index access methods share: the server is killed
# while two sessions insert, while an index is built and while VACUUM runs;
# afterwards the index is whole and has every committed row.
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

# Crashes while rows are inserted.
my $rounds = $ENV{RECSYS_CRASH_ROUNDS} // 6;
my $node;

# Inserts and now and then an update, a delete or a rollback, each in a
# transaction of its own.
sub writer
{
	my ($first, $seed) = @_;
	return session($node, qq{DO \$\$
	BEGIN
		FOR i IN 0 .. 100000 LOOP
			INSERT INTO items VALUES ($first + i, noise($seed + i / 3, 24));
			IF i % 7 = 3 THEN UPDATE items SET v = noise($seed - i, 24) WHERE id = $first + i - 2; END IF;
			IF i % 11 = 5 THEN DELETE FROM items WHERE id = $first + i - 5; END IF;
			IF i % 23 = 7 THEN ROLLBACK; ELSE COMMIT; END IF;
		END LOOP;
	END \$\$});
}

# Ends all of the server at once: by its own emergency stop, or by the kernel.
sub crash
{
	my ($how) = @_;
	if ($how eq 'immediate')
	{
		$node->stop('immediate');
		$node->start;
		return;
	}
	my @pids = split /\n/, $node->safe_psql('postgres',
		'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()');
	$node->kill9;
	kill 'KILL', @pids;
	# what is left of it has to notice that the postmaster is gone
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if $node->start(fail_ok => 1);
		usleep(100_000);
		$node->stop('fast', fail_ok => 1);
	}
	BAIL_OUT('the server does not start after a crash');
}

sub during_inserts
{
	my $next = 1000;
	for my $round (1 .. $rounds)
	{
		my $how = $round % 2 ? 'immediate' : 'SIGKILL';
		my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM items');
		$node->safe_psql('postgres', 'CHECKPOINT') if $round % 3 == 0;
		my @writers = (writer($next, 10_000 * $round), writer($next + 200_000, 500_000 + 10_000 * $round));
		$next += 400_000;
		usleep(200_000 + int rand 700_000);
		crash($how);
		finish($_) for @writers;
		unlike(${ $_->{out} }, qr/ERROR/, "$how $round: the writers met no error") for @writers;
		my $after = $node->safe_psql('postgres', 'SELECT count(*) FROM items');
		cmp_ok($after, '>', $before, "$how $round: rows were committed");
		check_whole($node, 'items', 'items_v', "$how $round");
		$node->safe_psql('postgres', 'DELETE FROM items WHERE id % 4 > 0') if $round % 8 == 0;
		$node->safe_psql('postgres', 'VACUUM items') if $round % 16 == 0;
	}

	# inserts go on, and VACUUM, after all that
	$node->safe_psql('postgres', q{
		INSERT INTO items SELECT -i, noise(-i, 24) FROM generate_series(1, 200) i;
		DELETE FROM items WHERE id % 3 = 0});
	$node->safe_psql('postgres', 'VACUUM items');
	check_whole($node, 'items', 'items_v', 'after the rounds');
	return;
}

# an unlogged index is empty after a crash, and works
sub unlogged
{
	$node->safe_psql('postgres', 'INSERT INTO passing SELECT id, v FROM items LIMIT 500');
	crash('immediate');
	check_whole($node, 'passing', 'passing_v', 'unlogged after a crash');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM passing'), '0',
		'the unlogged table is empty');
	$node->safe_psql('postgres', 'INSERT INTO passing SELECT id, v FROM items LIMIT 300');
	check_whole($node, 'passing', 'passing_v', 'unlogged, filled again');
	return;
}

sub during_build
{
	my ($am, $slowly, $filters) = @_;
	$node->safe_psql('postgres', q{
		CREATE TABLE large (id int, v vector(64));
		INSERT INTO large SELECT i, noise(i, 64) FROM generate_series(1, 6000) i});
	for my $round (1 .. 2)
	{
		my $build = session($node, qq{SET max_parallel_maintenance_workers = 2;
			SET min_parallel_table_scan_size = 0;
			CREATE INDEX large_v ON large USING $am (v vector_l2_ops$filters) $slowly});
		ok($node->poll_query_until('postgres',
			"SELECT count(*) > 0 FROM pg_stat_progress_create_index"), "build $round has begun");
		usleep(int rand 300_000);
		crash($round == 1 ? 'immediate' : 'SIGKILL');
		finish($build);
		is($node->safe_psql('postgres', "SELECT count(*) FROM pg_class WHERE relname = 'large_v'"),
			'0', "build $round left nothing");
	}
	$node->safe_psql('postgres', "CREATE INDEX large_v ON large USING $am (v vector_l2_ops$filters)");
	crash('immediate');
	check_whole($node, 'large', 'large_v', 'a crash after CREATE INDEX');
	return;
}

sub during_vacuum
{
	for my $round (1 .. 4)
	{
		# at last all rows, so that pages become free and are used again
		$node->safe_psql('postgres',
			'DELETE FROM large' . ($round < 4 ? " WHERE id % 5 = $round" : ''));
		# slowed down, so that a crash can come before its end
		my $vacuum = session($node, q{SET vacuum_cost_delay = 1; SET vacuum_cost_limit = 20;
			VACUUM large;
			SELECT pg_sleep(60)});
		$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity
			WHERE pid <> pg_backend_pid() AND query ~ '^(VACUUM large|SELECT pg_sleep)'});
		usleep(int rand 150_000);
		crash($round == 2 ? 'SIGKILL' : 'immediate');
		finish($vacuum);
		check_whole($node, 'large', 'large_v', "vacuum $round");
		$node->safe_psql('postgres', "INSERT INTO large SELECT 10000 * $round + i, noise(10000 * $round + i, 64)
			FROM generate_series(1, 300) i");
		check_whole($node, 'large', 'large_v', "inserts after vacuum $round");
	}
	$node->safe_psql('postgres', 'VACUUM large');
	check_whole($node, 'large', 'large_v', 'the last vacuum');
	return;
}

# $slowly: options of CREATE INDEX with which 6,000 rows take a second or more.
# $trained: the index is built when the first rows are there.
# $filters: filter columns, each with a comma before it.
sub crash_test
{
	my ($am, $slowly, $trained, $filters) = @_;
	$filters //= '';

	srand(20240229);
	$node = index_node('crash');
	$node->append_conf('postgresql.conf', <<'EOF');
wal_consistency_checking = 'all'
checkpoint_timeout = 1h
restart_after_crash = off
log_min_messages = warning
EOF
	$node->start;
	create_noise($node);
	my @steps = (
		"CREATE INDEX items_v ON items USING $am (v vector_l2_ops$filters)",
		'INSERT INTO items SELECT i, noise(i, 24) FROM generate_series(1, 300) i');
	@steps = reverse @steps if $trained;
	$node->safe_psql('postgres', join(';', 'CREATE TABLE items (id int PRIMARY KEY, v vector(24))', @steps,
		'CREATE UNLOGGED TABLE passing (id int, v vector(24))',
		"CREATE INDEX passing_v ON passing USING $am (v vector_l2_ops)"));
	during_inserts();
	unlogged();
	during_build($am, $slowly, $filters);
	during_vacuum();
	unlike(slurp_file($node->logfile), qr/PANIC|FATAL:.*inconsistent page|TRAP/,
		'replay is consistent');
	$node->stop;
	done_testing();
	return;
}

1;
