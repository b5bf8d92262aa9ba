# A disk that is full: a build, inserts, VACUUM, an import, the WAL.  Each ends
# with an error that says so, and the database is usable: the index is whole,
# the rows are those of the table, and REINDEX works once there is space.  The
# same for the limit on temporary files, and for memory, address space and workers
# that are not to be had.
#
# test/probe/diskfull.c gives files so many bytes to grow.
use strict;
use warnings;

use Fcntl 'SEEK_SET';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IndexTest;
use TestLibrary;

my ($library, $why) = test_library('diskfull');
plan skip_all => $why unless defined $library;

my $PLENTY = 2**50;
my $numbers = test_numbers('disk', $PLENTY);
$ENV{DISKFULL_FILE} = $numbers;
$ENV{DISKFULL_UNDER} = '/base/:/pg_wal/';

my $node = index_node('disk');

# Files may grow by so many bytes from now on.  A segment of the WAL has been begun
# before, which has room for what a statement writes until it fails.
sub disk_has
{
	my ($bytes) = @_;
	$node->safe_psql('postgres', q{SELECT pg_switch_wal(); SELECT pg_logical_emit_message(true, '', '')})
	  if $bytes < $PLENTY;
	open my $fh, '+<:raw', $numbers or die "$numbers: $!";
	seek $fh, 0, SEEK_SET;
	print $fh pack('q<', $bytes);
	close $fh or die $!;
	return;
}

# no checkpoint gives segments of the WAL back while it cannot grow
$node->append_conf('postgresql.conf',
	"fsync = off\nmax_wal_size = 8GB\ncheckpoint_timeout = 1h\nmin_parallel_table_scan_size = 0\nbgwriter_lru_maxpages = 0");
{
	local $ENV{LD_PRELOAD} = $library;
	$node->start;
}

sub fails
{
	my ($name, $message, $sql) = @_;
	my ($status, $stdout, $stderr) = $node->psql('postgres', $sql);
	isnt($status, 0, "$name: fails");
	like($stderr, $message, "$name: and says why");
	return;
}

my $FULL = qr/could not (?:extend|write|fallocate).*No space left on device/;

# What a failed statement left: nothing, as the table has it.
sub is_whole
{
	my ($index, $name) = @_;
	my $rows = $node->safe_psql('postgres', 'SELECT count(*) FROM items');
	check_whole($node, 'items', $index, $name);
	is($node->safe_psql('postgres', 'SELECT count(*) FROM items'), $rows, "$name: rows are there");
	return;
}

sub build
{
	my ($am, $bytes, $settings) = @_;
	my $count = 'SELECT count(*) FROM pg_class WHERE relname = \'items_v\'';

	disk_has($bytes);
	fails("$am, build with $bytes bytes", $FULL,
		"$settings; CREATE INDEX items_v ON items USING $am (v vector_l2_ops, f)");
	disk_has($PLENTY);
	is($node->safe_psql('postgres', $count), '0', "$am: no index is left");
	return;
}

sub inserts
{
	my ($am) = @_;
	my $insert = 'INSERT INTO items SELECT i, noise(i, 32), i % 7 FROM generate_series(801, 5000) i';

	# the table's pages, the index's, and those of its key tape come in turn
	for my $bytes (100_000, 400_000)
	{
		disk_has($bytes);
		fails("$am, insert with $bytes bytes", $FULL, $insert);
		is_whole('items_v', "$am, full after $bytes bytes");
		disk_has($PLENTY);
	}
	$node->safe_psql('postgres', "INSERT INTO items SELECT i, noise(i, 32), i % 7 FROM generate_series(801, 1000) i");
	is_whole('items_v', "$am, space again");
	return;
}

# VACUUM needs no space but for the free space map
sub vacuum
{
	my ($am) = @_;
	$node->safe_psql('postgres', 'DELETE FROM items WHERE id % 3 = 0');
	disk_has(0);
	my ($status, $stdout, $stderr) = $node->psql('postgres', 'VACUUM items');
	ok($stderr eq '' || $stderr =~ $FULL, "$am: VACUUM on a full disk") or diag $stderr;
	is_whole('items_v', "$am, after VACUUM on a full disk");
	fails("$am, REINDEX", $FULL, 'REINDEX INDEX items_v');
	is_whole('items_v', "$am, after REINDEX on a full disk");
	disk_has($PLENTY);
	$node->safe_psql('postgres', 'VACUUM items; REINDEX INDEX items_v');
	is_whole('items_v', "$am, after REINDEX with space");
	return;
}

