# What the tests of the index access methods share: data sets, recall, builds,
# checks of an index.
package IndexTest;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(data_dir index_node load_set set_recall index_reads
  create_noise check_whole check_passes session session_pid $tell_pid finish
  kill_server start_killed watch_build cancel_builds);

# The folder of a data set beside the project, or undef where it is missing.
sub data_dir
{
	my ($name) = @_;
	my $dir = ($ENV{TESTDIR} // '.') . "/../shared/data/$name";
	return -d $dir ? $dir : undef;
}

# A server that counts its buffer accesses one test at a time: nothing runs in
# the background, and no setting of the extension is touched.
sub index_node
{
	my ($name, %param) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(%param);
	$node->append_conf('postgresql.conf', <<EOF);
autovacuum = off
jit = off
shared_buffers = 256MB
max_wal_size = 4GB
maintenance_work_mem = 256MB
log_statement = none
EOF
	return $node;
}

# Shape, element type and bytes of a .npy file of two dimensions.
sub npy_read
{
	my ($file) = @_;
	open my $fh, '<:raw', $file or die "$file: $!";
	read $fh, my $head, 10;
	die "$file is no .npy file" unless $head =~ /^\x93NUMPY\x01/;
	read $fh, my $header, unpack('x8 v', $head);
	my ($type) = $header =~ /'descr': *'([^']+)'/ or die "$file: $header";
	my ($rows, $cols) = $header =~ /'shape': *\((\d+), *(\d+)\)/
	  or die "$file: $header";
	die "$file: not in row order" unless $header =~ /'fortran_order': *False/;
	local $/;
	return ($rows, $cols, $type, <$fh>);
}

# The value of a float16 with the given bits.
sub half
{
	my ($bits) = @_;
	my ($exponent, $mantissa) = (($bits >> 10) & 31, $bits & 1023);
	my $value = $exponent ? (1 + $mantissa / 1024) * 2**($exponent - 15)
	  : $mantissa * 2**-24;
	return $bits & 0x8000 ? -$value : $value;
}

# Write the rows of a .npy file as (id, vector) for COPY in binary, ids from 0.
sub copy_file
{
	my ($npy, $out) = @_;
	my ($rows, $cols, $type, $bytes) = npy_read($npy);
	my ($template, $width, @float4);
	if ($type eq '<f2')
	{
		@float4 = map { pack 'f>', half($_) } 0 .. 65535;
		($template, $width) = ('v*', 2);
	}
	elsif ($type eq '|u1')
	{
		@float4 = map { pack 'f>', $_ } 0 .. 255;
		($template, $width) = ('C*', 1);
	}
	else
	{
		die "$npy: cannot read elements of type $type";
	}
	open my $fh, '>:raw', $out or die "$out: $!";
	print $fh "PGCOPY\n\377\r\n\0", pack('N2', 0, 0);
	for my $id (0 .. $rows - 1)
	{
		my @row = unpack $template,
		  substr($bytes, $id * $cols * $width, $cols * $width);
		print $fh pack('n N N N n2', 2, 4, $id, 4 + 4 * $cols, $cols, 0),
		  join('', @float4[@row]) or die $!;
	}
	print $fh pack('n', 0xffff);
	close $fh or die $!;
	return $cols;
}

