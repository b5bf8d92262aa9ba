# Limits that are kept: a statement looks often enough whether it is cancelled,
# a build keeps to maintenance_work_mem, the cache of models to its size.
#
# test/probe/probe.c measures both in every process of a server, in CPU time
# and in memory that is the process's own, so that a busy machine does not
# matter.  RECSYS_LIMITS_ROWS makes the tables larger.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use IndexTest;
use TestLibrary;

my $rows = $ENV{RECSYS_LIMITS_ROWS} // 3000;

# Longest CPU time in milliseconds between two looks: 100 are promised.  With
# tables as small as these there must be fewer, so that what grows with them is
# noticed: 12 have been seen.  A product of matrices takes as long with any; it
# may take twice what is promised, for processors that are slow or shared.
my $MAX_GAP = 60;
my $MAX_PRODUCT_GAP = 200;

my ($probe, $why) = test_library('probe');
plan skip_all => $why unless defined $probe;

$ENV{PROBE_FILE} = test_numbers('probe', 0, 0);
my $node = index_node('limits');
$node->append_conf('postgresql.conf', "fsync = off\nmax_worker_processes = 8\nmin_parallel_table_scan_size = 0");
$node->start;

# What a statement takes: the longest gap, and the most memory of one process
# above what it has at the start.
sub measure
{
	my ($sql, $settings) = @_;
	my ($status, $stdout, $stderr) = $node->psql('postgres', qq{
		LOAD '$probe'; SET enable_seqscan = off; SET client_min_messages = warning;
		@{[ $settings // '' ]};
		SELECT probe_reset(), probe_memory() AS before \\gset
		$sql;
		SELECT probe_gap() || ' ' || probe_memory() - :before});
	is($stderr, '', 'no error') or diag $sql;
	$stdout =~ /([\d.]+) (-?\d+)\s*\z/ or die "$sql: $stdout";
	return ($1, $2);
}

my %worst = (gap => 0, of => '');

sub looks
{
	my ($name, $sql, $settings, $limit) = @_;
	my ($gap, $memory) = measure($sql, $settings);
	note sprintf '%s: %.0f ms, %.1f MB', $name, $gap, $memory / 1048576;
	@worst{qw(gap of)} = ($gap, $name) if $gap > $worst{gap};
	cmp_ok($gap, '<', $limit // $MAX_GAP, "$name: can be cancelled at any time");
	return $memory;
}

sub keeps
{
	my ($name, $limit, $sql, $settings) = @_;
	my $memory = looks($name, $sql, $settings);
	cmp_ok($memory, '<', $limit, "$name: memory");
	return;
}

my $MB = 1024 * 1024;

sub set_up
{
	$node->safe_psql('postgres', qq{
		CREATE EXTENSION recsys;
		CREATE FUNCTION probe_reset() RETURNS void LANGUAGE c AS '$probe';
		CREATE FUNCTION probe_gap() RETURNS float8 LANGUAGE c AS '$probe';
		CREATE FUNCTION probe_memory() RETURNS int8 LANGUAGE c AS '$probe';
		SELECT setseed(0.5);
		-- vectors of a random stretch that is repeated, which is soon made
		CREATE FUNCTION stretch(seed int, n int) RETURNS real[] LANGUAGE sql VOLATILE AS
			\$\$ SELECT array_agg((random() - 0.5)::real) FROM generate_series(1, n) WHERE seed > 0 \$\$;
		CREATE TABLE small AS SELECT i AS id, i % 10 AS f, a::vector(64) AS v
			FROM generate_series(1, $rows) i, stretch(i, 64) a;
		CREATE TABLE wide AS SELECT i AS id, i % 10 AS f, (a || a || a || a || a || a || a || a || a || a || a || a)::vector(768) AS v
			FROM generate_series(1, $rows) i, stretch(i, 64) a;
		CREATE TABLE few AS SELECT * FROM small WHERE id <= 1800;
		CREATE TABLE few_wide AS SELECT * FROM wide WHERE id <= 700;
		CREATE TABLE wider AS SELECT i AS id, (a || a || a || a)::vector(2048) AS v
			FROM generate_series(1, 500) i, stretch(i, 512) a;
		ALTER TABLE small SET (parallel_workers = 2);
		VACUUM ANALYZE});
	return;
}

# Everything that an index does, on one table.
sub index_looks
{
	my ($am, $table) = @_;
	my $name = "$am, $table";
	my $serial = 'SET max_parallel_maintenance_workers = 0';
	my $query = "(SELECT v FROM $table WHERE id = 7)";
	my $stats = $am eq 'recsys_hnsw' ? 'index_stats' : 'ivfpq_stats';

	looks("$name, parallel build", "CREATE INDEX x ON $table USING $am (v, f)")
	  if $table eq 'small';
	looks("$name, build", "DROP INDEX IF EXISTS x; CREATE INDEX x ON $table USING $am (v, f)", $serial);
	looks("$name, scan of everything",
		"SELECT count(*) FROM (SELECT id FROM $table ORDER BY v <#> $query LIMIT 1000000) s");
	looks("$name, filtered scan of everything",
		"SELECT count(*) FROM (SELECT id FROM $table WHERE f = 3 ORDER BY v <#> $query LIMIT 1000000) s");
	looks("$name, scan that finds nothing",
		"SELECT count(*) FROM (SELECT id FROM $table WHERE f = 3 AND id < 0 ORDER BY v <#> $query LIMIT 10) s");
	looks("$name, insert", "INSERT INTO $table SELECT id + 1000000, f, v FROM $table WHERE id <= $rows / 10");
	looks("$name, check_index", "SELECT recsys.check_index('x')");
	looks("$name, $stats", "SELECT FROM recsys.$stats('x')");
	looks("$name, index_recall", "SELECT recsys.index_recall('x', 100, 20)");
	looks("$name, VACUUM", "DELETE FROM $table WHERE id % 8 = 1; VACUUM $table");
	$node->safe_psql('postgres', 'DROP INDEX x');
	return;
}

# A build may have this much besides what maintenance_work_mem says: matrices
# of one piece of work, the entry set, hints where pages are.
my $BESIDES = 8 * $MB;

sub build_memory
{
	my ($am) = @_;
	for ([ 'few', 1 ], [ 'few_wide', 1 ], [ 'wide', 8 ])
	{
		my ($table, $megabytes) = @$_;
		keeps("$am, $table, build in $megabytes MB", $megabytes * $MB + $BESIDES,
			"CREATE INDEX x ON $table USING $am (v); DROP INDEX x",
			"SET max_parallel_maintenance_workers = 0; SET maintenance_work_mem = '${megabytes}MB'");
	}
	keeps("$am, REINDEX and VACUUM in 1 MB", 1 * $MB + $BESIDES,
		"CREATE INDEX x ON few USING $am (v); REINDEX INDEX x; DELETE FROM few WHERE id % 9 = 1; VACUUM few; DROP INDEX x",
		"SET maintenance_work_mem = '1MB'");
	return;
}

# A model with a layer of so many inputs and 256 outputs, in hexadecimal.
sub model
{
	my ($inputs) = @_;
	my $spec = '{\"format\": 1, \"towers\": {\"\": {\"features\": [{\"name\": \"x\", \"type\": \"vector\", '
	  . "\\\"dim\\\": $inputs" . '}], \"output\": \"y\", \"nodes\": [{\"op\": \"linear\", \"inputs\": [\"x\"], '
	  . '\"output\": \"y\", \"layout\": \"out_in\", \"tensors\": {\"weight\": \"w\"}}]}}}';
	my $bytes = 4 * 256 * $inputs;
	my $header = qq({"__metadata__": {"recsys.spec": "$spec"}, )
	  . qq("w": {"dtype": "F32", "shape": [256, $inputs], "data_offsets": [0, $bytes]}});
	return unpack('H*', pack('Q< a*', length $header, $header) . pack('f<', 0.5) x (256 * $inputs));
}

sub models
{
	my $folder = PostgreSQL::Test::Utils::tempdir;
	my $embed = "SELECT count(recsys.embed('m' || i % 20, jsonb_build_object('x', x)))
		FROM generate_series(1, 60) i, (SELECT array_agg(1.0) AS x FROM generate_series(1, 4096)) a";

	append_to_file("$folder/large", "\\\\x" . model(16000) . "\n");
	append_to_file("$folder/model", "\\\\x" . model(4096) . "\n");
	$node->safe_psql('postgres', "CREATE TABLE files (name text, file bytea);
		COPY files (file) FROM '$folder/large'; UPDATE files SET name = 'large';
		COPY files (file) FROM '$folder/model';
		SELECT recsys.import_model('m' || i, file) FROM files, generate_series(0, 19) i WHERE name IS NULL");
	looks('import of a model of 16 MB', "SELECT recsys.import_model(name, file) FROM files WHERE name = 'large'");
	looks('embed over many rows',
		"SELECT count(recsys.embed('large', jsonb_build_object('x', x)))
		FROM generate_series(1, 20) i, (SELECT array_agg(1.0) AS x FROM generate_series(1, 16000)) a");
	# 20 models of 4 MB; one is always kept, and one is read beside it
	keeps('20 models in a cache of 10 MB', 24 * $MB, $embed, "SET recsys.model_cache_size = '10MB'");
	keeps('20 models in a cache of 1 MB', 15 * $MB, $embed, "SET recsys.model_cache_size = '1MB'");
	my (undef, $all) = measure($embed, "SET recsys.model_cache_size = '200MB'");
	cmp_ok($all, '>', 70 * $MB, 'all of them take more');
	return;
}

# Cursors that stay open, cancelled scans, errors and subtransactions that end
# in the middle of a scan leave nothing behind.
sub no_growth
{
	my ($am) = @_;
	my $work = qq{DO \$\$ DECLARE q vector; c refcursor; r record; BEGIN
		FOR i IN 1 .. 1500 LOOP
			SELECT v INTO q FROM small WHERE id = 2 + i % 100;
			BEGIN
				OPEN c FOR SELECT id FROM small ORDER BY v <#> q LIMIT 1000;
				FETCH c INTO r;
				IF i % 3 = 0 THEN INSERT INTO small VALUES (2000000 + i, 0, q); END IF;
				IF i % 3 = 1 THEN
					PERFORM 1 / (id - id) FROM small WHERE f = 3 ORDER BY v <#> q LIMIT 5;
				END IF;
				IF i % 3 = 2 THEN RAISE 'back'; END IF;
				CLOSE c;
			EXCEPTION WHEN division_by_zero OR raise_exception THEN NULL;
			END;
		END LOOP; END \$\$};

	$node->safe_psql('postgres', "CREATE INDEX x ON small USING $am (v, f)");
	my ($gap, $memory) = measure("$work; SELECT probe_reset(), probe_memory() AS before \\gset\n$work");
	note sprintf '%s, 1,500 turns more: %.1f MB', $am, $memory / 1048576;
	cmp_ok($memory, '<', 2 * $MB, "$am: a backend does not grow");
	$node->safe_psql('postgres', 'DROP INDEX x');
	return;
}

# The clock's word on it: a timeout takes effect, whatever the machine does.
sub timeout_takes_effect
{
	my ($am) = @_;
	for my $after (30, 120)
	{
		my $begin = time();
		my ($status, $stdout, $stderr) = $node->psql('postgres',
			"SET statement_timeout = $after; CREATE INDEX x ON wide USING $am (v) WITH ("
			. ($am eq 'recsys_hnsw' ? 'ef_construction = 400' : 'rotation = learned') . ')');
		my $late = time() - $begin - $after / 1000;
		like($stderr, qr/canceling statement due to statement timeout/, "$am: timeout after $after ms");
		cmp_ok($late, '<', 15, "$am: and soon");
	}
	return;
}

set_up();
# what is loaded when it is first needed counts once
measure("CREATE INDEX x ON wider USING recsys_ivfpq (v); DROP INDEX x");
looks('learned rotation', "CREATE INDEX x ON wider USING recsys_ivfpq (v) WITH (rotation = learned, sample = 500); DROP INDEX x",
	undef, $MAX_PRODUCT_GAP);
for my $am ('recsys_hnsw', 'recsys_ivfpq')
{
	index_looks($am, $_) for 'small', 'wide';
	build_memory($am);
	no_growth($am);
	timeout_takes_effect($am);
}
models();
note sprintf 'longest: %.0f ms of CPU, %s', @worst{qw(gap of)};
$node->stop;
done_testing();