# What is out of reach otherwise: temporary files, memory, workers.
sub other_limits
{
	my ($am) = @_;
	my $create = "CREATE INDEX items_x ON items USING $am (v vector_l2_ops)";
	my $drop = 'DROP INDEX items_x';

	fails("$am, temporary files", qr/temporary file size exceeds "?temp_file_limit/,
		"SET temp_file_limit = '64kB'; SET maintenance_work_mem = '1MB';
		CREATE INDEX items_x ON many USING $am (v)")
	  if $am eq 'recsys_ivfpq';
	for (
		[ 'no workers are allowed', 'SET max_parallel_maintenance_workers = 0' ],
		[ 'no worker can be started', 'SET max_parallel_maintenance_workers = 2; SET max_parallel_workers = 0' ],
		[ 'much memory is allowed', "SET maintenance_work_mem = '2000GB'" ])
	{
		my ($name, $settings) = @$_;
		my ($status, $stdout, $stderr) = $node->psql('postgres', "$settings; $create; $drop");
		is($status, 0, "$am, build where $name") or diag $stderr;
	}
	return;
}

# A backend that may have only so many more bytes of address space: its build
# fails plainly or is done, and the session goes on.
sub little_memory
{
	my ($am) = @_;
	my ($failed, $done, $told) = (0, 0, 0);
	my $no_room = qr/ERROR:  could not load library ".*openblas.*\nHINT:  Raise the limit on the server's address space/;

	for my $more (2, 12, 30, 60, 100, 400)
	{
		my ($late, $stdout, $stderr);
		$node->psql('postgres', qq{
			SELECT pg_backend_pid() AS pid \\gset
			SET max_parallel_maintenance_workers = 0;
			\\set limited `prlimit --pid :pid --as=\$((\$(awk '/VmSize/ { print \$2 }' /proc/:pid/status) * 1024 + $more * 1000000)):`
			CREATE INDEX items_x ON items USING $am (v vector_l2_ops);
			\\set limited `prlimit --pid :pid --as=unlimited:`
			SELECT count(*) FROM items WHERE id < 10},
			on_error_stop => 0, stdout => \$stdout, stderr => \$stderr,
			timeout => 120, timed_out => \$late);
		ok(!$late && $stdout eq '6', "$am, a build in $more MB: the session goes on") or diag $stderr;
		# the last is the server's word, where there is no room for recsys itself
		like($stderr, qr/^$|ERROR: .*out of memory|$no_room|ERROR:  could not load library "[^"]*recsys\.so"/,
			"$am, a build in $more MB: done, or says why not");
		$node->safe_psql('postgres', 'DROP INDEX IF EXISTS items_x');
		$stderr eq '' ? $done++ : $failed++;
		$told++ if $stderr =~ $no_room;
	}
	ok($failed && $done, "$am: too little memory, and enough");
	ok($told, "$am: no room for OpenBLAS, and what helps");
	return;
}

sub import_fails
{
	my $spec = '{\"format\": 1, \"towers\": {\"\": {\"features\": [{\"name\": \"x\", \"type\": \"vector\", \"dim\": 2048}], '
	  . '\"output\": \"y\", \"nodes\": [{\"op\": \"linear\", \"inputs\": [\"x\"], \"output\": \"y\", \"layout\": \"out_in\", '
	  . '\"tensors\": {\"weight\": \"w\"}}]}}}';
	my $header = qq({"__metadata__": {"recsys.spec": "$spec"}, "w": {"dtype": "F32", "shape": [256, 2048], "data_offsets": [0, 2097152]}});
	my $import = "SELECT recsys.import_model('m', bytes) FROM file";

	$node->safe_psql('postgres', "CREATE TABLE file AS SELECT '\\x"
		  . unpack('H*', pack('Q< a*', length $header, $header))
		  . "'::bytea || string_agg(int2send((random() * 60000 - 30000)::int2) || '\\x003f', '') AS bytes
		  FROM generate_series(1, 524288)");
	disk_has(500_000);
	fails('import', $FULL, $import);
	disk_has($PLENTY);
	is($node->safe_psql('postgres', 'SELECT count(*) FROM recsys.models'), '0', 'import: no model is left');
	is($node->safe_psql('postgres', $import), '1', 'import: works once there is space');
	return;
}

# A WAL that cannot grow stops the server, as it does with any table; it
# recovers once there is space.
sub wal
{
	my ($am) = @_;
	$node->safe_psql('postgres', 'CHECKPOINT');
	my $from = -s $node->logfile;
	# not enough for one more file of the WAL
	disk_has(12_000_000);
	my ($status, $stdout, $stderr) = $node->psql('postgres', q{DO $$ BEGIN FOR i IN 1 .. 200 LOOP
			INSERT INTO items SELECT 100000 + i * 100 + j, noise(i * 100 + j, 32), 1 FROM generate_series(1, 5) j;
			PERFORM pg_switch_wal(); COMMIT;
		END LOOP; END $$});
	isnt($status, 0, "$am: the WAL cannot grow");
	like(slurp_file($node->logfile, $from), qr/PANIC.*pg_wal.*No space left on device/, "$am: and the server stops");
	disk_has($PLENTY);
	$node->stop('immediate', fail_ok => 1);
	local $ENV{LD_PRELOAD} = $library;
	$node->start;
	is_whole('items_v', "$am, after recovery");
	return;
}

create_noise($node);
$node->safe_psql('postgres', q{
	CREATE TABLE many AS SELECT i AS id, (ARRAY[sin(i), cos(i), sin(i / 7.0), cos(i / 7.0)]::real[])::vector(4) AS v FROM generate_series(1, 30000) i;
	CREATE TABLE items (id int PRIMARY KEY, v vector(32), f int);
	ALTER TABLE items SET (parallel_workers = 2)});
for my $am ('recsys_hnsw', 'recsys_ivfpq')
{
	$node->safe_psql('postgres', q{TRUNCATE items;
		INSERT INTO items SELECT i, noise(i, 32), i % 7 FROM generate_series(1, 800) i});
	build($am, 8192, 'SET max_parallel_maintenance_workers = 0');
	build($am, 100_000, 'SET max_parallel_maintenance_workers = 0');
	build($am, 60_000, 'SET max_parallel_maintenance_workers = 2');
	$node->safe_psql('postgres', "CREATE INDEX items_v ON items USING $am (v vector_l2_ops, f)");
	inserts($am);
	vacuum($am);
	other_limits($am);
	little_memory($am);
	wal($am);
	$node->safe_psql('postgres', 'DROP INDEX items_v');
}
import_fails();
$node->stop;
done_testing();