# Load a data set: tables items (id, v), queries (id, v), and bounds (query, k,
# bound), the exact distance of the k-th best row, for $op and each of @$ks.
# %files names the files: items, queries, truth.
sub load_set
{
	my ($node, $dir, $op, $ks, %files) = @_;
	my $tmp = PostgreSQL::Test::Utils::tempdir;

	for my $table ('items', 'queries')
	{
		my $dim = copy_file("$dir/$files{$table}", "$tmp/$table");
		$node->safe_psql('postgres',
			qq{CREATE TABLE $table (id int PRIMARY KEY, v vector($dim) NOT NULL);
			ALTER TABLE $table ALTER v SET STORAGE PLAIN;
			COPY $table FROM '$tmp/$table' (FORMAT binary);
			VACUUM ANALYZE $table});
		unlink "$tmp/$table";
	}
	my ($rows, $cols, $type, $bytes) = npy_read("$dir/$files{truth}");
	die "$files{truth}: not int32" unless $type eq '<i4';
	open my $fh, '>', "$tmp/truth" or die $!;
	for my $query (0 .. $rows - 1)
	{
		print $fh join("\t", $query, $_,
			unpack('l<', substr($bytes, 4 * ($query * $cols + $_ - 1), 4))), "\n"
		  for @$ks;
	}
	close $fh or die $!;
	$node->safe_psql('postgres', qq{
		CREATE TABLE truth (query int, k int, item int);
		COPY truth FROM '$tmp/truth';
		CREATE TABLE bounds AS SELECT query, k, q.v $op i.v AS bound
			FROM truth t JOIN queries q ON q.id = t.query JOIN items i ON i.id = t.item;
		VACUUM ANALYZE bounds;
		CREATE FUNCTION run_queries(k_ int, OUT recall float8, OUT min_rows int,
			OUT max_rows int, OUT min_distinct int, OUT ordered bool) LANGUAGE plpgsql AS \$\$
		DECLARE
			q record; found float8[]; ids int[]; hits bigint := 0; n bigint := 0;
		BEGIN
			SET LOCAL enable_seqscan = off;
			ordered := true;
			FOR q IN SELECT v, bound FROM bounds b JOIN queries ON queries.id = b.query WHERE b.k = k_ ORDER BY query LOOP
				SELECT array_agg(s.d), array_agg(s.id) INTO found, ids FROM
					(SELECT items.id, items.v $op q.v AS d FROM items ORDER BY items.v $op q.v LIMIT k_) s;
				n := n + k_;
				hits := hits + (SELECT count(*) FROM unnest(found) d WHERE d <= q.bound);
				min_rows := least(min_rows, coalesce(cardinality(found), 0));
				max_rows := greatest(max_rows, coalesce(cardinality(found), 0));
				min_distinct := least(min_distinct, (SELECT count(DISTINCT i) FROM unnest(ids) i));
				ordered := ordered AND found = (SELECT array_agg(d ORDER BY d) FROM unnest(found) d);
			END LOOP;
			recall := hits::float8 / n;
			-- index_reads() is asked next, maybe before this session has ended
			PERFORM pg_stat_force_next_flush();
		END \$\$;
	});
	return;
}

# Runs all queries with LIMIT k through the index: number of rows, no row
# twice, exact order; the recall is at least $bound.  Returns recall and mean
# number of buffers of the index that a query reads.
sub set_recall
{
	my ($node, $index, $k, $bound, $name) = @_;
	my $before = index_reads($node, $index);
	my ($recall, $min, $max, $distinct, $ordered) = split /\|/,
	  $node->safe_psql('postgres', "SELECT * FROM run_queries($k)");
	my $scans = $node->safe_psql('postgres', "SELECT count(*) FROM bounds WHERE k = $k");
	my $reads = (index_reads($node, $index) - $before) / $scans;

	note sprintf '%s: recall@%d %.4f, %.1f buffers', $name, $k, $recall, $reads;
	ok($recall >= $bound, "$name: recall\@$k is at least $bound")
	  or diag "recall\@$k is $recall";
	is("$min|$max|$distinct", "$k|$k|$k", "$name: LIMIT $k gives $k rows, no row twice");
	is($ordered, 't', "$name: LIMIT $k in order");
	return ($recall, $reads);
}

# Buffers of an index that backends have accessed, which tell it before they end
# where pg_stat_force_next_flush() was called.
sub index_reads
{
	my ($node, $index) = @_;
	return $node->safe_psql('postgres',
		"SELECT coalesce(idx_blks_hit, 0) + coalesce(idx_blks_read, 0)
		FROM pg_statio_user_indexes WHERE indexrelname = '$index'");
}

# A function noise(seed, dimensions): a vector that looks random and is the
# same everywhere.
sub create_noise
{
	my ($node) = @_;
	$node->safe_psql('postgres', q{
		CREATE EXTENSION IF NOT EXISTS recsys;
		CREATE FUNCTION noise(seed bigint, dim int) RETURNS vector
		LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
			SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
							 ORDER BY i)::vector
			FROM generate_series(1, dim) i $$;
		-- whether all rows are found by the index, and each as its own nearest
		CREATE FUNCTION check_rows(tab regclass) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE
			by_index int[]; exact int[]; lost int; line text; plan text := '';
		BEGIN
			SET LOCAL enable_seqscan = off;
			FOR line IN EXECUTE format('EXPLAIN SELECT id FROM %s ORDER BY v <-> (SELECT v FROM %1$s LIMIT 1) LIMIT 10000000', tab) LOOP
				plan := plan || line;
			END LOOP;
			IF plan !~ 'Order By' THEN RETURN 'unexpected plan: ' || plan; END IF;
			EXECUTE format('SELECT array_agg(id) FROM (SELECT id FROM %s ORDER BY v <-> (SELECT v FROM %1$s LIMIT 1) LIMIT 10000000) s', tab) INTO by_index;
			EXECUTE format('SELECT array_agg(id) FROM %s WHERE v IS NOT NULL', tab) INTO exact;
			IF (SELECT array_agg(i ORDER BY i) FROM unnest(by_index) i) IS DISTINCT FROM
				(SELECT array_agg(i ORDER BY i) FROM unnest(exact) i) THEN
				RETURN format('%s rows by the index, %s of them distinct, the table has %s', coalesce(cardinality(by_index), 0),
					(SELECT count(DISTINCT i) FROM unnest(by_index) i), coalesce(cardinality(exact), 0));
			END IF;
			EXECUTE format('SELECT count(*) FROM %s t WHERE v IS NOT NULL AND
				(SELECT n.v FROM %1$s n ORDER BY n.v <-> t.v LIMIT 1) <> t.v', tab) INTO lost;
			RETURN CASE WHEN lost <= 0.005 * coalesce(cardinality(exact), 0) THEN 'whole'
				ELSE lost || ' of ' || cardinality(exact) || ' rows are not their own nearest' END;
		END $$ });
	return;
}

# Start psql with statements that run while the test goes on.
sub session
{
	my ($node, $sql) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir . '/session.sql';
	my $out = '';
	open my $fh, '>', $file or die $!;
	print $fh $sql;
	close $fh;
	my $handle = IPC::Run::start(
		[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1',
			'-d', $node->connstr('postgres'), '-f', $file ],
		'<', \undef, '>&', \$out,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return { handle => $handle, out => \$out };
}

# The PID of such a session, whose statements begin with $tell_pid.
our $tell_pid = "SELECT 'pid ' || pg_backend_pid();";

sub session_pid
{
	my ($session) = @_;
	$session->{handle}->pump while ${ $session->{out} } !~ /pid \d+\n/ && $session->{handle}->pumpable;
	my ($pid) = ${ $session->{out} } =~ /pid (\d+)/ or BAIL_OUT(${ $session->{out} });
	return $pid;
}

# Wait for the end of such a session; whether it ended well.
sub finish
{
	my ($session) = @_;
	my $done = eval { $session->{handle}->finish };
	$session->{handle}->kill_kill unless defined $done;
	return $done;
}

# Kill all processes of a server at once; those besides the postmaster may be given.
sub kill_server
{
	my ($node, @pids) = @_;
	@pids = split /\n/, $node->safe_psql('postgres',
		'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()')
	  unless @pids;
	$node->kill9;
	kill 'KILL', @pids;
	return;
}

# Start a server that was killed: what is left of it has to notice first that the
# postmaster is gone.
sub start_killed
{
	my ($node) = @_;
	my $begun = time();

	while (time() - $begun < $PostgreSQL::Test::Utils::timeout_default)
	{
		return if $node->start(fail_ok => 1);
		usleep(200_000);
		$node->stop('fast', fail_ok => 1);
	}
	BAIL_OUT('the server does not start after a crash');
}

sub check_passes
{
	my ($node, $index, $name) = @_;
	my ($status, $stdout, $stderr) =
	  $node->psql('postgres', "SELECT recsys.check_index('$index')");
	is($stderr, '', "$name: check_index passes");
	return;
}

# Run a CREATE INDEX and watch it from a second session: the phases that were
# seen, whether tuples were counted in a phase that matches $counted, and what
# the statement said.
sub watch_build
{
	my ($node, $sql, $counted) = @_;
	my $session = session($node, "$tell_pid $sql");
	my $pid = session_pid($session);
	my @seen = split /\n/, $node->safe_psql('postgres', qq{
		CREATE TEMP TABLE seen (phase text PRIMARY KEY, counts bool);
		DO \$\$ BEGIN
			WHILE EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid) LOOP
				INSERT INTO seen SELECT phase, tuples_done > 0 AND tuples_done <= tuples_total
					FROM pg_stat_progress_create_index WHERE pid = $pid
					ON CONFLICT (phase) DO UPDATE SET counts = seen.counts OR excluded.counts;
				COMMIT;
				PERFORM pg_sleep(0.001);
			END LOOP;
		END \$\$;
		SELECT phase, counts FROM seen ORDER BY phase COLLATE "C"});
	finish($session);
	(my $out = ${ $session->{out} }) =~ s/.*pid \d+\n.*?\n\n//s;
	return (join(', ', map { /(.*)\|/ } @seen), scalar(grep { $_ =~ $counted && /\|t$/ } @seen), $out);
}

# Cancel a build after each of so many milliseconds, under each of some settings:
# it ends soon, and leaves no worker and no file.  The build must not be done
# within half of these times.  072_limits_slow.pl has what soon is, in CPU time: by
# the clock it depends on what else the machine does.
sub cancel_builds
{
	my ($node, $create, $settings, @after) = @_;
	my $count = "SELECT count(*) FROM pg_ls_dir('base/' ||
		(SELECT oid FROM pg_database WHERE datname = current_database()))";
	my $files = $node->safe_psql('postgres', $count);
	my ($cancelled, $slowest) = (0, 0);
	for my $set (@$settings)
	{
		for my $after (@after)
		{
			my $begin = time();
			my ($status, $stdout, $stderr) = $node->psql('postgres',
				"BEGIN; SET LOCAL client_min_messages = warning; $set
				SET LOCAL statement_timeout = $after; $create; ROLLBACK");
			next if $stderr eq '';
			like($stderr, qr/canceling statement due to statement timeout/,
				"cancelled after $after ms");
			my $late = time() - $begin - $after / 1000;
			$slowest = $late if $late > $slowest;
			$cancelled++;
		}
	}
	cmp_ok($cancelled, '>=', @$settings * @after / 2, 'builds were cancelled');
	cmp_ok($slowest, '<', 15, 'a cancel takes effect soon');
	ok($node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'parallel worker'"),
		'no worker is left');
	$node->safe_psql('postgres', 'CHECKPOINT');
	cmp_ok($node->safe_psql('postgres', $count), '<=', $files + 3, 'no files are left');
	return;
}

# The index passes recsys.check_index, and all rows are found by it.
sub check_whole
{
	my ($node, $table, $index, $name) = @_;
	check_passes($node, $index, $name);
	is($node->safe_psql('postgres', "SELECT check_rows('$table')"),
		'whole', "$name: every row is found by the index")
	  or diag(($node->psql('postgres', "SELECT * FROM recsys.index_stats('$index')", extra_params => ['-x']))[1]);
	return;
}

1;
